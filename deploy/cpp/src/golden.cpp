#include "golden.h"

#include <algorithm>
#include <cmath>

#include "classify.h"
#include "errors.h"
#include "npz.h"
#include "text.h"

namespace ppghost {
namespace {

constexpr const char* kGoldenFile = "golden.npz";
constexpr std::uint64_t kMostGoldenBytes = std::uint64_t{1} << 30;
// As in deploy/paddle/target.py: engines add up in another order, no more.
constexpr double kAbsoluteTolerance = 1e-6, kRelativeTolerance = 1e-5;

struct Golden {
  std::size_t rows = 0;
  std::vector<float> tensor, tensor_logits, picture_tensor, picture_logits;
  Bytes picture;
};

Array taken(const std::map<std::string, Array>& arrays, const std::string& name, const std::vector<std::size_t>& shape) {
  const auto found = arrays.find(name);
  if (found == arrays.end()) throw Error("it has no array '" + name + "'");
  if (found->second.shape != shape) throw Error("its array '" + name + "' is of another network");
  return found->second;
}

Golden read_golden(const Artifact& artifact) {
  artifact.check_file(kGoldenFile);
  const auto path = artifact.path_of(kGoldenFile);
  const std::vector<std::uint8_t> bytes = read_file(path, kMostGoldenBytes);
  const auto [channels, height, width] = artifact.input_shape;
  try {
    const std::map<std::string, Array> arrays = parse_npz(bytes);
    const auto tensor = arrays.find("tensor");
    const auto picture = arrays.find("picture");
    if (tensor == arrays.end() || tensor->second.shape.empty() || tensor->second.shape[0] == 0) throw Error("it has no array 'tensor'");
    if (picture == arrays.end() || picture->second.dtype != "|u1") throw Error("it has no array 'picture'");
    Golden golden;
    golden.rows = tensor->second.shape[0];
    golden.tensor = taken(arrays, "tensor", {golden.rows, channels, height, width}).floats();
    golden.tensor_logits = taken(arrays, "tensor_logits", {golden.rows, artifact.class_num}).floats();
    golden.picture = picture->second.bytes;
    golden.picture_tensor = taken(arrays, "picture_tensor", {channels, height, width}).floats();
    golden.picture_logits = taken(arrays, "picture_logits", {artifact.class_num}).floats();
    return golden;
  } catch (const Error& error) {
    throw Error("'" + path.string() + "' cannot be used: " + error.what() + ". Export the model again.");
  }
}

/// Return the output for any number of rows.
std::vector<float> run_all(Backend& backend, const std::vector<float>& input, std::size_t rows, std::size_t batch,
                           const Artifact& artifact) {
  std::vector<float> output(rows * artifact.class_num);
  for (std::size_t row = 0; row < rows; row += batch) {
    backend.run(input.data() + row * artifact.input_shape.size(), std::min(batch, rows - row),
                output.data() + row * artifact.class_num);
  }
  return output;
}

/// Turn golden logits into the output to expect, and return how much of a difference is tolerated at each place.
///
/// A logit may be off by the relative tolerance of the largest one of its row. Softmax turns a difference of d
/// between two logits into a factor of exp(d), and two logits may be off in opposite directions.
std::vector<double> expect(std::vector<float>& logits, const Artifact& artifact) {
  const std::size_t class_num = artifact.class_num;
  std::vector<double> factors(logits.size() / class_num);
  for (std::size_t row = 0; row < factors.size(); ++row) {
    double largest = 0;
    for (std::size_t i = 0; i < class_num; ++i) largest = std::max(largest, std::fabs(double{logits[row * class_num + i]}));
    factors[row] = kRelativeTolerance * largest;
  }
  if (!artifact.gives_logits) softmax(logits, class_num);
  std::vector<double> tolerance(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double error = factors[i / class_num];
    // Where logits are huge the factor would be infinite, and infinity times a probability of 0 is no number.
    const double share = artifact.gives_logits ? error : std::expm1(std::min(2 * error, 50.0)) * double{logits[i]};
    tolerance[i] = kAbsoluteTolerance + share;
  }
  return tolerance;
}

bool is_best_class_equal(const std::vector<float>& given, const std::vector<float>& expected,
                         const std::vector<double>& tolerance, std::size_t class_num) {
  const auto best = [class_num](const std::vector<float>& values, std::size_t begin) {
    const auto row = values.begin() + static_cast<std::ptrdiff_t>(begin);
    return begin + static_cast<std::size_t>(std::max_element(row, row + static_cast<std::ptrdiff_t>(class_num)) - row);
  };
  for (std::size_t begin = 0; begin < given.size(); begin += class_num) {
    const std::size_t mine = best(given, begin), golden = best(expected, begin);
    if (double{expected[golden]} - expected[mine] > tolerance[golden] + tolerance[mine]) return false;
  }
  return true;
}

Check check_pipeline(const Pipeline& pipeline, const Golden& golden) {
  const std::string what = "picture -> tensor";
  std::vector<float> tensor(golden.picture_tensor.size());
  try {
    pipeline.to_chw(golden.picture, tensor.data());
  } catch (const PictureError& error) {
    Check failed;
    failed.what = what, failed.reason = error.what();
    return failed;
  }
  // Another build of OpenCV may round to the next grey level; the division rounds, too.
  const std::vector<double> tolerance(tensor.size(), 1.01 * pipeline.grey_level());
  return compare(what, tensor, golden.picture_tensor, tolerance, 0);
}

}  // namespace

std::string Check::json() const {
  const auto truth = [](bool value) { return value ? "true" : "false"; };
  const bool tells_top1 = is_comparable && has_classes;
  return "{\"what\": " + json_string(what) +
         ", \"max_abs_error\": " + (is_comparable ? json_number(max_abs_error, 6) : "null") +
         ", \"share_of_tolerance\": " + (is_comparable ? json_number(share_of_tolerance, 6) : "null") +
         ", \"is_top1_equal\": " + (tells_top1 ? truth(is_top1_equal) : "null") + ", \"passed\": " + truth(passed) +
         ", \"reason\": " + json_string(reason) + "}";
}

Check compare(const std::string& what, const std::vector<float>& given, const std::vector<float>& expected,
              const std::vector<double>& tolerance, std::size_t class_num) {
  Check check;
  check.what = what;
  check.has_classes = class_num > 0;
  check.is_comparable = std::all_of(given.begin(), given.end(), [](float value) { return std::isfinite(value); });
  if (!check.is_comparable) {
    check.reason = "not all numbers are finite";
    return check;
  }
  for (std::size_t i = 0; i < given.size(); ++i) {
    const double difference = std::fabs(double{given[i]} - double{expected[i]});
    check.max_abs_error = std::max(check.max_abs_error, difference);
    check.share_of_tolerance = std::max(check.share_of_tolerance, difference / tolerance[i]);
  }
  if (check.share_of_tolerance > 1) check.reason = json_number(check.share_of_tolerance, 2) + " times of what is tolerated";
  check.is_top1_equal = check.has_classes && is_best_class_equal(given, expected, tolerance, class_num);
  if (check.has_classes && !check.is_top1_equal) check.reason += (check.reason.empty() ? "" : ", ") + std::string("another best class");
  check.passed = check.reason.empty();
  return check;
}

std::vector<Check> check_golden(const Artifact& artifact, const Pipeline& pipeline, Backend& backend,
                                std::size_t batch, const std::string& engine) {
  Golden golden = read_golden(artifact);
  std::vector<Check> checks = {check_pipeline(pipeline, golden)};
  const auto check = [&](const char* what, const std::vector<float>& input, std::size_t rows, std::vector<float>& logits) {
    const std::vector<float> output = run_all(backend, input, rows, batch, artifact);
    const std::vector<double> tolerance = expect(logits, artifact);
    checks.push_back(compare("engine=" + engine + ", " + what, output, logits, tolerance, artifact.class_num));
  };
  check("tensor", golden.tensor, golden.rows, golden.tensor_logits);
  check("picture", golden.picture_tensor, 1, golden.picture_logits);
  return checks;
}

}  // namespace ppghost
