// thread_status: signal masks of threads, from /proc/self. Without /proc nothing is known.
//
// Threads: any. The functions may be called in a signal handler, are not cancellation points, and
// keep errno.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

namespace kedge::kqueue {

// Masks have bit signal - 1.
struct thread_status {
  // It takes no signals: it has ended, as the main thread may, or is one of io_uring's.
  bool takes_none = false;
  std::uint64_t blocked = 0;
  std::uint64_t pending = 0;             // for the thread
  std::uint64_t pending_of_process = 0;  // for the process
};

std::optional<thread_status> status_of(pid_t thread) noexcept;

// What the threads but `self` do with signals in the process's pending set.
enum class reception : std::uint8_t {
  blocked,    // all threads block them
  possible,   // a thread takes them, or has them unblocked
  uncertain,  // a function of the C library blocks all signals until it returns
};
// Returns `blocked` without /proc.
reception reception_of(std::uint64_t signals, pid_t self) noexcept;

}  // namespace kedge::kqueue
