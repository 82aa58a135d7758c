// The notifications before an fd is closed: knote_fdclose() of Darwin's kern_event.c.
#include "kedge/runtime/kqueue/descriptors/fd_watchers.h"

#include <cerrno>

#include "kedge/runtime/kqueue/descriptors/kqueue_registry.h"
#include "kedge/runtime/kqueue/libc/own_process.h"
#include "kedge/runtime/kqueue/queue.h"

namespace kedge::kqueue {

constinit fd_table<std::uintptr_t> fd_watchers::words_{};

namespace {

// Calls visit(queue) for the kqueues that a word names.
template <class Visit>
void each_watcher(std::uintptr_t word, std::uintptr_t several, Visit visit) noexcept {
  if (word == several) {
    kqueue_registry::each_queue(visit);
  } else if (word != 0) {
    visit(*reinterpret_cast<queue*>(word));
  }
}

}  // namespace

void fd_watchers::notify_close(int fd) noexcept {
  const int error = errno;
  if (own_process::is_current()) {
    const std::uintptr_t word = words_.find(fd)->exchange(0, std::memory_order_acq_rel);
    each_watcher(word & ~is_kqueue, several, [fd](queue& q) { q.on_close(fd); });
    if ((word & is_kqueue) != 0) kqueue_registry::forget(fd);
  }
  errno = error;
}

void fd_watchers::before_close_range(unsigned first, unsigned last) noexcept {
  words_.each(first, last, [](int fd, const std::atomic<std::uintptr_t>& word) {
    if (word.load(std::memory_order_relaxed) != 0) notify_close(fd);
  });
}

void fd_watchers::notify(int fd, void (queue::*notification)(int) noexcept) noexcept {
  if (!has_watcher(fd) || !own_process::is_current()) return;
  const int error = errno;
  const std::uintptr_t word = words_.find(fd)->load(std::memory_order_acquire);
  each_watcher(word & ~is_kqueue, several, [fd, notification](queue& q) { (q.*notification)(fd); });
  errno = error;
}

void fd_watchers::after_shutdown(int fd) noexcept {
  notify(fd, &queue::on_shutdown);
}

void fd_watchers::after_seek(int fd) noexcept {
  notify(fd, &queue::on_seek);
}

void fd_watchers::after_replace(int fd) noexcept {
  notify(fd, &queue::on_replace);
}

bool fd_watchers::add_watcher(int fd, const queue& q) noexcept {
  std::atomic<std::uintptr_t>* const place = words_.make(fd);
  if (place == nullptr) return false;
  const auto own = reinterpret_cast<std::uintptr_t>(&q);
  std::uintptr_t word = place->load(std::memory_order_relaxed);
  for (;;) {
    const std::uintptr_t watcher = word & ~is_kqueue;
    if (watcher == own || watcher == several) return true;
    const std::uintptr_t wanted = (watcher == 0 ? own : several) | (word & is_kqueue);
    if (place->compare_exchange_weak(word, wanted, std::memory_order_acq_rel)) return true;
  }
}

bool fd_watchers::add_kqueue(int fd) noexcept {
  std::atomic<std::uintptr_t>* const place = words_.make(fd);
  if (place == nullptr) return false;
  own_process::claim();
  place->fetch_or(is_kqueue, std::memory_order_acq_rel);
  return true;
}

void fd_watchers::after_fork_in_child() noexcept {
  words_.clear();
}

}  // namespace kedge::kqueue
