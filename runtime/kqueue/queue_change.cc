// The changes of a kevent() call, as kevent_register() of Darwin's kernel makes them.

#include <fcntl.h>
#include <sys/epoll.h>

#include <cerrno>
#include <mutex>
#include <new>

#include "kedge/runtime/kqueue/descriptors/fd_watchers.h"
#include "kedge/runtime/kqueue/epoll_tag.h"
#include "kedge/runtime/kqueue/queue.h"

namespace kedge::kqueue {
namespace {

constexpr int look_again = -1;  // not an errno: the knote went away meanwhile

bool about_descriptors(std::int16_t filter) noexcept {
  return filter == EVFILT_READ || filter == EVFILT_WRITE || filter == EVFILT_VNODE ||
         filter == EVFILT_EXCEPT;
}

bool is_open(std::uint64_t fd) noexcept {
  return fd <= INT32_MAX && fcntl(static_cast<int>(fd), F_GETFD) >= 0;
}

bool matches(const knote_record& k, const kevent64_s& change) noexcept {
  if (k.filter != change.filter || k.ident != change.ident) return false;
  if (k.by_udata != ((change.flags & EV_UDATA_SPECIFIC) != 0)) return false;
  return !k.by_udata || k.udata == change.udata;
}

// epoll_ctl's word for a number that was closed since it was registered.
bool is_stale(int error) noexcept {
  return error == ENOENT || error == EBADF;
}

}  // namespace

int queue::apply(kevent64_s& change) noexcept {
  const unsigned filter = filter_index(change.filter);
  if (filter >= filter_count) return EINVAL;
  change.flags = static_cast<std::uint16_t>(change.flags & ~EV_SYSFLAGS);
  if ((change.flags & EV_VANISHED) != 0 &&
      (change.flags & (EV_ADD | EV_DISPATCH2)) != (EV_ADD | EV_DISPATCH2)) {
    return EINVAL;
  }
  // Deletion and disabling overrule.
  if ((change.flags & EV_DELETE) != 0) change.flags &= static_cast<std::uint16_t>(~EV_ADD);
  if ((change.flags & EV_DISABLE) != 0) change.flags &= static_cast<std::uint16_t>(~EV_ENABLE);

  for (;;) {
    if (ended_) return EBADF;
    knote_record* const k = find(change);
    int result = 0;
    if (k == nullptr) {
      if ((change.flags & EV_ADD) == 0) return ENOENT;
      result = attach(change, filter);
    } else if (k->busy) {
      gate_.wait(lock_);
      continue;
    } else if ((change.flags & EV_DELETE) != 0) {
      if (is_dispatch2(*k) && k->disabled && (change.flags & EV_ENABLE) == 0) {
        k->ending = true;
        return EINPROGRESS;
      }
      k->busy = true;
      unlink(*k);
      const int fd = static_cast<int>(k->ident);
      const int error =
          k->polled ? descriptors_.refresh(number_, static_cast<std::uint32_t>(fd), false) : 0;
      end_use(*k);
      if (!is_stale(error)) return 0;
      drop_all(fd, true);
      return ENOENT;
    } else {
      result = touch(*k, change);
    }
    if (result != look_again) return result;
  }
}

knote_record* queue::find(const kevent64_s& change) noexcept {
  knote_record* k = nullptr;
  if (about_descriptors(change.filter)) {
    const descriptor_table::entry* const e = descriptors_.find(change.ident);
    if (e != nullptr) k = e->first;
  } else {
    k = others_.chain(change.filter, change.ident);
  }
  while (k != nullptr && !matches(*k, change)) k = k->chain;
  return k;
}

int queue::open_slot(unsigned filter) noexcept {
  filter_slot& slot = slots_[filter];
  const filter_operations& operations = *filter_at(filter);
  if (operations.open == nullptr || slot.phase == slot_state::open) return 0;
  if (slot.phase == slot_state::opening) {
    gate_.wait(lock_);
    return look_again;
  }
  slot.phase = slot_state::opening;
  void* state = nullptr;
  int pump = -1;
  lock_.unlock();
  int error = operations.open(*this, &state, &pump);
  lock_.lock();
  if (error == 0 && pump >= 0) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = pump_tag(filter);
    if (epoll_ctl(number_, EPOLL_CTL_ADD, pump, &event) != 0) {
      error = errno;
      lock_.unlock();
      operations.close(state);
      lock_.lock();
    }
  }
  slot = error == 0 ? filter_slot{state, pump, slot_state::open} : filter_slot{};
  gate_.wake_all();
  return error != 0 ? error : look_again;
}

int queue::open_state(unsigned filter) noexcept {
  const std::lock_guard hold(lock_);
  int result = look_again;
  while (result == look_again) result = ended_ ? EBADF : open_slot(filter);
  return result;
}

