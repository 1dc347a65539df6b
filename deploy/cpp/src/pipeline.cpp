#include "pipeline.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include <opencv2/imgproc.hpp>

#include "errors.h"
#include "pictures.h"
#include "text.h"

namespace ppghost {
namespace {

constexpr std::uint64_t kLongestSide = 1 << 14;

/// The parameters of one op; what is not taken is refused.
class Params {
 public:
  explicit Params(const OpText& op) : name_(op.name), params_(op.params) {}

  /// Return the text of a parameter; nothing where it is not written or written as null.
  std::optional<std::string> take(const std::string& key) {
    const auto found = params_.find(key);
    if (found == params_.end()) return std::nullopt;
    std::string value = found->second;
    params_.erase(found);
    return value.empty() ? std::nullopt : std::optional<std::string>(value);
  }

  /// Take a parameter that must have its usual value.
  void accept_only(const std::string& key, const std::string& accepted) {
    const std::string value = take(key).value_or(accepted);
    if (value != accepted) refuse(key, value, accepted);
  }

  [[noreturn]] void refuse(const std::string& key, const std::string& value, const std::string& accepted) const {
    throw Error(where(key) + " is " + json_string(value) + "; accepted here: " + accepted +
                ". Classify with the Python program, or export with another pipeline.");
  }

  /// Return (width, height) of a size that may be one number for both.
  std::optional<cv::Size> take_size(const std::string& key) {
    const std::optional<std::string> text = take(key);
    if (!text) return std::nullopt;
    const std::vector<std::string> words = split_words(*text);
    if (words.size() != 1 && words.size() != 2) refuse(key, *text, "one number, or width and height");
    const auto side = [&](const std::string& word) { return static_cast<int>(parse_whole(where(key), word, 1, kLongestSide)); };
    return cv::Size(side(words.front()), side(words.back()));
  }

  void finish() const {
    for (const auto& [key, value] : params_) refuse(key, value, "an op without it");
  }

  std::string where(const std::string& key) const { return name_ + "." + key; }

