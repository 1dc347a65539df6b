#include "header.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "errors.h"

namespace ppghost {
namespace {

constexpr std::uint64_t kPngSignatureSize = 8;

/// Numbers out of a picture file; reading behind its end means that it was cut off.
class Reader {
 public:
  explicit Reader(const Bytes& data) : data_(data) {}

  std::uint8_t byte(std::uint64_t place) const {
    if (place >= data_.size()) {
      throw PictureError("The picture is truncated: its header ends after " + std::to_string(data_.size()) + " bytes.");
    }
    return data_[place];
  }

  std::uint32_t big(std::uint64_t place, int bytes) const {
    std::uint32_t value = 0;
    for (int i = 0; i < bytes; ++i) value = value << 8 | byte(place + static_cast<std::uint64_t>(i));
    return value;
  }

  std::uint32_t little(std::uint64_t place, int bytes) const {
    std::uint32_t value = 0;
    for (int i = bytes - 1; i >= 0; --i) value = value << 8 | byte(place + static_cast<std::uint64_t>(i));
    return value;
  }

  bool has(std::uint64_t place, const char* text, std::size_t size) const {
    return place <= data_.size() && data_.size() - place >= size && std::memcmp(data_.data() + place, text, size) == 0;
  }

 private:
  const Bytes& data_;
};

[[noreturn]] void refuse_broken(const char* why) { throw PictureError(std::string("The picture is broken: ") + why + "."); }

/// Say whether a scan that begins at `place` is followed by the marker that ends the picture. Within a scan the
/// marker cannot occur by chance; a thumbnail's own one lies before it.
bool is_ended(const Bytes& data, std::uint64_t place) {
  const std::uint8_t marker[] = {0xFF, 0xD9};
  const auto begin = data.begin() + static_cast<std::ptrdiff_t>(std::min<std::uint64_t>(place, data.size()));
  return std::find_end(begin, data.end(), marker, marker + 2) != data.end();
}

Header read_jpeg(const Bytes& data, const Reader& reader) {
  Header header{PictureKind::kJpeg, 0, 0};
  std::uint64_t place = 2;
  while (true) {
    while (reader.byte(place) != 0xFF) ++place;  // decoders skip what stands between segments, and so does this
    while (reader.byte(place) == 0xFF) ++place;
    const std::uint8_t marker = reader.byte(place++);
    if (marker <= 0x01 || (marker >= 0xD0 && marker <= 0xD8)) continue;  // markers without a segment
    const bool is_frame = marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
    if (is_frame && header.width == 0) {
      header.height = reader.big(place + 3, 2);
      header.width = reader.big(place + 5, 2);
    } else if (marker == 0xDA) {
      if (header.width == 0) refuse_broken("a JPEG file without a frame header");
      if (!is_ended(data, place)) throw PictureError("The picture is truncated: a JPEG file without its end.");
      return header;
    }
    place += reader.big(place, 2);
  }
}

Header read_png(const Bytes& data, const Reader& reader) {
  if (!reader.has(kPngSignatureSize + 4, "IHDR", 4)) refuse_broken("a PNG file that does not begin with IHDR");
  // OpenCV 4.6 gives what there is of a PNG file that was cut off.
  std::uint64_t place = kPngSignatureSize;
  while (!reader.has(place + 4, "IEND", 4)) {
    place += 12 + std::uint64_t{reader.big(place, 4)};
    if (place > data.size()) throw PictureError("The picture is truncated: a PNG file without its end.");
  }
  return {PictureKind::kPng, reader.big(16, 4), reader.big(20, 4)};
}

Header read_bmp(const Bytes&, const Reader& reader) {
  if (reader.little(14, 4) == 12) return {PictureKind::kBmp, reader.little(18, 2), reader.little(20, 2)};
  // The numbers have signs; a negative height means that the rows are stored from top to bottom.
  const auto width = static_cast<std::int32_t>(reader.little(18, 4));
  const std::int64_t height = static_cast<std::int32_t>(reader.little(22, 4));
  return {PictureKind::kBmp, static_cast<std::uint64_t>(std::max(width, 0)),
          static_cast<std::uint64_t>(height < 0 ? -height : height)};
}

Header read_webp(const Bytes&, const Reader& reader) {
  if (!reader.has(8, "WEBP", 4)) throw PictureError("This is a RIFF file, but no WebP picture. Accepted: JPEG, PNG, BMP, WebP, TIFF.");
  if (reader.has(12, "VP8X", 4)) {
    if (reader.byte(20) & 0b0010) throw PictureError("This is an animated WebP file. Accepted: one with a single picture.");
    if (reader.byte(20) & 0b1000) {
      throw PictureError("This is a WebP file with EXIF, whose orientation some versions of OpenCV apply and some do not. Write it again without EXIF.");
    }
    return {PictureKind::kWebp, std::uint64_t{reader.little(24, 3)} + 1, std::uint64_t{reader.little(27, 3)} + 1};
  }
  if (reader.has(12, "VP8L", 4)) {
    const std::uint32_t bits = reader.little(21, 4);
    return {PictureKind::kWebp, std::uint64_t{bits & 0x3FFF} + 1, std::uint64_t{bits >> 14 & 0x3FFF} + 1};
  }
  return {PictureKind::kWebp, reader.little(26, 2) & 0x3FFF, reader.little(28, 2) & 0x3FFF};
}

Header read_tiff(const Bytes&, const Reader& reader) {
  const bool is_little = reader.byte(0) == 'I';
  const auto number = [&](std::uint64_t place, int bytes) {
    return is_little ? reader.little(place, bytes) : reader.big(place, bytes);
  };
  const std::uint64_t place = number(4, 4);
  const std::uint32_t count = number(place, 2);
  // Tags 256 and 257 are the sides, 322 and 323 those of a tile, which is decoded whole. A tag that comes twice
  // counts with the larger number.
  std::uint64_t width = 0, height = 0, tile_width = 0, tile_height = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint64_t entry = place + 2 + 12 * std::uint64_t{i};
    const std::uint32_t tag = number(entry, 2), type = number(entry + 2, 2);
    std::uint64_t* side = tag == 256 ? &width : tag == 257 ? &height : tag == 322 ? &tile_width : tag == 323 ? &tile_height : nullptr;
    if (side == nullptr) continue;
    if (type != 3 && type != 4) refuse_broken("a TIFF file whose size is no whole number");
    *side = std::max<std::uint64_t>(*side, number(entry + 8, type == 3 ? 2 : 4));
  }
  if (width == 0 || height == 0) return {PictureKind::kTiff, 0, 0};
  return {PictureKind::kTiff, std::max(width, tile_width), std::max(height, tile_height)};
}

std::string first_bytes(const Bytes& data) {
  std::string text;
  for (std::size_t i = 0; i < std::min<std::size_t>(data.size(), 4); ++i) {
    text += i ? " " : "";
    text += {"0123456789abcdef"[data[i] >> 4], "0123456789abcdef"[data[i] & 15]};
  }
  return text;
}

}  // namespace

