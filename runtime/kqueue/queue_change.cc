// The changes of a kevent() call: kevent_register() of Darwin's kern_event.c.
#include <fcntl.h>
#include <sys/epoll.h>

#include <cerrno>
#include <mutex>
#include <new>

#include "kedge/runtime/kqueue/descriptors/fd_watchers.h"
#include "kedge/runtime/kqueue/queue.h"

namespace kedge::kqueue {
namespace {

constexpr int try_again = -1;  // not an errno: the knote was dropped while the lock was released

bool is_about_descriptors(std::int16_t filter) noexcept {
  return filter == EVFILT_READ || filter == EVFILT_WRITE || filter == EVFILT_VNODE ||
         filter == EVFILT_EXCEPT;
}

// Returns 0 or an errno. As on Darwin the fd is the lower half of the ident.
int check_descriptor(std::uint64_t ident) noexcept {
  if (fcntl(static_cast<int>(ident), F_GETFD) < 0) return EBADF;
  return ident <= INT32_MAX ? 0 : EINVAL;
}

bool matches(const knote_record& k, const kevent64_s& change) noexcept {
  if (k.filter != change.filter || k.ident != change.ident) return false;
  if (k.by_udata != ((change.flags & EV_UDATA_SPECIFIC) != 0)) return false;
  return !k.by_udata || k.udata == change.udata;
}

// Returns whether epoll_ctl's errno says that the fd was closed since it was registered.
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
  // Deletion and disabling prevail.
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
      state_changed_.wait(lock_);
      continue;
    } else if ((change.flags & EV_DELETE) != 0) {
      return remove(*k, change);
    } else {
      result = touch(*k, change);
    }
    if (result != try_again) return result;
  }
}

knote_record* queue::find(const kevent64_s& change) noexcept {
  knote_record* k = nullptr;
  if (is_about_descriptors(change.filter)) {
    const descriptor_table::entry* const e = descriptors_.find(change.ident);
    if (e != nullptr) k = e->first;
  } else {
    k = others_.chain(change.filter, change.ident);
  }
  while (k != nullptr && !matches(*k, change)) k = k->chain;
  return k;
}

int queue::open_closed_slot(unsigned filter) noexcept {
  filter_slot& slot = slots_[filter];
  const filter_operations& operations = *filter_at(filter);
  if (slot.phase == slot_state::opening) {
    state_changed_.wait(lock_);
    return try_again;
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
    if (epoll_ctl(fd_, EPOLL_CTL_ADD, pump, &event) != 0) {
      error = errno;
      lock_.unlock();
      operations.close(state);
      lock_.lock();
    }
  }
  slot = error == 0 ? filter_slot{state, pump, slot_state::open} : filter_slot{};
  if (error == 0 && operations.is_due != nullptr) sources_ |= 1u << filter;
  state_changed_.wake_all();
  return error != 0 ? error : try_again;
}

int queue::open_state(unsigned filter) noexcept {
  const std::lock_guard hold(lock_);
  int result = try_again;
  while (result == try_again) result = ended_ ? EBADF : open_slot(filter);
  return result;
}

