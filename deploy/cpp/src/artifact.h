// The artifact: the folder that `ppghost export` wrote. Its facts are read from preprocess.txt.
//
// Every key is honoured or refused: a fact that this program does not know could change every answer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace ppghost {

/// One form in which the network lies in the folder.
struct ModelFile {
  std::string format;   ///< "json", "pdmodel", "ghost"
  std::string graph;    ///< name of the file with the graph
  std::string weights;  ///< name of the file with the weights; empty where the graph holds them
  std::string input;    ///< name of the input tensor
  std::string output;   ///< name of the output tensor
};

/// What a file must be.
struct FileDigest {
  std::string sha256;  ///< 64 hex digits
  std::uint64_t size_bytes = 0;
};

/// One op of the preprocessing as it is written: its name and its parameters.
struct OpText {
  std::string name;
  std::map<std::string, std::string> params;
};

/// Channels, height and width of one picture as the network takes it.
struct InputShape {
  std::size_t channels = 0, height = 0, width = 0;
  std::size_t size() const { return channels * height * width; }
};

/// What preprocess.txt says, and where the folder lies.
struct Artifact {
  std::filesystem::path folder;
  std::string name;
  std::string version;  ///< first 12 hex digits of the SHA-256 of the weights
  InputShape input_shape;
  std::size_t class_num = 0;
  bool gives_logits = false;  ///< the network's last op is no softmax
  std::size_t topk = 0;
  std::vector<ModelFile> models;
  std::map<std::string, FileDigest> files;
  std::map<std::string, std::string> decode;  ///< parameters of DecodeImage
  std::vector<OpText> ops;                    ///< what follows DecodeImage

  std::filesystem::path path_of(const std::string& file) const { return folder / file; }

  /// Return the network in a form; throws Error that names the forms there are.
  const ModelFile& model(const std::string& format) const;

  /// Make sure that a file is what was exported, by size and SHA-256; throws Error when it is not.
  void check_file(const std::string& file) const;
};

/// Return what the text of a preprocess.txt says; `folder` stays empty.
/// Throws Error with the line that cannot be honoured.
Artifact parse_artifact(const std::string& text);

/// Return the artifact in `folder`; throws Error when it is none.
Artifact read_artifact(const std::filesystem::path& folder);

/// Return the names of the classes by id, none where the artifact has no labels.txt.
/// Throws Error when the file was changed or does not name every class once.
std::vector<std::string> read_labels(const Artifact& artifact);

/// Return what the text of a labels.txt says: lines `id name`, the ids 0 to `class_num` - 1.
std::vector<std::string> parse_labels(const std::string& text, std::size_t class_num);

}  // namespace ppghost
