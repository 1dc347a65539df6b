// The proof: golden inputs replayed and compared with the network that was exported; the twin of
// ppghost/export/verify.py.
#pragma once

#include <string>
#include <vector>

#include "backend.h"
#include "pipeline.h"

namespace ppghost {

/// One comparison with golden; the same fields as in verify.json.
struct Check {
  std::string what;
  bool is_comparable = false;  ///< the result is finite; only then the two numbers mean something
  double max_abs_error = 0;
  double share_of_tolerance = 0;
  bool has_classes = false;
  bool is_top1_equal = false;
  bool passed = false;
  std::string reason;

  std::string json() const;
};

/// Replay the artifact's golden.npz through the preprocessing and the network, `batch` rows at a time.
/// Throws Error when the file is missing, was changed, or belongs to another network.
std::vector<Check> check_golden(const Artifact& artifact, const Pipeline& pipeline, Backend& backend,
                                std::size_t batch, const std::string& engine);

/// Compare numbers with golden ones. `tolerance` is the largest difference that is no error, at each place;
/// rows of `class_num` numbers have a best class, and two classes within the tolerance of each other are a tie.
/// With `class_num` 0 there are no classes.
Check compare(const std::string& what, const std::vector<float>& given, const std::vector<float>& expected,
              const std::vector<double>& tolerance, std::size_t class_num);

}  // namespace ppghost
