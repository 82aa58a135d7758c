// parse_number(): the number that a text is. For the .cc files of this room.
#pragma once

#include <charconv>
#include <string_view>
#include <system_error>

namespace kedge::net {

// Sets `number` to the decimal number that all of `text` is. Returns false for any other text, and
// for a number that a Number cannot hold.
template <class Number>
bool parse_number(std::string_view text, Number& number) noexcept {
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  const auto [stop, error] = std::from_chars(begin, end, number);
  return error == std::errc() && stop == end;
}

}  // namespace kedge::net
