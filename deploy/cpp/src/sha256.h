// SHA-256 (FIPS 180-4), so that a changed file is found without a library for it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace ppghost {

/// Return the digest of a file as 64 hex digits, lower case.
/// Throws Error when the file cannot be read to its end.
std::string sha256_of(const std::filesystem::path& path);

/// Return the digest of bytes.
std::string sha256_of(const std::uint8_t* data, std::size_t size);

}  // namespace ppghost
