#include "classify.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "text.h"

namespace ppghost {

void softmax(std::vector<float>& values, std::size_t class_num) {
  for (auto row = values.begin(); row != values.end(); row += static_cast<std::ptrdiff_t>(class_num)) {
    const auto end = row + static_cast<std::ptrdiff_t>(class_num);
    const float largest = *std::max_element(row, end);
    double sum = 0;
    for (auto value = row; value != end; ++value) sum += *value = std::exp(*value - largest);
    for (auto value = row; value != end; ++value) *value = static_cast<float>(*value / sum);
  }
}

std::vector<std::size_t> top_k(const float* row, std::size_t class_num, std::size_t k) {
  std::vector<std::size_t> ids(class_num);
  std::iota(ids.begin(), ids.end(), std::size_t{0});
  // NumPy sorts what is no number as the largest; a comparison with it must not break the order either.
  const auto is_better = [row](std::size_t a, std::size_t b) {
    if (std::isnan(row[a]) != std::isnan(row[b])) return std::isnan(row[a]);
    return row[a] > row[b] || (!(row[a] < row[b]) && a > b);
  };
  k = std::min(k, class_num);
  std::partial_sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(k), ids.end(), is_better);
  ids.resize(k);
  return ids;
}

std::string answer_json(const float* probabilities, std::size_t class_num, std::size_t k,
                        const std::vector<std::string>& labels, const std::string& file_name) {
  std::string ids, scores, names;
  for (const std::size_t id : top_k(probabilities, class_num, k)) {
    const char* comma = ids.empty() ? "" : ", ";
    ids += comma + std::to_string(id);
    scores += comma + json_fixed(std::nearbyint(probabilities[id] * 1e5) / 1e5, 5);
    if (!labels.empty()) names += comma + json_string(labels[id]);
  }
  return "{\"class_ids\": [" + ids + "], \"scores\": [" + scores + "], \"file_name\": " + json_string(file_name) +
         ", \"label_names\": [" + names + "]}";
}

void classify(Loader& loader, Backend& backend, const Artifact& artifact, std::size_t batch, const Sink& sink) {
  const std::size_t row_size = artifact.input_shape.size(), class_num = artifact.class_num;
  std::vector<float> input(batch * row_size), output;
  bool is_last = false;
  while (!is_last) {
    std::vector<Loaded> pictures;
    std::size_t rows = 0;
    Loaded loaded;
    // A broken picture keeps its place in the order but takes no row; a folder of nothing else is told in pieces.
    while (rows < batch && pictures.size() < 4 * batch && !(is_last = !loader.next(loaded))) {
      if (loaded.failure.empty()) std::copy(loaded.row.begin(), loaded.row.end(), input.data() + rows++ * row_size);
      loaded.row = {};
      pictures.push_back(std::move(loaded));
    }
    output.assign(rows * class_num, 0.0f);
    if (rows > 0) backend.run(input.data(), rows, output.data());
    if (artifact.gives_logits) softmax(output, class_num);
    const float* row = output.data();
    for (const Loaded& picture : pictures) {
      const bool is_good = picture.failure.empty();
      sink(picture.path, is_good ? row : nullptr, picture.failure);
      row += is_good ? class_num : 0;
    }
  }
}

}  // namespace ppghost
