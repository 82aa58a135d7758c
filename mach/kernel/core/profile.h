// How old the kernel is whose answers are given: one named condition for each known difference
// between xnu-7195 (macOS 11) and xnu-11417 (macOS 15). Each is asked in the one place where it
// matters, and nowhere else is a version looked at.
#pragma once

#include <cstdint>

namespace kedge::mach::kernel {

class profile {
 public:
  enum class age : std::uint8_t { macos11, macos15 };

  constexpr profile(age of) noexcept : age_(of) {}

  // mach_port_rename reaches a routine, which refuses; later there is none.
  constexpr bool knows_rename() const noexcept { return older(); }

 private:
  constexpr bool older() const noexcept { return age_ == age::macos11; }

  age age_;
};

}  // namespace kedge::mach::kernel
