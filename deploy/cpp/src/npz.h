// golden.npz: arrays in NumPy's .npz form, a zip archive of .npy files that are stored, not compressed.
//
// Source of the forms: PKWARE's APPNOTE.TXT, sections 4.3.7, 4.3.12, 4.3.16, and NumPy's `numpy.lib.format`.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace ppghost {

/// An array in C order, either `float32` or `uint8`.
struct Array {
  std::vector<std::size_t> shape;
  std::string dtype;                 ///< "<f4" or "|u1"
  std::vector<std::uint8_t> bytes;   ///< shape's product times the element's size

  /// Return the elements of a float32 array; throws Error when it is another one.
  std::vector<float> floats() const;
};

/// Return the arrays of an .npz file by name, without the suffix .npy.
/// Throws Error when the bytes are anything but what `numpy.savez` writes of float32 and uint8 arrays.
std::map<std::string, Array> parse_npz(const std::vector<std::uint8_t>& archive);

}  // namespace ppghost
