// What an epoll event's 64 bits of data say. The lower half is a descriptor's number, below 2^31,
// with its registration's generation in the upper half; or one of the kqueue's own descriptors.
#pragma once

#include <cstdint>

namespace kedge::kqueue {

inline constexpr std::uint32_t own_descriptor =
    0x8000'0000;  // set in the lower half: not the program's
inline constexpr std::uint64_t bell_tag = 0xffff'ffff;

constexpr std::uint64_t pump_tag(unsigned filter) noexcept {
  return own_descriptor | filter;
}

}  // namespace kedge::kqueue
