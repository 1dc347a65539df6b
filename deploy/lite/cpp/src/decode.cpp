#include "decode.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>

#include "errors.h"
#include "header.h"

namespace ppghost {
namespace {

/// What stb_image may hold while one picture is decoded; a file can be made to ask for any amount.
class Budget {
 public:
  static void open(std::size_t bytes) { left_ = bytes; }

  static void* allocate(std::size_t bytes) {
    if (bytes > left_) return nullptr;
    void* block = std::malloc(bytes + kRoom);
    if (block == nullptr) return nullptr;
    left_ -= bytes;
    std::memcpy(block, &bytes, sizeof bytes);
    return static_cast<char*>(block) + kRoom;
  }

  static void release(void* data) {
    if (data == nullptr) return;
    left_ += size_of(data);
    std::free(static_cast<char*>(data) - kRoom);
  }

  static void* reallocate(void* data, std::size_t bytes) {
    void* grown = allocate(bytes);
    if (grown == nullptr || data == nullptr) return grown;
    std::memcpy(grown, data, std::min(bytes, size_of(data)));
    release(data);
    return grown;
  }

 private:
  static constexpr std::size_t kRoom = alignof(std::max_align_t);  // in front of a block: its size

  static std::size_t size_of(const void* data) {
    std::size_t bytes;
    std::memcpy(&bytes, static_cast<const char*>(data) - kRoom, sizeof bytes);
    return bytes;
  }

  static thread_local std::size_t left_;
};

thread_local std::size_t Budget::left_ = 0;

}  // namespace
}  // namespace ppghost

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#define STBI_MAX_DIMENSIONS (1 << 20)
#define STBI_ASSERT(is_true) ((void)(is_true))
#define STBI_MALLOC(bytes) ppghost::Budget::allocate(bytes)
#define STBI_REALLOC(data, bytes) ppghost::Budget::reallocate(data, bytes)
#define STBI_FREE(data) ppghost::Budget::release(data)
#ifdef __ARM_NEON
#define STBI_NEON
#endif
#include <stb_image.h>

namespace ppghost {
namespace {

constexpr std::uint64_t kFileBytesPerPixel = 8;  // the most that an uncompressed file needs: four channels of 16 bits
// The most that stb_image holds for each pixel: a PNG of four channels of 16 bits before and after its filter, or a
// progressive JPEG's coefficients, planes and pixels; and what does not depend on the number of pixels.
constexpr std::uint64_t kBytesPerPixel = 24, kBytesBesides = 1 << 20;

std::uint32_t big(const Bytes& data, std::size_t place, std::size_t count) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < count; ++i) value = value << 8 | data[place + i];
  return value;
}

/// Return the check number of bytes (PNG third edition, annex D).
std::uint32_t crc_of(const std::uint8_t* data, std::size_t size) {
  static const std::array<std::uint32_t, 256> kTable = [] {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      table[i] = i;
      for (int bit = 0; bit < 8; ++bit) table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xEDB88320u : 0u);
    }
    return table;
  }();
  std::uint32_t crc = ~0u;
  for (std::size_t i = 0; i < size; ++i) crc = crc >> 8 ^ kTable[(crc ^ data[i]) & 255];
  return ~crc;
}

/// stb_image does not look at the check numbers: a damaged PNG would become another picture.
void check_png(const Bytes& png) {
  // The header was read: every chunk up to IEND lies within the file.
  for (std::size_t place = 8;;) {
    const std::size_t length = big(png, place, 4);
    const bool is_critical = (png[place + 4] & 0x20) == 0;
    if (is_critical && place + 12 + length <= png.size() &&
        crc_of(png.data() + place + 4, length + 4) != big(png, place + 8 + length, 4)) {
      throw PictureError("The PNG picture is broken: a check number is not that of its bytes.");
    }
    if (std::memcmp(png.data() + place + 4, "IEND", 4) == 0) return;
    place += 12 + length;
  }
}

/// Make sure that the Huffman tables of a segment hold at most 256 codes each: stb_image 2.27, which Debian 12 has,
/// writes behind its own table where there are more. `place` is that of the segment's length.
void check_huffman_tables(const Bytes& jpeg, std::size_t place) {
  std::ptrdiff_t left = static_cast<std::ptrdiff_t>(place + 2 <= jpeg.size() ? big(jpeg, place, 2) : 0) - 2;
  for (place += 2; left > 0;) {
    std::size_t codes = 0;
    for (std::size_t i = place + 1; i <= place + 16; ++i) codes += i < jpeg.size() ? jpeg[i] : 257;
    if (codes > 256) throw PictureError("The JPEG picture is broken: a Huffman table has more than 256 codes.");
    place += 17 + codes;
    left -= static_cast<std::ptrdiff_t>(17 + codes);
  }
}

