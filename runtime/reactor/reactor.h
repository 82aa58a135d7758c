// reactor: one thread, one kqueue, what is ready to run, timers, and the registrations of sources.
//
// The base of `loop`, which adds running tasks. Operations reach it through their context; sources
// are constructed with it (a loop is a reactor).
//
// Fairness: a resumed coroutine gets a credit of operations; when it is spent the coroutine goes to
// the back of the ready queue. The kernel is asked at least once per 64 turns or spent credits,
// whatever is ready.
// Costs: changes are submitted together with the next wait, so in the steady state a wait costs one
// system call and a readiness none beyond it.
//
// All belongs to one thread (the one that drives), except what `remote` does.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "kedge/runtime/awaiting/waiter.h"
#include "kedge/runtime/reactor/clock.h"
#include "kedge/runtime/reactor/ready_queue.h"
#include "kedge/runtime/reactor/timer.h"
#include "kedge/runtime/reactor/turn_hook.h"
#include "kedge/runtime/remote.h"

struct kevent64_s;

namespace kedge {

class registration_table;

class reactor {
 public:
  reactor(const reactor&) = delete;
  reactor& operator=(const reactor&) = delete;

  // --- For operations -------------------------------------------------------------------------

  // Lets w go on at its turn. No effect if it is in the queue already.
  void ready(waiter& w) noexcept {
    if (w.queued()) return;
    ready_.push_back(w);
    if (polled_by_host_ && !driven_) [[unlikely]]
      wake_host();
  }
  // Takes one credit; false if the running coroutine has spent its own.
  bool charge() noexcept { return credit_-- > 0; }

  // The contexts that context::cancel() is working off; its own business.
  context*& cancelling() noexcept { return cancelling_; }

  timer_heap& timers() noexcept { return timers_; }
  const std::shared_ptr<registration_table>& registrations() noexcept { return registrations_; }

  // The one T of this loop, made with T(reactor&) when first asked for; destroyed before the
  // kqueue is, the latest first.
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

  // Submits the pending changes now, for a source that must be out of the kernel before it goes on
  // (a signal's old disposition is restored only after its registration is gone).
  void submit_changes();

  // --- For a host that has a main loop of its own ---------------------------------------------

  // Runs what is ready, without blocking. True if anything came or ran. Here and in run_once(),
  // pending changes have been submitted on return. Not re-entrant: std::logic_error.
  bool poll() { return run_once(clock::duration::zero()); }

  // Waits until something is ready, at most max_wait, and runs it. True if anything did; a signal
  // that interrupts the wait ends it.
  bool run_once(clock::duration max_wait = clock::duration::max());

  // When the host has to drive next, as far as the loop itself knows: now if tasks are ready, the
  // earliest timer otherwise, nothing if only the kernel can bring work.
  std::optional<clock::time_point> next_deadline() const noexcept;

  // The kqueue, for the host's own poll, select, epoll or kqueue: readable when the loop has to be
  // driven. From the first call on that covers everything: the earliest deadline is a kernel timer
  // too, and ready tasks trigger an event, whenever poll() or run_once() has returned. A host that
  // goes by next_deadline() need not ask for it. The descriptor is the loop's.
  int native_handle();

  // --- For other threads ----------------------------------------------------------------------

  // A handle to post work with. Call it on the loop's thread; the handle may then go anywhere.
  remote get_remote();

  // --- For whoever owns the loop --------------------------------------------------------------

  // Runs around every drive, and around spawning, cancelling and destroying; null for none. Not
  // during a drive. The hook must outlive the loop.
  void set_hook(turn_hook* hook) noexcept { hook_ = hook; }

 protected:
  // Throws std::system_error if there is no kqueue to be had.
  reactor();
  ~reactor();

  // The scope of a drive: makes the reactor the thread's current one and runs the hooks.
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

  // Runs the hooks around what the loop's owner does to its operations between drives; nothing
  // within a drive, which has run them.
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
    turn_hook* hook_;
  };

  // One turn: asks for events, waiting at most max_wait if nothing is ready, then runs what is
  // ready. True if anything came or ran. Inside a `driving`.
  bool turn(clock::duration max_wait);

  // A drive is over: what only the loop knows must from now on wake a host that polls.
  void submit_for_host();
  // The same, after something was started outside of a drive.
  void announce_started();

  // Destroys the attachments; for ~loop, after its coroutines.
  void destroy_attachments() noexcept;

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
  int credit_ = 0;
  unsigned turns_until_kernel_ = 0;
  bool driven_ = false;
  bool polled_by_host_ = false;
  bool remote_handed_out_ = false;
  bool woken_ = false;
  std::optional<clock::time_point> host_timer_;
  ready_queue<waiter> ready_;
  context* cancelling_ = nullptr;
  timer_heap timers_;
  std::shared_ptr<registration_table> registrations_;
  std::shared_ptr<remote::mailbox> mailbox_;
  std::vector<attached> attachments_;
  std::unique_ptr<kevent64_s[]> events_;
  turn_hook* hook_ = nullptr;
};

}  // namespace kedge
