// ppghost_classify: pictures to JSON lines with an exported network; see help_text in options.cpp.
#include <algorithm>
#include <chrono>
#include <exception>
#include <iostream>

#include <opencv2/core/utility.hpp>

#include "benchmark.h"
#include "classify.h"
#include "errors.h"
#include "golden.h"
#include "options.h"
#include "pictures.h"

namespace {

using namespace ppghost;

constexpr int kDone = 0, kFailed = 1, kRefused = 2;

/// What every verb needs, opened once.
struct Session {
  explicit Session(const Options& options)
      : artifact(read_artifact(options.artifact)), pipeline(make_pipeline(artifact, options)), engine(find_engine(options.engine, artifact)) {
    const auto start = std::chrono::steady_clock::now();
    backend = open_backend(engine, artifact, options.backend);
    load_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  }

  static Pipeline make_pipeline(const Artifact& artifact, const Options& options) {
    try {
      return Pipeline(artifact, options.most_pixels);
    } catch (const Error& error) {
      throw Error("The preprocessing of '" + artifact.folder.string() + "' cannot be used: " + error.what());
    }
  }

  Artifact artifact;
  Pipeline pipeline;
  Engine engine;
  std::unique_ptr<Backend> backend;
  double load_ms = 0;
};

std::vector<std::filesystem::path> pictures_of(const Options& options) {
  std::vector<std::filesystem::path> pictures;
  for (const std::string& source : options.sources) {
    for (auto& path : list_pictures(source)) pictures.push_back(std::move(path));
  }
  return pictures;
}

int run_golden(const Options& options) {
  Session session(options);
  bool passed = true;
  for (const Check& check : check_golden(session.artifact, session.pipeline, *session.backend, options.backend.batch, session.engine.name)) {
    std::cout << check.json() << '\n';
    passed = passed && check.passed;
  }
  if (!passed) {
    std::cerr << "error: " << session.artifact.name << " in " << options.artifact
              << " does not give the numbers of its network. Do not use this build.\n";
  }
  return passed ? kDone : kFailed;
}

int run_benchmark(const Options& options) {
  const auto pictures = pictures_of(options);
  Session session(options);
  std::cout << benchmark(session.artifact, session.pipeline, *session.backend,
                         {session.engine.name, options.backend, options.runs, session.load_ms, options.most_pixels, pictures})
            << '\n';
  return kDone;
}

int run_classify(const Options& options) {
  const auto pictures = pictures_of(options);
  Session session(options);
  const std::vector<std::string> labels = read_labels(session.artifact);
  const std::size_t k = options.topk == 0 ? session.artifact.topk : options.topk;
  std::size_t failures = 0;
  Loader loader(session.pipeline, options.most_pixels, pictures, options.backend.threads, look_ahead(options.backend));
  classify(loader, *session.backend, session.artifact, options.backend.batch,
           [&](const std::filesystem::path& path, const float* row, const std::string& failure) {
             if (row == nullptr) {
               ++failures;
               std::cerr << "error: " << path.string() << ": " << failure << '\n';
             } else {
               std::cout << answer_json(row, session.artifact.class_num, k, labels, path.string()) << '\n';
             }
             if (!std::cout) throw Error("The results cannot be written to standard output.");
           });
  if (pictures.size() > 1 && failures > 0) {
    std::cerr << "error: " << failures << " of " << pictures.size() << " pictures could not be read.\n";
  }
  // As in the Python program: the only picture that was asked for is not there to be used.
  return failures == 0 ? kDone : pictures.size() == 1 ? kRefused : kFailed;
}

int run(const Options& options) {
  if (options.wants_help) {
    std::cout << help_text();
    return kDone;
  }
  cv::setNumThreads(1);  // pictures are decoded side by side; OpenCV need not split one
  return options.wants_golden ? run_golden(options) : options.wants_benchmark ? run_benchmark(options) : run_classify(options);
}

}  // namespace

int main(int count, char** words) {
  try {
    const int code = run(parse_options({words + std::min(count, 1), words + count}));
    std::cout.flush();
    if (!std::cout) throw Error("The results cannot be written to standard output.");
    return code;
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return kRefused;
  }
}
