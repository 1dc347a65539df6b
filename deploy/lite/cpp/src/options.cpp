#include "options.h"

#include <algorithm>
#include <cmath>
#include <locale>
#include <sstream>

#include "engine.h"
#include "errors.h"
#include "format.h"

namespace ppghost {
namespace {

// Room for the cameras of phones, 50 million pixels; about 400 MB while one is decoded.
constexpr std::uint64_t kMostPixels = 64000000, kHighestMostPixels = std::uint64_t{1} << 30;
constexpr std::uint64_t kMostThreads = 1024, kMostRuns = 1000000, kMostClasses = 10000000;
constexpr double kLongestPause = 3600;

constexpr const char* kUsage =
    "ppghost_lite [OPTIONS] FOLDER PICTURE...\n"
    "       ppghost_lite --golden [OPTIONS] FOLDER\n"
    "       ppghost_lite --benchmark [OPTIONS] FOLDER...";

constexpr const char* kHelp = R"(Classify pictures with Paddle Lite and a network that `ppghost export --target lite` wrote.

  FOLDER             a model folder: ppghost.json, inference.*.nb, labels.txt, golden_*
  PICTURE            JPEG or PNG files

  --threads N        threads of the network (default: 1); with --benchmark a list (default: 1,2,4)
  --power-mode NAME  which cores the threads are bound to on ARM (default: NO_BIND; with --benchmark HIGH)
                       HIGH       the big cores            RAND_HIGH  as HIGH, moved around in them
                       LOW        the little cores         RAND_LOW   as LOW, moved around in them
                       FULL       all cores                NO_BIND    the system decides
  --precision NAME   fp32 or fp16 (default: the first .nb file for this processor, @ARCH@; with --benchmark all)
  --topk N           classes per picture (default: as the model says)
  --max-pixels N     refuse larger pictures before they are decoded (default: @PIXELS@)

  --golden           compare preprocessing and network with what the folder carries, instead of classifying
  --benchmark        measure the network alone; one JSON document for `ppghost bench check` and `bench table`
  --warmup N         runs before the timed ones of each cell (default: 10)
  --repeats N        timed runs of each cell (default: 30)
  --rounds N         how often each network is measured with each number of threads (default: 1)
  --seed N           of the order in which the cells run (default: 0)
  --pause SECONDS    between cells, so that the device cools down (default: 5)
  -h, --help         show this text

examples:
  ppghost_lite --golden model                       does this build give the right numbers on this device?
  ppghost_lite --threads 4 --power-mode HIGH model picture.jpg
  ppghost_lite --benchmark model_x0_5 model_x1_0 > result.json

Results go to standard output, one JSON object a line; what was used and what went wrong to standard error.
Exit codes: 0 done; 1 a picture could not be read, or golden was not reached; 2 cannot be done as asked.
)";

std::string replaced(std::string text, const std::string& mark, const std::string& by) {
  return text.replace(text.find(mark), mark.size(), by);
}

/// The words of the command line, taken one by one.
class Words {
 public:
  explicit Words(const std::vector<std::string>& words) : words_(words) {}

  bool are_left() const { return next_ < words_.size(); }
  const std::string& take() { return words_[next_++]; }

  const std::string& take_value(const std::string& option) {
    if (!are_left()) throw Error(option + " needs a value. `ppghost_lite --help` tells more.");
    return take();
  }

  std::uint64_t take_whole(const std::string& option, std::uint64_t low, std::uint64_t high) {
    return whole(option, take_value(option), low, high);
  }

  static std::uint64_t whole(const std::string& option, const std::string& text, std::uint64_t low, std::uint64_t high) {
    const bool is_number = !text.empty() && text.size() < 19 && text.find_first_not_of("0123456789") == std::string::npos;
    const std::uint64_t value = is_number ? std::stoull(text) : 0;
    if (!is_number || value < low || value > high) {
      throw Error(option + " is " + json_string(text) + "; accepted: a whole number from " + std::to_string(low) + " to " +
                  std::to_string(high) + ".");
    }
    return value;
  }

