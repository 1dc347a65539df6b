// ppghost_probe: the readers of hostile bytes, driven by tests/deploy/test_cpp.py through a pipe.
//
// A request is the line `KIND SIZE` and SIZE bytes; the answer is one line, `ok ...` or `refused ...`. Whatever the
// bytes are, the program must go on. KIND is
//   facts     a preprocess.txt: read, and its pipeline made
//   labels    a labels.txt of three classes
//   npz       a golden.npz; the answer is `ok` and name:bytes of each array
//   sha256    the answer is the digest
//   picture   a picture file, put through the pipeline of the artifact that argv[1] names
//   tensor    two lines, a picture's path and where to write its float32 [3, H, W]
#include <fstream>
#include <iostream>
#include <string>

#include "artifact.h"
#include "errors.h"
#include "npz.h"
#include "pictures.h"
#include "pipeline.h"
#include "sha256.h"
#include "text.h"

namespace {

using namespace ppghost;

std::string answer_to(const std::string& kind, const Bytes& bytes, const Pipeline& pipeline, std::uint64_t most_pixels) {
  const std::string text(bytes.begin(), bytes.end());
  std::vector<float> row(pipeline.shape().size());
  if (kind == "facts") {
    const Artifact artifact = parse_artifact(text);
    const Pipeline made(artifact, most_pixels);
    return artifact.name + " " + std::to_string(artifact.class_num) + " " + std::to_string(artifact.ops.size());
  }
  if (kind == "labels") return std::to_string(parse_labels(text, 3).size());
  if (kind == "sha256") return sha256_of(bytes.data(), bytes.size());
  if (kind == "npz") {
    std::string sizes;
    for (const auto& [name, array] : parse_npz(bytes)) sizes += name + ":" + std::to_string(array.bytes.size()) + " ";
    return sizes;
  }
  if (kind == "picture") {
    pipeline.to_chw(bytes, row.data());
    return "";
  }
  if (kind != "tensor") throw Error("unknown request");
  const std::size_t end = text.find('\n');
  pipeline.to_chw(read_picture(text.substr(0, end), most_pixels), row.data());
  std::ofstream out(text.substr(end + 1), std::ios::binary);
  out.write(reinterpret_cast<const char*>(row.data()), static_cast<std::streamsize>(row.size() * sizeof(float)));
  return "";
}

}  // namespace

int main(int count, char** words) {
  if (count != 3) {
    std::cerr << "usage: ppghost_probe ARTIFACT MAX_PIXELS\n";
    return 2;
  }
  const std::uint64_t most_pixels = std::stoull(words[2]);
  const Pipeline pipeline(read_artifact(words[1]), most_pixels);
  std::string kind;
  std::size_t size = 0;
  while (std::cin >> kind >> size && std::cin.get() == '\n') {
    Bytes bytes(size);
    std::cin.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size));
    std::string answer;
    try {
      answer = "ok " + answer_to(kind, bytes, pipeline, most_pixels);
    } catch (const Error& error) {
      answer = std::string("refused ") + error.what();
    }
    std::cout << json_string(answer) << std::endl;
  }
  return 0;
}
