#include "artifact.h"

#include <algorithm>
#include <functional>

#include "errors.h"
#include "sha256.h"
#include "text.h"

namespace ppghost {
namespace {

constexpr std::uint64_t kMostBytes = 16 << 20;  // of a text file; a thousand labels are 30 kB
constexpr std::uint64_t kMostSide = 1 << 14, kMostClasses = 10'000'000, kMostModels = 16, kMostOps = 64;
constexpr const char* kFactsFile = "preprocess.txt";
constexpr const char* kLabelsFile = "labels.txt";

std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

bool is_file_name(const std::string& name) {
  const auto is_word = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  return !name.empty() && is_word(name[0]) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return is_word(c) || c == '.' || c == '-'; });
}

std::string checked_file_name(const std::string& key, const std::string& name) {
  if (!is_file_name(name)) {
    throw Error(key + " is " + json_string(name) + "; accepted: a plain file name in the folder itself.");
  }
  return name;
}

/// Return the element at the position that `word` names; lists are written in order, so it may be one new.
template <typename Item>
Item& at_position(std::vector<Item>& items, const std::string& key, const std::string& word, std::uint64_t most) {
  const std::size_t position = parse_whole("the position in " + key, word, 0, std::min<std::uint64_t>(items.size(), most));
  if (position == items.size()) items.emplace_back();
  return items[position];
}

/// What is read line by line: each method takes what follows its key's first word.
class FactsReader {
 public:
  void take(const std::string& key, const std::string& value) {
    if (!seen_.emplace(key, value).second) throw Error("the key " + json_string(key) + " comes twice.");
    const std::size_t dot = key.find('.');
    const std::string rest = dot == std::string::npos ? "" : key.substr(dot + 1);
    const std::string first = key.substr(0, dot);
    if (dot == std::string::npos) {
      take_fact(key, value);
    } else if (first == "models") {
      take_model(key, rest, value);
    } else if (first == "files") {
      take_file(key, rest, value);
    } else if (first == "transform_ops") {
      take_op(key, rest, value);
    } else if (first == "decode") {
      facts_.decode[rest] = value;
    } else if (first != "tools") {  // versions of what wrote the folder: for people
      refuse_key(key);
    }
  }

  Artifact finish() {
    for (const char* key : {"schema", "name", "version", "input_shape", "class_num", "output", "dtype", "topk"}) {
      if (seen_.count(key) == 0) throw Error(std::string("it has no line '") + key + "'.");
    }
    if (facts_.models.empty()) throw Error("it names no model file.");
    for (const ModelFile& model : facts_.models) {
      if (model.format.empty() || model.graph.empty()) throw Error("a model has no format or no graph.");
    }
    return std::move(facts_);
  }

 private:
  [[noreturn]] static void refuse_key(const std::string& key) {
    throw Error("the key " + json_string(key) +
                " is unknown; a newer ppghost wrote the folder. Build this program from that version.");
  }

  static void accept_only(const std::string& key, const std::string& value, const std::string& accepted) {
    if (value != accepted) {
      throw Error(key + " is " + json_string(value) + "; accepted: " + accepted + ". Export again with this version.");
    }
  }

  void take_fact(const std::string& key, const std::string& value) {
    if (key == "schema") {
      accept_only(key, value, "1");
    } else if (key == "dtype") {
      accept_only(key, value, "float32");
    } else if (key == "name") {
      facts_.name = value;
    } else if (key == "version") {
      facts_.version = value;
    } else if (key == "input_shape") {
      take_shape(value);
    } else if (key == "class_num") {
      facts_.class_num = parse_whole(key, value, 1, kMostClasses);
    } else if (key == "topk") {
      facts_.topk = parse_whole(key, value, 1, UINT64_MAX);
    } else if (key == "output") {
      if (value != "logits") accept_only(key, value, "probabilities");
      facts_.gives_logits = value == "logits";
    } else if (key == "precision") {
      accept_only(key, value, "fp32");
    } else if (key != "target" && key != "graph") {  // who wrote the folder, and which form of the same numbers
      refuse_key(key);
    }
  }

  void take_shape(const std::string& value) {
    const std::vector<std::string> words = split_words(value);
    if (words.size() != 3) throw Error("input_shape is " + json_string(value) + "; accepted: 3 height width.");
    accept_only("the first number of input_shape", words[0], "3");
    facts_.input_shape = {3, parse_whole("input_shape", words[1], 1, kMostSide),
                          parse_whole("input_shape", words[2], 1, kMostSide)};
  }

  void take_model(const std::string& key, const std::string& rest, const std::string& value) {
    const std::size_t dot = std::min(rest.find('.'), rest.size());
    ModelFile& model = at_position(facts_.models, key, rest.substr(0, dot), kMostModels);
    const std::string field = rest.substr(std::min(dot + 1, rest.size()));
    if (field == "format") {
      model.format = value;
    } else if (field == "graph") {
      model.graph = checked_file_name(key, value);
    } else if (field == "weights") {
      model.weights = value.empty() ? "" : checked_file_name(key, value);
    } else if (field == "input") {
      model.input = value;
    } else if (field == "output") {
      model.output = value;
    } else {
      refuse_key(key);
    }
  }

