// The epoll set of a kqueue: the kqueue's own descriptors in it, and how a new set replaces it.
//
// epoll identifies a registration by file and fd, and keeps it as long as the file is open. If the
// program closes an fd by a raw system call while a duplicate keeps the file open, the registration
// can no longer be removed, and epoll would report it for ever. So the kqueue makes a new set
// without it, which takes over the kqueue's fds.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "kedge/runtime/kqueue/descriptors/fd_watchers.h"
#include "kedge/runtime/kqueue/descriptors/internal_fds.h"
#include "kedge/runtime/kqueue/descriptors/kqueue_registry.h"
#include "kedge/runtime/kqueue/queue.h"

namespace kedge::kqueue {
namespace {

// Returns 0 or an errno.
int add_to_set(int epoll, int fd, std::uint32_t events, std::uint64_t tag) noexcept {
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag;
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
}

// Only our epoll set refuses to add the eventfd a second time.
bool is_our_set(int fd, int wakeup) noexcept {
  const int error = add_to_set(fd, wakeup, 0, wakeup_tag);
  if (error != 0) return error == EEXIST;
  epoll_ctl(fd, EPOLL_CTL_DEL, wakeup, nullptr);  // it was an epoll set of the program
  return false;
}

// Makes `fd` name the file of `epoll`. Not by dup3() of this library, which would treat it as the
// program closing the fd.
void take_over(int fd, int epoll) noexcept {
  const int flags = fcntl(fd, F_GETFD);
  syscall(SYS_dup3, epoll, fd, (flags & FD_CLOEXEC) != 0 ? O_CLOEXEC : 0);
}

}  // namespace

// Returns false with errno.
bool queue::add_wakeup(int epoll, int wakeup) noexcept {
  return add_to_set(epoll, wakeup, EPOLLIN | EPOLLET, wakeup_tag) == 0;
}

bool queue::fd_is_ours() const noexcept {
  return !ended_ && is_our_set(fd_, wakeup_);
}

bool queue::owns(int fd) const noexcept {
  return is_our_set(fd, wakeup_);
}

// Replaces the epoll set. May release the lock. Returns false if there is no memory or no
// descriptor for a new set: the next wait that brings a stale event tries again.
bool queue::replace_set() noexcept {
  drop_stale_registrations();
  if (ended_) return false;
  const int epoll = internal_fds::make([] { return epoll_create1(EPOLL_CLOEXEC); });
  if (epoll < 0) return false;
  const bool is_filled = fill_set(epoll) == 0;
  if (is_filled) {
    kqueue_registry::each_fd_of(*this, [&](int fd) {
      if (is_our_set(fd, wakeup_)) take_over(fd, epoll);
    });
    ++set_;
    in_old_sets_ = sleepers_;
    close_fast_path();
    wake_old_set();
  }
  lock_.unlock();
  internal_fds::close(epoll);
  if (is_filled) {
    // kqueues that watch this one have registered the old set.
    kqueue_registry::each_fd_of(*this, [](int fd) { fd_watchers::after_replace(fd); });
  }
  lock_.lock();
  return is_filled;
}

// Drops the knotes of fds that were closed without a notification and may be other files' now. May
// release the lock.
void queue::drop_stale_registrations() noexcept {
  std::size_t place = 0;
  for (;; ++place) {
    const int fd = descriptors_.any_registered_from(place);
    if (fd < 0) return;
    const int error = descriptors_.refresh(fd_, static_cast<std::uint32_t>(fd), true);
    if (error == ENOENT || error == EBADF) drop_all(fd, true);
  }
}

// Registers in `epoll` what the current set should hold. Returns 0 or an errno.
int queue::fill_set(int epoll) noexcept {
  int error = add_wakeup(epoll, wakeup_) ? descriptors_.copy_to(epoll) : errno;
  for (unsigned f = 0; f < filter_count && error == 0; ++f) {
    const filter_slot& slot = slots_[f];
    if (slot.phase == slot_state::open && slot.pump >= 0) {
      error = add_to_set(epoll, slot.pump, EPOLLIN, pump_tag(f));
    }
  }
  return error;
}

// Wakes the threads that sleep in earlier sets. A write to the eventfd, which is in all sets, wakes
// one thread of each; the woken thread wakes the next.
void queue::wake_old_set() noexcept {
  if (in_old_sets_ == 0) return;
  wakeup_pending_ = false;
  post_wakeup();
}

void queue::leave_old_set() noexcept {
  if (in_old_sets_ == 0) return;
  --in_old_sets_;
  wake_old_set();
}

}  // namespace kedge::kqueue
