// space_incarnation(): a number for the calling thread's current space, which no other space of
// this process and of its forked children has.
//
// A name has a meaning only in the space in which it was made. Every object that owns a name keeps
// this number beside it, and compares before it uses or releases the name: in a forked child the
// names of the parent's objects belong to other rights, or are free.
#pragma once

#include <cstdint>

#include "kedge/mach/kernel/extension.h"
#include "kedge/runtime/reactor/fork_generation.h"

namespace kedge::mach {

// The bit by which the number of a task of kernel::create_task() is told from that of a process.
inline constexpr std::uint32_t made_task = std::uint32_t{1} << 31;

// Of the space of a task.
inline std::uint32_t space_incarnation_of(kernel::task task) noexcept {
  if (task.id != 0) return static_cast<std::uint32_t>(task.id) | made_task;
  return fork_generation() & ~made_task;
}
inline std::uint32_t space_incarnation() noexcept {
  return space_incarnation_of(kernel::task_of_thread());
}

}  // namespace kedge::mach
