#include "kedge/runtime/kqueue/descriptors/kqueue_registry.h"

#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <mutex>
#include <new>

#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/kqueue/descriptors/fd_watchers.h"
#include "kedge/runtime/kqueue/descriptors/internal_fds.h"
#include "kedge/runtime/kqueue/filters/signal_watch.h"
#include "kedge/runtime/kqueue/libc/no_cancellation.h"

namespace kedge::kqueue {

constinit fd_table<queue*> kqueue_registry::numbers_{};
constinit std::atomic<queue*> kqueue_registry::all_{nullptr};

namespace {

struct makings {
  base::mutex lock;  // for making
  queue* unused = nullptr;
  queue* of_parent = nullptr;  // those of before the fork, for a leak checker's sake
};

constinit makings all{};

}  // namespace

// kqueues do not outlive a fork. Other threads are gone, their locks may be held for ever: none is
// taken, and the old queues, which those may have been changing, are left as they are.
void kqueue_registry::after_fork_in_child() noexcept {
  numbers_.each(0, ~0u, [](int number, const std::atomic<queue*>& place) {
    const queue* const q = place.load(std::memory_order_acquire);
    if (q != nullptr && q->owns(number)) internal_fds::close_at_once(number);
  });
  numbers_.clear();
  internal_fds::close_all_in_child();
  fd_watchers::after_fork_in_child();
  signal_watch::after_fork_in_child();
  new (&all.lock) base::mutex;
  all.unused = nullptr;
  all.of_parent = all_.exchange(nullptr, std::memory_order_relaxed);
}

// As early as there can be a kqueue.
void kqueue_registry::begin() noexcept {
  pthread_atfork(internal_fds::before_fork, internal_fds::after_fork, after_fork_in_child);
}

queue* kqueue_registry::take_unused() noexcept {
  const std::lock_guard hold(all.lock);
  queue* q = all.unused;
  if (q != nullptr) {
    all.unused = q->next_free;
    return q;
  }
  q = new (std::nothrow) queue;
  if (q != nullptr) {
    q->next_of_all = all_.load(std::memory_order_relaxed);
    all_.store(q, std::memory_order_release);
  }
  return q;
}

bool kqueue_registry::is_kqueue(int number) noexcept {
  queue* const q = find(number);
  if (q == nullptr || q->enter(number, call_kind::undecided) != 0) return false;
  const bool is = q->number_is_ours();
  q->leave();
  return is;
}

void kqueue_registry::set(std::atomic<queue*>& place, int number, queue& q) noexcept {
  queue* const old = place.exchange(&q, std::memory_order_acq_rel);
  if (old != nullptr) old->lose_number(number);  // it was closed behind our back
}

int kqueue_registry::make() noexcept {
  const no_cancellation here;  // in the owner hook there may be anything
  queue* const q = take_unused();
  if (q == nullptr) {
    errno = ENOMEM;
    return -1;
  }
  const int number = q->begin();
  if (number < 0) {
    const int error = errno;
    recycle(*q);
    errno = error;
    return -1;
  }
  std::atomic<queue*>* const place = numbers_.make(number);
  if (place == nullptr || !fd_watchers::note_kqueue(number)) {
    q->lose_number(number);
    internal_fds::close(number);
    errno = ENOMEM;
    return -1;
  }
  set(*place, number, *q);
  internal_fds::forget(number);
  return number;
}

bool kqueue_registry::duplicate(int number, int fresh) noexcept {
  queue* const q = find(number);
  if (q == nullptr) return true;
  std::atomic<queue*>* const place = numbers_.make(fresh);
  if (place == nullptr || !fd_watchers::note_kqueue(fresh)) return false;
  if (!q->gain_number(number)) return true;
  set(*place, fresh, *q);
  q->has_gained(fresh);
  return true;
}

void kqueue_registry::forget(int number) noexcept {
  std::atomic<queue*>* const place = numbers_.find(number);
  queue* const q = place != nullptr ? place->exchange(nullptr, std::memory_order_acq_rel) : nullptr;
  if (q != nullptr) q->lose_number(number);
}

void kqueue_registry::remove(int number, queue& q) noexcept {
  std::atomic<queue*>* const place = numbers_.find(number);
  queue* expected = &q;
  if (place != nullptr) place->compare_exchange_strong(expected, nullptr);
}

int kqueue_registry::any_number_of(const queue& q) noexcept {
  int any = -1;
  each_number_of(q, [&any](int number) { any = number; });
  return any;
}

void kqueue_registry::recycle(queue& q) noexcept {
  const std::lock_guard hold(all.lock);
  q.next_free = all.unused;
  all.unused = &q;
}

}  // namespace kedge::kqueue
