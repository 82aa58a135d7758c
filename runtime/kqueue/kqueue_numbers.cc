#include "kedge/kqueue/kqueue_numbers.h"

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <mutex>
#include <new>

#include "kedge/kqueue/lock.h"
#include "kedge/kqueue/signal_watch.h"

namespace kedge::kqueue {

constinit std::atomic<kqueue_numbers::page*> kqueue_numbers::pages_[page_count]{};

namespace {

struct makings {
  word_lock lock;  // for making
  queue* unused = nullptr;
  bool watches_fork = false;
};

constinit makings all{};

}  // namespace

// kqueues do not outlive a fork. Other threads are gone, their locks may be held for ever: none is
// taken, and the old queues are left as they are.
void kqueue_numbers::after_fork_in_child() noexcept {
  for (std::atomic<page*>& p : pages_) {
    page* const numbers = p.load(std::memory_order_relaxed);
    if (numbers == nullptr) continue;
    for (std::atomic<queue*>& slot : numbers->at) {
      queue* const q = slot.exchange(nullptr, std::memory_order_relaxed);
      if (q != nullptr) q->abandon();
    }
  }
  new (&all.lock) word_lock;
  all.unused = nullptr;
  signal_watch::abandon();
}

std::atomic<queue*>* kqueue_numbers::make_slot(int number) noexcept {
  const unsigned n = static_cast<unsigned>(number);
  if (n / page_size >= page_count) return nullptr;
  std::atomic<page*>& p = pages_[n / page_size];
  if (p.load(std::memory_order_relaxed) == nullptr) {
    p.store(new (std::nothrow) page{}, std::memory_order_release);
  }
  return slot_of(number);
}

queue* kqueue_numbers::take_unused() noexcept {
  const std::lock_guard hold(all.lock);
  if (!all.watches_fork) {
    all.watches_fork = pthread_atfork(nullptr, nullptr, &after_fork_in_child) == 0;
    if (!all.watches_fork) return nullptr;
  }
  queue* const q = all.unused;
  if (q == nullptr) return new (std::nothrow) queue;
  all.unused = q->next_free;
  return q;
}

bool kqueue_numbers::is_kqueue(int number) noexcept {
  queue* const q = find(number);
  if (q == nullptr || q->enter(number, call_kind::undecided) != 0) return false;
  const bool is = q->number_is_ours();
  q->leave();
  return is;
}

int kqueue_numbers::make() noexcept {
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
  queue* old = nullptr;
  std::atomic<queue*>* slot = nullptr;
  {
    const std::lock_guard hold(all.lock);
    slot = make_slot(number);
    if (slot != nullptr) old = slot->exchange(q, std::memory_order_acq_rel);
  }
  if (slot == nullptr) {
    close(number);
    q->end(number);
    errno = ENOMEM;
    return -1;
  }
  if (old != nullptr) old->end(number);
  return number;
}

void kqueue_numbers::recycle(queue& q) noexcept {
  const std::lock_guard hold(all.lock);
  std::atomic<queue*>* const slot = slot_of(q.number());
  queue* expected = &q;
  if (slot != nullptr) slot->compare_exchange_strong(expected, nullptr, std::memory_order_acq_rel);
  q.next_free = all.unused;
  all.unused = &q;
}

}  // namespace kedge::kqueue
