#include "golden.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "answers.h"
#include "errors.h"
#include "format.h"

namespace ppghost {
namespace {

constexpr std::uint64_t kMostPictureBytes = 64 << 20;

/// Return float32 numbers out of a little-endian file that must hold `count` of them.
std::vector<float> read_floats(const Model& model, const FileFact& file, std::size_t count) {
  const std::string path = model.path_of(file.name);
  check_sha256(path, file.sha256);
  const Bytes bytes = read_file(path, 4 * count);
  if (bytes.size() != 4 * count) {
    throw Error("'" + path + "' has " + std::to_string(bytes.size()) + " bytes instead of " + std::to_string(4 * count) +
                ": it belongs to another network. Export the model again.");
  }
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    std::uint32_t word = 0;
    for (std::size_t j = 4; j > 0; --j) word = word << 8 | bytes[4 * i + j - 1];
    std::memcpy(&values[i], &word, 4);
  }
  return values;
}

const char* word_of(bool value) { return value ? "true" : "false"; }

}  // namespace

std::string Check::json() const {
  return "{\"what\": " + json_string(what) +
         ", \"max_abs_error\": " + (is_comparable ? json_number(max_abs_error, 6) : "null") +
         ", \"share_of_tolerance\": " + (is_comparable ? json_number(share_of_tolerance, 6) : "null") +
         ", \"is_top1_equal\": " + (is_comparable && has_classes ? word_of(is_top1_equal) : "null") +
         ", \"passed\": " + word_of(passed) + ", \"reason\": " + json_string(reason) + "}";
}

Golden read_golden(const Model& model) {
  Golden golden;
  golden.input = read_floats(model, model.golden_input, model.input_size());
  golden.output = read_floats(model, model.golden_output, model.class_num);
  const std::string picture = model.path_of(model.golden_picture.name);
  check_sha256(picture, model.golden_picture.sha256);
  golden.picture = read_file(picture, kMostPictureBytes);
  return golden;
}

Check check_picture(const Golden& golden, const Preprocess& preprocess, std::uint64_t most_pixels) {
  const std::string what = "picture -> tensor";
  std::vector<float> tensor(golden.input.size());
  try {
    preprocess.to_chw(decode_picture(golden.picture, most_pixels), tensor.data());
  } catch (const PictureError& error) {
    Check failed;
    failed.what = what;
    failed.reason = error.what();
    return failed;
  }
  // OpenCV rounds its weights and sums elsewhere, so a pixel may come out one level apart; the division rounds, too.
  return compare(what, tensor, golden.input, 1.01 * preprocess.grey_level(), false);
}

Check check_network(const Golden& golden, Engine& engine, const std::string& what, double rtol) {
  engine.set_input(golden.input);
  engine.run();
  double largest = 0;
  for (const float value : golden.output) largest = std::max(largest, std::fabs(double{value}));
  return compare(what, engine.output(), golden.output, rtol * largest, true);
}

Check compare(const std::string& what, const std::vector<float>& given, const std::vector<float>& expected,
              double tolerance, bool has_classes) {
  Check check;
  check.what = what;
  check.has_classes = has_classes;
  check.is_comparable = std::all_of(given.begin(), given.end(), [](float value) { return std::isfinite(value); });
  if (!check.is_comparable) {
    check.reason = "not all numbers are finite";
    return check;
  }
  for (std::size_t i = 0; i < given.size(); ++i) {
    check.max_abs_error = std::max(check.max_abs_error, std::fabs(double{given[i]} - double{expected[i]}));
  }
  check.share_of_tolerance = check.max_abs_error / tolerance;
  if (check.share_of_tolerance > 1) check.reason = json_number(check.share_of_tolerance, 2) + " times of what is tolerated";
  if (has_classes) {
    const std::size_t mine = top_k(given, 1)[0], golden = top_k(expected, 1)[0];
    check.is_top1_equal = double{expected[golden]} - double{expected[mine]} <= 2 * tolerance;
    if (!check.is_top1_equal) check.reason += (check.reason.empty() ? "" : ", ") + std::string("another best class");
  }
  check.passed = check.reason.empty();
  return check;
}

}  // namespace ppghost
