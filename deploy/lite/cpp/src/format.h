// Values as JSON text, whatever the locale of the process is.
#pragma once

#include <cstdint>
#include <string>

namespace ppghost {

/// Return `text` as a JSON string with its quotes. Bytes that are no UTF-8 become \udcXX, as Python writes them.
std::string json_string(const std::string& text);

/// Return a JSON string, or null where the text is empty.
std::string json_string_or_null(const std::string& text);

/// Return a finite number with `decimals` digits at most, and at least one: 1.0, 0.03125. Else null.
std::string json_fixed(double value, int decimals);

/// Return a finite number with `digits` significant digits; null when it is not finite.
std::string json_number(double value, int digits);

}  // namespace ppghost
