// The proof: golden inputs replayed and compared with the network that was exported.
#pragma once

#include <string>
#include <vector>

#include "engine.h"
#include "preprocess.h"

namespace ppghost {

/// One comparison with golden; the fields are those of verify.json.
struct Check {
  std::string what;
  bool is_comparable = false;  ///< the result is finite; only then the two numbers mean something
  double max_abs_error = 0, share_of_tolerance = 0;
  bool has_classes = false, is_top1_equal = false;
  bool passed = false;
  std::string reason;

  std::string json() const;
};

/// What the folder carries: `float32 [1, 3, H, W]`, `float32 [class_num]`, and a PNG file.
struct Golden {
  std::vector<float> input, output;
  Bytes picture;
};

/// Return the golden data of a model; throws Error when a file was changed or is of another network.
Golden read_golden(const Model& model);

/// Compare the preprocessing of the golden picture with the golden input: one grey level is no error.
Check check_picture(const Golden& golden, const Preprocess& preprocess, std::uint64_t most_pixels);

/// Compare the network's output for the golden input: within `rtol` of the largest output, the same best class.
Check check_network(const Golden& golden, Engine& engine, const std::string& what, double rtol);

/// Compare numbers; a difference of `tolerance` is no error. With `has_classes` the largest one must be the same,
/// where two within the tolerance of each other are a tie.
Check compare(const std::string& what, const std::vector<float>& given, const std::vector<float>& expected,
              double tolerance, bool has_classes);

}  // namespace ppghost
