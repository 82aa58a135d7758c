// fork_generation(): a number that differs between a process and each child that it forks.
//
//   const unsigned made_in = fork_generation();
//   if (made_in != fork_generation()) ...     // this is a forked child of the process
//
// Costs one load. Not noticed: children of vfork(), and children that are made past the C library
// (by a system call of the program's own). Any thread.
#pragma once

#include <atomic>

namespace kedge {

namespace detail {
extern std::atomic<unsigned> forks;
}

inline unsigned fork_generation() noexcept {
  return detail::forks.load(std::memory_order_relaxed);
}

}  // namespace kedge
