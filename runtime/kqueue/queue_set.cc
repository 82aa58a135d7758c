// The epoll set of a kqueue: what of ours is in it, and how a new one takes its place.
//
// epoll knows a registration by file and number, and keeps it as long as the file is open. If the
// program closes a number by a raw system call while a duplicate keeps the file open, nobody can
// remove the registration any more: it would be reported for ever. So a new set is made without
// it, and takes over the kqueue's numbers.

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "kedge/runtime/kqueue/descriptors/fd_watchers.h"
#include "kedge/runtime/kqueue/descriptors/internal_fds.h"
#include "kedge/runtime/kqueue/descriptors/kqueue_registry.h"
#include "kedge/runtime/kqueue/epoll_tag.h"
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

// Adding the bell a second time is refused by our epoll set and by no other file.
bool is_our_set(int number, int bell) noexcept {
  const int error = add_to_set(number, bell, 0, bell_tag);
  if (error != 0) return error == EEXIST;
  epoll_ctl(number, EPOLL_CTL_DEL, bell, nullptr);  // out of the program's own epoll set again
  return false;
}

// Not the program's closing of the number, so not by dup3().
void take_over(int number, int epoll) noexcept {
  const int flags = fcntl(number, F_GETFD);
  syscall(SYS_dup3, epoll, number, (flags & FD_CLOEXEC) != 0 ? O_CLOEXEC : 0);
}

}  // namespace

// False with errno.
bool queue::add_bell(int epoll, int bell) noexcept {
  return add_to_set(epoll, bell, EPOLLIN | EPOLLET, bell_tag) == 0;
}

bool queue::number_is_ours() const noexcept {
  return !ended_ && is_our_set(number_, bell_);
}

bool queue::owns(int number) const noexcept {
  return is_our_set(number, bell_);
}

// May release the lock meanwhile. False if there is no memory or descriptor for it: the next wait
// that brings a stale event tries again.
bool queue::renew_set() noexcept {
  // A number that was closed without our knowing may be another file's.
  std::size_t place = 0;
  for (;;) {
    const int fd = descriptors_.any_registered_from(place);
    if (fd < 0) break;
    const int error = descriptors_.refresh(number_, static_cast<std::uint32_t>(fd), true);
    if (error == ENOENT || error == EBADF) drop_all(fd, true);
    ++place;
  }
  if (ended_) return false;
  const int epoll = internal_fds::make([] { return epoll_create1(EPOLL_CLOEXEC); });
  if (epoll < 0) return false;
  int error = add_bell(epoll, bell_) ? descriptors_.copy_to(epoll) : errno;
  for (unsigned f = 0; f < filter_count && error == 0; ++f) {
    const filter_slot& slot = slots_[f];
    if (slot.phase == slot_state::open && slot.pump >= 0) {
      error = add_to_set(epoll, slot.pump, EPOLLIN, pump_tag(f));
    }
  }
  if (error == 0) {
    kqueue_registry::each_number_of(*this, [&](int number) {
      if (is_our_set(number, bell_)) take_over(number, epoll);
    });
    ++set_;
    in_old_sets_ = sleepers_;
    close_short_way();
    wake_old_set();
  }
  lock_.unlock();
  internal_fds::close(epoll);
  if (error == 0) {
    // Kqueues that watch this one know the old set.
    kqueue_registry::each_number_of(*this, [](int number) { fd_watchers::renew(number); });
  }
  lock_.lock();
  return error == 0;
}

// They wake one another: the bell, which is in all sets, wakes one thread of each.
void queue::wake_old_set() noexcept {
  if (in_old_sets_ == 0) return;
  rung_ = false;
  ring();
}

void queue::leave_old_set() noexcept {
  if (in_old_sets_ == 0) return;
  --in_old_sets_;
  wake_old_set();
}

}  // namespace kedge::kqueue
