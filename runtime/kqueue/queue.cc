#include "kedge/runtime/kqueue/queue.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <mutex>

#include "kedge/runtime/kqueue/descriptors/internal_fds.h"
#include "kedge/runtime/kqueue/descriptors/kqueue_registry.h"
#include "kedge/runtime/kqueue/extension.h"

namespace kedge::kqueue {

int queue::begin() noexcept {
  const int epoll = internal_fds::make([] { return epoll_create1(EPOLL_CLOEXEC); });
  if (epoll < 0) return -1;
  const int bell = internal_fds::make([] { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); });
  if (bell < 0 || !add_bell(epoll, bell)) {
    if (bell >= 0) internal_fds::close(bell);
    internal_fds::close(epoll);
    return -1;
  }
  void* const owner = capture_owner();
  const std::lock_guard hold(lock_);
  number_ = epoll;
  numbers_ = 1;
  bell_ = bell;
  options_ = 0;
  kind_ = call_kind::undecided;
  rung_ = turn_ = ended_ = false;
  in_old_sets_ = 0;
  owner_ = owner;
  return epoll;
}

bool queue::has_number(int number) const noexcept {
  return kqueue_registry::find(number) == this;
}

bool queue::gain_number(int number) noexcept {
  const std::lock_guard hold(lock_);
  if (ended_ || !has_number(number)) return false;
  ++numbers_;
  return true;
}

void queue::has_gained(int number) noexcept {
  const std::lock_guard hold(lock_);
  if (number_ < 0 && !ended_) number_ = number;  // the others were closed meanwhile
}

void queue::lose_number(int number) noexcept {
  lock_.lock();
  ++users_;
  if (--numbers_ == 0) return finish();
  close_short_way();
  if (number_ == number) number_ = kqueue_registry::any_number_of(*this);
  leave();
}

void queue::leave_lost() noexcept {
  if (ended_) return leave();
  kqueue_registry::remove(number_, *this);
  if (--numbers_ == 0) return finish();
  close_short_way();
  number_ = kqueue_registry::any_number_of(*this);
  leave();
}

// The end. Called with the lock held, for a thread that is counted; returns without either.
void queue::finish() noexcept {
  ended_ = true;
  number_ = -1;
  close_short_way();
  if (sleepers_ != 0) ring();
  gate_.wake_all();
  std::size_t seen[2] = {0, 0};
  for (;;) {
    knote_record* k = descriptors_.any_from(seen[0]);
    if (k == nullptr) k = others_.any_from(seen[1]);
    if (k == nullptr) break;
    if (k->busy) {
      gate_.wait(lock_);
      continue;
    }
    k->polled = false;  // the number may be another file's by now: leave epoll alone
    k->busy = true;
    unlink(*k);
    end_use(*k);
  }
  descriptors_.clear();
  others_.clear();
  while (pumping_ != 0) gate_.wait(lock_);
  for (unsigned f = 0; f < filter_count; ++f) {
    filter_slot& slot = slots_[f];
    while (slot.phase == slot_state::opening) gate_.wait(lock_);
    if (slot.phase != slot_state::open) continue;
    void* const state = slot.state;
    slot = {};
    lock_.unlock();
    filter_at(f)->close(state);
    lock_.lock();
  }
  while (users_ != 1 || sleepers_ != 0) gate_.wait(lock_);
  users_ = 0;
  while (free_blocks_ != nullptr) {
    knote_record* const block = free_blocks_;
    free_blocks_ = block->chain;
    delete block;
  }
  const int bell = bell_;
  void* const owner = owner_;
  owner_ = nullptr;
  lock_.unlock();
  internal_fds::close(bell);
  disown(owner);
  kqueue_registry::recycle(*this);
}

void queue::leave_out(unsigned what) noexcept {
  options_ |= what;
  close_short_way();
}

void queue::provide(unsigned what) noexcept {
  options_ &= ~what;
  close_short_way();
  if ((what & not_pollable) != 0 && waiting_ != 0) ring();
}

void queue::clock_changes() noexcept {
  const std::lock_guard hold(lock_);
  close_short_way();
}

bool queue::somebody_waits() const noexcept {
  return (options_ & not_pollable) == 0 || sleepers_ != 0;
}

bool queue::has_to_ring() const noexcept {
  return !has_rung() && (sleepers_ != 0 || (collectors_ == 0 && (options_ & not_pollable) == 0));
}

void queue::enqueue_and_tell(knote_record& k) noexcept {
  enqueue(k);
  if (has_to_ring()) ring();
}

void queue::ring_released() noexcept {
  rung_ = true;
  ++striking_;
  const int bell = bell_;
  lock_.unlock();
  strike(bell);
  lock_.lock();
  --striking_;
  unring();
}

void queue::ring() noexcept {
  if (has_rung()) return;
  rung_ = true;
  strike(bell_);
}

// Who sleeps or delivers answers it himself.
void queue::unring() noexcept {
  if (!has_rung() || active_count_ != 0 || sleepers_ != 0 || collectors_ != 0 || ended_) return;
  std::uint64_t rings = 0;
  syscall(SYS_read, bell_, &rings, sizeof rings);
  rung_ = false;
}

void queue::strike(int bell) noexcept {
  // Cannot fail: it would take 2^64 writes to fill an eventfd. Not by write(), which is a
  // cancellation point: any thread may come here by any call.
  const std::uint64_t one = 1;
  syscall(SYS_write, bell, &one, sizeof one);
}

void queue::enqueue(knote_record& k) noexcept {
  if (k.queued) return;
  k.queued = true;
  const unsigned filter = filter_index(k.filter);
  active_[filter].push_back(k);
  waiting_ |= 1u << filter;
  close_short_way();
  ++active_count_;
}

void queue::dequeue(knote_record& k) noexcept {
  if (!k.queued) return;
  k.queued = false;
  const unsigned filter = filter_index(k.filter);
  active_[filter].remove(k);
  if (active_[filter].empty()) waiting_ &= ~(1u << filter);
  --active_count_;
}

void queue::activate(knote_record& k) noexcept {
  lock_.lock();
  if (k.dropped) return lock_.unlock();
  k.active = true;
  if (!k.disabled) enqueue(k);
  if (!k.queued || !has_to_ring()) return lock_.unlock();
  ++users_;
  ring_released();
  leave();
}

knote_record* queue::take_block() noexcept {
  knote_record* block = free_blocks_;
  if (block == nullptr) return new (std::nothrow) knote_record{};
  free_blocks_ = block->chain;
  return block;
}

void queue::give_back(knote_record& k) noexcept {
  if (k.references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  k.chain = free_blocks_;
  free_blocks_ = &k;
}

void queue::release(knote_record& k) noexcept {
  const std::lock_guard hold(lock_);
  give_back(k);
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
