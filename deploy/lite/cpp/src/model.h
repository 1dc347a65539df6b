// A model folder: what `ppghost export --target lite` wrote. Its facts are those of ppghost.json.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ppghost {

/// A file of the folder and what it must be.
struct FileFact {
  std::string name;    ///< a plain name in the folder
  std::string sha256;  ///< 64 hex digits
};

/// One form of the network for Paddle Lite.
struct NbFile {
  std::string name, arch, precision;  ///< arch: armv8, armv7 or x86; precision: fp32 or fp16
  std::uint64_t size_bytes = 0;
  std::string sha256;
  std::uint64_t meta_version = 0;
  std::string opt_version;  ///< of the converter: "v2.13-rc"
  double rtol = 0;          ///< golden passes within this share of the largest output
};

/// From a decoded picture to the network's input.
struct PreprocessFacts {
  std::uint64_t resize_short = 0, crop = 0;
  bool is_rgb = true;  ///< else the planes are blue, green, red
  double scale = 0;
  double mean[3] = {0, 0, 0}, std[3] = {1, 1, 1};
};

struct Model {
  std::string folder, name, version, graph;
  std::size_t class_num = 0, topk = 0;
  std::size_t height = 0, width = 0;  ///< the input is float32 [1, 3, height, width]
  bool has_softmax = false;           ///< false: the output is logits
  PreprocessFacts preprocess;
  FileFact labels;  ///< no name where the classes have none
  FileFact golden_input, golden_output, golden_picture;
  std::vector<NbFile> files;

  std::string path_of(const std::string& file) const { return folder + "/" + file; }
  std::size_t input_size() const { return 3 * height * width; }
};

/// Return the model of a folder; throws Error when the folder is none, or its manifest cannot be honoured.
Model read_model(const std::string& folder);

/// Return what the text of a ppghost.json says; the folder stays empty.
Model parse_model(const std::string& manifest);

/// Return the files for a processor, "fp32" or "fp16" or, where `precision` is empty, all.
/// Throws Error that names what there is when there is none.
std::vector<NbFile> files_for(const Model& model, const std::string& arch, const std::string& precision);

/// Return the names of the classes by id, none where they have none.
/// Throws Error when the file was changed or does not name every class once.
std::vector<std::string> read_labels(const Model& model);

/// Return what the text of a labels.txt says: lines `id name`, the ids 0 to `class_num` - 1 in order.
std::vector<std::string> parse_labels(const std::string& text, std::size_t class_num);

}  // namespace ppghost
