// sigpipe_guard: blocks SIGPIPE, and takes back what was raised.
#include "kedge/runtime/base/sigpipe_guard.h"

#include <cerrno>
#include <mutex>

#include "kedge/runtime/base/mutex.h"

namespace kedge::base {
namespace {

sigset_t only_sigpipe() noexcept {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  return set;
}

bool is_blocked_in(const sigset_t& mask) noexcept {
  return sigismember(&mask, SIGPIPE) == 1;
}

bool is_pending() noexcept {
  sigset_t pending;
  sigemptyset(&pending);
  ::sigpending(&pending);
  return sigismember(&pending, SIGPIPE) == 1;
}

// Darwin has no sigtimedwait(2). sigwait(3) does not wait for a signal that is pending. One that is
// pending for the process can be seen by several guards: one thread at a time looks and takes.
void take_back() noexcept {
  static mutex taking;
  const std::lock_guard hold(taking);
  if (!is_pending()) return;
  const sigset_t set = only_sigpipe();
  int taken = 0;
  ::sigwait(&set, &taken);
}

}  // namespace

// A signal that the thread did not block was not pending. If it did, nothing delivers the signal
// between the two calls.
sigpipe_guard::sigpipe_guard() noexcept {
  const sigset_t set = only_sigpipe();
  ::pthread_sigmask(SIG_BLOCK, &set, &mask_before_);
  was_pending_ = is_blocked_in(mask_before_) && is_pending();
}

sigpipe_guard::~sigpipe_guard() {
  const int why = errno;
  if (!was_pending_ && is_pending()) take_back();
  ::pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
  errno = why;
}

}  // namespace kedge::base
