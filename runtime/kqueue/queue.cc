// The life of a kqueue, its active knotes and its wakeups.
#include "kedge/runtime/kqueue/queue.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>
#include <new>

#include "kedge/runtime/base/parker.h"
#include "kedge/runtime/kqueue/descriptors/internal_fds.h"
#include "kedge/runtime/kqueue/descriptors/kqueue_registry.h"
#include "kedge/runtime/kqueue/extension.h"
#include "kedge/runtime/kqueue/initial_options.h"

namespace kedge::kqueue {

int queue::begin() noexcept {
  const int epoll = internal_fds::make_for_program([] { return epoll_create1(EPOLL_CLOEXEC); });
  if (epoll < 0) return -1;
  const int wakeup = internal_fds::make([] { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); });
  if (wakeup < 0 || !add_wakeup(epoll, wakeup)) {
    if (wakeup >= 0) internal_fds::close(wakeup);
    internal_fds::close(epoll);
    return -1;
  }
  const unsigned options = initial_options();
  void* const owner = capture_owner();
  const std::lock_guard hold(lock_);
  fd_ = epoll;
  fd_count_ = 1;
  wakeup_ = wakeup;
  options_ = options;
  // A process that a scheduler runs has the scheduler's time from the start.
  base::parker* const scheduled = base::parker::of_thread();
  clock_.replace(scheduled != nullptr ? base::parker::read_clock : nullptr, scheduled);
  in_old_time_ = 0;
  kind_ = call_kind::undecided;
  wakeup_pending_ = ended_ = false;
  in_old_sets_ = 0;
  turn_left_ = 0;
  owner_ = owner;
  return epoll;
}

bool queue::has_fd(int fd) const noexcept {
  return kqueue_registry::find(fd) == this;
}

bool queue::count_fd(int fd) noexcept {
  const std::lock_guard hold(lock_);
  if (ended_ || !has_fd(fd)) return false;
  ++fd_count_;
  return true;
}

void queue::on_fd_added(int fd) noexcept {
  const std::lock_guard hold(lock_);
  if (fd_ < 0 && !ended_) fd_ = fd;  // the other fds were closed since count_fd()
}

void queue::remove_fd(int fd) noexcept {
  lock_.lock();
  ++users_;
  if (--fd_count_ == 0) return finish();
  close_fast_path();
  if (fd_ == fd) fd_ = kqueue_registry::any_fd_of(*this);
  leave();
}

void queue::leave_lost() noexcept {
  if (ended_) return leave();
  kqueue_registry::erase(fd_, *this);
  if (--fd_count_ == 0) return finish();
  close_fast_path();
  fd_ = kqueue_registry::any_fd_of(*this);
  leave();
}

// Ends the kqueue. Requires the lock and a thread that is counted in users_. Undoes both.
void queue::finish() noexcept {
  ended_ = true;
  fd_ = -1;
  close_fast_path();
  if (sleepers_ != 0) post_wakeup();
  state_changed_.wake_all();
  detach_all();
  close_slots();
  while (users_ != 1 || sleepers_ != 0) state_changed_.wait(lock_);
  users_ = 0;
  while (knote_record* const k = free_knotes_.pop_back()) delete k;
  const int wakeup = wakeup_;
  void* const owner = owner_;
  owner_ = nullptr;
  lock_.unlock();
  internal_fds::close(wakeup);
  disown(owner);
  kqueue_registry::recycle(*this);
}

void queue::abandon() noexcept {
  new (&lock_) base::mutex;
  ended_ = true;
  close_fast_path();
  active_word_.store(0, std::memory_order_relaxed);
}

// Releases the lock while it detaches.
void queue::detach_all() noexcept {
  std::size_t seen[2] = {0, 0};
  for (;;) {
    knote_record* k = descriptors_.any_from(seen[0]);
    if (k == nullptr) k = others_.any_from(seen[1]);
    if (k == nullptr) break;
    if (k->busy) {
      state_changed_.wait(lock_);
      continue;
    }
    k->polled = false;  // the fd may be another file's by now: leave epoll alone
    drop(*k);
  }
  descriptors_.clear();
  others_.clear();
}

// Closes the states of the filters. Releases the lock while it does so.
void queue::close_slots() noexcept {
  sources_ = 0;
  while (pumping_ != 0) state_changed_.wait(lock_);
  for (unsigned f = 0; f < filter_count; ++f) {
    filter_slot& slot = slots_[f];
    while (slot.phase == slot_state::opening) state_changed_.wait(lock_);
    if (slot.phase != slot_state::open) continue;
    void* const state = slot.state;
    slot = {};
    lock_.unlock();
    filter_at(f)->close(state);
    lock_.lock();
  }
}

void queue::set_options(unsigned turned_on, unsigned turned_off) noexcept {
  options_ = (options_ | turned_on) & ~turned_off;
  close_fast_path();
  if ((turned_off & not_pollable) != 0 && active_count_ != 0) post_wakeup();
}

