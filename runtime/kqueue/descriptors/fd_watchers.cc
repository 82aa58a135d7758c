#include "kedge/runtime/kqueue/descriptors/fd_watchers.h"

#include <sys/types.h>
#include <unistd.h>

#include <cerrno>

#include "kedge/runtime/kqueue/descriptors/kqueue_registry.h"
#include "kedge/runtime/kqueue/queue.h"

namespace kedge::kqueue {

constinit fd_table<std::uintptr_t> fd_watchers::cares_{};

namespace {

constinit std::atomic<pid_t> process{0};  // whose descriptors the numbers are

// visit(queue) for those that a word names.
template <class Visit>
void each_watcher(std::uintptr_t word, std::uintptr_t several, Visit visit) noexcept {
  if (word == several) {
    kqueue_registry::each_queue(visit);
  } else if (word != 0) {
    visit(*reinterpret_cast<queue*>(word));
  }
}

}  // namespace

bool fd_watchers::in_own_process() noexcept {
  return getpid() == process.load(std::memory_order_relaxed);
}

void fd_watchers::tell(int number) noexcept {
  const int error = errno;
  if (in_own_process()) {
    const std::uintptr_t word = cares_.find(number)->exchange(0, std::memory_order_acq_rel);
    each_watcher(word & ~is_kqueue, several, [number](queue& q) { q.descriptor_closes(number); });
    if ((word & is_kqueue) != 0) kqueue_registry::forget(number);
  }
  errno = error;
}

void fd_watchers::announce_all(unsigned first, unsigned last) noexcept {
  cares_.each(first, last, [](int number, const std::atomic<std::uintptr_t>& place) {
    if (place.load(std::memory_order_relaxed) != 0) tell(number);
  });
}

void fd_watchers::tell_watchers(int number, void (queue::*what)(int) noexcept) noexcept {
  const std::uintptr_t word = cares_.find(number)->load(std::memory_order_acquire);
  each_watcher(word & ~is_kqueue, several, [number, what](queue& q) { (q.*what)(number); });
}

void fd_watchers::announce_end_of_sending(int number) noexcept {
  const int error = errno;
  if (concerns(number) && in_own_process()) tell_watchers(number, &queue::sending_ends);
  errno = error;
}

void fd_watchers::announce_new_offset(int number) noexcept {
  const int error = errno;
  if (concerns(number) && in_own_process()) tell_watchers(number, &queue::offset_moves);
  errno = error;
}

bool fd_watchers::note_knote(int number, const queue& q) noexcept {
  std::atomic<std::uintptr_t>* const place = cares_.make(number);
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

bool fd_watchers::note_kqueue(int number) noexcept {
  std::atomic<std::uintptr_t>* const place = cares_.make(number);
  if (place == nullptr) return false;
  process.store(getpid(), std::memory_order_relaxed);
  place->fetch_or(is_kqueue, std::memory_order_acq_rel);
  return true;
}

void fd_watchers::renew(int number) noexcept {
  tell_watchers(number, &queue::renew);
}

void fd_watchers::after_fork_in_child() noexcept {
  cares_.clear();
}

}  // namespace kedge::kqueue
