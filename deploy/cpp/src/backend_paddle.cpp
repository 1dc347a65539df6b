// Paddle Inference on the CPU with oneDNN; every version of it reads inference.pdmodel.
#include <paddle_inference_api.h>

#include <algorithm>

#include "backend.h"
#include "errors.h"

namespace ppghost {
namespace {

/// Switch oneDNN on: Paddle 3 calls that EnableONEDNN, Paddle 2 knows the older name only.
template <typename Config>
auto enable_onednn(Config& config, int) -> decltype(config.EnableONEDNN()) {
  config.EnableONEDNN();
}
template <typename Config>
void enable_onednn(Config& config, long) {
  config.EnableMKLDNN();
}

class PaddleBackend : public Backend {
 public:
  PaddleBackend(const Artifact& artifact, const BackendOptions& options)
      : shape_(artifact.input_shape), class_num_(artifact.class_num) {
    const ModelFile& file = artifact.model("pdmodel");
    paddle_infer::Config config;
    config.SetModel(artifact.path_of(file.graph).string(), artifact.path_of(file.weights).string());
    config.DisableGpu();
    enable_onednn(config, 0);  // 0 is an int first, so the newer name wins where both are
    config.SetCpuMathLibraryNumThreads(options.threads);
    config.DisableGlogInfo();
    predictor_ = paddle_infer::CreatePredictor(config);
    input_ = predictor_->GetInputHandle(predictor_->GetInputNames().at(0));
    output_ = predictor_->GetOutputHandle(predictor_->GetOutputNames().at(0));
  }

  std::string version() const override {
    const std::string text = paddle_infer::GetVersion();  // "version: 3.3.1", then lines about the build
    const std::size_t begin = std::min(text.find(' ') + 1, text.size());
    return text.substr(begin, text.find('\n') - begin);
  }

  void run(const float* input, std::size_t rows, float* output) override {
    const int batch = static_cast<int>(rows), class_num = static_cast<int>(class_num_);
    input_->Reshape({batch, 3, static_cast<int>(shape_.height), static_cast<int>(shape_.width)});
    input_->CopyFromCpu(input);
    if (!predictor_->Run()) throw Error("Paddle Inference could not run the network.");
    if (output_->shape() != std::vector<int>{batch, class_num}) {
      throw Error("The network does not give " + std::to_string(class_num_) + " numbers a picture.");
    }
    output_->CopyToCpu(output);
  }

 private:
  InputShape shape_;
  std::size_t class_num_;
  std::shared_ptr<paddle_infer::Predictor> predictor_;
  std::unique_ptr<paddle_infer::Tensor> input_, output_;
};

}  // namespace

std::unique_ptr<Backend> open_paddle(const Artifact& artifact, const BackendOptions& options) {
  return std::make_unique<PaddleBackend>(artifact, options);
}

}  // namespace ppghost
