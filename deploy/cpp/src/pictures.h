// Picture files: finding them, reading them, decoding them to pixels.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <opencv2/core.hpp>

#include "header.h"

namespace ppghost {

/// Return the sorted paths of the pictures that the user means by `source`, as the Python program finds them:
/// a file as it is, or a folder, searched to its depths for .jpg, .jpeg, .png and .bmp in any case.
/// Throws Error when there is none.
std::vector<std::filesystem::path> list_pictures(const std::string& source);

/// Return the bytes of a picture file; throws PictureError when it cannot be read.
/// A file that is longer than any picture of `most_pixels` is refused unread.
Bytes read_picture(const std::filesystem::path& path, std::uint64_t most_pixels);

/// Return `uint8 [H, W, 3]`, RGB. The EXIF orientation is applied; grey becomes three equal channels, alpha is
/// dropped, 16 bits are cut to the upper 8, CMYK is converted.
/// Throws PictureError when the bytes are no picture, a truncated one, or one of more than `most_pixels`.
cv::Mat decode_picture(const Bytes& data, std::uint64_t most_pixels);

}  // namespace ppghost
