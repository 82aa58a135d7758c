// What a call has brought about but may do only when it holds no lock: waking waiters, and
// destroying messages. A destroyed message releases rights, which can destroy ports, which destroy
// messages: they are taken one after the other from a list, never by recursion (Darwin:
// ipc_kmsg_delayed_destroy, ipc_kmsg_reap_delayed). One of these lives on the stack of every call.
#pragma once

#include "kedge/mach/kernel/core/kmsg.h"
#include "kedge/mach/kernel/core/pending_call.h"

namespace kedge::mach::kernel {

class kernel;

class deferred_work {
 public:
  explicit deferred_work(class kernel& owner) noexcept : kernel(owner) {}
  ~deferred_work() {
    if (first_to_wake_) wake_all();
  }
  deferred_work(const deferred_work&) = delete;
  deferred_work& operator=(const deferred_work&) = delete;

  class kernel& kernel;

  // The pending_call has been completed and will be woken. Any lock may be held.
  void wake(pending_call& completed) noexcept {
    completed.next_to_wake = first_to_wake_;
    first_to_wake_ = &completed;
  }
  // No lock may be held. To be called before the calling thread waits.
  void wake_all() noexcept;

  // Destroys the message later, by reap(). Any lock may be held.
  void destroy_later(kmsg* message) noexcept {
    message->next = nullptr;
    (last_ ? last_->next : first_) = message;
    last_ = message;
  }
  // Destroys what is on the list, in order, with every right in it. No lock may be held. A call
  // from within does nothing: the outermost one goes on until the list is empty.
  void reap() noexcept;

 private:
  pending_call* first_to_wake_ = nullptr;
  kmsg* first_ = nullptr;
  kmsg* last_ = nullptr;
  bool reaping_ = false;
};

}  // namespace kedge::mach::kernel