/// Return a JPEG file with nothing in it but what decoding needs, its Huffman tables checked.
/// Wherever a decoder may look for a table in what is left, it finds a checked one.
Bytes plain_jpeg(const Bytes& jpeg) {
  constexpr std::uint8_t kMark = 0xFF, kEnd = 0xD9, kScan = 0xDA, kTables = 0xC4;
  Bytes plain = {kMark, 0xD8};
  const auto append = [&](std::size_t begin, std::size_t end) {
    const auto from = jpeg.begin();
    plain.insert(plain.end(), from + static_cast<std::ptrdiff_t>(begin), from + static_cast<std::ptrdiff_t>(end));
  };
  for (std::size_t place = 2; place + 4 <= jpeg.size();) {
    const std::uint8_t marker = jpeg[place + 1];
    if (jpeg[place] != kMark || marker <= 1 || marker == kMark || (marker >= 0xD0 && marker < kEnd)) {
      ++place;  // what stands between segments
      continue;
    }
    if (marker == kEnd) break;
    std::size_t end = std::min<std::size_t>(place + 2 + big(jpeg, place + 2, 2), jpeg.size());
    const auto is_scanned = [&](std::size_t i) {
      return jpeg[i] != kMark || jpeg[i + 1] == 0 || (jpeg[i + 1] & 0xF8) == 0xD0;
    };
    while (marker == kScan && end + 1 < jpeg.size() && is_scanned(end)) ++end;
    // APP0 and APP14 tell the colours; the other application segments and comments tell nothing about pixels.
    const bool is_told = marker <= 0xE0 || marker == 0xEE || (marker > 0xEF && marker != 0xFE);
    if (is_told) append(place, end);
    place = std::max(end, place + 2);
  }
  plain.push_back(kMark);
  plain.push_back(kEnd);
  for (std::size_t i = 0; i + 1 < plain.size(); ++i) {
    if (plain[i] == kMark && plain[i + 1] == kTables) check_huffman_tables(plain, i + 2);
  }
  return plain;
}

int orientation_of_tiff(const std::uint8_t* data, std::size_t size) {
  const bool is_little = size > 0 && data[0] == 'I';
  const auto number = [&](std::size_t place, std::size_t count) {
    std::uint32_t value = 0;
    if (place > size || count > size - place) return value;
    for (std::size_t i = 0; i < count; ++i) value = value << 8 | data[place + (is_little ? count - 1 - i : i)];
    return value;
  };
  const std::size_t directory = number(4, 4);
  const std::size_t entries = number(directory, 2);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + 12 * i;
    if (number(entry, 2) != 0x0112) continue;
    const std::uint32_t orientation = number(entry + 8, 2);
    return orientation >= 1 && orientation <= 8 ? static_cast<int>(orientation) : 1;
  }
  return 1;
}

}  // namespace

Bytes read_picture(const std::string& path, std::uint64_t most_pixels) {
  try {
    return read_file(path, most_pixels * kFileBytesPerPixel);
  } catch (const Error& error) {
    throw PictureError(error.what());
  }
}

int jpeg_orientation(const Bytes& jpeg) {
  constexpr char kMark[] = {'E', 'x', 'i', 'f', 0, 0};
  std::size_t place = 2;
  while (place + 4 <= jpeg.size() && jpeg[place] == 0xFF && jpeg[place + 1] != 0xDA) {
    if (jpeg[place + 1] == 0xFF) {
      ++place;
      continue;
    }
    const std::size_t begin = place + 4, end = std::min<std::size_t>(place + 2 + big(jpeg, place + 2, 2), jpeg.size());
    if (jpeg[place + 1] == 0xE1 && end >= begin + 6 && std::memcmp(jpeg.data() + begin, kMark, 6) == 0) {
      return orientation_of_tiff(jpeg.data() + begin + 6, end - begin - 6);
    }
    place = end;
  }
  return 1;
}

Picture turned(const Picture& stored, int orientation) {
  Picture seen = stored;
  const std::ptrdiff_t last_row = stored.row_step * static_cast<std::ptrdiff_t>(stored.height - 1);
  const std::ptrdiff_t last_column = stored.column_step * static_cast<std::ptrdiff_t>(stored.width - 1);
  // 2, 3, 6, 7 begin at the stored picture's other end of a row or column as its first corner is seen there.
  const bool mirrors_columns = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool mirrors_rows = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  if (mirrors_columns) seen.origin += last_column, seen.column_step = -stored.column_step;
  if (mirrors_rows) seen.origin += last_row, seen.row_step = -stored.row_step;
  if (orientation >= 5) {
    std::swap(seen.row_step, seen.column_step);
    std::swap(seen.height, seen.width);
  }
  return seen;
}

Picture decode_picture(const Bytes& data, std::uint64_t most_pixels) {
  const Header header = read_header(data);
  if (header.kind != PictureKind::kJpeg && header.kind != PictureKind::kPng) {
    throw PictureError("This is a BMP, WebP or TIFF picture; accepted here: JPEG and PNG. Save it as one of these.");
  }
  if (header.width > most_pixels / header.height) {
    throw PictureError("The picture has " + std::to_string(header.width) + " x " + std::to_string(header.height) +
                       " pixels, more than the accepted " + std::to_string(most_pixels) +
                       ". Shrink it, or raise the limit with --max-pixels.");
  }
  const bool is_jpeg = header.kind == PictureKind::kJpeg;
  if (!is_jpeg) check_png(data);
  const Bytes plain = is_jpeg ? plain_jpeg(data) : Bytes();
  const Bytes& decoded = is_jpeg ? plain : data;
  if (data.size() > INT32_MAX) throw PictureError("The picture has more than 2 GiB. Shrink it.");

  Budget::open(header.width * header.height * kBytesPerPixel + 2 * data.size() + kBytesBesides);
  int width = 0, height = 0, channels = 0;
  std::uint8_t* pixels =
      stbi_load_from_memory(decoded.data(), static_cast<int>(decoded.size()), &width, &height, &channels, 3);
  if (pixels == nullptr) {
    throw PictureError(std::string("The ") + (is_jpeg ? "JPEG" : "PNG") + " picture cannot be decoded: " +
                       stbi_failure_reason() + ".");
  }
  Picture picture;
  picture.owner.reset(pixels, Budget::release);
  picture.origin = pixels;
  picture.row_step = 3 * std::ptrdiff_t{width};
  picture.column_step = 3;
  picture.height = static_cast<std::size_t>(height);
  picture.width = static_cast<std::size_t>(width);
  return is_jpeg ? turned(picture, jpeg_orientation(data)) : picture;
}

}  // namespace ppghost
