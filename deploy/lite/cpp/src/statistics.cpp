#include "statistics.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "format.h"

namespace ppghost {

double median_of(std::vector<std::int64_t> times) {
  std::sort(times.begin(), times.end());
  const std::size_t n = times.size();
  return (static_cast<double>(times[(n - 1) / 2]) + static_cast<double>(times[n / 2])) / 2;
}

std::string statistics_json(std::vector<std::int64_t> times) {
  std::sort(times.begin(), times.end());
  const std::size_t n = times.size();
  const double sum = std::accumulate(times.begin(), times.end(), 0.0);
  return "\"average_ns\": " + json_fixed(sum / static_cast<double>(n), 3) +
         ", \"median_ns\": " + json_fixed(median_of(times), 1) +
         ", \"p90_ns\": " + std::to_string(times[(9 * n + 9) / 10 - 1]) + ", \"min_ns\": " + std::to_string(times.front()) +
         ", \"max_ns\": " + std::to_string(times.back());
}

std::vector<std::size_t> shuffled(std::size_t count, std::uint64_t seed) {
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::mt19937_64 generator(seed);  // std::shuffle differs from library to library, this does not
  for (std::size_t i = count; i > 1; --i) std::swap(order[i - 1], order[generator() % i]);
  return order;
}

}  // namespace ppghost
