// The signatures of Paddle Lite's C++ API that ppghost_lite uses, so that it can be compiled where no SDK is at hand.
// Compiling against it proves types, nothing more: the program that comes out refuses to run a network. The memory
// layout is not Paddle Lite's; never link with its library what was compiled against this.
//
// Source: Paddle-Lite v2.13-rc, lite/api/paddle_api.h and paddle_place.h.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace paddle {
namespace lite_api {

enum class TargetType : int { kHost = 1 };

typedef enum {
  LITE_POWER_HIGH = 0,
  LITE_POWER_LOW = 1,
  LITE_POWER_FULL = 2,
  LITE_POWER_NO_BIND = 3,
  LITE_POWER_RAND_HIGH = 4,
  LITE_POWER_RAND_LOW = 5
} PowerMode;

struct Tensor {
  void Resize(const std::vector<std::int64_t>& shape);
  template <typename T>
  const T* data() const;
  template <typename T>
  T* mutable_data(TargetType type = TargetType::kHost) const;
  std::vector<std::int64_t> shape() const;

  std::vector<std::int64_t>* shape_ = nullptr;
  std::vector<float>* values_ = nullptr;
};

class PaddlePredictor {
 public:
  virtual ~PaddlePredictor() = default;
  virtual std::unique_ptr<Tensor> GetInput(int i) = 0;
  virtual std::unique_ptr<const Tensor> GetOutput(int i) const = 0;
  virtual void Run() = 0;
  virtual std::string GetVersion() const = 0;
};

class ConfigBase {
 public:
  void set_threads(int threads);
  int threads() const;
  void set_power_mode(PowerMode mode);
  PowerMode power_mode() const;
  void set_x86_math_num_threads(int threads);
  int x86_math_num_threads() const;

 protected:
  int threads_ = 1, x86_threads_ = 1;
  PowerMode power_mode_ = LITE_POWER_NO_BIND;
};

class MobileConfig : public ConfigBase {
 public:
  void set_model_from_file(const std::string& path);
  const std::string& lite_model_file() const { return path_; }
  bool check_fp16_valid();

 private:
  std::string path_;
};

template <typename ConfigT>
std::shared_ptr<PaddlePredictor> CreatePaddlePredictor(const ConfigT& config);

}  // namespace lite_api
}  // namespace paddle
