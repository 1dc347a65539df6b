// The benchmark: every raw time of the network alone, with what is needed to believe it.
//
// The protocol is that of PaddleClas' published table: batch 1, 10 runs to warm up, 30 timed ones, 1, 2 and 4 threads.
// Cells run in a shuffled order with pauses, so that a phone that gets warm does not favour the first.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model.h"

namespace ppghost {

struct BenchmarkPlan {
  std::vector<Model> models;
  std::string precision;  ///< empty: every .nb file for this processor
  std::vector<int> threads = {1, 2, 4};
  std::string power_mode = "LITE_POWER_HIGH";
  std::size_t warmup = 10, repeats = 30, rounds = 1;
  std::uint64_t seed = 0;
  double pause_seconds = 5;
};

/// What came out.
struct BenchmarkResult {
  std::string json;             ///< the form that `ppghost bench check` reads
  bool is_golden_reached = true;  ///< every network that ran gave its golden output
};

/// Run the plan; progress goes to standard error. Throws Error when a file is not what was exported.
BenchmarkResult benchmark(const BenchmarkPlan& plan);

}  // namespace ppghost