// EV_ADD of a new knote. Returns 0, an errno or try_again. Releases the lock while the filter
// works.
int queue::attach(kevent64_s& change, unsigned filter) noexcept {
  const filter_operations* const operations = filter_at(filter);
  // The table of descriptors grows with the fds in it, so only open fds may enter it. (For an fd
  // that is in it already, epoll_ctl checks READ and WRITE.)
  const bool epoll_checks = operations != nullptr && change.filter != EVFILT_VNODE &&
                            descriptors_.find(change.ident) != nullptr;
  int error = 0;
  if (is_about_descriptors(change.filter) && !epoll_checks) error = check_descriptor(change.ident);
  if (error == 0 && operations == nullptr) error = ENOTSUP;
  if (error != 0) {
    // Darwin finds out that the fd is not open before it changes the flags.
    if (error != EBADF) change.flags = static_cast<std::uint16_t>(change.flags & ~EV_VANISHED);
    return error;
  }
  if (operations->open != nullptr) {
    if (const int result = open_slot(filter); result != 0) return result;
  }

  knote_record* const k = allocate_knote();
  if (k == nullptr) return ENOMEM;
  initialise(*k, change);
  change.flags = static_cast<std::uint16_t>(change.flags & ~EV_VANISHED);
  if (!insert(*k)) {
    release_locked(*k);
    return ENOMEM;
  }

  lock_.unlock();
  const verdict answer = operations->attach(*k, change);
  lock_.lock();
  if (answer.active) activate_earlier();
  k->attaching = false;
  if (answer.error != 0) {
    if (answer.error == EBADF && k->wants_vanished) change.flags |= EV_VANISHED;
    unlink(*k);
    release_locked(*k);
    state_changed_.wake_all();
    return answer.error;
  }
  if (answer.active) {
    k->active = true;
    if (!k->disabled) enqueue(*k);
  }
  const bool wake = k->link.is_linked() && needs_wakeup();
  end_operation(*k);
  if (wake) post_wakeup_unlocked();
  return 0;
}

// The signals first: they know which timers were due before them.
void queue::pump_sources() noexcept {
  pump_if_due(filter_index(EVFILT_SIGNAL));
  pump_if_due(filter_index(EVFILT_TIMER));
  pump_if_due(filter_index(continuous_timers));
}

// Makes new or reused memory a knote that is being attached.
void queue::initialise(knote_record& k, const kevent64_s& change) noexcept {
  static_cast<knote&>(k) = knote{change.ident,
                                 change.filter,
                                 change.flags,
                                 change.fflags,
                                 change.data,
                                 {change.ext[0], change.ext[1]},
                                 {}};
  k.home = this;
  k.udata = change.udata;
  k.by_udata = (change.flags & EV_UDATA_SPECIFIC) != 0;
  k.references.store(1, std::memory_order_relaxed);
  k.reported = 0;
  k.active = k.dropped = k.ending = k.polled = k.lost = k.vanished = false;
  k.disabled = (change.flags & EV_DISABLE) != 0;
  k.busy = k.attaching = true;
  // The kqueue itself notices the end of a descriptor. Other filters report the end of their
  // source.
  const bool is_descriptor = is_about_descriptors(change.filter);
  k.wants_vanished = is_descriptor && (change.flags & EV_VANISHED) != 0;
  if (is_descriptor) k.flags = static_cast<std::uint16_t>(change.flags & ~EV_VANISHED);
}

// Puts a new knote into its table. Returns false without memory.
bool queue::insert(knote_record& k) noexcept {
  const bool is_descriptor = is_about_descriptors(k.filter);
  try {
    is_descriptor ? descriptors_.insert(k) : others_.insert(k);
  } catch (const std::bad_alloc&) {
    return false;
  }
  if (is_descriptor && !fd_watchers::add_watcher(static_cast<int>(k.ident), *this)) {
    unlink(k);
    return false;
  }
  return true;
}

// A change of an existing knote. Returns 0, an errno or try_again. Releases the lock while the
// filter works.
int queue::touch(knote_record& k, const kevent64_s& change) noexcept {
  verdict answer;
  k.busy = true;
  if (k.ending || k.vanished) {
    // Its last event is due or delivered: its filter is not asked any more.
    answer.active = (change.flags & EV_ENABLE) != 0;
  } else {
    // A timer that is due keeps its place in the list, though the change sets it again.
    if (k.filter == EVFILT_TIMER) activate_earlier();
    lock_.unlock();
    answer = filter_at(filter_index(k.filter))->touch(k, change);
    lock_.lock();
  }
  if (answer.active) activate_earlier();
  const int result = answer.error != 0 ? answer.error : accept_touch(k, change, answer.active);
  const bool is_lost = answer.error == 0 && is_stale(result);
  const int fd = static_cast<int>(k.ident);
  const bool wake = k.link.is_linked() && needs_wakeup();
  end_operation(k);
  // Before the lock is released: a knote that is added after that is about the new file.
  if (is_lost) drop_all(fd, true);
  if (wake) post_wakeup_unlocked();
  if (!is_lost) return result;
  return (change.flags & EV_ADD) != 0 ? try_again : ENOENT;
}

