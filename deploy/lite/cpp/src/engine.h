// Paddle Lite, the only file beside its .cpp that knows its API.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "model.h"

namespace ppghost {

/// How the network is to be run.
struct RunMode {
  int threads = 1;
  std::string power_mode = "LITE_POWER_NO_BIND";
};

/// Return the names of Paddle Lite's power modes, by their numbers.
const std::vector<std::string>& power_modes();

/// Return the processor that this program is compiled for, as .nb files name it: armv8, armv7, x86.
std::string this_arch();

/// Throws Error when the program was built against stubs and cannot run a network.
void check_is_no_stub();

/// A network that is ready to run; one object serves one thread.
class Engine {
 public:
  /// Check the file, and open it. Where Paddle Lite ends the process, the reason is told and the exit code is 2.
  /// Throws Error when the file is not what was exported, or was converted by another version of Paddle Lite.
  Engine(const Model& model, const NbFile& file, const RunMode& asked);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Return the version of Paddle Lite as it names it itself.
  std::string version() const;

  /// Return what Paddle Lite took of what was asked for; fewer threads where the device has fewer cores.
  RunMode taken() const;

  /// Copy `float32 [1, 3, H, W]` in.
  void set_input(const std::vector<float>& input);

  void run();

  /// Return `float32 [class_num]`, a copy.
  std::vector<float> output() const;

  /// Set the input, run, and return probabilities, whether softmax is in the network or not.
  std::vector<float> probabilities(const std::vector<float>& input);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

/// Say whether this processor computes in fp16; a .nb file with fp16 needs it.
bool has_fp16();

}  // namespace ppghost
