#include "kedge/kqueue/signal_watch.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>
#include <new>

#include "kedge/kqueue/lock.h"

namespace kedge::kqueue {
namespace {

constinit word_lock lock;
constinit std::atomic<signal_watch*> watches{nullptr};

std::uint64_t bit(unsigned signal) noexcept {
  return std::uint64_t{1} << (signal - 1);
}

}  // namespace

void signal_arrived(unsigned signal) noexcept {
  for (signal_watch* w = watches.load(std::memory_order_acquire); w != nullptr; w = w->next_) {
    if ((w->signals_.load(std::memory_order_acquire) & bit(signal)) == 0) continue;
    w->counts_[signal].fetch_add(1, std::memory_order_release);
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(w->descriptor(), &one, sizeof one);
  }
}

signal_watch* signal_watch::take() noexcept {
  const std::lock_guard hold(lock);
  signal_watch* w = watches.load(std::memory_order_relaxed);
  while (w != nullptr && w->in_use_) w = w->next_;
  if (w == nullptr) {
    const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) return nullptr;
    w = new (std::nothrow) signal_watch;
    if (w == nullptr) {
      close(fd);
      errno = ENOMEM;
      return nullptr;
    }
    w->event_fd_.store(fd, std::memory_order_relaxed);
    w->next_ = watches.load(std::memory_order_relaxed);
    watches.store(w, std::memory_order_release);
  }
  w->in_use_ = true;
  return w;
}

void signal_watch::give_back() noexcept {
  drain();
  const std::lock_guard hold(lock);
  in_use_ = false;
}

void signal_watch::begin(unsigned signal) noexcept {
  if ((signals_.load(std::memory_order_relaxed) & bit(signal)) != 0) return;
  counts_[signal].store(0, std::memory_order_relaxed);
  signals_.fetch_or(bit(signal), std::memory_order_acq_rel);
  cover_signal(signal);
}

void signal_watch::end(unsigned signal) noexcept {
  if ((signals_.load(std::memory_order_relaxed) & bit(signal)) == 0) return;
  signals_.fetch_and(~bit(signal), std::memory_order_acq_rel);
  uncover_signal(signal);
}

void signal_watch::drain() noexcept {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(descriptor(), &count, sizeof count);
}

std::uint32_t signal_watch::take_count(unsigned signal) noexcept {
  return counts_[signal].exchange(0, std::memory_order_acq_rel);
}

void signal_watch::abandon() noexcept {
  new (&lock) word_lock;
  for (signal_watch* w = watches.exchange(nullptr); w != nullptr; w = w->next_)
    close(w->descriptor());
}

}  // namespace kedge::kqueue
