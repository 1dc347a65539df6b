#include "answers.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "format.h"

namespace ppghost {

void softmax(std::vector<float>& values) {
  const float largest = *std::max_element(values.begin(), values.end());
  double sum = 0;
  for (float& value : values) sum += value = std::exp(value - largest);
  for (float& value : values) value = static_cast<float>(value / sum);
}

std::vector<std::size_t> top_k(const std::vector<float>& values, std::size_t k) {
  std::vector<std::size_t> ids(values.size());
  std::iota(ids.rbegin(), ids.rend(), std::size_t{0});
  // What is no number counts as the largest, as in NumPy; the order must hold for it, too.
  const auto is_better = [&](std::size_t a, std::size_t b) {
    return std::isnan(values[a]) ? !std::isnan(values[b]) : values[a] > values[b];
  };
  std::stable_sort(ids.begin(), ids.end(), is_better);
  ids.resize(std::min(k, ids.size()));
  return ids;
}

std::string answer_json(const std::vector<float>& probabilities, std::size_t k, const std::vector<std::string>& labels,
                        const std::string& file_name) {
  std::string ids, scores, names;
  for (const std::size_t id : top_k(probabilities, k)) {
    const std::string comma = ids.empty() ? "" : ", ";
    ids += comma + std::to_string(id);
    scores += comma + json_fixed(std::nearbyint(probabilities[id] * 1e5) / 1e5, 5);
    if (!labels.empty()) names += comma + json_string(labels[id]);
  }
  return "{\"class_ids\": [" + ids + "], \"scores\": [" + scores + "], \"file_name\": " + json_string(file_name) +
         ", \"label_names\": [" + names + "]}";
}

}  // namespace ppghost
