// A stand-in for Paddle Lite's library, for tests where no SDK is at hand: it proves what ppghost_lite does around the
// library, and nothing about Paddle Lite. Its "network" gives the class c the mean of the input's plane c % 3,
// times c + 1. A file that says "abort" behind its header ends the process, as Paddle Lite does with a bad one.
#include "paddle_api.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <numeric>

namespace paddle {
namespace lite_api {
namespace {

constexpr std::size_t kHeaderBytes = 26;
#if defined(__aarch64__) || defined(__arm__)
constexpr int kCores = 4;
#endif

class StandIn : public PaddlePredictor {
 public:
  explicit StandIn(const MobileConfig& config) : config_(config) {
    std::ifstream stream(config.lite_model_file(), std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(stream), {}};
    if (bytes.size() < kHeaderBytes || bytes.compare(kHeaderBytes, 5, "abort") == 0) std::abort();
    output_.resize(std::strtoul(bytes.c_str() + kHeaderBytes, nullptr, 10));
    output_shape_ = {1, static_cast<std::int64_t>(output_.size())};
  }

  std::unique_ptr<Tensor> GetInput(int) override {
    std::unique_ptr<Tensor> tensor(new Tensor);
    tensor->shape_ = &input_shape_;
    tensor->values_ = &input_;
    return tensor;
  }

  std::unique_ptr<const Tensor> GetOutput(int) const override {
    std::unique_ptr<Tensor> tensor(new Tensor);
    tensor->shape_ = &output_shape_;
    tensor->values_ = &output_;
    return std::unique_ptr<const Tensor>(tensor.release());
  }

  void Run() override {
    if (!has_told_) {
      std::cerr << "stand-in: threads " << config_.threads() << " or " << config_.x86_math_num_threads() << ", power mode "
                << config_.power_mode() << '\n';
    }
    has_told_ = true;
    const std::size_t plane = input_.size() / 3;
    for (std::size_t c = 0; c < output_.size(); ++c) {
      const auto begin = input_.begin() + static_cast<std::ptrdiff_t>(c % 3 * plane);
      const double sum = std::accumulate(begin, begin + static_cast<std::ptrdiff_t>(plane), 0.0);
      output_[c] = static_cast<float>(sum / static_cast<double>(plane) * static_cast<double>(c + 1));
    }
  }

  std::string GetVersion() const override { return "v2.13-rc"; }

 private:
  MobileConfig config_;
  bool has_told_ = false;
  mutable std::vector<std::int64_t> input_shape_, output_shape_;
  mutable std::vector<float> input_, output_;
};

}  // namespace

void Tensor::Resize(const std::vector<std::int64_t>& shape) { *shape_ = shape; }
template <>
const float* Tensor::data<float>() const {
  return values_->data();
}
template <>
float* Tensor::mutable_data<float>(TargetType) const {
  values_->resize(static_cast<std::size_t>(
      std::accumulate(shape_->begin(), shape_->end(), std::int64_t{1}, std::multiplies<std::int64_t>())));
  return values_->data();
}
std::vector<std::int64_t> Tensor::shape() const { return *shape_; }

// As Paddle Lite does on ARM: what the device has not is not taken. Elsewhere these two do nothing.
#if defined(__aarch64__) || defined(__arm__)
void ConfigBase::set_threads(int threads) { threads_ = std::min(threads, kCores); }
void ConfigBase::set_power_mode(PowerMode mode) { power_mode_ = mode; }
#else
void ConfigBase::set_threads(int) {}
void ConfigBase::set_power_mode(PowerMode) {}
#endif
int ConfigBase::threads() const { return threads_; }
PowerMode ConfigBase::power_mode() const { return power_mode_; }
void ConfigBase::set_x86_math_num_threads(int threads) { x86_threads_ = threads; }
int ConfigBase::x86_math_num_threads() const { return x86_threads_; }

void MobileConfig::set_model_from_file(const std::string& path) { path_ = path; }
bool MobileConfig::check_fp16_valid() { return false; }

template <>
std::shared_ptr<PaddlePredictor> CreatePaddlePredictor<MobileConfig>(const MobileConfig& config) {
  return std::make_shared<StandIn>(config);
}

}  // namespace lite_api
}  // namespace paddle
