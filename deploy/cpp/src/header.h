// What the first bytes of a picture file say: its kind and its size. Nothing is decoded here.
//
// A decoder allocates what a header asks for, so the header is read first, by code that allocates nothing.
// The twin of ppghost/vision/header.py: both accept and refuse the same files, but for GIF and animated WebP,
// which not every OpenCV decodes.
//
// Sources: ITU-T T.81 annex B (JPEG), PNG third edition section 11, TIFF 6.0 section 2, RFC 9649 (WebP),
// Microsoft's BITMAPCOREHEADER and BITMAPINFOHEADER.
#pragma once

#include <cstdint>
#include <vector>

namespace ppghost {

enum class PictureKind { kJpeg, kPng, kBmp, kWebp, kTiff };

/// What a picture file says about itself; width and height are those before the EXIF orientation is applied.
struct Header {
  PictureKind kind = PictureKind::kJpeg;
  std::uint64_t width = 0, height = 0;
};

using Bytes = std::vector<std::uint8_t>;

/// Return the header of a picture file.
/// Throws PictureError when the bytes are no whole picture of an accepted kind.
Header read_header(const Bytes& data);

/// Return a PNG file without its animation: the picture that a reader without APNG shows.
Bytes without_animation(const Bytes& png);

}  // namespace ppghost
