#include "kedge/kqueue/own_descriptors.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <new>

#include "kedge/kqueue/number_close.h"

namespace kedge::kqueue {

constinit word_lock own_descriptors::lock_{};
constinit number_table<bool> own_descriptors::noted_{};

bool own_descriptors::note(int fd) noexcept {
  std::atomic<bool>* const place = noted_.make(fd);
  if (place != nullptr) place->store(true, std::memory_order_relaxed);
  return place != nullptr;
}

void own_descriptors::forget(int fd) noexcept {
  std::atomic<bool>* const place = noted_.find(fd);
  if (place != nullptr) place->store(false, std::memory_order_relaxed);
}

void own_descriptors::close_at_once(int fd) noexcept {
  const int error = errno;
  syscall(SYS_close, fd);
  errno = error;
}

void own_descriptors::close(int fd) noexcept {
  number_close::announce(fd);
  const std::lock_guard hold(lock_);
  close_at_once(fd);
  forget(fd);
}

void own_descriptors::close_all_in_child() noexcept {
  noted_.each(0, ~0u, [](int number, std::atomic<bool>& place) {
    if (place.load(std::memory_order_relaxed)) close_at_once(number);
  });
  noted_.clear();
  new (&lock_) word_lock;
}

}  // namespace kedge::kqueue
