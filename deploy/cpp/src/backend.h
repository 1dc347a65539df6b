// What runs the network. One small interface; each engine is one file, compiled in where its SDK is given.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "artifact.h"

namespace ppghost {

/// How an engine is opened.
struct BackendOptions {
  int threads = 1;        ///< processors that one run may use
  std::size_t batch = 1;  ///< most rows that one run is given
};

/// A network that is ready to run. One object serves one thread at a time.
class Backend {
 public:
  virtual ~Backend() = default;

  /// Return the version of the engine as it names it itself; it may be empty.
  virtual std::string version() const = 0;

  /// Run `rows` rows, at most `BackendOptions::batch`.
  /// `input` is float32 [rows, C, H, W], normalised; `output` is written as float32 [rows, class_num].
  /// Throws Error when the engine fails.
  virtual void run(const float* input, std::size_t rows, float* output) = 0;
};

/// An engine that is compiled in.
struct Engine {
  const char* name;
  const char* format;  ///< the form of the network that it reads (`ModelFile::format`)
  std::unique_ptr<Backend> (*open)(const Artifact&, const BackendOptions&);
};

/// Return the engines that are compiled in, the one to be preferred first; there is at least one.
const std::vector<Engine>& engines();

/// Return the engine of a name; for an empty name the first one that can read the artifact.
/// Throws Error that lists the names when there is none.
const Engine& find_engine(const std::string& name, const Artifact& artifact);

/// Check the files of the network in the engine's form, and open it.
std::unique_ptr<Backend> open_backend(const Engine& engine, const Artifact& artifact, const BackendOptions& options);

// Each is defined in its own backend_*.cpp.
std::unique_ptr<Backend> open_ghost(const Artifact& artifact, const BackendOptions& options);
std::unique_ptr<Backend> open_openvino(const Artifact& artifact, const BackendOptions& options);
std::unique_ptr<Backend> open_paddle(const Artifact& artifact, const BackendOptions& options);

}  // namespace ppghost
