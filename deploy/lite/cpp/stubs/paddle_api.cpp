// What the linker needs of the stubs. Nothing of it runs a network; the program refuses before it comes here.
#include "paddle_api.h"

namespace paddle {
namespace lite_api {

void Tensor::Resize(const std::vector<std::int64_t>&) {}
template <>
const float* Tensor::data<float>() const {
  return nullptr;
}
template <>
float* Tensor::mutable_data<float>(TargetType) const {
  return nullptr;
}
std::vector<std::int64_t> Tensor::shape() const { return {}; }

void ConfigBase::set_threads(int) {}
int ConfigBase::threads() const { return 0; }
void ConfigBase::set_power_mode(PowerMode) {}
PowerMode ConfigBase::power_mode() const { return LITE_POWER_NO_BIND; }
void ConfigBase::set_x86_math_num_threads(int) {}
int ConfigBase::x86_math_num_threads() const { return 0; }

void MobileConfig::set_model_from_file(const std::string&) {}
bool MobileConfig::check_fp16_valid() { return false; }

template <>
std::shared_ptr<PaddlePredictor> CreatePaddlePredictor<MobileConfig>(const MobileConfig&) {
  return nullptr;
}

}  // namespace lite_api
}  // namespace paddle
