// The functions of extension.h, but for use_clock(), which is beside the timers' clocks.
#include "kedge/runtime/kqueue/extension.h"

#include <cerrno>

#include "kedge/runtime/kqueue/descriptors/kqueue_registry.h"
#include "kedge/runtime/kqueue/queue.h"

namespace kedge::kqueue {
namespace {

// Returns the kqueue with its lock held, to be left by leave(). Null if `kq` is not a kqueue.
queue* enter(int kq, call_kind kind) noexcept {
  queue* const q = kqueue_registry::find(kq);
  return q != nullptr && q->enter(kq, kind) == 0 ? q : nullptr;
}

bool change_options(int kq, unsigned options, bool is_set) noexcept {
  if ((options & ~(no_data | not_pollable)) != 0) return false;
  queue* const q = enter(kq, call_kind::undecided);
  if (q == nullptr) return false;
  q->set_options(options, is_set);
  q->leave();
  return true;
}

}  // namespace

bool opt_out(int kq, unsigned options) noexcept {
  return change_options(kq, options, true);
}

bool opt_in(int kq, unsigned options) noexcept {
  return change_options(kq, options, false);
}

int take_active(int kq, kevent64_s* events, int nevents) noexcept {
  const int error = errno;
  queue* const q = nevents > 0 ? enter(kq, call_kind::wide) : nullptr;
  if (q == nullptr) {
    errno = error;
    return 0;
  }
  event_writer out(events, nevents);
  q->collect_active(out);
  q->leave();
  return static_cast<int>(out.count());
}

}  // namespace kedge::kqueue
