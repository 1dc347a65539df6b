// From pixels to the network's input; the twin of ResizeImage, CropImage and NormalizeImage of `ppghost.vision`.
#pragma once

#include <array>

#include "decode.h"
#include "model.h"

namespace ppghost {

/// The preprocessing of one model.
class Preprocess {
 public:
  explicit Preprocess(const PreprocessFacts& facts);

  /// Write `float32 [3, crop, crop]`, normalised, to `row`.
  ///
  /// The short side becomes `resize_short` (the long one keeps the proportion, rounded half to even) by OpenCV's
  /// INTER_LINEAR: pixel centres, no antialiasing, rounded to uint8. Only the pixels that the central crop keeps are
  /// computed, so memory does not depend on the picture's proportion.
  void to_chw(const Picture& picture, float* row) const;

  /// Return by how much the input changes where a pixel changes by one of its 256 levels, at most.
  double grey_level() const { return grey_level_; }

  std::size_t crop() const { return crop_; }

 private:
  std::size_t resize_short_, crop_;
  bool is_rgb_;
  std::array<std::array<float, 256>, 3> tables_{};  // the normalised value of each level of each plane
  double grey_level_;
};

}  // namespace ppghost
