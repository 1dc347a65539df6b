#include "preprocess.h"

#include <algorithm>
#include <cmath>

namespace ppghost {
namespace {

// Weights have 11 bits, as in OpenCV's resize.cpp; a product of two and a pixel has 30.
constexpr float kOne = 1 << 11;

/// Where one row or column of the result comes from: two neighbours and their weights.
struct Sample {
  std::ptrdiff_t first, second;
  std::int32_t first_weight, second_weight;
};

/// Return the samples of `crop` pixels in the middle of a side that is resized from `length` by `factor`.
std::vector<Sample> samples_of(std::size_t length, double factor, std::size_t crop) {
  const double resized = std::nearbyint(static_cast<double>(length) * factor);
  const double step = static_cast<double>(length) / resized;
  const double begin = std::floor((resized - static_cast<double>(crop)) / 2);
  const double last = static_cast<double>(length - 1);
  std::vector<Sample> samples;
  for (std::size_t i = 0; i < crop; ++i) {
    const double place = std::min(std::max((begin + static_cast<double>(i) + 0.5) * step - 0.5, 0.0), last);
    const std::ptrdiff_t first = static_cast<std::ptrdiff_t>(place);
    const std::ptrdiff_t second = std::min(first + 1, static_cast<std::ptrdiff_t>(length - 1));
    const float share = static_cast<float>(place) - static_cast<float>(first);
    samples.push_back({first, second, static_cast<std::int32_t>(std::nearbyint((1 - share) * kOne)),
                       static_cast<std::int32_t>(std::nearbyint(share * kOne))});
  }
  return samples;
}

std::int32_t blend(std::int32_t first, std::int32_t second, const Sample& sample) {
  return first * sample.first_weight + second * sample.second_weight;
}

/// Return the level between two sums of pixels by weights; each product is cut where OpenCV cuts it.
std::size_t level_of(std::int32_t upper, std::int32_t lower, const Sample& sample) {
  const std::int32_t sum = ((sample.first_weight * (upper >> 4)) >> 16) + ((sample.second_weight * (lower >> 4)) >> 16);
  return static_cast<std::size_t>(std::min((sum + 2) >> 2, 255));
}

}  // namespace

Preprocess::Preprocess(const PreprocessFacts& facts)
    : resize_short_(facts.resize_short), crop_(facts.crop), is_rgb_(facts.is_rgb) {
  for (std::size_t plane = 0; plane < 3; ++plane) {
    for (std::size_t level = 0; level < 256; ++level) {
      // Each step is rounded to float32, as in Python; the build forbids fused multiply-adds.
      const float scaled = static_cast<float>(level) * static_cast<float>(facts.scale);
      tables_[plane][level] = (scaled - static_cast<float>(facts.mean[plane])) / static_cast<float>(facts.std[plane]);
    }
  }
  grey_level_ = facts.scale / *std::min_element(std::begin(facts.std), std::end(facts.std));
}

void Preprocess::to_chw(const Picture& picture, float* row) const {
  const double factor = static_cast<double>(resize_short_) / static_cast<double>(std::min(picture.height, picture.width));
  const std::vector<Sample> rows = samples_of(picture.height, factor, crop_);
  const std::vector<Sample> columns = samples_of(picture.width, factor, crop_);
  const std::size_t plane = crop_ * crop_;
  for (std::size_t y = 0; y < crop_; ++y) {
    const std::uint8_t* upper = picture.origin + rows[y].first * picture.row_step;
    const std::uint8_t* lower = picture.origin + rows[y].second * picture.row_step;
    for (std::size_t x = 0; x < crop_; ++x) {
      const std::ptrdiff_t left = columns[x].first * picture.column_step, right = columns[x].second * picture.column_step;
      for (std::size_t channel = 0; channel < 3; ++channel) {
        const std::ptrdiff_t c = static_cast<std::ptrdiff_t>(channel);
        const std::int32_t above = blend(upper[left + c], upper[right + c], columns[x]);
        const std::int32_t below = blend(lower[left + c], lower[right + c], columns[x]);
        const std::size_t level = level_of(above, below, rows[y]);
        const std::size_t target = is_rgb_ ? channel : 2 - channel;
        row[target * plane + y * crop_ + x] = tables_[target][level];
      }
    }
  }
}

}  // namespace ppghost