 private:
  std::string name_;
  std::map<std::string, std::string> params_;
};

int filter_of(Params& params) {
  const std::string key = "interpolation";
  std::string name = params.take(key).value_or("bilinear");
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const std::pair<const char*, int> filters[] = {{"nearest", cv::INTER_NEAREST},
                                                 {"bilinear", cv::INTER_LINEAR},
                                                 {"area", cv::INTER_AREA},
                                                 {"bicubic", cv::INTER_CUBIC},
                                                 {"lanczos", cv::INTER_LANCZOS4}};
  for (const auto& [known, code] : filters) {
    if (name == known || name == std::to_string(code)) return code;
  }
  params.refuse(key, name, "nearest, bilinear, area, bicubic, lanczos");
}

std::function<cv::Mat(const cv::Mat&)> make_resize(Params& params, std::uint64_t most_pixels) {
  const int filter = filter_of(params);
  params.accept_only("backend", "cv2");
  params.accept_only("return_numpy", "true");
  const std::string short_side = params.take("resize_short").value_or("0");
  const int resize_short = static_cast<int>(parse_whole(params.where("resize_short"), short_side, 0, kLongestSide));
  const std::optional<cv::Size> size = params.take_size("size");
  if (resize_short == 0 && !size) throw Error("ResizeImage needs 'size' or 'resize_short'.");
  return [=](const cv::Mat& image) {
    cv::Size target = size.value_or(cv::Size());
    if (resize_short != 0) {
      // Python's round(): halves go to the even number, which is what nearbyint does.
      const double factor = static_cast<double>(resize_short) / std::min(image.cols, image.rows);
      const double width = std::nearbyint(image.cols * factor), height = std::nearbyint(image.rows * factor);
      if (width * height > static_cast<double>(most_pixels)) {
        throw PictureError("A picture of " + std::to_string(image.cols) + " x " + std::to_string(image.rows) +
                           " pixels is too narrow: resized it would have more than the accepted " +
                           std::to_string(most_pixels) + ".");
      }
      target = cv::Size(static_cast<int>(width), static_cast<int>(height));
    }
    cv::Mat resized;
    cv::resize(image, resized, target, 0, 0, filter);
    return resized;
  };
}

std::function<cv::Mat(const cv::Mat&)> make_crop(Params& params) {
  const std::optional<cv::Size> size = params.take_size("size");
  if (!size) throw Error("CropImage needs 'size'.");
  return [size = *size](const cv::Mat& image) {
    const int rows = image.rows - size.height, columns = image.cols - size.width;
    if (rows < 0 || columns < 0) {
      throw PictureError("CropImage cuts out " + std::to_string(size.width) + " x " + std::to_string(size.height) +
                         " pixels, but the picture has only " + std::to_string(image.cols) + " x " +
                         std::to_string(image.rows) + ".");
    }
    return image(cv::Rect(columns / 2, rows / 2, size.width, size.height));
  };
}

}  // namespace

Pipeline::Pipeline(const Artifact& artifact, std::uint64_t most_pixels)
    : shape_(artifact.input_shape), most_pixels_(most_pixels) {
  Params decode(OpText{"DecodeImage", artifact.decode});
  decode.accept_only("to_np", "true");
  decode.accept_only("channel_first", "false");
  decode.accept_only("backend", "cv2");
  const std::string to_rgb = decode.take("to_rgb").value_or("true");
  if (to_rgb != "true" && to_rgb != "false") decode.refuse("to_rgb", to_rgb, "true, false");
  gives_rgb_ = to_rgb == "true";
  decode.finish();
  for (const OpText& op : artifact.ops) add_op(op);
  if (stage_ != kTransposed) throw Error("The pipeline does not end with NormalizeImage and ToCHWImage.");
}

void Pipeline::add_op(const OpText& op) {
  Params params(op);
  if (op.name == "ToCHWImage" && stage_ == kNormalized) {
    stage_ = kTransposed;
  } else if (stage_ == kGeometry && op.name == "ResizeImage") {
    geometry_.push_back(make_resize(params, most_pixels_));
  } else if (stage_ == kGeometry && op.name == "CropImage") {
    geometry_.push_back(make_crop(params));
  } else if (stage_ == kGeometry && op.name == "NormalizeImage") {
    return add_normalize(op);
  } else {
    throw Error("The op '" + op.name + "' stands in the pipeline; accepted here: any number of ResizeImage and " +
                "CropImage, then NormalizeImage, then ToCHWImage. Classify with the Python program.");
  }
  params.finish();
}

void Pipeline::add_normalize(const OpText& op) {
  Params params(op);
  const std::string order = params.take("order").value_or("");
  if (order == "chw") params.refuse("order", order, "\"\" before ToCHWImage");
  params.accept_only("output_fp16", "false");
  params.accept_only("channel_num", "3");
  const double scale = parse_number("NormalizeImage.scale", params.take("scale").value_or(""));
  const std::vector<double> mean = parse_numbers("NormalizeImage.mean", params.take("mean").value_or(""), 3);
  const std::vector<double> std = parse_numbers("NormalizeImage.std", params.take("std").value_or(""), 3);
  params.finish();
  if (std::find(std.begin(), std.end(), 0.0) != std.end()) throw Error("NormalizeImage.std has a zero.");
  for (std::size_t channel = 0; channel < 3; ++channel) {
    for (std::size_t level = 0; level < 256; ++level) {
      // Each step is rounded to float32, as in Python; the build forbids fused multiply-adds.
      const float scaled = static_cast<float>(level) * static_cast<float>(scale);
      tables_[channel][level] = (scaled - static_cast<float>(mean[channel])) / static_cast<float>(std[channel]);
    }
  }
  grey_level_ = scale / *std::min_element(std.begin(), std.end());
  stage_ = kNormalized;
}

void Pipeline::to_chw(const Bytes& picture, float* row) const {
  cv::Mat image = decode_picture(picture, most_pixels_);
  try {
    if (!gives_rgb_) cv::cvtColor(image, image, cv::COLOR_RGB2BGR);
    for (const Step& step : geometry_) image = step(image);
  } catch (const cv::Exception& error) {
    throw PictureError("OpenCV cannot process the picture: " + error.err + ".");
  }
  if (image.rows != static_cast<int>(shape_.height) || image.cols != static_cast<int>(shape_.width)) {
    throw PictureError("The picture becomes " + std::to_string(image.cols) + " x " + std::to_string(image.rows) +
                       " pixels, but the network takes " + std::to_string(shape_.width) + " x " +
                       std::to_string(shape_.height) + ". Export with a CropImage at the pipeline's end.");
  }
  const std::size_t plane = shape_.height * shape_.width;
  for (int y = 0; y < image.rows; ++y) {
    const std::uint8_t* pixel = image.ptr<std::uint8_t>(y);
    float* target = row + static_cast<std::size_t>(y) * shape_.width;
    for (std::size_t x = 0; x < shape_.width; ++x, pixel += 3) {
      target[x] = tables_[0][pixel[0]];
      target[x + plane] = tables_[1][pixel[1]];
      target[x + 2 * plane] = tables_[2][pixel[2]];
    }
  }
}

}  // namespace ppghost
