// ppghost_lite: pictures to JSON lines with Paddle Lite; see kHelp in options.cpp.
#include <algorithm>
#include <exception>
#include <iostream>

#include "answers.h"
#include "benchmark.h"
#include "engine.h"
#include "errors.h"
#include "golden.h"
#include "options.h"
#include "preprocess.h"

namespace {

using namespace ppghost;

constexpr int kDone = 0, kFailed = 1, kRefused = 2;

/// What classifying and golden need: the model, its file for this processor, and the network opened.
struct Session {
  explicit Session(const Options& options)
      : model(read_model(options.words[0])),
        file(files_for(model, this_arch(), options.precision)[0]),
        engine(model, file, RunMode{options.threads[0], options.power_mode}) {
    const RunMode taken = engine.taken();
    std::cerr << "Paddle Lite " << engine.version() << ", " << file.name << ", threads " << taken.threads << " (asked "
              << options.threads[0] << "), " << taken.power_mode << " (asked " << options.power_mode << ")\n";
  }

  Model model;
  NbFile file;
  Engine engine;
};

int run_golden(const Options& options) {
  Session session(options);
  const Golden golden = read_golden(session.model);
  const Preprocess preprocess(session.model.preprocess);
  const Check checks[] = {check_picture(golden, preprocess, options.most_pixels),
                          check_network(golden, session.engine, session.file.name, session.file.rtol)};
  bool passed = true;
  for (const Check& check : checks) {
    std::cout << check.json() << '\n';
    passed = passed && check.passed;
  }
  if (!passed) {
    std::cerr << "error: " << session.model.name << " in " << options.words[0]
              << " does not give the numbers of its network. Do not use this build on this device.\n";
  }
  return passed ? kDone : kFailed;
}

int run_benchmark(const Options& options) {
  BenchmarkPlan plan;
  for (const std::string& folder : options.words) plan.models.push_back(read_model(folder));
  plan.precision = options.precision;
  plan.threads = options.threads;
  plan.power_mode = options.power_mode;
  plan.warmup = options.warmup;
  plan.repeats = options.repeats;
  plan.rounds = options.rounds;
  plan.seed = options.seed;
  plan.pause_seconds = options.pause_seconds;
  const BenchmarkResult result = benchmark(plan);
  std::cout << result.json << '\n';
  if (!result.is_golden_reached) std::cerr << "error: a network did not give its golden output; the times mean nothing.\n";
  return result.is_golden_reached ? kDone : kFailed;
}

int run_classify(const Options& options) {
  Session session(options);
  const std::vector<std::string> labels = read_labels(session.model);
  const Preprocess preprocess(session.model.preprocess);
  const std::size_t k = options.topk == 0 ? session.model.topk : options.topk, count = options.words.size() - 1;
  std::vector<float> input(session.model.input_size());
  std::size_t failures = 0;
  for (std::size_t i = 1; i <= count; ++i) {
    const std::string& path = options.words[i];
    try {
      preprocess.to_chw(decode_picture(read_picture(path, options.most_pixels), options.most_pixels), input.data());
    } catch (const PictureError& error) {
      ++failures;
      std::cerr << "error: " << path << ": " << error.what() << '\n';
      continue;
    }
    std::cout << answer_json(session.engine.probabilities(input), k, labels, path) << '\n';
    if (!std::cout) throw Error("The results cannot be written to standard output.");
  }
  if (count > 1 && failures > 0) std::cerr << "error: " << failures << " of " << count << " pictures could not be read.\n";
  // As in the Python program: the only picture that was asked for is not there to be used.
  return failures == 0 ? kDone : count == 1 ? kRefused : kFailed;
}

int run(const Options& options) {
  switch (options.task) {
    case Options::kHelp:
      std::cout << help_text();
      return kDone;
    case Options::kGolden:
      return run_golden(options);
    case Options::kBenchmark:
      return run_benchmark(options);
    default:
      return run_classify(options);
  }
}

}  // namespace

int main(int count, char** words) {
  try {
    const int code = run(parse_options({words + std::min(count, 1), words + count}));
    std::cout.flush();
    if (!std::cout) throw Error("The results cannot be written to standard output.");
    return code;
  } catch (const std::bad_alloc&) {
    std::cerr << "error: There is not enough memory. Give smaller pictures, or lower --max-pixels.\n";
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
  }
  return kRefused;
}
