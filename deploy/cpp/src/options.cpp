#include "options.h"

#include <algorithm>
#include <thread>

#include "errors.h"
#include "text.h"

namespace ppghost {
namespace {

// The limit of ppghost/vision/decode.py.
constexpr std::uint64_t kMostPixels = 150'000'000;
constexpr std::uint64_t kHighestMostPixels = std::uint64_t{1} << 30;  // where OpenCV itself stops
constexpr std::uint64_t kMostThreads = 1024, kMostBatch = 4096, kMostRuns = 10'000'000;

constexpr const char* kUsage = "ppghost_classify [OPTIONS] ARTIFACT [PICTURE | FOLDER]...";

constexpr const char* kHelp = R"(Classify pictures with a network that `ppghost export` wrote.

  ARTIFACT           the exported folder: inference.*, preprocess.txt, labels.txt, golden.npz
  PICTURE, FOLDER    picture files, or folders that are searched for .jpg, .jpeg, .png and .bmp

  --engine NAME      what runs the network; compiled in: @ENGINES@
                     (default: the first of them that can read the artifact)
  --threads N        processors to use (default: all that the process may use, here @THREADS@)
  --batch N          pictures per run of the network (default: 1)
  --topk N           classes per picture (default: as the artifact says)
  --max-pixels N     refuse larger pictures before they are decoded (default: @PIXELS@)
  --golden           compare with the outputs that the artifact carries, instead of classifying
  --benchmark        measure instead of classifying; with pictures also from files to answers
  --runs N           timed runs of --benchmark (default: 100)
  -h, --help         show this text

examples:
  ppghost_classify inference --golden                        does this build give the right numbers?
  ppghost_classify inference picture.jpg photos/ > results.jsonl
  ppghost_classify inference --benchmark --threads 1 photos/

One JSON object a line goes to standard output, what went wrong to standard error.
Exit codes: 0 done; 1 a picture could not be read, or --golden found a difference; 2 cannot be done as asked.
)";

std::uint64_t usable_processors() {
  return std::clamp<std::uint64_t>(std::thread::hardware_concurrency(), 1, kMostThreads);
}

std::string replaced(std::string text, const std::string& mark, const std::string& by) {
  return text.replace(text.find(mark), mark.size(), by);
}

/// The words of the command line, taken one by one.
class Words {
 public:
  explicit Words(const std::vector<std::string>& words) : words_(words) {}

  bool are_left() const { return next_ < words_.size(); }
  std::string take() { return words_[next_++]; }

  std::string take_value(const std::string& option) {
    if (!are_left()) throw Error(option + " needs a value. `ppghost_classify --help` tells more.");
    return take();
  }

  std::uint64_t take_count(const std::string& option, std::uint64_t most) {
    return parse_whole(option, take_value(option), 1, most);
  }

 private:
  const std::vector<std::string>& words_;
  std::size_t next_ = 0;
};

void take_option(const std::string& option, Words& words, Options& options) {
  if (option == "-h" || option == "--help") {
    options.wants_help = true;
  } else if (option == "--golden") {
    options.wants_golden = true;
  } else if (option == "--benchmark") {
    options.wants_benchmark = true;
  } else if (option == "--engine") {
    options.engine = words.take_value(option);
  } else if (option == "--threads") {
    options.backend.threads = static_cast<int>(words.take_count(option, kMostThreads));
  } else if (option == "--batch") {
    options.backend.batch = words.take_count(option, kMostBatch);
  } else if (option == "--topk") {
    options.topk = words.take_count(option, UINT64_MAX);
  } else if (option == "--runs") {
    options.runs = words.take_count(option, kMostRuns);
  } else if (option == "--max-pixels") {
    options.most_pixels = words.take_count(option, kHighestMostPixels);
  } else {
    throw Error("Unknown option '" + option + "'. `ppghost_classify --help` lists the options.");
  }
}

}  // namespace

Options parse_options(const std::vector<std::string>& given) {
  Options options;
  options.backend.threads = static_cast<int>(usable_processors());
  options.most_pixels = kMostPixels;
  Words words(given);
  bool takes_options = true;
  while (words.are_left()) {
    const std::string word = words.take();
    if (takes_options && word == "--") {
      takes_options = false;
    } else if (takes_options && word.size() > 1 && word[0] == '-') {
      take_option(word, words, options);
    } else if (options.artifact.empty()) {
      options.artifact = word;
    } else {
      options.sources.push_back(word);
    }
  }
  if (options.wants_help) return options;
  if (options.artifact.empty()) throw Error("No artifact is given.\nusage: " + std::string(kUsage));
  if (options.wants_golden && (options.wants_benchmark || !options.sources.empty())) {
    throw Error("--golden compares with what the artifact carries; give it no pictures and no --benchmark.");
  }
  if (!options.wants_golden && !options.wants_benchmark && options.sources.empty()) {
    throw Error("No picture is given. Name picture files or folders.\nusage: " + std::string(kUsage));
  }
  return options;
}

std::string help_text() {
  std::string names;
  for (const Engine& engine : engines()) names += (names.empty() ? "" : ", ") + std::string(engine.name);
  std::string text = replaced(kHelp, "@ENGINES@", names);
  text = replaced(text, "@THREADS@", std::to_string(usable_processors()));
  return "usage: " + std::string(kUsage) + "\n\n" + replaced(text, "@PIXELS@", std::to_string(kMostPixels));
}

}  // namespace ppghost
