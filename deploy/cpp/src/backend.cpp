#include "backend.h"

#include <algorithm>

#include "errors.h"

namespace ppghost {

const std::vector<Engine>& engines() {
  static const std::vector<Engine> compiled_in = {
#ifdef PPGHOST_WITH_GHOST
      {"ghost", "ghost", open_ghost},
#endif
#ifdef PPGHOST_WITH_OPENVINO
      {"openvino", "pdmodel", open_openvino},
#endif
#ifdef PPGHOST_WITH_PADDLE
      {"paddle", "pdmodel", open_paddle},
#endif
  };
  return compiled_in;
}

const Engine& find_engine(const std::string& name, const Artifact& artifact) {
  const auto can_read = [&](const Engine& engine) {
    return std::any_of(artifact.models.begin(), artifact.models.end(),
                       [&](const ModelFile& model) { return model.format == engine.format; });
  };
  std::string names;
  for (const Engine& engine : engines()) {
    if (name.empty() ? can_read(engine) : name == engine.name) return engine;
    names += (names.empty() ? "" : ", ") + std::string(engine.name);
  }
  const std::string complaint =
      name.empty() ? "No engine of this program can read '" + artifact.folder.string() + "'."
                   : "This program has no engine '" + name + "'.";
  throw Error(complaint + " Compiled in: " + names + ". Build it with another one as deploy/cpp/README.md tells.");
}

std::unique_ptr<Backend> open_backend(const Engine& engine, const Artifact& artifact, const BackendOptions& options) {
  const ModelFile& model = artifact.model(engine.format);
  artifact.check_file(model.graph);
  if (!model.weights.empty()) artifact.check_file(model.weights);
  try {
    return engine.open(artifact, options);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Error("The engine '" + std::string(engine.name) + "' cannot open " + artifact.path_of(model.graph).string() +
                ": " + error.what());
  }
}

}  // namespace ppghost
