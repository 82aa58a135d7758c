// thread_status: signal masks and pending signals of threads, from /proc/self.
//
// Threads: any. The functions may be called in a signal handler, are not cancellation points, and
// keep errno.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

namespace kedge::kqueue {

// Sets of signals. Bit signal - 1.
struct thread_status {
  // It takes no signals: it has ended, as the main thread may, or is one of io_uring's.
  bool takes_none = false;
  std::uint64_t blocked = 0;
  std::uint64_t pending = 0;             // for the thread
  std::uint64_t pending_of_process = 0;  // for the process
};

// Null if the thread has ended, or if its status cannot be read: no /proc, or no free descriptor.
std::optional<thread_status> status_of(pid_t thread) noexcept;

// The same from a descriptor of a thread's status file.
std::optional<thread_status> status_from(int fd) noexcept;

// Returns whether each thread but `self` is known to block the signals. It is not known of a thread
// that blocks even the C library's own signals: a function of the C library that does so restores
// the thread's mask when it returns.
bool others_block(std::uint64_t signals, pid_t self) noexcept;

}  // namespace kedge::kqueue
