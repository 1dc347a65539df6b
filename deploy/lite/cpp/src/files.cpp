#include "files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "errors.h"

namespace ppghost {
namespace {

/// A regular file that is open for reading.
class Input {
 public:
  // O_NONBLOCK: a pipe that nobody writes to must not hold us here.
  explicit Input(const std::string& path) : path_(path), handle_(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)) {
    struct stat status {};
    if (handle_ < 0) fail(std::strerror(errno));
    if (::fstat(handle_, &status) != 0 || !S_ISREG(status.st_mode)) {
      ::close(handle_);
      fail("it is a folder, a pipe or a device, no file");
    }
    size_ = static_cast<std::uint64_t>(status.st_size);
  }
  ~Input() { ::close(handle_); }
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;

  std::uint64_t size() const { return size_; }

  /// Read up to `count` bytes; 0 at the end.
  std::size_t read(std::uint8_t* target, std::size_t count) {
    ssize_t got;
    do {
      got = ::read(handle_, target, count);
    } while (got < 0 && errno == EINTR);
    if (got < 0) fail(std::strerror(errno));
    return static_cast<std::size_t>(got);
  }

  Bytes read_all(std::size_t count) {
    Bytes bytes(count);
    std::size_t filled = 0;
    while (filled < count) {
      const std::size_t got = read(bytes.data() + filled, count - filled);
      if (got == 0) fail("it became shorter while it was read");
      filled += got;
    }
    return bytes;
  }

  [[noreturn]] void fail(const std::string& why) const { throw Error("'" + path_ + "' cannot be read: " + why + "."); }

 private:
  std::string path_;
  int handle_;
  std::uint64_t size_ = 0;
};

constexpr std::size_t kBlock = 64;

std::uint32_t turned(std::uint32_t word, int bits) { return word >> bits | word << (32 - bits); }

/// Return the first 32 bits behind the point of a root of each of the first `N` primes: FIPS 180-4, 4.2.2 and 5.3.3.
/// A double holds 17 bits more than are needed, so the last bit of the root does not matter.
template <std::size_t N>
std::array<std::uint32_t, N> fractions(double (*root)(double)) {
  std::array<std::uint32_t, N> words{};
  std::size_t found = 0;
  for (int number = 2; found < N; ++number) {
    bool is_prime = true;
    for (int divisor = 2; divisor * divisor <= number; ++divisor) is_prime = is_prime && number % divisor != 0;
    if (!is_prime) continue;
    const double value = root(number);
    words[found++] = static_cast<std::uint32_t>(std::ldexp(value - std::floor(value), 32));
  }
  return words;
}

double cube_root(double value) { return std::cbrt(value); }
double square_root(double value) { return std::sqrt(value); }

class Sha256 {
 public:
  void add(const std::uint8_t* data, std::size_t size) {
    length_ += size;
    while (size > 0) {
      const std::size_t taken = std::min(size, kBlock - filled_);
      std::memcpy(block_ + filled_, data, taken);
      data += taken, size -= taken, filled_ += taken;
      if (filled_ == kBlock) absorb();
    }
  }

  std::string finish() {
    std::uint64_t bits = 8 * length_;
    std::uint8_t tail[kBlock + 8] = {0x80};
    const std::size_t padding = (filled_ < 56 ? 56 : 120) - filled_;
    for (std::size_t i = 0; i < 8; ++i, bits <<= 8) tail[padding + i] = static_cast<std::uint8_t>(bits >> 56);
    add(tail, padding + 8);
    std::string text;
    for (const std::uint32_t word : state_) {
      for (int shift = 28; shift >= 0; shift -= 4) text += "0123456789abcdef"[word >> shift & 15];
    }
    return text;
  }

 private:
  void absorb() {
    static const std::array<std::uint32_t, 64> kRounds = fractions<64>(cube_root);
    std::uint32_t w[64];
    for (int i = 0; i < 16; ++i) {
      w[i] = 0;
      for (int j = 0; j < 4; ++j) w[i] = w[i] << 8 | block_[4 * i + j];
    }
    for (int i = 16; i < 64; ++i) {
      const std::uint32_t a = w[i - 15], b = w[i - 2];
      w[i] = w[i - 16] + w[i - 7] + (turned(a, 7) ^ turned(a, 18) ^ a >> 3) + (turned(b, 17) ^ turned(b, 19) ^ b >> 10);
    }
    std::array<std::uint32_t, 8> s = state_;
    for (std::size_t i = 0; i < 64; ++i) {
      const std::uint32_t chosen = (s[4] & s[5]) ^ (~s[4] & s[6]), most = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
      const std::uint32_t first = s[7] + (turned(s[4], 6) ^ turned(s[4], 11) ^ turned(s[4], 25)) + chosen +
                                  kRounds[i] + w[i];
      const std::uint32_t second = (turned(s[0], 2) ^ turned(s[0], 13) ^ turned(s[0], 22)) + most;
      std::copy_backward(s.begin(), s.end() - 1, s.end());
      s[4] += first;
      s[0] = first + second;
    }
    for (std::size_t i = 0; i < 8; ++i) state_[i] += s[i];
    filled_ = 0;
  }

  std::array<std::uint32_t, 8> state_ = fractions<8>(square_root);
  std::uint8_t block_[kBlock] = {};
  std::size_t filled_ = 0;
  std::uint64_t length_ = 0;
};

}  // namespace

std::uint64_t size_of_file(const std::string& path) { return Input(path).size(); }

Bytes read_file(const std::string& path, std::uint64_t most_bytes) {
  Input input(path);
  if (input.size() > most_bytes) {
    input.fail(std::to_string(input.size()) + " bytes are more than the accepted " + std::to_string(most_bytes));
  }
  return input.read_all(static_cast<std::size_t>(input.size()));
}

Bytes read_head(const std::string& path, std::size_t most_bytes) {
  Input input(path);
  return input.read_all(static_cast<std::size_t>(std::min<std::uint64_t>(input.size(), most_bytes)));
}

std::string sha256_of(const Bytes& bytes) {
  Sha256 digest;
  digest.add(bytes.data(), bytes.size());
  return digest.finish();
}

std::string sha256_of_file(const std::string& path) {
  Input input(path);
  Sha256 digest;
  Bytes piece(1 << 16);
  while (const std::size_t got = input.read(piece.data(), piece.size())) digest.add(piece.data(), got);
  return digest.finish();
}

void check_sha256(const std::string& path, const std::string& expected) {
  const std::string found = sha256_of_file(path);
  if (found != expected) {
    throw Error("'" + path + "' was changed: its SHA-256 is " + found + ", not " + expected +
                ". Copy the folder again from where it was exported.");
  }
}

}  // namespace ppghost
