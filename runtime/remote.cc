// remote and its mailbox: the list of posted work, and when a post has to wake the loop.
#include "kedge/runtime/remote.h"

#include <sys/event.h>

#include <utility>

#include "kedge/runtime/reactor/mailbox.h"

namespace kedge {

bool remote::enqueue(std::unique_ptr<posted> work) const {
  return box_->enqueue(std::move(work));
}

remote::mailbox::~mailbox() {
  drop(std::move(first_));
}

// In a loop: each node owns the next, so that destroying the first would recurse.
void remote::mailbox::drop(std::unique_ptr<posted> first) noexcept {
  while (first) first = std::move(first->next);
}

bool remote::mailbox::enqueue(std::unique_ptr<posted> work) {
  const std::lock_guard lock(mutex_);
  if (kq_ < 0) return false;
  posted* const added = work.get();
  (first_ ? last_->next : first_) = std::move(work);
  last_ = added;
  if (!asleep_) return true;
  asleep_ = false;  // one trigger is enough
  // Under the lock, so that the loop cannot close the kqueue during the call. The call cannot fail:
  // the event is registered.
  kevent64_s trigger{};
  trigger.ident = wake_up_ident;
  trigger.filter = EVFILT_USER;
  trigger.fflags = NOTE_TRIGGER;
  trigger.udata = wake_up_udata;
  kevent64(kq_, &trigger, 1, nullptr, 0, 0, nullptr);
  return true;
}

bool remote::mailbox::run_posted() noexcept {
  std::unique_ptr<posted> work;
  {
    const std::lock_guard lock(mutex_);
    work = std::move(first_);
  }
  const bool any = work != nullptr;
  while (work) {
    work->run();
    work = std::move(work->next);
  }
  return any;
}

bool remote::mailbox::fall_asleep() noexcept {
  const std::lock_guard lock(mutex_);
  if (first_) return false;
  asleep_ = true;
  return true;
}

void remote::mailbox::wake_up() noexcept {
  const std::lock_guard lock(mutex_);
  asleep_ = false;
}

void remote::mailbox::close() noexcept {
  std::unique_ptr<posted> work;
  {
    const std::lock_guard lock(mutex_);
    kq_ = -1;
    work = std::move(first_);
  }
  drop(std::move(work));
}

}  // namespace kedge
