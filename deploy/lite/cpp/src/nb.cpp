#include "nb.h"

#include <algorithm>
#include <cctype>

#include "errors.h"
#include "format.h"

namespace ppghost {
namespace {

constexpr std::size_t kVersionPlace = 2, kTopologyPlace = 18;
constexpr std::uint64_t kMetaVersion = 2;

std::uint64_t little(const Bytes& bytes, std::size_t place, std::size_t count) {
  std::uint64_t value = 0;
  for (std::size_t i = count; i > 0; --i) value = value << 8 | bytes[place + i - 1];
  return value;
}

}  // namespace

NbHeader parse_nb_header(const Bytes& head, std::uint64_t size_bytes) {
  if (size_bytes == 0) throw Error("it is empty (0 bytes).");
  if (head.size() < kNbHeaderBytes || size_bytes < kNbHeaderBytes) {
    throw Error("it is truncated: " + std::to_string(size_bytes) + " bytes are not even its header.");
  }
  NbHeader header;
  header.meta_version = little(head, 0, 2);
  const auto version = head.begin() + kVersionPlace, end = head.begin() + kTopologyPlace;
  header.opt_version.assign(version, std::find(version, end, std::uint8_t{0}));
  const std::string& name = header.opt_version;
  if (name.size() < 2 || name[0] != 'v' || !std::isdigit(static_cast<unsigned char>(name[1]))) {
    throw Error("it is no .nb file of Paddle Lite: no version of a converter stands in its header.");
  }
  if (header.meta_version != kMetaVersion) {
    throw Error("its meta version is " + std::to_string(header.meta_version) + "; accepted: " +
                std::to_string(kMetaVersion) + ". Convert the model with a newer Paddle Lite.");
  }
  if (little(head, kTopologyPlace, 8) > size_bytes - kNbHeaderBytes) {
    throw Error("it is truncated: its header tells of more than its " + std::to_string(size_bytes) + " bytes.");
  }
  return header;
}

void check_nb_file(const std::string& path, const NbFile& expected) {
  const std::uint64_t size = size_of_file(path);
  const std::string advice = " Copy the folder again from where it was exported, or export again.";
  try {
    const NbHeader header = parse_nb_header(read_head(path, kNbHeaderBytes), size);
    if (header.opt_version != expected.opt_version) {
      throw Error("it was converted by " + json_string(header.opt_version) + ", its manifest says " +
                  json_string(expected.opt_version) + ".");
    }
    if (size != expected.size_bytes) {
      throw Error("it has " + std::to_string(size) + " bytes instead of " + std::to_string(expected.size_bytes) + ".");
    }
  } catch (const Error& error) {
    throw Error("'" + path + "' cannot be used: " + error.what() + advice);
  }
  check_sha256(path, expected.sha256);
}

}  // namespace ppghost
