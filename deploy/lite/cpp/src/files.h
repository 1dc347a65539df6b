// Files: their bytes within a limit, and their SHA-256 (FIPS 180-4).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace ppghost {

using Bytes = std::vector<std::uint8_t>;

/// Return the size of a regular file in bytes.
/// Throws Error when it is missing, no regular file (a folder, a pipe, a device), or out of reach.
std::uint64_t size_of_file(const std::string& path);

/// Return the bytes of a regular file; throws Error as `size_of_file`, and when it is longer than `most_bytes`.
Bytes read_file(const std::string& path, std::uint64_t most_bytes);

/// Return the first bytes of a regular file, `most_bytes` or what there is.
Bytes read_head(const std::string& path, std::size_t most_bytes);

/// Return the digest of bytes as 64 hex digits, lower case.
std::string sha256_of(const Bytes& bytes);

/// Return the digest of a file, read in pieces.
std::string sha256_of_file(const std::string& path);

/// Make sure that a file has a digest; throws Error that tells both.
void check_sha256(const std::string& path, const std::string& expected);

}  // namespace ppghost
