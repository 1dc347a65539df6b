#include "model.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "errors.h"
#include "files.h"
#include "format.h"
#include "json.h"

namespace ppghost {
namespace {

constexpr const char* kManifest = "ppghost.json";
constexpr std::uint64_t kMostTextBytes = 16 << 20;  // a thousand labels are 30 kB
constexpr std::uint64_t kLongestSide = 1 << 14, kMostClasses = 10000000, kMostFiles = 64;
constexpr std::uint64_t kMostFileBytes = std::uint64_t{1} << 40;

std::string choice_of(const Json& json, const std::vector<std::string>& accepted) {
  std::string list;
  for (const std::string& word : accepted) {
    if (json.text() == word) return word;
    list += (list.empty() ? "" : ", ") + word;
  }
  json.refuse(list);
}

std::string file_name_of(const Json& json) {
  const std::string& name = json.text();
  const auto is_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
  const auto is_accepted = [&](char c) { return is_word(c) || c == '.' || c == '-'; };
  if (name.empty() || !is_word(name[0]) || !std::all_of(name.begin(), name.end(), is_accepted)) {
    json.refuse("a plain file name in the folder itself");
  }
  return name;
}

std::string digest_of(const Json& json) {
  const std::string& digest = json.text();
  if (digest.size() != 64 || digest.find_first_not_of("0123456789abcdef") != std::string::npos) {
    json.refuse("64 hex digits");
  }
  return digest;
}

std::string named(const Json& json) {
  if (json.text().empty()) json.refuse("a text that is not empty");
  return json.text();
}

void read_numbers(const Json& json, double (&numbers)[3], bool takes_zero) {
  if (json.items().size() != 3) json.refuse("three numbers");
  for (std::size_t i = 0; i < 3; ++i) {
    numbers[i] = json.items()[i].number();
    if (numbers[i] == 0 && !takes_zero) json.items()[i].refuse("a number other than 0");
  }
}

PreprocessFacts preprocess_of(const Json& json) {
  PreprocessFacts facts;
  facts.resize_short = json.at("resize_short").whole(1, kLongestSide);
  facts.crop = json.at("crop").whole(1, kLongestSide);
  choice_of(json.at("interpolation"), {"bilinear"});
  facts.is_rgb = choice_of(json.at("channel_order"), {"RGB", "BGR"}) == "RGB";
  facts.scale = json.at("scale").number();
  read_numbers(json.at("mean"), facts.mean, true);
  read_numbers(json.at("std"), facts.std, false);
  if (facts.crop > facts.resize_short) json.at("crop").refuse("at most resize_short");
  return facts;
}

NbFile nb_file_of(const Json& json) {
  NbFile file;
  file.name = file_name_of(json.at("file"));
  file.arch = choice_of(json.at("arch"), {"armv8", "armv7", "x86"});
  file.precision = choice_of(json.at("precision"), {"fp32", "fp16"});
  file.size_bytes = json.at("size_bytes").whole(1, kMostFileBytes);
  file.sha256 = digest_of(json.at("sha256"));
  file.meta_version = json.at("meta_version").whole(0, 0xFFFF);
  file.opt_version = named(json.at("opt_version"));
  file.rtol = json.at("rtol").number();
  if (!(file.rtol > 0 && file.rtol < 1)) json.at("rtol").refuse("a number between 0 and 1");
  return file;
}

void read_shape(const Json& json, Model& model) {
  if (json.items().size() != 4) json.refuse("[1, 3, height, width]");
  json.items()[0].whole(1, 1);
  json.items()[1].whole(3, 3);
  model.height = json.items()[2].whole(1, kLongestSide);
  model.width = json.items()[3].whole(1, kLongestSide);
  if (model.height != model.preprocess.crop || model.width != model.preprocess.crop) {
    json.refuse("the sides that preprocess.crop gives, " + std::to_string(model.preprocess.crop));
  }
}

std::string read_text(const std::string& path) {
  const Bytes bytes = read_file(path, kMostTextBytes);
  return std::string(bytes.begin(), bytes.end());
}

}  // namespace

Model parse_model(const std::string& manifest) {
  const Json json = Json::parse(manifest);
  json.at("format").whole(1, 1);
  Model model;
  model.name = named(json.at("name"));
  model.version = named(json.at("version"));
  model.graph = named(json.at("graph"));
  model.class_num = json.at("class_num").whole(1, kMostClasses);
  model.topk = json.at("topk").whole(1, kMostClasses);
  model.preprocess = preprocess_of(json.at("preprocess"));
  read_shape(json.at("input").at("shape"), model);
  model.has_softmax = json.at("output").at("softmax").truth();
  if (!json.at("labels").is_null()) {
    model.labels = {file_name_of(json.at("labels")), digest_of(json.at("labels_sha256"))};
  }
  const Json& golden = json.at("golden");
  model.golden_input = {file_name_of(golden.at("input")), digest_of(golden.at("input_sha256"))};
  model.golden_output = {file_name_of(golden.at("output")), digest_of(golden.at("output_sha256"))};
  model.golden_picture = {file_name_of(golden.at("picture")), digest_of(golden.at("picture_sha256"))};
  const Json& models = json.at("models");
  if (models.items().empty() || models.items().size() > kMostFiles) models.refuse("1 to 64 files");
  for (const Json& item : models.items()) model.files.push_back(nb_file_of(item));
  return model;
}

Model read_model(const std::string& folder) {
  const std::string advice = " Give a folder that `ppghost export --target lite` wrote.";
  struct stat status {};
  if (::stat(folder.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
    throw Error("There is no folder '" + folder + "'." + advice);
  }
  const std::string path = folder + "/" + kManifest;
  if (::stat(path.c_str(), &status) != 0) {
    throw Error("'" + folder + "' is no model folder: it has no " + kManifest + "." + advice);
  }
  const std::string text = read_text(path);
  try {
    Model model = parse_model(text);
    model.folder = folder;
    return model;
  } catch (const Error& error) {
    throw Error("'" + path + "' cannot be used: " + error.what() + " Export the model again.");
  }
}

std::vector<NbFile> files_for(const Model& model, const std::string& arch, const std::string& precision) {
  std::vector<NbFile> found;
  std::string held;
  for (const NbFile& file : model.files) {
    if (file.arch == arch && (precision.empty() || file.precision == precision)) found.push_back(file);
    held += (held.empty() ? "" : ", ") + file.arch + " " + file.precision;
  }
  if (found.empty()) {
    throw Error("'" + model.folder + "' has no .nb file for " + arch + (precision.empty() ? "" : " " + precision) +
                ", which this program needs; it has: " + held + ". Export it for this processor.");
  }
  return found;
}

std::vector<std::string> read_labels(const Model& model) {
  if (model.labels.name.empty()) return {};
  const std::string path = model.path_of(model.labels.name);
  check_sha256(path, model.labels.sha256);
  try {
    return parse_labels(read_text(path), model.class_num);
  } catch (const Error& error) {
    throw Error("'" + path + "' cannot be used: " + error.what() + " Take the label file of this model.");
  }
}

std::vector<std::string> parse_labels(const std::string& text, std::size_t class_num) {
  std::vector<std::string> names;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin), id = std::to_string(names.size()) + " ";
    if (line.compare(0, id.size(), id) != 0) {
      throw Error(json_string(line.substr(0, 80)) + " is not the line of class " + std::to_string(names.size()) + ".");
    }
    names.push_back(line.substr(id.size()));
    begin = end + 1;
  }
  if (names.size() != class_num) {
    throw Error("it names " + std::to_string(names.size()) + " classes, but the network has " +
                std::to_string(class_num) + ".");
  }
  return names;
}

}  // namespace ppghost
