// deferred_work: what a call has caused but may do only when it holds no lock: waking waiters and
// destroying messages. One lives on the stack of every call.
//
// Destroying a message releases rights, which can destroy ports, which destroy messages. They are
// taken from a list one by one, never by recursion (Darwin: ipc_kmsg_delayed_destroy,
// ipc_kmsg_reap_delayed).
#pragma once

#include "kedge/mach/kernel/core/kmsg.h"
#include "kedge/mach/kernel/core/pending_call.h"

namespace kedge::mach::kernel {

class kernel;

class deferred_work {
 public:
  explicit deferred_work(kernel& whole) noexcept : owner(whole) {}
  ~deferred_work() {
    if (first_to_wake_) wake_all();
  }
  deferred_work(const deferred_work&) = delete;
  deferred_work& operator=(const deferred_work&) = delete;

  kernel& owner;

  // Wakes the completed call later. Any lock may be held.
  void wake(pending_call& completed) noexcept {
    completed.next_to_wake = first_to_wake_;
    first_to_wake_ = &completed;
  }
  // Wakes all completed calls. Must be called before the calling thread waits. No lock may be held.
  void wake_all() noexcept;

  // Destroys the message later, by reap(). Any lock may be held.
  void destroy_later(kmsg* message) noexcept {
    message->next = nullptr;
    (last_ ? last_->next : first_) = message;
    last_ = message;
  }
  // Destroys the listed messages in order, with every right in them. A nested call does nothing:
  // the outermost one continues until the list is empty. No lock may be held.
  void reap() noexcept;

 private:
  // Lists with one link per element, not base::list: elements leave only from the front.
  pending_call* first_to_wake_ = nullptr;
  kmsg* first_ = nullptr;
  kmsg* last_ = nullptr;
  bool reaping_ = false;
};

}  // namespace kedge::mach::kernel