  void take_file(const std::string& key, const std::string& rest, const std::string& value) {
    const std::size_t dot = rest.rfind('.');
    if (dot == std::string::npos) refuse_key(key);
    FileDigest& digest = facts_.files[checked_file_name(key, rest.substr(0, dot))];
    const std::string field = rest.substr(dot + 1);
    if (field == "sha256") {
      digest.sha256 = value;
    } else if (field == "size_bytes") {
      digest.size_bytes = parse_whole(key, value, 0, UINT64_MAX);
    } else {
      refuse_key(key);
    }
  }

  void take_op(const std::string& key, const std::string& rest, const std::string& value) {
    const std::size_t dot = rest.find('.');
    OpText& op = at_position(facts_.ops, key, rest.substr(0, dot), kMostOps);
    if (dot == std::string::npos) {
      op.name = value;
    } else if (op.name.empty()) {
      throw Error("the key " + json_string(key) + " comes before the name of its op.");
    } else {
      op.params[rest.substr(dot + 1)] = value;
    }
  }

  Artifact facts_;
  std::map<std::string, std::string> seen_;
};

std::string read_text(const std::filesystem::path& path) {
  const std::vector<std::uint8_t> bytes = read_file(path, kMostBytes);
  return std::string(bytes.begin(), bytes.end());
}

}  // namespace

Artifact parse_artifact(const std::string& text) {
  FactsReader reader;
  const std::vector<std::string> lines = split_lines(text);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    try {
      const std::size_t space = lines[i].find(' ');
      if (space == std::string::npos || space == 0 || lines[i].find('\r') != std::string::npos) {
        throw Error(json_string(lines[i].substr(0, 80)) + " is no 'key value'.");
      }
      reader.take(lines[i].substr(0, space), lines[i].substr(space + 1));
    } catch (const Error& error) {
      throw Error("line " + std::to_string(i + 1) + ": " + error.what());
    }
  }
  return reader.finish();
}

Artifact read_artifact(const std::filesystem::path& folder) {
  std::error_code code;
  if (!std::filesystem::is_directory(folder, code)) {
    throw Error("There is no folder '" + folder.string() + "'. Give the folder that `ppghost export` wrote.");
  }
  const std::filesystem::path path = folder / kFactsFile;
  if (!std::filesystem::exists(path, code)) {
    throw Error("'" + folder.string() + "' is no artifact: it has no " + kFactsFile +
                ". Give the folder that `ppghost export` wrote.");
  }
  const std::string text = read_text(path);
  try {
    Artifact artifact = parse_artifact(text);
    artifact.folder = folder;
    return artifact;
  } catch (const Error& error) {
    throw Error("'" + path.string() + "' cannot be used: " + error.what());
  }
}

const ModelFile& Artifact::model(const std::string& format) const {
  std::string held;
  for (const ModelFile& model : models) {
    if (model.format == format) return model;
    held += (held.empty() ? "" : ", ") + model.format;
  }
  throw Error(name + " has no model in the form '" + format + "'; it has: " + held +
              ". Choose another --engine, or export again with this version.");
}

void Artifact::check_file(const std::string& file) const {
  const auto found = files.find(file);
  const std::filesystem::path path = path_of(file);
  const std::string advice = " Copy the folder again from where it was exported, or export again.";
  if (found == files.end()) throw Error("'" + path.string() + "' has no checksum in " + kFactsFile + "." + advice);
  std::error_code code;
  if (!std::filesystem::is_regular_file(path, code)) throw Error("'" + path.string() + "' is missing." + advice);
  const std::uint64_t size = std::filesystem::file_size(path, code);
  if (code || size != found->second.size_bytes) {
    throw Error("'" + path.string() + "' has " + std::to_string(size) + " bytes instead of " +
                std::to_string(found->second.size_bytes) + "." + advice);
  }
  const std::string digest = sha256_of(path);
  if (digest != found->second.sha256) {
    throw Error("'" + path.string() + "' was changed: its SHA-256 is " + digest + ", not " + found->second.sha256 +
                "." + advice);
  }
}

std::vector<std::string> read_labels(const Artifact& artifact) {
  if (artifact.files.count(kLabelsFile) == 0) return {};
  artifact.check_file(kLabelsFile);
  const std::filesystem::path path = artifact.path_of(kLabelsFile);
  try {
    return parse_labels(read_text(path), artifact.class_num);
  } catch (const Error& error) {
    throw Error("'" + path.string() + "' cannot be used: " + error.what());
  }
}

std::vector<std::string> parse_labels(const std::string& text, std::size_t class_num) {
  const std::vector<std::string> lines = split_lines(text);
  if (lines.size() != class_num) {
    throw Error("it names " + std::to_string(lines.size()) + " classes; the network has " + std::to_string(class_num) + ".");
  }
  std::vector<std::string> names;
  for (const std::string& line : lines) {
    const std::string id = std::to_string(names.size()) + " ";
    if (line.compare(0, id.size(), id) != 0) {
      throw Error(json_string(line.substr(0, 80)) + " is not the line of class " + id + ".");
    }
    names.push_back(line.substr(id.size()));
  }
  return names;
}

}  // namespace ppghost