int queue::attach(kevent64_s& change, unsigned filter) noexcept {
  const filter_operations* const operations = filter_at(filter);
  // The table of descriptors grows with the numbers in it: only for one that is open. (Of one that
  // is in it already, epoll_ctl tells READ and WRITE.)
  const bool will_tell = operations != nullptr && change.filter != EVFILT_VNODE &&
                         descriptors_.find(change.ident) != nullptr;
  const bool is_descriptor = about_descriptors(change.filter);
  if (is_descriptor && !will_tell && !is_open(change.ident)) return EBADF;
  if (operations == nullptr) return ENOTSUP;
  if (const int result = open_slot(filter); result != 0) return result;

  knote_record* const k = take_block();
  if (k == nullptr) return ENOMEM;
  static_cast<knote&>(*k) = knote{change.ident,
                                  change.filter,
                                  change.flags,
                                  change.fflags,
                                  change.data,
                                  {change.ext[0], change.ext[1]},
                                  {}};
  k->home = this;
  k->udata = change.udata;
  k->by_udata = (change.flags & EV_UDATA_SPECIFIC) != 0;
  k->references.store(1, std::memory_order_relaxed);
  k->reported = 0;
  k->active = k->queued = k->dropped = k->ending = k->polled = k->vanished = false;
  k->disabled = (change.flags & EV_DISABLE) != 0;
  k->busy = k->attaching = true;
  // Of a descriptor's end we hear ourselves; other filters report theirs.
  k->wants_vanished = is_descriptor && (change.flags & EV_VANISHED) != 0;
  change.flags = static_cast<std::uint16_t>(change.flags & ~EV_VANISHED);
  if (is_descriptor) k->flags = change.flags;
  try {
    is_descriptor ? descriptors_.insert(*k) : others_.insert(*k);
  } catch (const std::bad_alloc&) {
    give_back(*k);
    return ENOMEM;
  }
  if (is_descriptor && !fd_watchers::note_knote(static_cast<int>(k->ident), *this)) {
    unlink(*k);
    give_back(*k);
    return ENOMEM;
  }

  lock_.unlock();
  const verdict answer = operations->attach(*k, change);
  lock_.lock();
  k->attaching = false;
  if (answer.error != 0) {
    // That the number is not open is there found out before anything is made of the change.
    if (answer.error == EBADF && k->wants_vanished) change.flags |= EV_VANISHED;
    unlink(*k);
    give_back(*k);
    gate_.wake_all();
    return answer.error;
  }
  if (answer.active) {
    k->active = true;
    if (!k->disabled) enqueue(*k);
  }
  const bool tell = k->queued && has_to_ring();
  end_use(*k);
  if (tell) ring_released();
  return 0;
}

int queue::touch(knote_record& k, const kevent64_s& change) noexcept {
  verdict answer;
  k.busy = true;
  if (k.ending || k.vanished) {
    // Its last event is due or delivered: its filter is not asked any more.
    answer.active = (change.flags & EV_ENABLE) != 0;
  } else {
    lock_.unlock();
    answer = filter_at(filter_index(k.filter))->touch(k, change);
    lock_.lock();
  }
  const int fd = static_cast<int>(k.ident);
  int result = answer.error;
  if (result == 0) {
    if (!k.by_udata) k.udata = change.udata;
    if ((change.flags & EV_DISABLE) != 0) {
      k.disabled = true;
      dequeue(k);
    }
    if ((change.flags & EV_ENABLE) != 0) k.disabled = false;
    // epoll may have nothing to tell of what its filter examines.
    if (answer.active || (k.polled && k.examined)) k.active = true;
    if (k.active && !k.disabled) enqueue(k);
    if (k.polled) {
      // An edge that is in the list is not to be reported twice; and for a number that was closed
      // behind our back it is epoll that tells.
      const bool is_new = !k.queued || (k.flags & EV_CLEAR) == 0;
      const bool again = (change.flags & EV_DISABLE) == 0 && is_new;
      result = descriptors_.refresh(number_, static_cast<std::uint32_t>(fd), again);
    }
  }
  const bool is_lost = answer.error == 0 && is_stale(result);
  const bool tell = k.queued && has_to_ring();
  end_use(k);
  // Before the lock is left: what is added then is about the new file.
  if (is_lost) drop_all(fd, true);
  if (tell) ring_released();
  if (!is_lost) return result;
  return (change.flags & EV_ADD) != 0 ? look_again : ENOENT;
}

int queue::watch(knote_record& k, std::uint32_t interest, bool examined) noexcept {
  const std::lock_guard hold(lock_);
  if (ended_) return EBADF;
  k.polled = true;
  k.interest = static_cast<std::uint16_t>(interest);
  k.examined = examined;
  const auto fd = static_cast<std::uint32_t>(k.ident);
  // A disabled one, too, is registered for a moment: epoll says what cannot be.
  const bool was_disabled = k.disabled;
  k.disabled = false;
  int error = descriptors_.refresh(number_, fd, true);
  if (is_stale(error)) {
    // The other side's knote was about a file that is closed; the number is a new one's.
    drop_all(static_cast<int>(fd), true);
    error = descriptors_.refresh(number_, fd, true);
  }
  k.disabled = was_disabled;
  if (error != 0) k.polled = false;
  if (error == 0 && was_disabled) error = descriptors_.refresh(number_, fd, false);
  return error;
}

