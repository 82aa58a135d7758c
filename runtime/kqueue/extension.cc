#include "kedge/runtime/kqueue/extension.h"

#include <cerrno>

#include "kedge/runtime/kqueue/descriptors/kqueue_registry.h"
#include "kedge/runtime/kqueue/queue.h"

namespace kedge::kqueue {
namespace {

queue* entered(int kq, call_kind kind) noexcept {
  queue* const q = kqueue_registry::find(kq);
  return q != nullptr && q->enter(kq, kind) == 0 ? q : nullptr;
}

}  // namespace

bool opt_out(int kq, unsigned what) noexcept {
  queue* const q =
      (what & ~(no_data | not_pollable)) == 0 ? entered(kq, call_kind::undecided) : nullptr;
  if (q == nullptr) return false;
  q->leave_out(what);
  q->leave();
  return true;
}

bool opt_in(int kq, unsigned what) noexcept {
  queue* const q =
      (what & ~(no_data | not_pollable)) == 0 ? entered(kq, call_kind::undecided) : nullptr;
  if (q == nullptr) return false;
  q->provide(what);
  q->leave();
  return true;
}

int take_active(int kq, kevent64_s* events, int nevents) noexcept {
  const int error = errno;
  queue* const q = nevents > 0 ? entered(kq, call_kind::wide) : nullptr;
  if (q == nullptr) {
    errno = error;
    return 0;
  }
  records out(events, nevents);
  q->collect_active(out);
  q->leave();
  return static_cast<int>(out.count());
}

}  // namespace kedge::kqueue
