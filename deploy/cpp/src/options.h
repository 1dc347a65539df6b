// The command line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backend.h"

namespace ppghost {

/// What the user asks for.
struct Options {
  bool wants_help = false;
  bool wants_golden = false;
  bool wants_benchmark = false;
  std::string engine;  ///< empty: the first one that is compiled in
  BackendOptions backend;
  std::size_t topk = 0;  ///< 0: as many as the artifact says
  std::size_t runs = 100;
  std::uint64_t most_pixels = 0;
  std::string artifact;
  std::vector<std::string> sources;
};

/// Return what the words behind the program's name say; throws Error when they cannot be honoured.
Options parse_options(const std::vector<std::string>& words);

/// Return the text of --help.
std::string help_text();

}  // namespace ppghost
