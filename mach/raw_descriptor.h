// read_descriptor(), write_descriptor(): a descriptor of a message as one of Darwin's structures.
// These are packed to four bytes, so they are read and written as a whole.
//
// For the .cc files of this room. Any thread.
#pragma once

#include <cstddef>
#include <cstring>

namespace kedge::mach {

template <class Descriptor>
Descriptor read_descriptor(const std::byte* at) noexcept {
  Descriptor d;
  std::memcpy(&d, at, sizeof d);
  return d;
}

template <class Descriptor>
void write_descriptor(std::byte* at, const Descriptor& d) noexcept {
  std::memcpy(at, &d, sizeof d);
}

}  // namespace kedge::mach
