// Pictures to answers: batches for the network, softmax where it gives logits, the best classes, JSON.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "backend.h"
#include "loader.h"

namespace ppghost {

/// Turn each row of `values`, float32 [rows, class_num], from logits into probabilities.
void softmax(std::vector<float>& values, std::size_t class_num);

/// Return the ids of the `k` largest values of a row, largest first; of equal ones the larger id first, as in Python.
std::vector<std::size_t> top_k(const float* row, std::size_t class_num, std::size_t k);

/// Return the answer for one picture as a JSON object in PaddleClas' form: class_ids, scores with five decimals,
/// file_name, label_names. `labels` may be empty.
std::string answer_json(const float* probabilities, std::size_t class_num, std::size_t k,
                        const std::vector<std::string>& labels, const std::string& file_name);

/// Takes what became of a picture: its probabilities, or nullptr and the reason.
using Sink = std::function<void(const std::filesystem::path&, const float*, const std::string&)>;

/// Run every picture of the loader through the network, `batch` at a time, and tell `sink` in order.
void classify(Loader& loader, Backend& backend, const Artifact& artifact, std::size_t batch, const Sink& sink);

}  // namespace ppghost
