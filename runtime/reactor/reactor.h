// reactor: one thread's kqueue, ready queue, timers, and registrations of sources.
//
// The base of `loop`, which adds running tasks. Operations reach it through their context; sources
// are constructed with it (a loop is a reactor).
//
// Fairness: a resumed coroutine gets a budget of 64 operations; when it is spent the coroutine goes
// to the back of the ready queue. The kernel is asked at least once per 64 turns or spent budgets,
// even while tasks are ready.
// Costs: changes are submitted together with the next wait. So in the steady state a wait costs one
// system call, and a readiness none beyond it.
//
// Threads: only the thread that drives may use it. Other threads have a `remote`.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/awaiting/waiter.h"
#include "kedge/runtime/kqueue/extension.h"
#include "kedge/runtime/reactor/clock.h"
#include "kedge/runtime/reactor/drive_hook.h"
#include "kedge/runtime/reactor/ready_queue.h"
#include "kedge/runtime/reactor/timer.h"
#include "kedge/runtime/remote.h"

struct kevent64_s;

namespace kedge {

class registration_table;

class reactor {
 public:
  reactor(const reactor&) = delete;
  reactor& operator=(const reactor&) = delete;

  // --- For operations -------------------------------------------------------------------------

  // Puts `w` at the back of the ready queue. No effect if it is queued already. Never resumes.
  void ready(waiter& w) noexcept {
    if (w.queued()) return;
    ready_.push_back(w);
    if (polled_by_host_ && !driven_) [[unlikely]]
      wake_host();
  }
  // Takes one from the budget of the running coroutine. Returns false if none is left.
  bool spend_budget() noexcept { return budget_-- > 0; }

  timer_heap& timers() noexcept { return timers_; }
  const std::shared_ptr<registration_table>& registrations() noexcept { return registrations_; }

  // Returns the one T of this loop, made as T(reactor&) by the first call. Attachments are
  // destroyed after the loop's tasks and before its kqueue, the latest first. Throws std::bad_alloc
  // and what the constructor throws.
  template <class T>
  T& attachment() {
    static constexpr char key = 0;
    for (const auto& a : attachments_) {
      if (a.key == &key) return static_cast<held<T>&>(*a.object).value;
    }
    auto made = std::make_unique<held<T>>(*this);
    T& value = made->value;
    attachments_.push_back({&key, std::move(made)});
    return value;
  }

  // Submits the pending changes now. For a source whose registration must have left the kernel
  // before its next step: a signal's former disposition is restored only after that. Throws
  // std::system_error if the kqueue fails.
  void submit_changes();

  // --- For a host that has a main loop of its own ---------------------------------------------

  // One turn without blocking: delivers events, then runs ready tasks. Returns false if there was
  // neither. As with run_once(), pending changes have been submitted on return. Throws
  // std::logic_error within a drive of this loop, and std::system_error if the kqueue fails.
  bool poll() { return run_once(clock::duration::zero()); }

  // One turn that waits, for at most max_wait, until a task is ready or an event arrives. Returns
  // false if there was neither. A signal that interrupts the wait ends it.
  bool run_once(clock::duration max_wait = clock::duration::max());

  // Returns when the host has to drive next, without regard to the kernel's events: now if tasks
  // are ready, else the earliest timer's deadline, else nothing.
  std::optional<clock::time_point> next_deadline() const noexcept;

  // Returns the kqueue's fd, for the host's own poll, select, epoll or kqueue: it is readable when
  // the loop has to be driven. After the first call this covers every reason to drive: whenever
  // poll() or run_once() has returned, the earliest deadline is a kernel timer too, and ready tasks
  // have triggered an event. A host that uses next_deadline() does not need it. The loop owns the
  // fd. Throws std::system_error if the kqueue fails.
  int native_handle();

  // --- For other threads ----------------------------------------------------------------------

  // Returns a handle with which any thread may post work. Call it on the loop's thread.
  remote get_remote();

  // --- For the owner of the loop --------------------------------------------------------------

  // Sets the hook that runs around every drive, and around spawning, cancelling and destroying;
  // null removes it. Must not be called during a drive. The hook must outlive the loop.
  void set_hook(drive_hook* hook) noexcept { hook_ = hook; }

 protected:
  // Throws std::system_error if the system cannot make a kqueue, and std::bad_alloc.
  reactor();
  ~reactor();

  // The scope of a drive: makes the reactor the thread's current one and runs the hook. Throws
  // std::logic_error within a drive of the same reactor.
  class driving {
   public:
    explicit driving(reactor& r);
    driving(const driving&) = delete;
    driving& operator=(const driving&) = delete;
    ~driving();

   private:
    reactor& reactor_;
    reactor* outer_;
  };

  // Runs the hook around an access of the loop's owner to coroutines between drives. No effect
  // within a drive, which has run the hook.
  class hooked {
   public:
    explicit hooked(const reactor& r) noexcept : hook_(r.driven_ ? nullptr : r.hook_) {
      if (hook_ != nullptr) hook_->enter();
    }
    hooked(const hooked&) = delete;
    hooked& operator=(const hooked&) = delete;
    ~hooked() {
      if (hook_ != nullptr) hook_->leave();
    }

   private:
    drive_hook* hook_;
  };

  // One turn: takes events, waiting at most max_wait if no task is ready, then runs ready tasks.
  // Returns false if there was neither. Requires a `driving`.
  bool turn(clock::duration max_wait);

  // Makes the kqueue readable to a host that polls, if tasks are ready, changes are pending or work
  // is posted, and arms a kernel timer for the earliest deadline. To be called after a drive.
  void submit_for_host();
  // The same, after a task was started. No effect within a drive.
  void announce_started();

  // Destroys the attachments. For ~loop, after its coroutines.
  void destroy_attachments() noexcept;

  // The reactor that the calling thread is driving, or null.
  static reactor* current() noexcept;

 private:
  struct held_base {
    held_base() = default;
    held_base(const held_base&) = delete;
    held_base& operator=(const held_base&) = delete;
    virtual ~held_base() = default;
  };
  template <class T>
  struct held final : held_base {
    explicit held(reactor& r) : value(r) {}
    T value;
  };
  struct attached {
    const void* key;
    std::unique_ptr<held_base> object;
  };

  void wake_host() noexcept;
  bool run_ready() noexcept;
  bool collect(clock::duration max_wait);
  bool take_active();
  int ask_kernel(clock::duration max_wait);
  clock::duration until_deadline(clock::duration max_wait) const noexcept;
  void deliver(int count) noexcept;
  int kq_;
  kqueue::handle kqueue_{kq_};  // of kq_, for the calls of each turn
  int budget_ = 0;
  unsigned turns_until_kernel_ = 0;
  bool driven_ = false;
  bool polled_by_host_ = false;
  bool remote_handed_out_ = false;
  bool woken_ = false;
  std::optional<clock::time_point> host_timer_;
  ready_queue<waiter> ready_;
  timer_heap timers_;
  std::shared_ptr<registration_table> registrations_;
  std::shared_ptr<remote::mailbox> mailbox_;
  std::vector<attached> attachments_;
  std::unique_ptr<kevent64_s[]> events_;
  drive_hook* hook_ = nullptr;
};

// Puts `w` at the back of its loop's ready queue. No effect if it is queued already. Never resumes.
inline void wake(waiter& w) noexcept {
  w.owner_context().in_reactor().ready(w);
}

}  // namespace kedge
