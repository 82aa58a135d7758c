// The functions of extension.h, but for kevent() and kevent64() by a handle, which are in
// kevent.cc.
#include "kedge/runtime/kqueue/extension.h"

#include <unistd.h>

#include <cerrno>

#include "kedge/runtime/kqueue/descriptors/kqueue_registry.h"
#include "kedge/runtime/kqueue/queue.h"

namespace kedge::kqueue {
namespace {

constexpr unsigned by_opt_out = no_data | not_pollable;
constexpr unsigned by_opt_in = oob_marks;

constinit const std::uint32_t never_active = 0;

// Runs `call` with the kqueue, whose lock is held. Returns what it returned, false if `kq` is not a
// kqueue. Keeps errno.
template <class Call>
bool in_kqueue(int kq, Call call) noexcept {
  queue* const q = kqueue_registry::find(kq);
  if (q == nullptr || q->enter(kq, call_kind::undecided) != 0) return false;
  const int error = errno;
  const bool result = call(*q);
  q->leave();
  errno = error;
  return result;
}

bool change_options(int kq, unsigned turned_on, unsigned turned_off) noexcept {
  if (((turned_on | turned_off) & ~(by_opt_out | by_opt_in)) != 0) return false;
  return in_kqueue(kq, [=](queue& q) {
    q.set_options(turned_on, turned_off);
    return true;
  });
}

}  // namespace

void close_all_of(const void* owner) noexcept {
  kqueue_registry::each_queue([owner](const queue& q) {
    if (q.owner() != owner) return;
    for (int fd = kqueue_registry::any_fd_of(q); fd >= 0; fd = kqueue_registry::any_fd_of(q)) {
      ::close(fd);
    }
  });
}

}  // namespace kedge::kqueue

using namespace kedge::kqueue;

extern "C" bool kedge_kqueue_opt_out(int kq, unsigned options) noexcept {
  return change_options(kq, options & ~by_opt_in, options & by_opt_in);
}

extern "C" bool kedge_kqueue_opt_in(int kq, unsigned options) noexcept {
  return change_options(kq, options & ~by_opt_out, options & by_opt_out);
}

extern "C" bool kedge_kqueue_use_clock(int kq, kedge_kqueue_clock* clock, void* argument) noexcept {
  return in_kqueue(kq, [=](queue& q) { return q.replace_clock(clock, argument); });
}

extern "C" bool kedge_kqueue_clock_moved(int kq) noexcept {
  return in_kqueue(kq, [](queue& q) {
    q.on_clock_moved();
    return true;
  });
}

extern "C" bool kedge_kqueue_open(int kq, struct kedge_kqueue* handle) noexcept {
  const std::uint32_t* active = &never_active;
  queue* found = nullptr;
  in_kqueue(kq, [&](queue& q) {
    active = q.active_word();
    found = &q;
    return true;
  });
  *handle = {kq, active, found};
  return found != nullptr;
}

extern "C" int kedge_kqueue_deliver_active(const struct kedge_kqueue* handle, kevent64_s* events,
                                           int nevents) noexcept {
  queue* const q = static_cast<queue*>(handle->queue);
  if (nevents <= 0 || q == nullptr || q->enter(handle->fd, call_kind::undecided) != 0) return 0;
  const int error = errno;
  event_writer out(events, nevents);
  q->collect_active(out);
  q->leave();
  errno = error;
  return static_cast<int>(out.count());
}