Header read_header(const Bytes& data) {
  const struct {
    const char* signature;
    std::size_t size;
    Header (*read)(const Bytes&, const Reader&);
  } kinds[] = {{"\xff\xd8\xff", 3, read_jpeg}, {"\x89PNG\r\n\x1a\n", 8, read_png}, {"BM", 2, read_bmp},
               {"RIFF", 4, read_webp},         {"II*\0", 4, read_tiff},            {"MM\0*", 4, read_tiff}};
  if (data.empty()) throw PictureError("The picture file is empty (0 bytes).");
  const Reader reader(data);
  for (const auto& kind : kinds) {
    if (!reader.has(0, kind.signature, kind.size)) continue;
    const Header header = kind.read(data, reader);
    if (header.width < 1 || header.height < 1) {
      throw PictureError("The picture is broken: " + std::to_string(header.width) + " x " +
                         std::to_string(header.height) + " pixels.");
    }
    return header;
  }
  throw PictureError("This is no picture (" + std::to_string(data.size()) + " bytes, first bytes " + first_bytes(data) +
                     "). Accepted: JPEG, PNG, BMP, WebP, TIFF.");
}

Bytes without_animation(const Bytes& png) {
  const Reader reader(png);
  Bytes kept(png.begin(), png.begin() + kPngSignatureSize);
  for (std::uint64_t place = kPngSignatureSize; place + 8 <= png.size();) {
    const std::uint64_t end = std::min<std::uint64_t>(place + 12 + std::uint64_t{reader.big(place, 4)}, png.size());
    const bool is_animation =
        reader.has(place + 4, "acTL", 4) || reader.has(place + 4, "fcTL", 4) || reader.has(place + 4, "fdAT", 4);
    if (!is_animation) {
      kept.insert(kept.end(), png.begin() + static_cast<std::ptrdiff_t>(place), png.begin() + static_cast<std::ptrdiff_t>(end));
    }
    place = end;
  }
  return kept;
}

}  // namespace ppghost
