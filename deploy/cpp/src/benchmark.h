// How fast it is: latency of the network alone, and pictures a second from files to answers.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "backend.h"
#include "pipeline.h"

namespace ppghost {

/// What is measured, beside what the artifact and the engine say.
struct BenchmarkPlan {
  std::string engine;
  BackendOptions backend;
  std::size_t runs = 100;                        ///< timed runs of the network, after a tenth of that to warm up
  double load_ms = 0;                            ///< how long opening the engine took
  std::uint64_t most_pixels = 0;                 ///< of a picture
  std::vector<std::filesystem::path> pictures;   ///< for the measurement end to end; may be empty
};

/// Measure, and return one JSON object. Throws Error when the engine fails.
std::string benchmark(const Artifact& artifact, const Pipeline& pipeline, Backend& backend, const BenchmarkPlan& plan);

}  // namespace ppghost
