// The header of a .nb file ("naive buffer"), read before Paddle Lite sees the file: Paddle Lite ends the whole
// process where a file is not as it should be.
//
// Source of the form: Paddle-Lite, lite/model_parser, meta version 2.
#pragma once

#include <cstdint>
#include <string>

#include "files.h"
#include "model.h"

namespace ppghost {

struct NbHeader {
  std::uint64_t meta_version = 0;
  std::string opt_version;  ///< of the converter that wrote the file
};

constexpr std::size_t kNbHeaderBytes = 26;

/// Return the header of a .nb file of `size_bytes` bytes that begins with `head`, `kNbHeaderBytes` of them.
/// Throws Error when it is empty, truncated, of another form, or no .nb file.
NbHeader parse_nb_header(const Bytes& head, std::uint64_t size_bytes);

/// Make sure that a .nb file is what was exported: header, size, SHA-256. Throws Error when it is not.
void check_nb_file(const std::string& path, const NbFile& expected);

}  // namespace ppghost
