#include "pictures.h"

#include <algorithm>
#include <cctype>

#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "errors.h"
#include "text.h"

namespace ppghost {
namespace fs = std::filesystem;
namespace {

constexpr const char* kSuffixes[] = {".jpg", ".jpeg", ".png", ".bmp"};
constexpr std::uint64_t kBytesPerPixel = 8;  // the most that an uncompressed file needs: four channels of 16 bits

bool has_picture_suffix(const fs::path& path) {
  std::string suffix = path.extension().string();
  std::transform(suffix.begin(), suffix.end(), suffix.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::find(std::begin(kSuffixes), std::end(kSuffixes), suffix) != std::end(kSuffixes);
}

/// Return the path as Python's pathlib writes it: without "." and doubled slashes.
fs::path plain(const fs::path& path) {
  fs::path kept;
  for (const fs::path& part : path) {
    if (!part.empty() && part != ".") kept /= part;
  }
  return kept.empty() ? fs::path(".") : kept;
}

}  // namespace

std::vector<fs::path> list_pictures(const std::string& source) {
  std::error_code code;
  const fs::path root = plain(source);
  if (!fs::exists(root, code)) throw Error("There is no picture or folder '" + source + "'. Give the path of either.");
  if (!fs::is_directory(root, code)) return {root};
  std::vector<fs::path> found;
  fs::recursive_directory_iterator entry(root, code);
  for (; !code && entry != fs::recursive_directory_iterator(); entry.increment(code)) {
    std::error_code ignored;  // a dangling link: reported when it is read
    if (!entry->is_directory(ignored) && has_picture_suffix(entry->path())) found.push_back(entry->path());
  }
  if (code) throw Error("The folder '" + source + "' cannot be read: " + code.message() + ".");
  if (found.empty()) {
    throw Error("There is no picture in '" + source + "'. Accepted in a folder: .jpg, .jpeg, .png, .bmp.");
  }
  std::sort(found.begin(), found.end());
  return found;
}

Bytes read_picture(const fs::path& path, std::uint64_t most_pixels) {
  try {
    return read_file(path, most_pixels * kBytesPerPixel);
  } catch (const Error& error) {
    throw PictureError(error.what());
  }
}

cv::Mat decode_picture(const Bytes& data, std::uint64_t most_pixels) {
  const Header header = read_header(data);
  if (header.width > most_pixels / header.height) {
    throw PictureError("The picture has " + std::to_string(header.width) + " x " + std::to_string(header.height) +
                       " pixels, more than the accepted " + std::to_string(most_pixels) +
                       ". Shrink it, or raise the limit with --max-pixels.");
  }
  cv::Mat decoded;
  try {
    decoded = cv::imdecode(header.kind == PictureKind::kPng ? without_animation(data) : data, cv::IMREAD_COLOR);
    if (!decoded.empty()) cv::cvtColor(decoded, decoded, cv::COLOR_BGR2RGB);
  } catch (const cv::Exception& error) {
    throw PictureError("OpenCV cannot decode the picture: " + error.err + ".");
  }
  if (decoded.empty()) throw PictureError("OpenCV cannot decode the picture (" + std::to_string(data.size()) + " bytes).");
  return decoded;
}

}  // namespace ppghost
