// JPEG and PNG files to pixels; the twin of `ppghost.vision.decode`.
//
// The header is read first (deploy/cpp/src/header.h): too many pixels, a JPEG without its end and a PNG that was
// cut off are refused before anything is decoded. stb_image decodes, with as much memory as the header's pixels
// need and no more, and never sees what is known to lead it astray: see `plain_jpeg` and `check_png` in decode.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "files.h"

namespace ppghost {

/// Pixels, `uint8 [height, width, 3]`, RGB. Steps may be negative: a turned picture is another view of the same bytes.
struct Picture {
  std::shared_ptr<const std::uint8_t> owner;
  const std::uint8_t* origin = nullptr;  ///< the upper left pixel
  std::ptrdiff_t row_step = 0, column_step = 0;
  std::size_t height = 0, width = 0;
};

/// Return the bytes of a picture file; throws PictureError when it cannot be read, or is longer than any picture
/// of `most_pixels`.
Bytes read_picture(const std::string& path, std::uint64_t most_pixels);

/// Return the picture that the bytes hold. The EXIF orientation of a JPEG is applied; grey becomes three equal
/// channels, alpha is dropped, 16 bits are cut to the upper 8.
/// Throws PictureError when the bytes are no whole JPEG or PNG, or one of more than `most_pixels`.
Picture decode_picture(const Bytes& data, std::uint64_t most_pixels);

/// Return the EXIF orientation of a JPEG file, 1 to 8; 1 where it says nothing that can be understood.
int jpeg_orientation(const Bytes& jpeg);

/// Return the picture as one sees it that is stored with an orientation of EXIF. Nothing is copied.
Picture turned(const Picture& stored, int orientation);

}  // namespace ppghost
