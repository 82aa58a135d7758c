// Defines the C library's calls that read or change the disposition of a signal (sigaction, signal,
// bsd_signal, ssignal, sysv_signal, sigset, sigignore, siginterrupt), because they must see the
// program's disposition while the library's handler is installed (signal_disposition.h). They
// behave as the C library's, and are as safe in a signal handler.
#include <signal.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

#include "kedge/runtime/kqueue/libc/signal_disposition.h"
#include "kedge/runtime/kqueue/libc/signal_mask.h"

namespace {

using handler_function = void (*)(int);

// Signals that siginterrupt() made interrupting, which signal() does not change. Bit signal - 1.
constinit std::atomic<std::uint64_t> interrupting{0};

bool is_signal(int signal) noexcept {
  return signal > 0 && signal < static_cast<int>(kedge::kqueue::signal_count);
}

std::uint64_t bit(int signal) noexcept {
  return kedge::kqueue::signal_bit(static_cast<unsigned>(signal));
}

// Returns the previous handler, or SIG_ERR with errno.
handler_function replace(int signal, handler_function handler, int flags,
                         bool mask_itself) noexcept {
  struct sigaction wanted{};
  struct sigaction before{};
  wanted.sa_handler = handler;
  wanted.sa_flags = flags;
  if (handler == SIG_ERR) {
    errno = EINVAL;
    return SIG_ERR;
  }
  if (mask_itself && sigaddset(&wanted.sa_mask, signal) != 0) return SIG_ERR;
  if (kedge::kqueue::change_disposition(signal, &wanted, &before) != 0) return SIG_ERR;
  return before.sa_handler;
}

handler_function replace_as_bsd(int signal, handler_function handler) noexcept {
  const bool interrupts =
      is_signal(signal) && (interrupting.load(std::memory_order_relaxed) & bit(signal)) != 0;
  return replace(signal, handler, interrupts ? 0 : SA_RESTART, true);
}

handler_function replace_as_system_v(int signal, handler_function handler) noexcept {
  return replace(signal, handler, static_cast<int>(SA_RESETHAND | SA_NODEFER), false);
}

// Blocks or unblocks a signal. Returns false with errno if there is no such signal.
bool mask(int how, int signal, bool& was_blocked) noexcept {
  sigset_t only;
  sigset_t before;
  sigemptyset(&only);
  if (sigaddset(&only, signal) != 0 || sigprocmask(how, &only, &before) != 0) return false;
  was_blocked = sigismember(&before, signal) == 1;
  return true;
}

}  // namespace

extern "C" int sigaction(int signal, const struct sigaction* wanted,
                         struct sigaction* before) noexcept {
  return kedge::kqueue::change_disposition(signal, wanted, before);
}

extern "C" handler_function signal(int signal, handler_function handler) noexcept {
  return replace_as_bsd(signal, handler);
}

extern "C" handler_function bsd_signal(int signal, handler_function handler) noexcept {
  return replace_as_bsd(signal, handler);
}

extern "C" handler_function ssignal(int signal, handler_function handler) noexcept {
  return replace_as_bsd(signal, handler);
}

extern "C" handler_function sysv_signal(int signal, handler_function handler) noexcept {
  return replace_as_system_v(signal, handler);
}

// The signal() of a strict _XOPEN_SOURCE.
extern "C" handler_function __sysv_signal(int signal, handler_function handler) noexcept {
  return replace_as_system_v(signal, handler);
}

extern "C" handler_function sigset(int signal, handler_function handler) noexcept {
  bool was_blocked = false;
  if (handler == SIG_HOLD) {
    struct sigaction now{};
    if (!mask(SIG_BLOCK, signal, was_blocked)) return SIG_ERR;
    if (was_blocked) return SIG_HOLD;
    if (kedge::kqueue::change_disposition(signal, nullptr, &now) != 0) return SIG_ERR;
    return now.sa_handler;
  }
  const handler_function before = replace(signal, handler, 0, false);
  if (before == SIG_ERR || !mask(SIG_UNBLOCK, signal, was_blocked)) return SIG_ERR;
  return was_blocked ? SIG_HOLD : before;
}

extern "C" int sigignore(int signal) noexcept {
  return replace(signal, SIG_IGN, 0, false) == SIG_ERR ? -1 : 0;
}

extern "C" int siginterrupt(int signal, int interrupts) noexcept {
  struct sigaction action{};
  if (kedge::kqueue::change_disposition(signal, nullptr, &action) != 0) return -1;
  if (interrupts != 0) {
    interrupting.fetch_or(bit(signal), std::memory_order_relaxed);
    action.sa_flags &= ~SA_RESTART;
  } else {
    interrupting.fetch_and(~bit(signal), std::memory_order_relaxed);
    action.sa_flags |= SA_RESTART;
  }
  return kedge::kqueue::change_disposition(signal, &action, nullptr);
}
