// ppghost's own engine, compiled into the program: ppghost/runtime/engine.h.
#include <engine.h>

#include <array>

#include "backend.h"
#include "errors.h"

namespace ppghost {
namespace {

class GhostBackend : public Backend {
 public:
  GhostBackend(const Artifact& artifact, const BackendOptions& options) : shape_(artifact.input_shape) {
    const ModelFile& file = artifact.model("ghost");
    const std::string program = artifact.path_of(file.graph).string(), weights = artifact.path_of(file.weights).string();
    network_.reset(ghost_open(program.c_str(), weights.c_str(), "fp32", "", complaint_.data(), complaint_.size()));
    if (!network_) throw Error(complaint_.data());
    facts_ = ghost_facts(network_.get());
    if (facts_.channels != static_cast<int>(shape_.channels) || facts_.classes != static_cast<int>(artifact.class_num)) {
      throw Error("'" + program + "' is of another network. Export the model again.");
    }
    session_.reset(ghost_start(network_.get(), options.threads, complaint_.data(), complaint_.size()));
    if (!session_) throw Error(complaint_.data());
  }

  std::string version() const override { return facts_.instructions; }

  void run(const float* input, std::size_t rows, float* output) override {
    if (ghost_run(session_.get(), input, static_cast<int>(rows), static_cast<int>(shape_.height),
                  static_cast<int>(shape_.width), output, complaint_.data(), complaint_.size()) != 0) {
      throw Error(complaint_.data());
    }
  }

 private:
  struct Release {
    void operator()(GhostNetwork* network) const { ghost_close(network); }
    void operator()(GhostSession* session) const { ghost_stop(session); }
  };

  InputShape shape_;
  GhostFacts facts_{};
  std::array<char, 512> complaint_{};
  std::unique_ptr<GhostNetwork, Release> network_;
  std::unique_ptr<GhostSession, Release> session_;  // released before the network
};

}  // namespace

std::unique_ptr<Backend> open_ghost(const Artifact& artifact, const BackendOptions& options) {
  return std::make_unique<GhostBackend>(artifact, options);
}

}  // namespace ppghost
