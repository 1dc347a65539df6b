// OpenVINO on the CPU; its frontend for PaddlePaddle reads inference.pdmodel as it is.
#include <algorithm>

#include <openvino/openvino.hpp>

#include "backend.h"
#include "errors.h"

namespace ppghost {
namespace {

class OpenVinoBackend : public Backend {
 public:
  OpenVinoBackend(const Artifact& artifact, const BackendOptions& options)
      : row_size_(artifact.input_shape.size()), class_num_(artifact.class_num) {
    const ModelFile& file = artifact.model("pdmodel");
    const InputShape& shape = artifact.input_shape;
    const auto model = core_.read_model(artifact.path_of(file.graph).string(), artifact.path_of(file.weights).string());
    // A fixed batch lets the compiler choose its kernels; a run of fewer rows leaves the last ones as they were.
    model->reshape(ov::PartialShape{static_cast<std::int64_t>(options.batch), 3, static_cast<std::int64_t>(shape.height),
                                    static_cast<std::int64_t>(shape.width)});
    compiled_ = core_.compile_model(
        model, "CPU", ov::inference_num_threads(options.threads), ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY),
        // Where the CPU has bf16, OpenVINO would compute in it unasked.
        ov::hint::inference_precision(ov::element::f32));
    request_ = compiled_.create_infer_request();
    const std::size_t outputs = request_.get_output_tensor().get_size();
    if (outputs != options.batch * class_num_) {
      throw Error("The network gives " + std::to_string(outputs / options.batch) + " numbers a picture instead of " +
                  std::to_string(class_num_) + ".");
    }
  }

  std::string version() const override { return ov::get_openvino_version().buildNumber; }

  void run(const float* input, std::size_t rows, float* output) override {
    std::copy_n(input, rows * row_size_, request_.get_input_tensor().data<float>());
    request_.infer();
    std::copy_n(request_.get_output_tensor().data<float>(), rows * class_num_, output);
  }

 private:
  std::size_t row_size_, class_num_;
  ov::Core core_;
  ov::CompiledModel compiled_;
  ov::InferRequest request_;
};

}  // namespace

std::unique_ptr<Backend> open_openvino(const Artifact& artifact, const BackendOptions& options) {
  return std::make_unique<OpenVinoBackend>(artifact, options);
}

}  // namespace ppghost
