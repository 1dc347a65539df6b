#include "benchmark.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <random>

#ifdef __linux__
#include <sys/resource.h>
#endif

#include "classify.h"
#include "text.h"

namespace ppghost {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// Return the value below which `share` of the sorted values lie, interpolated as `numpy.percentile` does.
double percentile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const std::size_t below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

std::vector<double> time_runs(const Artifact& artifact, Backend& backend, const BenchmarkPlan& plan) {
  const std::size_t batch = plan.backend.batch;
  std::vector<float> input(batch * artifact.input_shape.size()), output(batch * artifact.class_num);
  std::mt19937 generator(1);
  std::normal_distribution<float> noise;
  std::generate(input.begin(), input.end(), [&] { return noise(generator); });
  std::vector<double> times;
  for (std::size_t i = 0; i < plan.runs / 10 + 1; ++i) backend.run(input.data(), batch, output.data());
  for (std::size_t i = 0; i < plan.runs; ++i) {
    const Clock::time_point start = Clock::now();
    backend.run(input.data(), batch, output.data());
    times.push_back(milliseconds_since(start));
  }
  std::sort(times.begin(), times.end());
  return times;
}

std::string latency_json(const std::vector<double>& times) {
  const double mean = std::accumulate(times.begin(), times.end(), 0.0) / static_cast<double>(times.size());
  return "{\"min\": " + json_fixed(times.front(), 4) + ", \"mean\": " + json_fixed(mean, 4) +
         ", \"p50\": " + json_fixed(percentile(times, 0.5), 4) + ", \"p90\": " + json_fixed(percentile(times, 0.9), 4) +
         ", \"p99\": " + json_fixed(percentile(times, 0.99), 4) + ", \"max\": " + json_fixed(times.back(), 4) + "}";
}

std::string end_to_end_json(const Artifact& artifact, const Pipeline& pipeline, Backend& backend, const BenchmarkPlan& plan) {
  std::size_t failures = 0;
  const Clock::time_point start = Clock::now();
  Loader loader(pipeline, plan.most_pixels, plan.pictures, plan.backend.threads, look_ahead(plan.backend));
  classify(loader, backend, artifact, plan.backend.batch,
           [&](const auto&, const float* row, const auto&) { failures += row == nullptr; });
  const double seconds = milliseconds_since(start) / 1e3;
  const std::size_t done = plan.pictures.size() - failures;
  return "{\"pictures\": " + std::to_string(done) + ", \"failures\": " + std::to_string(failures) +
         ", \"seconds\": " + json_fixed(seconds, 4) +
         ", \"pictures_per_s\": " + json_fixed(static_cast<double>(done) / seconds, 2) + "}";
}

std::string peak_memory_json() {
#ifdef __linux__
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) == 0) return json_fixed(static_cast<double>(usage.ru_maxrss) / 1024, 1);
#endif
  return "null";
}

}  // namespace

std::string benchmark(const Artifact& artifact, const Pipeline& pipeline, Backend& backend, const BenchmarkPlan& plan) {
  const std::vector<double> times = time_runs(artifact, backend, plan);
  const double per_second = 1e3 * static_cast<double>(plan.backend.batch) / percentile(times, 0.5);
  const std::string end_to_end =
      plan.pictures.empty() ? "null" : end_to_end_json(artifact, pipeline, backend, plan);
  return "{\"engine\": " + json_string(plan.engine) + ", \"engine_version\": " + json_string(backend.version()) +
         ", \"model\": " + json_string(artifact.name) + ", \"version\": " + json_string(artifact.version) +
         ", \"threads\": " + std::to_string(plan.backend.threads) +
         ", \"batch_size\": " + std::to_string(plan.backend.batch) + ", \"runs\": " + std::to_string(plan.runs) +
         ", \"latency_ms\": " + latency_json(times) + ", \"pictures_per_s\": " + json_fixed(per_second, 2) +
         ", \"load_ms\": " + json_fixed(plan.load_ms, 1) + ", \"end_to_end\": " + end_to_end +
         ", \"peak_memory_mib\": " + peak_memory_json() + "}";
}

}  // namespace ppghost
