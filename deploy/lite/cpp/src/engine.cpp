#include "engine.h"

#include <paddle_api.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>

#include "answers.h"
#include "errors.h"
#include "nb.h"

namespace ppghost {
namespace {

namespace lite = paddle::lite_api;

constexpr int kSignals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE};

/// While it lives, the end of the process within Paddle Lite is told in words and has exit code 2.
class AbortGuard {
 public:
  AbortGuard(const std::string& path, const char* what) {
    std::snprintf(message_, sizeof message_, "error: Paddle Lite gave up when it %s '%s'. %s\n", what, path.c_str(),
                  "Convert the model with the Paddle Lite of this program's library, for this processor.");
    for (const int number : kSignals) std::signal(number, tell);
  }
  ~AbortGuard() {
    for (const int number : kSignals) std::signal(number, SIG_DFL);
  }
  AbortGuard(const AbortGuard&) = delete;
  AbortGuard& operator=(const AbortGuard&) = delete;

 private:
  static void tell(int) {
    // Only what a signal handler may call.
    const ssize_t ignored = ::write(STDERR_FILENO, message_, std::strlen(message_));
    static_cast<void>(ignored);
    ::_exit(2);
  }

  static char message_[1024];
};

char AbortGuard::message_[1024];

lite::PowerMode code_of(const std::string& power_mode) {
  for (std::size_t i = 0; i < power_modes().size(); ++i) {
    if (power_modes()[i] == power_mode) return static_cast<lite::PowerMode>(i);
  }
  throw Error("There is no power mode '" + power_mode + "'.");
}

}  // namespace

const std::vector<std::string>& power_modes() {
  static const std::vector<std::string> kNames = {"LITE_POWER_HIGH",    "LITE_POWER_LOW",       "LITE_POWER_FULL",
                                                  "LITE_POWER_NO_BIND", "LITE_POWER_RAND_HIGH", "LITE_POWER_RAND_LOW"};
  return kNames;
}

std::string this_arch() {
#if defined(__aarch64__)
  return "armv8";
#elif defined(__arm__)
  return "armv7";
#else
  return "x86";
#endif
}

void check_is_no_stub() {
#ifdef PPGHOST_LITE_STUBS
  throw Error("This program was built against stubs: it cannot run a network. Build it with Paddle Lite's library: "
              "cmake -DPPGHOST_LITE_DIR=FOLDER, the folder with cxx/include and cxx/lib.");
#endif
}

bool has_fp16() { return lite::MobileConfig().check_fp16_valid(); }

struct Engine::Parts {
  std::string path;
  std::size_t class_num = 0;
  bool has_softmax = false;
  RunMode taken;
  std::shared_ptr<lite::PaddlePredictor> predictor;
  std::unique_ptr<lite::Tensor> input;
};

Engine::Engine(const Model& model, const NbFile& file, const RunMode& asked) : parts_(new Parts) {
  check_is_no_stub();
  parts_->path = model.path_of(file.name);
  parts_->class_num = model.class_num;
  parts_->has_softmax = model.has_softmax;
  check_nb_file(parts_->path, file);

  const AbortGuard guard(parts_->path, "opened");
  lite::MobileConfig config;
  config.set_model_from_file(parts_->path);
  config.set_power_mode(code_of(asked.power_mode));
  config.set_threads(asked.threads);
#if defined(__aarch64__) || defined(__arm__)
  parts_->taken = {config.threads(), power_modes().at(static_cast<std::size_t>(config.power_mode()))};
#else
  // Off ARM the two calls above do nothing; this is the one that counts there, and no power mode exists.
  config.set_x86_math_num_threads(asked.threads);
  parts_->taken = {config.x86_math_num_threads(), "LITE_POWER_NO_BIND"};
#endif
  parts_->predictor = lite::CreatePaddlePredictor<lite::MobileConfig>(config);
  if (!parts_->predictor) throw Error("Paddle Lite cannot open '" + parts_->path + "'. Export the model again.");
  if (version() != file.opt_version) {
    throw Error("'" + parts_->path + "' was converted by Paddle Lite " + file.opt_version + ", but the library here is " +
                version() + ". Convert it with that version, or build this program with the library of the former.");
  }
  parts_->input = parts_->predictor->GetInput(0);
  parts_->input->Resize({1, 3, static_cast<std::int64_t>(model.height), static_cast<std::int64_t>(model.width)});
}

Engine::~Engine() = default;

std::string Engine::version() const { return parts_->predictor->GetVersion(); }

RunMode Engine::taken() const { return parts_->taken; }

void Engine::set_input(const std::vector<float>& input) {
  std::memcpy(parts_->input->mutable_data<float>(), input.data(), input.size() * sizeof(float));
}

void Engine::run() {
  const AbortGuard guard(parts_->path, "ran");
  parts_->predictor->Run();
}

std::vector<float> Engine::output() const {
  const std::unique_ptr<const lite::Tensor> tensor = parts_->predictor->GetOutput(0);
  std::int64_t count = 1;
  for (const std::int64_t side : tensor->shape()) count *= side;
  if (count != static_cast<std::int64_t>(parts_->class_num)) {
    throw Error("'" + parts_->path + "' gives " + std::to_string(count) + " numbers, but its manifest says " +
                std::to_string(parts_->class_num) + " classes. Export the model again.");
  }
  const float* values = tensor->data<float>();
  return std::vector<float>(values, values + count);
}

std::vector<float> Engine::probabilities(const std::vector<float>& input) {
  set_input(input);
  run();
  std::vector<float> values = output();
  if (!parts_->has_softmax) softmax(values);
  return values;
}

}  // namespace ppghost
