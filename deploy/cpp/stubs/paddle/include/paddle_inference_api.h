// A stand-in for the header of Paddle Inference's SDK: the few signatures that backend_paddle.cpp calls, written
// from the public description of the API. Only for compiling that file where no SDK is; nothing can be linked
// or run with it, and its classes are not laid out like the real ones.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace paddle_infer {

class Config {
 public:
  void SetModel(const std::string& program_file, const std::string& weights_file);
  void DisableGpu();
#ifdef PPGHOST_STUB_OF_PADDLE_2
  void EnableMKLDNN();
#else
  void EnableONEDNN();
#endif
  void SetCpuMathLibraryNumThreads(int threads);
  void DisableGlogInfo();
};

class Tensor {
 public:
  void Reshape(const std::vector<int>& shape);
  std::vector<int> shape() const;
  template <typename T>
  void CopyFromCpu(const T* data);
  template <typename T>
  void CopyToCpu(T* data) const;
};

class Predictor {
 public:
  std::vector<std::string> GetInputNames();
  std::vector<std::string> GetOutputNames();
  std::unique_ptr<Tensor> GetInputHandle(const std::string& name);
  std::unique_ptr<Tensor> GetOutputHandle(const std::string& name);
  bool Run();
};

std::shared_ptr<Predictor> CreatePredictor(const Config& config);
std::string GetVersion();

}  // namespace paddle_infer