 private:
  const std::vector<std::string>& words_;
  std::size_t next_ = 0;
};

std::vector<int> thread_counts(const std::string& option, const std::string& text) {
  std::vector<int> counts;
  std::istringstream stream(text + ",");
  for (std::string word; std::getline(stream, word, ',');) {
    const int count = static_cast<int>(Words::whole(option, word, 1, kMostThreads));
    if (std::find(counts.begin(), counts.end(), count) != counts.end()) {
      throw Error(option + " names " + word + " twice.");
    }
    counts.push_back(count);
  }
  return counts;
}

std::string power_mode_of(const std::string& option, const std::string& text) {
  std::string accepted;
  for (const std::string& mode : power_modes()) {
    const std::string brief = mode.substr(std::string("LITE_POWER_").size());
    if (text == mode || text == brief) return mode;
    accepted += (accepted.empty() ? "" : ", ") + brief;
  }
  throw Error(option + " is " + json_string(text) + "; accepted: " + accepted + ".");
}

double seconds_of(const std::string& option, const std::string& text) {
  std::istringstream stream(text);
  stream.imbue(std::locale::classic());
  double value = -1;
  stream >> value;
  if (stream.fail() || !stream.eof() || !(value >= 0 && value <= kLongestPause)) {
    throw Error(option + " is " + json_string(text) + "; accepted: seconds from 0 to 3600.");
  }
  return value;
}

void choose(Options& options, Options::Task task) {
  if (options.task != Options::kClassify && options.task != task) {
    throw Error("--golden and --benchmark are two tasks; give one of them.");
  }
  options.task = task;
}

void take_option(const std::string& option, Words& words, Options& options) {
  if (option == "-h" || option == "--help") {
    options.task = Options::kHelp;
  } else if (option == "--golden") {
    choose(options, Options::kGolden);
  } else if (option == "--benchmark") {
    choose(options, Options::kBenchmark);
  } else if (option == "--threads") {
    options.threads = thread_counts(option, words.take_value(option));
  } else if (option == "--power-mode") {
    options.power_mode = power_mode_of(option, words.take_value(option));
  } else if (option == "--precision") {
    options.precision = words.take_value(option);
    if (options.precision != "fp32" && options.precision != "fp16") {
      throw Error(option + " is " + json_string(options.precision) + "; accepted: fp32, fp16.");
    }
  } else if (option == "--topk") {
    options.topk = words.take_whole(option, 1, kMostClasses);
  } else if (option == "--max-pixels") {
    options.most_pixels = words.take_whole(option, 1, kHighestMostPixels);
  } else if (option == "--warmup") {
    options.warmup = words.take_whole(option, 0, kMostRuns);
  } else if (option == "--repeats") {
    options.repeats = words.take_whole(option, 1, kMostRuns);
  } else if (option == "--rounds") {
    options.rounds = words.take_whole(option, 1, kMostRuns);
  } else if (option == "--seed") {
    options.seed = words.take_whole(option, 0, kMostRuns);
  } else if (option == "--pause") {
    options.pause_seconds = seconds_of(option, words.take_value(option));
  } else {
    throw Error("Unknown option '" + option + "'. `ppghost_lite --help` lists the options.");
  }
}

void complete(Options& options) {
  const std::string usage = "\nusage: " + std::string(kUsage);
  if (options.words.empty()) throw Error("No model folder is given." + usage);
  if (options.task == Options::kClassify && options.words.size() < 2) throw Error("No picture is given." + usage);
  if (options.task == Options::kGolden && options.words.size() > 1) {
    throw Error("--golden compares with what the folder carries; give it one folder and no picture." + usage);
  }
  const bool is_benchmark = options.task == Options::kBenchmark;
  if (options.threads.empty()) options.threads = is_benchmark ? std::vector<int>{1, 2, 4} : std::vector<int>{1};
  if (options.power_mode.empty()) options.power_mode = is_benchmark ? "LITE_POWER_HIGH" : "LITE_POWER_NO_BIND";
  if (!is_benchmark && options.threads.size() > 1) {
    throw Error("--threads is a list only with --benchmark; give one number.");
  }
}

}  // namespace

Options parse_options(const std::vector<std::string>& given) {
  Options options;
  options.most_pixels = kMostPixels;
  Words words(given);
  bool takes_options = true;
  while (words.are_left() && options.task != Options::kHelp) {
    const std::string& word = words.take();
    if (takes_options && word == "--") {
      takes_options = false;
    } else if (takes_options && word.size() > 1 && word[0] == '-') {
      take_option(word, words, options);
    } else {
      options.words.push_back(word);
    }
  }
  if (options.task != Options::kHelp) complete(options);
  return options;
}

std::string help_text() {
  const std::string text = replaced(kHelp, "@ARCH@", this_arch());
  return "usage: " + std::string(kUsage) + "\n\n" + replaced(text, "@PIXELS@", std::to_string(kMostPixels));
}

}  // namespace ppghost
