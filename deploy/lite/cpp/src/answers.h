// The network's output to answers: probabilities, the best classes, JSON.
#pragma once

#include <string>
#include <vector>

namespace ppghost {

/// Turn logits into probabilities.
void softmax(std::vector<float>& values);

/// Return the ids of the `k` largest values, largest first; of equal ones the larger id first, as in Python.
std::vector<std::size_t> top_k(const std::vector<float>& values, std::size_t k);

/// Return the answer for one picture as `ppghost infer` prints it: class_ids, scores with five decimals, file_name,
/// label_names. `labels` may be empty.
std::string answer_json(const std::vector<float>& probabilities, std::size_t k, const std::vector<std::string>& labels,
                        const std::string& file_name);

}  // namespace ppghost
