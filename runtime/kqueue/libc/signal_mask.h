// signal_mask: sets of signals as 64 bits (bit signal - 1), and the calling thread's mask and
// pending signals in this form.
//
// Threads: any. The functions may be called in a signal handler, and keep errno.
#pragma once

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

namespace kedge::kqueue {

constexpr std::uint64_t signal_bit(unsigned signal) noexcept {
  return std::uint64_t{1} << (signal - 1);
}

inline std::uint64_t bits_of(const sigset_t& set) noexcept {
  std::uint64_t bits = 0;
  static_assert(sizeof set >= sizeof bits);
  std::memcpy(&bits, &set, sizeof bits);
  return bits;
}

// Returns the mask of the calling thread, which becomes `*wanted`. Null: stays as it is. Not by
// pthread_sigmask(), which this library defines, and which cannot block the signals of the C
// library itself.
inline std::uint64_t exchange_mask(const std::uint64_t* wanted) noexcept {
  const int error = errno;
  std::uint64_t before = 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, wanted, &before, sizeof before);
  errno = error;
  return before;
}

// Returns the signals that are pending for the process or the calling thread.
inline std::uint64_t pending_now() noexcept {
  std::uint64_t pending = 0;
  syscall(SYS_rt_sigpending, &pending, sizeof pending);  // cannot fail
  return pending;
}

}  // namespace kedge::kqueue