void queue::examine(knote_record& k, std::uint32_t interest, bool examined) noexcept {
  const std::lock_guard hold(lock_);
  k.interest = static_cast<std::uint16_t>(interest);
  k.examined = examined;
}

bool queue::leaves_out(unsigned what) noexcept {
  const std::lock_guard hold(lock_);
  return (options_ & what) == what;
}

void queue::unlink(knote_record& k) noexcept {
  dequeue(k);
  about_descriptors(k.filter) ? descriptors_.remove(k) : others_.remove(k);
  k.dropped = true;
}

// The end of an operation on a knote by the thread that made it busy. Releases the lock meanwhile
// if the knote was dropped and its filter wants to know.
void queue::end_use(knote_record& k) noexcept {
  if (k.dropped) {
    const filter_operations& operations = *filter_at(filter_index(k.filter));
    if (!k.polled && !k.vanished && operations.detach != nullptr) {
      lock_.unlock();
      operations.detach(k);
      lock_.lock();
    }
    give_back(k);
  } else {
    k.busy = false;
  }
  gate_.wake_all();
}

// Ends a polled knote that is not busy, without leaving the lock.
void queue::drop(knote_record& k) noexcept {
  unlink(k);
  give_back(k);
}

// knote_fdclose() of Darwin's kernel. May release the lock meanwhile. `but_new`: those that are
// being attached find out themselves what the number is now, and one of them may be the caller's.
void queue::drop_all(int fd, bool but_new) noexcept {
  for (;;) {
    const descriptor_table::entry* const e = descriptors_.find(static_cast<std::uint64_t>(fd));
    knote_record* k = e != nullptr ? e->first : nullptr;
    while (k != nullptr && (k->vanished || (but_new && k->attaching))) k = k->chain;
    if (k == nullptr) break;
    if (k->busy) {
      gate_.wait(lock_);
    } else if (k->wants_vanished) {
      vanish(*k);
    } else {
      k->busy = true;
      unlink(*k);
      end_use(*k);
    }
  }
}

// Its source is gone: the filter is done with it, and it waits for its last events.
void queue::vanish(knote_record& k) noexcept {
  const bool has_filter = !k.polled;
  k.busy = true;
  k.vanished = true;
  k.polled = false;
  k.reported = 0;
  if (about_descriptors(k.filter)) descriptors_.forget_plain(k.ident);
  const auto detach = filter_at(filter_index(k.filter))->detach;
  if (has_filter && detach != nullptr) {
    lock_.unlock();
    detach(k);
    lock_.lock();
  }
  k.active = true;
  if (!k.disabled) enqueue_and_tell(k);
  end_use(k);
}

void queue::descriptor_closes(int fd) noexcept {
  lock_.lock();
  ++users_;
  if (!ended_) drop_all(fd, false);
  // The number is still open: none of its events comes any more, duplicates or not.
  if (!ended_ && descriptors_.find(static_cast<std::uint64_t>(fd)) != nullptr) {
    descriptors_.refresh(number_, static_cast<std::uint32_t>(fd), false);
  }
  leave();
}

void queue::sending_ends(int fd) noexcept {
  const std::lock_guard hold(lock_);
  const descriptor_table::entry* const e = descriptors_.find(static_cast<std::uint64_t>(fd));
  if (ended_ || e == nullptr) return;
  for (knote_record* k = e->first; k != nullptr; k = k->chain) {
    if (k->filter != EVFILT_WRITE || !k->polled || k->ending) continue;
    k->examined = k->active = true;
    if (!k->disabled) enqueue_and_tell(*k);
  }
  descriptors_.refresh(number_, static_cast<std::uint32_t>(fd), false);
}

void queue::offset_moves(int fd) noexcept {
  const std::lock_guard hold(lock_);
  const descriptor_table::entry* const e = descriptors_.find(static_cast<std::uint64_t>(fd));
  if (ended_ || e == nullptr) return;
  for (knote_record* k = e->first; k != nullptr; k = k->chain) {
    if (k->filter == EVFILT_VNODE || k->polled || k->ending || k->vanished) continue;
    k->active = true;
    if (!k->disabled) enqueue_and_tell(*k);
  }
}

void queue::renew(int fd) noexcept {
  const std::lock_guard hold(lock_);
  if (ended_ || descriptors_.find(static_cast<std::uint64_t>(fd)) == nullptr) return;
  descriptors_.forget_registration(static_cast<std::uint32_t>(fd));
  descriptors_.refresh(number_, static_cast<std::uint32_t>(fd), false);
}

}  // namespace kedge::kqueue
