// From a decoded picture to one row of the network's input; the twin of `ppghost.vision.Pipeline`.
#pragma once

#include <array>
#include <functional>
#include <vector>

#include <opencv2/core.hpp>

#include "artifact.h"
#include "header.h"

namespace ppghost {

/// The preprocessing of one artifact. Immutable, so threads may share it.
class Pipeline {
 public:
  /// Throws Error when an op or a parameter is not one that this program computes exactly as Python does.
  Pipeline(const Artifact& artifact, std::uint64_t most_pixels);

  /// Write `float32 [3, H, W]`, normalised, of an encoded picture to `row`.
  /// Throws PictureError when the picture cannot be decoded or does not come out in the network's shape.
  void to_chw(const Bytes& picture, float* row) const;

  InputShape shape() const { return shape_; }

  /// Return by how much the input changes where a pixel changes by one of its 256 levels, at most.
  double grey_level() const { return grey_level_; }

 private:
  using Step = std::function<cv::Mat(const cv::Mat&)>;

  void add_op(const OpText& op);
  void add_normalize(const OpText& op);

  InputShape shape_;
  std::uint64_t most_pixels_;
  bool gives_rgb_ = true;
  std::vector<Step> geometry_;
  std::array<std::array<float, 256>, 3> tables_{};  // the normalised value of each level of each channel
  double grey_level_ = 1;
  enum { kGeometry, kNormalized, kTransposed } stage_ = kGeometry;
};

}  // namespace ppghost
