// Which share of something that is kept several times, so that threads do not meet at it, a thread
// uses. The core knows no threads; but whoever calls it has a stack.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kedge::mach::kernel {

inline constexpr std::size_t stack_shares = 4;

// The same for all addresses of a stack, nearly always; different for most stacks.
inline std::size_t stack_share(const void* on_stack) noexcept {
  constexpr unsigned smaller_than_a_stack = 20;
  const std::uint64_t region =
      static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(on_stack)) >>
      smaller_than_a_stack;
  return static_cast<std::size_t>((region * 0x9E3779B97F4A7C15u) >> 62) % stack_shares;
}

}  // namespace kedge::mach::kernel
