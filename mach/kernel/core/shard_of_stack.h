// Which share of something that is kept several times, so that threads do not meet at it, a thread
// uses. The core knows no threads; but whoever calls it has a stack.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kedge::mach::kernel {

inline constexpr std::size_t stack_shards = 4;

// The same for all addresses of a stack, nearly always. Stacks are 8 MiB, one behind the other,
// unless a thread asks for less.
inline std::size_t shard_of_stack(const void* on_stack) noexcept {
  constexpr unsigned stack_bits = 23;
  return (reinterpret_cast<std::uintptr_t>(on_stack) >> stack_bits) % stack_shards;
}

}  // namespace kedge::mach::kernel
