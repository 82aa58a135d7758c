// remote and its mailbox: the list of posted work, and when a post has to wake the loop.
#include "kedge/runtime/remote.h"

#include <sys/event.h>

#include <thread>

#include "kedge/runtime/reactor/mailbox.h"

namespace kedge {

bool remote::enqueue(work& w) const noexcept {
  return box_->enqueue(w);
}

bool remote::mailbox::enqueue(work& w) noexcept {
  if (!of_this_process()) return false;
  const auto added = reinterpret_cast<std::uintptr_t>(&w);
  std::uintptr_t head = head_.load(std::memory_order_relaxed);
  for (;;) {
    if (head == gone) return false;
    // Counted before the push, so that close() waits for the trigger of every push before it.
    const bool wakes = head == asleep;
    if (wakes) triggering_.fetch_add(1, std::memory_order_relaxed);
    w.next_ = wakes ? nullptr : reinterpret_cast<work*>(head);
    const bool pushed = head_.compare_exchange_weak(head, added, std::memory_order_release,
                                                    std::memory_order_relaxed);
    // The loop may run `w` from here on, and `w` may be gone.
    if (pushed && wakes) trigger();
    if (wakes) triggering_.fetch_sub(1, std::memory_order_release);
    if (pushed) return true;
  }
}

// The call cannot fail: the event is registered.
void remote::mailbox::trigger() const noexcept {
  kevent64_s event{};
  event.ident = wake_up_ident;
  event.filter = EVFILT_USER;
  event.fflags = NOTE_TRIGGER;
  event.udata = wake_up_udata;
  kevent64(kq_, &event, 1, nullptr, 0, 0, nullptr);
}

// Returns the work in the order in which it was posted. The head is the latest.
remote::work* remote::mailbox::in_order(std::uintptr_t head) noexcept {
  work* first = nullptr;
  for (work* w = head > gone ? reinterpret_cast<work*>(head) : nullptr; w != nullptr;) {
    work* const earlier = w->next_;
    w->next_ = first;
    first = w;
    w = earlier;
  }
  return first;
}

bool remote::mailbox::run_all() noexcept {
  for (work* w = in_order(head_.exchange(awake, std::memory_order_acquire)); w != nullptr;) {
    work* const next = w->next_;
    ++posts_;
    w->run();
    w = next;
  }
  return true;
}

void remote::mailbox::close() noexcept {
  work* w = in_order(head_.exchange(gone, std::memory_order_acq_rel));
  // A poster that has pushed in time may still trigger the event. In a forked child such a poster
  // does not exist, though the count may say so.
  while (of_this_process() && triggering_.load(std::memory_order_acquire) != 0) {
    std::this_thread::yield();
  }
  while (w != nullptr) {
    work* const next = w->next_;
    w->drop();
    w = next;
  }
}

}  // namespace kedge
