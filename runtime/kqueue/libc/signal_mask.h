// signal_mask: signal masks as 64 bits (bit signal - 1), and all_signals_blocked, which a lock
// needs that a signal handler takes too.
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

class all_signals_blocked {
 public:
  all_signals_blocked() noexcept {
    const std::uint64_t all = ~std::uint64_t{0};
    before_ = exchange_mask(&all);
  }
  all_signals_blocked(const all_signals_blocked&) = delete;
  all_signals_blocked& operator=(const all_signals_blocked&) = delete;
  ~all_signals_blocked() { exchange_mask(&before_); }

  // The mask from before.
  std::uint64_t before() const noexcept { return before_; }

 private:
  std::uint64_t before_;
};

}  // namespace kedge::kqueue
