// ppghost_lite_probe: what reads and computes without a network, driven by tests/deploy/test_lite_cpp.py through a pipe.
//
// A request is the line `KIND SIZE` and SIZE bytes; the answer is one JSON string a line, `ok ...` or `refused ...`.
// Whatever the bytes are, the program must go on. KIND is
//   manifest     a ppghost.json; the answer names the model and counts its files
//   labels       a labels.txt of three classes
//   nb           a .nb file; the answer is its meta version and opt version
//   sha256       the answer is the digest
//   json         any JSON; the answer is the text of its member "text"
//   orientation  a JPEG file; the answer is its EXIF orientation
//   picture      a picture file, decoded and preprocessed
//   tensor       two lines, a picture's path and where to write its float32 [3, H, W]
//   raw          the same for a file of int32 height, int32 width and uint8 [height, width, 3]
//   top          two lines, k and the path of a file of float32 logits; the answer is the answer's JSON
//   statistics   int64 times; the answer is the JSON object of them
#include <cstring>
#include <fstream>
#include <iostream>
#include <string>

#include "answers.h"
#include "decode.h"
#include "errors.h"
#include "files.h"
#include "format.h"
#include "json.h"
#include "model.h"
#include "nb.h"
#include "preprocess.h"
#include "statistics.h"

namespace {

using namespace ppghost;

constexpr std::uint64_t kMostBytes = 1 << 30;

Picture raw_picture(const Bytes& bytes) {
  std::int32_t sides[2];
  if (bytes.size() < sizeof sides) throw Error("no raw picture");
  std::memcpy(sides, bytes.data(), sizeof sides);
  Picture picture;
  picture.height = static_cast<std::size_t>(sides[0]);
  picture.width = static_cast<std::size_t>(sides[1]);
  if (bytes.size() - sizeof sides != 3 * picture.height * picture.width) throw Error("no raw picture");
  picture.origin = bytes.data() + sizeof sides;
  picture.row_step = 3 * std::ptrdiff_t{sides[1]};
  picture.column_step = 3;
  return picture;
}

/// A request and what answers it.
class Probe {
 public:
  Probe(const std::string& folder, std::uint64_t most_pixels)
      : preprocess_(read_model(folder).preprocess), most_pixels_(most_pixels) {}

  std::string answer(const std::string& kind, const Bytes& bytes) const {
    const std::string text(bytes.begin(), bytes.end());
    if (kind == "manifest") {
      const Model model = parse_model(text);
      return model.name + " " + std::to_string(model.class_num) + " " + std::to_string(model.files.size());
    }
    if (kind == "labels") return std::to_string(parse_labels(text, 3).size());
    if (kind == "nb") {
      const NbHeader header = parse_nb_header(Bytes(bytes.begin(), bytes.begin() + head_of(bytes)), bytes.size());
      return std::to_string(header.meta_version) + " " + header.opt_version;
    }
    if (kind == "sha256") return sha256_of(bytes);
    if (kind == "json") return Json::parse(text).at("text").text();
    if (kind == "orientation") return std::to_string(jpeg_orientation(bytes));
    if (kind == "picture") return written(decode_picture(bytes, most_pixels_), "");
    if (kind == "statistics") return statistics_of(bytes);
    return answer_of_paths(kind, text);
  }

 private:
  static std::ptrdiff_t head_of(const Bytes& bytes) {
    return static_cast<std::ptrdiff_t>(std::min<std::size_t>(bytes.size(), kNbHeaderBytes));
  }

  static std::string statistics_of(const Bytes& bytes) {
    std::vector<std::int64_t> times(bytes.size() / sizeof(std::int64_t));
    if (times.empty()) throw Error("no times");
    std::memcpy(times.data(), bytes.data(), times.size() * sizeof(std::int64_t));
    return "{" + statistics_json(times) + "}";
  }

  std::string answer_of_paths(const std::string& kind, const std::string& text) const {
    const std::size_t end = std::min(text.find('\n'), text.size() - 1);
    const std::string first = text.substr(0, end), second = text.substr(end + 1);
    if (kind == "tensor") return written(decode_picture(read_picture(first, most_pixels_), most_pixels_), second);
    if (kind == "raw") {
      const Bytes bytes = read_file(first, kMostBytes);
      return written(raw_picture(bytes), second);
    }
    if (kind != "top") throw Error("unknown request");
    const Bytes bytes = read_file(second, kMostBytes);
    std::vector<float> values(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
    softmax(values);
    return answer_json(values, std::stoul(first), {}, "picture");
  }

  std::string written(const Picture& picture, const std::string& path) const {
    std::vector<float> row(3 * preprocess_.crop() * preprocess_.crop());
    preprocess_.to_chw(picture, row.data());
    if (path.empty()) return "";
    std::ofstream out(path, std::ios::binary);
    out.write(reinterpret_cast<const char*>(row.data()), static_cast<std::streamsize>(row.size() * sizeof(float)));
    return "";
  }

  Preprocess preprocess_;
  std::uint64_t most_pixels_;
};

}  // namespace

int main(int count, char** words) {
  if (count != 3) {
    std::cerr << "usage: ppghost_lite_probe FOLDER MAX_PIXELS\n";
    return 2;
  }
  const Probe probe(words[1], std::stoull(words[2]));
  std::string kind;
  std::size_t size = 0;
  while (std::cin >> kind >> size && std::cin.get() == '\n') {
    Bytes bytes(size);
    std::cin.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size));
    std::string answer;
    try {
      answer = "ok " + probe.answer(kind, bytes);
    } catch (const Error& error) {
      answer = std::string("refused ") + error.what();
    }
    std::cout << json_string(answer) << std::endl;
  }
  return 0;
}