// Does the kqueue's part of a change that the filter has accepted. `active`: the filter's verdict.
// Returns 0 or epoll_ctl's errno.
int queue::accept_touch(knote_record& k, const kevent64_s& change, bool active) noexcept {
  if (!k.by_udata) k.udata = change.udata;
  if ((change.flags & EV_DISABLE) != 0) {
    k.disabled = true;
    dequeue(k);
  }
  if ((change.flags & EV_ENABLE) != 0) k.disabled = false;
  // epoll may have nothing to report for a knote that is probed.
  if (active || (k.polled && k.needs_probe)) k.active = true;
  if (k.active && !k.disabled) enqueue(k);
  if (!k.polled) return 0;
  // An edge of a knote that is in the list must not be reported twice. epoll_ctl also finds out
  // whether the fd was closed by a raw system call.
  const bool is_new = !k.link.is_linked() || (k.flags & EV_CLEAR) == 0;
  const bool again = (change.flags & EV_DISABLE) == 0 && is_new;
  return descriptors_.refresh(fd_, static_cast<std::uint32_t>(k.ident), again);
}

// EV_DELETE. Returns 0 or an errno. May release the lock for the detach.
int queue::remove(knote_record& k, const kevent64_s& change) noexcept {
  if (is_dispatch2(k) && k.disabled && (change.flags & EV_ENABLE) == 0) {
    k.ending = true;
    return EINPROGRESS;
  }
  k.busy = true;
  unlink(k);
  const auto fd = static_cast<std::uint32_t>(k.ident);
  const int error = k.polled ? descriptors_.refresh(fd_, fd, false) : 0;
  end_operation(k);
  if (!is_stale(error)) return 0;
  drop_all(static_cast<int>(fd), true);
  return ENOENT;
}

int queue::watch(knote_record& k, std::uint32_t interest, bool needs_probe) noexcept {
  const std::lock_guard hold(lock_);
  if (ended_) return EBADF;
  k.polled = true;
  k.interest = static_cast<std::uint16_t>(interest);
  k.needs_probe = needs_probe;
  const auto fd = static_cast<std::uint32_t>(k.ident);
  // A disabled knote is registered for a moment too, so that epoll can refuse its file.
  const bool was_disabled = k.disabled;
  k.disabled = false;
  int error = descriptors_.refresh(fd_, fd, true);
  if (is_stale(error)) {
    // The other knotes of the fd are about a file that is closed, and the fd is a new file's.
    drop_all(static_cast<int>(fd), true);
    error = descriptors_.refresh(fd_, fd, true);
  }
  k.disabled = was_disabled;
  if (error != 0) k.polled = false;
  if (error == 0 && was_disabled) error = descriptors_.refresh(fd_, fd, false);
  return error;
}

void queue::set_interest(knote_record& k, std::uint32_t interest, bool needs_probe) noexcept {
  const std::lock_guard hold(lock_);
  k.interest = static_cast<std::uint16_t>(interest);
  k.needs_probe = needs_probe;
}

void queue::unlink(knote_record& k) noexcept {
  dequeue(k);
  is_about_descriptors(k.filter) ? descriptors_.remove(k) : others_.remove(k);
  k.dropped = true;
}

// Ends an operation on a knote, by the thread that made the knote busy. Releases the lock for a
// detach if the knote was dropped.
void queue::end_operation(knote_record& k) noexcept {
  if (k.dropped) {
    const filter_operations& operations = *filter_at(filter_index(k.filter));
    if (!k.polled && !k.vanished && operations.detach != nullptr) {
      lock_.unlock();
      operations.detach(k);
      lock_.lock();
    }
    release_locked(k);
  } else {
    k.busy = false;
  }
  state_changed_.wake_all();
}