void* queue::open_state_of(unsigned filter) noexcept {
  const std::lock_guard hold(lock_);
  return slots_[filter].phase == slot_state::open ? slots_[filter].state : nullptr;
}

bool queue::has_options(unsigned options) noexcept {
  const std::lock_guard hold(lock_);
  return (options_ & options) == options;
}

bool queue::replace_clock(kedge_kqueue_clock* replacement, void* argument) noexcept {
  const bool is_idle = users_ == 1 && sleepers_ == 0;  // but for the caller
  if (!is_idle || others_.has_any(EVFILT_TIMER)) return false;
  clock_.replace(replacement, argument);
  close_fast_path();
  return true;
}

void queue::on_clock_moved() noexcept {
  if (!clock_.is_replaced()) return;
  // So that pollers, the kqueues that this one is in, and active_word() notice the timers.
  activate_earlier();
  ++clock_moves_;
  in_old_time_ = sleepers_;
  leave_old_time();
}

bool queue::has_waiters() const noexcept {
  return (options_ & not_pollable) == 0 || sleepers_ != 0;
}

bool queue::needs_wakeup() const noexcept {
  return !has_wakeup() && (sleepers_ != 0 || (collectors_ == 0 && (options_ & not_pollable) == 0));
}

void queue::enqueue_and_wake(knote_record& k) noexcept {
  enqueue(k);
  if (needs_wakeup()) post_wakeup();
}

void queue::post_wakeup_unlocked() noexcept {
  if (parked_by_ != nullptr) [[unlikely]]
    return parked_by_->unpark(this);
  wakeup_pending_ = true;
  ++wakeup_writers_;
  const int wakeup = wakeup_;
  lock_.unlock();
  write_wakeup(wakeup);
  lock_.lock();
  --wakeup_writers_;
  retract_wakeup();
}

void queue::post_wakeup() noexcept {
  if (parked_by_ != nullptr) [[unlikely]]
    return parked_by_->unpark(this);
  if (has_wakeup()) return;
  wakeup_pending_ = true;
  write_wakeup(wakeup_);
}

// A thread that sleeps or delivers takes the wakeup itself.
void queue::retract_wakeup() noexcept {
  if (!has_wakeup() || active_count_ != 0 || sleepers_ != 0 || collectors_ != 0 || ended_) return;
  std::uint64_t count = 0;
  syscall(SYS_read, wakeup_, &count, sizeof count);
  wakeup_pending_ = false;
}

void queue::write_wakeup(int wakeup) noexcept {
  // Cannot fail: it would take 2^64 writes to fill an eventfd. Not by write(), which is a
  // cancellation point: any call of any thread may lead here.
  const std::uint64_t one = 1;
  syscall(SYS_write, wakeup, &one, sizeof one);
}

void queue::enqueue(knote_record& k) noexcept {
  if (k.link.is_linked()) return;
  active_.push_back(k);
  ++active_count_;
  close_fast_path();
  publish_count();
}

void queue::dequeue(knote_record& k) noexcept {
  if (!k.link.is_linked()) return;
  if (k.served) {
    k.served = false;
    return served_.remove(k);
  }
  active_.remove(k);
  --active_count_;
  publish_count();
}

void queue::enqueue_served(knote_record& k) noexcept {
  if (k.link.is_linked()) return;
  k.served = true;
  served_.push_back(k);
}

void queue::restore_served() noexcept {
  while (knote_record* const k = served_.pop_front()) {
    k->served = false;
    enqueue(*k);
  }
}

void queue::activate(knote_record& k) noexcept {
  lock_.lock();
  if (k.dropped) return lock_.unlock();
  k.active = true;
  if (!k.disabled) enqueue(k);
  if (!k.link.is_linked() || !needs_wakeup()) return lock_.unlock();
  ++users_;
  post_wakeup_unlocked();
  leave();
}

knote_record* queue::allocate_knote() noexcept {
  knote_record* const k = free_knotes_.pop_back();
  return k != nullptr ? k : new (std::nothrow) knote_record{};
}

void queue::release_locked(knote_record& k) noexcept {
  if (k.references.fetch_sub(1, std::memory_order_acq_rel) == 1) free_knotes_.push_back(k);
}

void queue::release(knote_record& k) noexcept {
  const std::lock_guard hold(lock_);
  release_locked(k);
}

void activate(knote& note) noexcept {
  record_of(note).home->activate(record_of(note));
}

void hold(knote& note) noexcept {
  record_of(note).references.fetch_add(1, std::memory_order_relaxed);
}

void release(knote& note) noexcept {
  record_of(note).home->release(record_of(note));
}

void* owner(const knote& note) noexcept {
  return record_of(note).home->owner();
}

void* filter_state(const knote& note) noexcept {
  return record_of(note).home->state_of(filter_index(note.filter));
}

}  // namespace kedge::kqueue
