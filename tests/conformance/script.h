// script: reads the words of a trace. Errors are thrown as bad_script.
#pragma once

#include <charconv>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace conformance {

// A line of the script breaks the grammar.
class bad_script : public std::runtime_error {
 public:
  explicit bad_script(const std::string& what) : std::runtime_error(what) {}
  bad_script(const char* what, std::string_view where)
      : std::runtime_error(std::string(what) + ": '" + std::string(where) + "'") {}
};

// Returns the parts of `text` between separators. Empty parts count.
inline std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

// Reads a whole token as a number. A negative one wraps in an unsigned type, as in C. Throws
// bad_script.
template <typename T>
T read_number(std::string_view token, int base = 10) {
  const bool negative = token.starts_with('-');
  const std::string_view digits = token.substr(negative ? 1 : 0);
  std::uint64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    throw bad_script("not a number", token);
  }
  return static_cast<T>(negative ? 0 - value : value);
}

// Reads a decimal number, or a hexadecimal one after 0x. Throws bad_script.
inline std::uint64_t read_u64(std::string_view token) {
  return token.starts_with("0x") ? read_number<std::uint64_t>(token.substr(2), 16)
                                 : read_number<std::uint64_t>(token);
}

}  // namespace conformance
