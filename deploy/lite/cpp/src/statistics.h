// What a benchmark computes without running anything.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ppghost {

/// Return the middle one of the times, or the mean of the two in the middle.
double median_of(std::vector<std::int64_t> times_ns);

/// Return average, median, p90 (nearest rank), min and max of times as JSON members. There is at least one time.
std::string statistics_json(std::vector<std::int64_t> times_ns);

/// Return the numbers 0 to `count` - 1 in an order that depends on the seed alone, on every system.
std::vector<std::size_t> shuffled(std::size_t count, std::uint64_t seed);

}  // namespace ppghost
