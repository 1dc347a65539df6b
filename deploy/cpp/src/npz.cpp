#include "npz.h"

#include <cstring>
#include <string_view>

#include "errors.h"

namespace ppghost {
namespace {

constexpr std::uint32_t kLocalHeader = 0x04034b50, kCentralHeader = 0x02014b50, kEnd = 0x06054b50;
constexpr std::size_t kLocalSize = 30, kCentralSize = 46, kEndSize = 22, kMostDimensions = 8;

[[noreturn]] void refuse(const std::string& why) { throw Error("no archive of numpy.savez: " + why); }

/// Bytes with bounds: every access is checked.
class View {
 public:
  View(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  std::size_t size() const { return size_; }
  const std::uint8_t* data() const { return data_; }

  View slice(std::uint64_t begin, std::uint64_t length) const {
    if (begin > size_ || length > size_ - begin) refuse("it was cut off");
    return View(data_ + begin, static_cast<std::size_t>(length));
  }

  std::uint32_t number(std::uint64_t begin, int bytes) const {
    const View view = slice(begin, static_cast<std::uint64_t>(bytes));
    std::uint32_t value = 0;
    for (int i = bytes - 1; i >= 0; --i) value = value << 8 | view.data_[i];
    return value;
  }

  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

/// The dict at the head of an .npy file, read word by word; only NumPy's own way of writing it is accepted.
class HeaderReader {
 public:
  explicit HeaderReader(std::string_view text) : rest_(text) {}

  void expect(std::string_view word) {
    if (rest_.substr(0, word.size()) != word) refuse("an array's header is not NumPy's");
    rest_.remove_prefix(word.size());
  }

  std::string_view until(char end) {
    const std::size_t length = rest_.find(end);
    if (length == std::string_view::npos) refuse("an array's header is not NumPy's");
    const std::string_view word = rest_.substr(0, length);
    rest_.remove_prefix(length + 1);
    return word;
  }

 private:
  std::string_view rest_;
};

std::vector<std::size_t> parse_shape(std::string_view text) {
  std::vector<std::size_t> shape;
  std::size_t value = 0;
  bool has_digits = false;
  for (const char c : text) {
    if (c >= '0' && c <= '9') {
      if (value > (std::size_t{1} << 48)) refuse("an array's shape is too large");
      value = value * 10 + static_cast<std::size_t>(c - '0');
      has_digits = true;
    } else if (c == ',' && has_digits) {
      shape.push_back(value);
      value = 0, has_digits = false;
    } else if (c != ' ') {
      refuse("an array's shape is not NumPy's");
    }
  }
  if (has_digits) shape.push_back(value);
  if (shape.size() > kMostDimensions) refuse("an array has more than 8 dimensions");
  return shape;
}

Array parse_npy(const View& file) {
  if (file.slice(0, 6).text() != "\x93NUMPY") refuse("an entry is no .npy file");
  const std::uint32_t major = file.number(6, 1);
  if (major < 1 || major > 3) refuse("an entry is an .npy file of another version");
  const std::size_t length_bytes = major == 1 ? 2 : 4;
  const std::uint64_t begin = 8 + length_bytes;
  const std::uint64_t length = file.number(8, static_cast<int>(length_bytes));

  HeaderReader header(file.slice(begin, length).text());
  Array array;
  header.expect("{'descr': '");
  array.dtype = header.until('\'');
  if (array.dtype != "<f4" && array.dtype != "|u1") {
    refuse("the element type '" + array.dtype + "'; accepted: <f4 and |u1");
  }
  header.expect(", 'fortran_order': False, 'shape': (");
  array.shape = parse_shape(header.until(')'));

  const std::uint64_t data_size = file.size() - begin - length;
  std::uint64_t expected = array.dtype == "<f4" ? 4 : 1;
  for (const std::size_t side : array.shape) {
    // The product cannot overflow: it is compared with what the file holds before each step.
    if (side != 0 && expected > data_size / side) refuse("an array is longer than its entry");
    expected *= side;
  }
  if (expected != data_size) refuse("an array is shorter than its entry");
  const View data = file.slice(begin + length, data_size);
  array.bytes.assign(data.data(), data.data() + data.size());
  return array;
}

/// Return the position of the record that ends the archive; a comment may follow it.
std::uint64_t find_end(const View& archive) {
  const std::size_t size = archive.size();
  for (std::size_t back = kEndSize; back <= size && back <= kEndSize + 0xFFFF; ++back) {
    if (archive.number(size - back, 4) == kEnd) return size - back;
  }
  refuse("it has no end record");
}

}  // namespace

std::vector<float> Array::floats() const {
  if (dtype != "<f4") throw Error("an array of type " + dtype + " stands where float32 belongs");
  std::vector<float> values(bytes.size() / 4);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint8_t* p = bytes.data() + 4 * i;
    const std::uint32_t word =
        std::uint32_t{p[3]} << 24 | std::uint32_t{p[2]} << 16 | std::uint32_t{p[1]} << 8 | p[0];
    std::memcpy(&values[i], &word, 4);
  }
  return values;
}

std::map<std::string, Array> parse_npz(const std::vector<std::uint8_t>& bytes) {
  const View archive(bytes.data(), bytes.size());
  const std::uint64_t end = find_end(archive);
  const std::uint32_t count = archive.number(end + 10, 2);
  std::uint64_t position = archive.number(end + 16, 4);
  std::map<std::string, Array> arrays;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (archive.number(position, 4) != kCentralHeader) refuse("its directory is broken");
    const std::uint32_t method = archive.number(position + 10, 2);
    const std::uint32_t stored = archive.number(position + 20, 4), size = archive.number(position + 24, 4);
    const std::uint32_t name_size = archive.number(position + 28, 2);
    const std::uint64_t local = archive.number(position + 42, 4);
    std::string name(archive.slice(position + kCentralSize, name_size).text());
    position += kCentralSize + name_size + archive.number(position + 30, 2) + archive.number(position + 32, 2);

    if (method != 0 || stored != size) refuse("'" + name + "' is compressed");
    if (size == 0xFFFFFFFF) refuse("'" + name + "' has more than 4 GiB");
    if (name.size() < 4 || name.substr(name.size() - 4) != ".npy") refuse("'" + name + "' is no .npy file");
    if (archive.number(local, 4) != kLocalHeader) refuse("'" + name + "' is not where the directory says");
    const std::uint64_t data =
        local + kLocalSize + archive.number(local + 26, 2) + archive.number(local + 28, 2);
    name.resize(name.size() - 4);
    if (!arrays.emplace(name, parse_npy(archive.slice(data, size))).second) refuse("'" + name + "' comes twice");
  }
  return arrays;
}

}  // namespace ppghost