// Drops a knote that is not busy. May release the lock for the detach.
void queue::drop(knote_record& k) noexcept {
  k.busy = true;
  unlink(k);
  end_operation(k);
}

// Drops a polled knote that is not busy. Keeps the lock.
void queue::drop_polled(knote_record& k) noexcept {
  unlink(k);
  release_locked(k);
}

// Drops the knotes of an fd: knote_fdclose() of Darwin's kernel. May release the lock. `but_new`:
// leaves knotes that are being attached, and those that are added while the lock is released. They
// find out themselves which file the fd names, and one of them may be the caller's.
void queue::drop_all(int fd, bool but_new) noexcept {
  const auto first = [&] {
    const descriptor_table::entry* const e = descriptors_.find(static_cast<std::uint64_t>(fd));
    return e != nullptr ? e->first : nullptr;
  };
  for (knote_record* k = first(); but_new && k != nullptr; k = k->chain) {
    if (!k->attaching) k->lost = true;
  }
  for (;;) {
    knote_record* k = first();
    while (k != nullptr && (k->vanished || (but_new && !k->lost))) k = k->chain;
    if (k == nullptr) break;
    if (k->busy) {
      state_changed_.wait(lock_);
    } else if (k->wants_vanished) {
      vanish(*k);
    } else {
      drop(*k);
    }
  }
}

// Detaches a knote whose descriptor is closed, and makes it active for its last events. May release
// the lock for the detach.
void queue::vanish(knote_record& k) noexcept {
  const bool has_filter = !k.polled;
  k.busy = true;
  k.vanished = true;
  k.polled = false;
  k.reported = 0;
  if (is_about_descriptors(k.filter)) descriptors_.forget_plain(k.ident);
  const auto detach = filter_at(filter_index(k.filter))->detach;
  if (has_filter && detach != nullptr) {
    lock_.unlock();
    detach(k);
    lock_.lock();
  }
  k.active = true;
  if (!k.disabled) enqueue_and_wake(k);
  end_operation(k);
}

void queue::on_close(int fd) noexcept {
  lock_.lock();
  ++users_;
  if (!ended_) drop_all(fd, false);
  // The fd is still open. Its registration goes, so that a duplicate's events do not come either.
  if (!ended_ && descriptors_.find(static_cast<std::uint64_t>(fd)) != nullptr) {
    descriptors_.refresh(fd_, static_cast<std::uint32_t>(fd), false);
  }
  retract_wakeup();
  leave();
}

void queue::on_shutdown(int fd) noexcept {
  const std::lock_guard hold(lock_);
  const descriptor_table::entry* const e = descriptors_.find(static_cast<std::uint64_t>(fd));
  if (ended_ || e == nullptr) return;
  for (knote_record* k = e->first; k != nullptr; k = k->chain) {
    if (k->filter != EVFILT_WRITE || !k->polled || k->ending) continue;
    k->needs_probe = k->active = true;
    if (!k->disabled) enqueue_and_wake(*k);
  }
  descriptors_.refresh(fd_, static_cast<std::uint32_t>(fd), false);
}

void queue::on_seek(int fd) noexcept {
  const std::lock_guard hold(lock_);
  const descriptor_table::entry* const e = descriptors_.find(static_cast<std::uint64_t>(fd));
  if (ended_ || e == nullptr) return;
  for (knote_record* k = e->first; k != nullptr; k = k->chain) {
    if (k->filter == EVFILT_VNODE || k->polled || k->ending || k->vanished) continue;
    k->active = true;
    if (!k->disabled) enqueue_and_wake(*k);
  }
}

void queue::on_replace(int fd) noexcept {
  const std::lock_guard hold(lock_);
  if (ended_ || descriptors_.find(static_cast<std::uint64_t>(fd)) == nullptr) return;
  descriptors_.forget_registration(static_cast<std::uint32_t>(fd));
  descriptors_.refresh(fd_, static_cast<std::uint32_t>(fd), false);
}

}  // namespace kedge::kqueue
