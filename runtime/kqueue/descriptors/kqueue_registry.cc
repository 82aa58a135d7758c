// Registers, duplicates and ends kqueues by fd, and recycles their queue objects.
#include "kedge/runtime/kqueue/descriptors/kqueue_registry.h"

#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <mutex>
#include <new>

#include "kedge/runtime/base/list.h"
#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/kqueue/descriptors/fd_watchers.h"
#include "kedge/runtime/kqueue/descriptors/internal_fds.h"
#include "kedge/runtime/kqueue/filters/signal_watch.h"
#include "kedge/runtime/kqueue/libc/no_cancellation.h"
#include "kedge/runtime/kqueue/libc/own_process.h"

namespace kedge::kqueue {

constinit fd_table<queue*> kqueue_registry::queues_{};
constinit std::atomic<queue*> kqueue_registry::all_{nullptr};

namespace {

struct queue_pool {
  base::mutex lock;
  base::list<queue, &queue::unused_link> unused;
  queue* of_parent = nullptr;  // those made before the fork, so that a leak checker finds them
};

constinit queue_pool pool{};

}  // namespace

// kqueues do not survive a fork. The parent's other threads do not exist here and may have held
// locks for ever. So no lock is taken, and the old queues, which those threads may have been
// changing, stay as they are.
void kqueue_registry::after_fork_in_child() noexcept {
  own_process::after_fork_in_child();
  queues_.each(0, ~0u, [](int fd, const std::atomic<queue*>& place) {
    const queue* const q = place.load(std::memory_order_acquire);
    if (q != nullptr && q->owns(fd)) internal_fds::close_raw(fd);
  });
  each_queue([](queue& q) { q.abandon(); });
  queues_.clear();
  internal_fds::close_all_in_child();
  fd_watchers::after_fork_in_child();
  signal_watch::after_fork_in_child();
  new (&pool.lock) base::mutex;
  pool.unused = {};
  pool.of_parent = all_.exchange(nullptr, std::memory_order_relaxed);
}

// A constructor, so that it runs before there can be a kqueue.
void kqueue_registry::install_fork_handlers() noexcept {
  pthread_atfork(internal_fds::before_fork, internal_fds::after_fork, after_fork_in_child);
}

queue* kqueue_registry::take_unused() noexcept {
  const std::lock_guard hold(pool.lock);
  queue* q = pool.unused.pop_back();
  if (q != nullptr) return q;
  q = new (std::nothrow) queue;
  if (q != nullptr) {
    q->next_of_all = all_.load(std::memory_order_relaxed);
    all_.store(q, std::memory_order_release);
  }
  return q;
}

bool kqueue_registry::is_kqueue(int fd) noexcept {
  queue* const q = find(fd);
  if (q == nullptr || q->enter(fd, call_kind::undecided) != 0) return false;
  const bool is_ours = q->fd_is_ours();
  q->leave();
  return is_ours;
}

void kqueue_registry::set(std::atomic<queue*>& place, int fd, queue& q) noexcept {
  queue* const old = place.exchange(&q, std::memory_order_acq_rel);
  if (old != nullptr) old->remove_fd(fd);  // it was closed by a raw system call
}

int kqueue_registry::make() noexcept {
  const no_cancellation guard;  // the owner hook may call anything
  queue* const q = take_unused();
  if (q == nullptr) {
    errno = ENOMEM;
    return -1;
  }
  const int fd = q->begin();
  if (fd < 0) {
    const int error = errno;
    recycle(*q);
    errno = error;
    return -1;
  }
  std::atomic<queue*>* const place = queues_.make(fd);
  if (place == nullptr || !fd_watchers::add_kqueue(fd)) {
    q->remove_fd(fd);
    internal_fds::close(fd);
    errno = ENOMEM;
    return -1;
  }
  set(*place, fd, *q);
  internal_fds::forget(fd);
  return fd;
}

bool kqueue_registry::duplicate(int fd, int fresh) noexcept {
  queue* const q = find(fd);
  if (q == nullptr) return true;
  std::atomic<queue*>* const place = queues_.make(fresh);
  if (place == nullptr || !fd_watchers::add_kqueue(fresh)) return false;
  if (!q->count_fd(fd)) return true;
  set(*place, fresh, *q);
  q->on_fd_added(fresh);
  return true;
}

void kqueue_registry::forget(int fd) noexcept {
  std::atomic<queue*>* const place = queues_.find(fd);
  queue* const q = place != nullptr ? place->exchange(nullptr, std::memory_order_acq_rel) : nullptr;
  if (q != nullptr) q->remove_fd(fd);
}

void kqueue_registry::erase(int fd, queue& q) noexcept {
  std::atomic<queue*>* const place = queues_.find(fd);
  queue* expected = &q;
  if (place != nullptr) place->compare_exchange_strong(expected, nullptr);
}

int kqueue_registry::any_fd_of(const queue& q) noexcept {
  int any = -1;
  each_fd_of(q, [&any](int fd) { any = fd; });
  return any;
}

void kqueue_registry::recycle(queue& q) noexcept {
  const std::lock_guard hold(pool.lock);
  pool.unused.push_back(q);
}

}  // namespace kedge::kqueue
