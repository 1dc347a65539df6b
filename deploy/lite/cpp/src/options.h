// The command line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ppghost {

/// What the user asks for.
struct Options {
  enum Task { kClassify, kGolden, kBenchmark, kHelp } task = kClassify;
  std::vector<int> threads;  ///< empty: 1 to classify, 1, 2, 4 to measure
  std::string power_mode;    ///< empty: LITE_POWER_NO_BIND to classify, LITE_POWER_HIGH to measure
  std::string precision;     ///< empty: the first .nb file for this processor; all of them to measure
  std::size_t topk = 0;      ///< 0: as many as the model says
  std::uint64_t most_pixels = 0;
  std::size_t warmup = 10, repeats = 30, rounds = 1;
  std::uint64_t seed = 0;
  double pause_seconds = 5;
  std::vector<std::string> words;  ///< folders and pictures
};

/// Return what the words behind the program's name say; throws Error when they cannot be honoured.
Options parse_options(const std::vector<std::string>& words);

/// Return the text of --help.
std::string help_text();

}  // namespace ppghost
