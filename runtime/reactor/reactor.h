// reactor: one thread's kqueue, ready queue, timers, and registrations of sources.
//
// The base of `loop`, which adds running tasks. Operations reach it through their context; sources
// are constructed with it (a loop is a reactor).
//
// A turn takes posted work, reads the clock once, expires the timers that are due, and resumes
// ready coroutines, at most 64. A coroutine that has used up its budget of 64 operations goes to
// the back of the ready queue, and four of those end the turn. The kernel is asked for events when
// nothing is ready, when 50 us (set_kernel_interval()) have passed since it was asked, and after 64
// turns. So a due timer and a post wait for at most one turn, and an event for 64, whatever else is
// ready.
//
// Costs: changes are submitted together with the next wait. So in the steady state a wait costs one
// system call, and a readiness none beyond it.
//
// Threads: the loop belongs to the thread that drives it, between drives to the thread that drove
// it last, and before the first drive to any one thread. A drive by another thread takes over a
// loop that is not being driven. ready(), timers(), linking a source, submit_changes() and turns
// assert the thread in debug builds. Other threads have a `remote`.
//
// After a fork the loop is the parent's. In the child every drive throws std::system_error
// (errc::forked), sources answer errc::loop_gone, posts are refused, and destructors free memory
// without touching the kernel. The child may make loops of its own.
#pragma once

#include <atomic>
#include <cassert>
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
#include "kedge/runtime/observer.h"
#include "kedge/runtime/reactor/allocation_check.h"
#include "kedge/runtime/reactor/clock.h"
#include "kedge/runtime/reactor/drive_hook.h"
#include "kedge/runtime/reactor/fork_generation.h"
#include "kedge/runtime/reactor/loop_counters.h"
#include "kedge/runtime/reactor/ready_queue.h"
#include "kedge/runtime/reactor/timer.h"
#include "kedge/runtime/remote.h"
#include "kedge/runtime/time_source.h"

struct kevent64_s;

namespace kedge {

class registration_table;
enum class waking : unsigned char;
class stall_probe;
class virtual_time;

class reactor {
 public:
  reactor(const reactor&) = delete;
  reactor& operator=(const reactor&) = delete;

  // --- For operations -------------------------------------------------------------------------

  // Puts `w` at the back of the ready queue. No effect if it is queued already. Never resumes.
  void ready(waiter& w) noexcept {
    assert(in_own_thread() && "kedge: a task is made ready on its loop's thread; others post()");
    if (w.queued()) return;
    ready_.push_back(w);
    if (tells_of_ready_) [[unlikely]]
      tell_of_ready(w);
  }
  // Takes one from the budget of the running coroutine. Returns false if none is left.
  bool spend_budget() noexcept { return --budget_ >= 0; }

  // Returns a place among `count` sources, for a select() to begin at. Calls take turns evenly,
  // also those of several select()s that alternate: the golden ratio is no multiple of a fraction.
  std::size_t next_in_rotation(std::size_t count) noexcept {
    rotation_ += 0x9e37'79b9;
    return static_cast<std::size_t>((std::uint64_t{rotation_} * count) >> 32);
  }

  // Returns the time of kedge::clock, or of the loop's time_source. Each call reads the clock, so a
  // deadline that is computed from the time is not early.
  clock::time_point now() const noexcept { return time_ == nullptr ? clock::now() : time_->now(); }
  // Returns the time of the wall clock, or of the loop's time_source.
  std::chrono::system_clock::time_point wall_now() const noexcept {
    return time_ == nullptr ? std::chrono::system_clock::now() : time_->wall_now();
  }

  // Returns what the loop's time is taken from, or null: kedge::clock.
  time_source* follows() const noexcept { return time_; }

  // A timer that may be armed between drives needs announce_timer() then.
  timer_heap& timers() noexcept {
    assert(in_own_thread() && "kedge: a timer belongs to its loop's thread");
    return timers_;
  }
  // Makes a polling host drive next, and the drive sets the kernel timer to the earliest deadline.
  // For destructors, and drain(). No effect within a drive, which does so at its end.
  void announce_timer() noexcept {
    if (polled_by_host_ && !driven()) wake_host();
  }
  const std::shared_ptr<registration_table>& registrations() noexcept { return registrations_; }

  // Returns the one T of this loop, made as T(reactor&) by the first call. Attachments are
  // destroyed after the loop's tasks and before its kqueue, the latest first. Throws std::bad_alloc
  // and what the constructor throws.
  template <class T>
  T& attachment() {
    if (T* const found = find_attachment<T>()) return *found;
    allocation_check::run();
    auto made = std::make_unique<held<T>>(*this);
    T& value = made->value;
    attachments_.push_back({&key_of<T>, std::move(made)});
    return value;
  }
  // The same, without making one. Returns null if there is none.
  template <class T>
  T* find_attachment() const noexcept {
    for (const auto& a : attachments_) {
      if (a.key == &key_of<T>) return &static_cast<held<T>&>(*a.object).value;
    }
    return nullptr;
  }

  // For an operation that has itself caused an event of (filter, ident), which the kqueue will
  // report: makes the tasks that wait for it ready now, so that the kqueue need not be asked. The
  // event is reported as well, and may find nothing left. No effect if nothing is registered there,
  // and on a loop whose kqueue a host polls: the host drives it once for each event.
  void anticipate(std::int16_t filter, std::uint64_t ident) noexcept;

  // Submits the pending changes now. For a source whose registration must have left the kernel
  // before its next step: a signal's former disposition is restored only after that. No effect in a
  // forked child. Throws std::system_error if the kqueue fails.
  void submit_changes();

  // Returns the fd of the kqueue, for changes that other threads make while the loop lives. A host
  // that polls needs native_handle().
  int kqueue_fd() const noexcept { return kq_; }

  // The reactor that the calling thread is driving, or null.
  static reactor* current() noexcept { return current_; }
  // For process_state.
  static void* address_of_current() noexcept { return static_cast<void*>(&current_); }
  // Returns whether the calling thread may use the loop (see above). For assertions.
  bool in_own_thread() const noexcept;

  // Returns the hook within which the loop was made (drive_hook::current()), or null. For sources
  // that work only within that hook.
  const drive_hook* made_within() const noexcept { return made_within_; }

  // --- For a host that has a main loop of its own ---------------------------------------------

  // Returns when the host has to drive next, without regard to the kernel's events: now if tasks
  // are ready, else the earliest timer's deadline, else nothing. The time is that of now().
  std::optional<clock::time_point> next_deadline() const noexcept;

  // Returns the kqueue's fd, for the host's own poll, select, epoll or kqueue: it is readable when
  // the loop has to be driven. After the first call this covers every reason to drive: whenever
  // poll() or run_once() has returned, the earliest deadline is a kernel timer too, and ready tasks
  // have triggered an event. A host that uses next_deadline() does not need it. The loop owns the
  // fd, which is not 0, 1 or 2. Throws std::system_error if the kqueue fails, or in a forked child.
  // A first call that throws has had no effect; later drives need no further descriptor.
  int native_handle();

  // --- For other threads ----------------------------------------------------------------------

  // Returns a handle with which any thread may post work. Call it on the loop's thread.
  remote get_remote();

  // --- For the owner of the loop --------------------------------------------------------------

  // Sets the hook that runs around every drive, and around spawning, cancelling and destroying;
  // null removes it. A new loop has the one that is current then (drive_hook::current()). Must not
  // be called during a drive. The hook must outlive the loop.
  void set_hook(drive_hook* hook) noexcept { hook_ = hook; }

  // Sets what sees the loop's tasks and decides their order; null: nothing. Returns what was set
  // before. The observer must outlive the loop, or be replaced.
  observer* set_observer(observer* o) noexcept;
  // The observer, or null. For what the loop's operations and scopes report to it.
  observer* observed_by() const noexcept { return observer_; }
  // Reports that the running coroutine has suspended and enters the coroutine of another context,
  // `c`. Requires an observer.
  void tell_of_entry(const context& c) noexcept;

  // Returns what the loop has done so far. Counting costs some instructions a turn.
  loop_counters counters() const noexcept;

  // For stall_watch. Sets what the loop tells of its steps; null: nothing. Returns what was set
  // before. The probe must outlive the loop, or be replaced.
  stall_probe* set_probe(stall_probe* p) noexcept {
    is_watched_ = p != nullptr || observer_ != nullptr;
    return std::exchange(probe_, p);
  }

  // Sets after how much time the kernel is asked for events although tasks are ready. Zero: at
  // every turn.
  void set_kernel_interval(clock::duration d) noexcept { kernel_interval_ = d; }

 protected:
  // Throws std::system_error if the system cannot make a kqueue, and std::bad_alloc. Null: time is
  // kedge::clock's.
  explicit reactor(time_source* time = nullptr);
  // Drops posted work and ends the waits of sources that outlive the loop, within the hook.
  ~reactor();

  // One turn that asks the kernel, and waits for at most max_wait until a task is ready or an event
  // arrives. Returns false if there was neither. A signal that interrupts the wait ends it. Pending
  // changes have been submitted on return. Throws as a `driving`, and std::system_error if the
  // kqueue fails.
  bool run_once(clock::duration max_wait);

  // The scope of a drive: makes the loop the thread's, the reactor the thread's current one, and
  // runs the hook. Throws std::logic_error if the loop is being driven, with a message that says
  // whether by this thread or by another one, and std::system_error (errc::forked) in a forked
  // child.
  class driving {
   public:
    explicit driving(reactor& r);
    driving(const driving&) = delete;
    driving& operator=(const driving&) = delete;
    ~driving();

   protected:
    struct for_destruction {};
    driving(reactor& r, for_destruction) noexcept : reactor_(r), outer_(nullptr) { enter(); }

   private:
    void enter() noexcept;
    reactor& reactor_;
    reactor* outer_;
  };

  // Runs run() as a `driving` and returns its result. Then, also if it throws, submits the pending
  // changes and tells a polling host what is left to do.
  template <class Run>
  auto drive(Run run) {
    auto result = [&] {
      try {
        const driving scope(*this);
        auto end = run();
        submit_changes();
        return end;
      } catch (...) {
        after_failed_drive();
        throw;
      }
    }();
    submit_for_host();
    return result;
  }

  // The same for the destruction of the loop's coroutines, also in a forked child. Requires that
  // left_alone() has returned false.
  class ending : public driving {
   public:
    explicit ending(reactor& r) noexcept : driving(r, for_destruction()) {}
  };

  // For a destructor. Returns true if the loop must be left as it is: a task of this loop has
  // called exit(), which destroys a static loop during the drive, or another thread drove the loop
  // when the process was forked. Ends the program if the loop is being driven otherwise: a loop is
  // not destroyed by its own task or by another thread.
  bool left_alone() const noexcept;

  // Runs the hook around an access of the loop's owner to coroutines between drives, and lets the
  // observer make allocations fail. No effect within a drive, which does both.
  class hooked {
   public:
    explicit hooked(const reactor& r) noexcept
        : reactor_(r.driven() || (r.hook_ == nullptr && r.observer_ == nullptr) ? nullptr : &r) {
      if (reactor_ != nullptr) enter();
    }
    hooked(const hooked&) = delete;
    hooked& operator=(const hooked&) = delete;
    ~hooked() {
      if (reactor_ != nullptr) leave();
    }

   private:
    void enter() const noexcept;
    void leave() const noexcept;
    const reactor* reactor_;
  };

  // Resumes one ready waiter. Takes posts, due timers and events first if none is ready, and at
  // every 64th step, without waiting. Returns false if none is ready. Throws as run_once().
  bool single_step();

  // One turn, which asks the kernel if it has to, and waits for at most max_wait if no task is
  // ready. Returns false if nothing came and nothing ran. Requires a `driving`. Throws
  // std::system_error if the kqueue fails, or if the process was forked within the drive.
  bool turn(clock::duration max_wait);

  // Returns what could wake the loop while it waits without end, for the report of a deadlock.
  // Requires that the loop is about to wait, or is not driven.
  waking find_waking() noexcept;

  // A turn at a moment of a virtual time. Asks the kernel if `asks_kernel`, and if a source is
  // registered: else no event can come, but for those of a polled handle. Does not wait. Returns
  // false if nothing came and nothing ran. Requires a `driving`. Throws as turn().
  bool turn_in_virtual_time(bool asks_kernel);
  // For the loop that is being driven, while the driving thread waits for the native_handle()s of
  // several loops: submits what is pending, and lets posts make its handle readable until end.
  void begin_wait_for_handle();
  void end_wait_for_handle() noexcept;

  // Makes the kqueue readable to a host that polls, if tasks are ready, a timer is due, changes
  // are pending or work is posted, and sets the kernel timer to the earliest deadline. To be called
  // after a drive.
  void submit_for_host();
  // The same, after a task was started. No effect within a drive.
  void announce_started();

  // Destroys the attachments. For ~loop, after its coroutines.
  void destroy_attachments() noexcept;

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
  template <class T>
  static constexpr char key_of = 0;
  struct attached {
    const void* key;
    std::unique_ptr<held_base> object;
  };
  struct left_behind;

  bool driven() const noexcept { return driver_.load(std::memory_order_relaxed) != nullptr; }
  bool forked() const noexcept { return generation_ != fork_generation(); }
  void throw_if_forked() const {
    if (forked()) [[unlikely]]
      throw_forked();
  }
  [[noreturn]] static void throw_forked();
  void open(time_source* time);
  void claim();
  static void check_allocations_for(const reactor* r) noexcept;
  void after_failed_drive();
  // Inlined into the turn, which is most of what a message or a byte costs in the reactor.
  [[gnu::always_inline]] inline bool begin_turn();
  [[gnu::always_inline]] inline bool collect(clock::duration max_wait);
  [[gnu::always_inline]] inline bool run_ready();
  void run_one(waiter& w) noexcept;
  void run_observed();
  void tell_of_suspension() noexcept;
  waiter& choose();
  void tell_of_ready(waiter& w) noexcept;
  void tell_of_turn(happening what) noexcept;
  [[gnu::always_inline]] inline bool must_ask(clock::time_point time);
  // The loop is about to wait without end. Throws `deadlock` if run() drives it and nothing can
  // wake it; see deadlock.h.
  void find_deadlock();
  [[gnu::always_inline]] inline bool ask(clock::duration max_wait, clock::time_point time);
  bool take_active();
  [[gnu::always_inline]] inline int ask_kernel(clock::duration max_wait);
  void submit_some();
  [[gnu::always_inline]] inline void deliver(int count) noexcept;
  void set_host_timer(clock::time_point deadline);
  void wake_host() noexcept;

  const int kq_;
  const unsigned generation_ = fork_generation();
  kqueue::handle kqueue_{kq_};  // of kq_, for the calls of each turn
  time_source* time_ = nullptr;
  // Threads, by an address of their own. The driver is null between drives, the owner before the
  // first drive.
  std::atomic<const void*> driver_{nullptr};
  std::atomic<const void*> owner_{nullptr};
  int budget_ = 0;
  unsigned turns_until_kernel_ = 0;
  int steps_until_turn_ = 0;
  std::uint32_t rotation_ = 0;
  clock::duration kernel_interval_ = std::chrono::microseconds(50);
  // When the kernel was asked last, as read by the next turn that reads the clock. Nothing until
  // then.
  std::optional<clock::time_point> asked_;
  bool polled_by_host_ = false;
  bool tells_of_ready_ = false;   // to a polling host, or to the observer
  bool is_watched_ = false;       // by the observer or the probe
  bool told_of_signals_ = false;  // the observer: only signals are left
  observer* observer_ = nullptr;
  stall_probe* probe_ = nullptr;
  loop_counters counters_;            // but for what its parts count
  const context* running_ = nullptr;  // of the coroutine that runs, while there is an observer
  // What the kernel timer for a polling host is set to; max() if to no deadline.
  clock::time_point host_timer_ = clock::time_point::max();
  ready_queue<waiter> ready_;
  timer_heap timers_;
  std::shared_ptr<registration_table> registrations_;
  std::shared_ptr<remote::mailbox> mailbox_;
  static inline constinit thread_local reactor* current_ = nullptr;

  std::vector<attached> attachments_;
  std::unique_ptr<kevent64_s[]> events_;  // room for the events of a call, then for its changes
  drive_hook* hook_ = drive_hook::current();
  const drive_hook* const made_within_ = drive_hook::current();
};

// Puts `w` at the back of its loop's ready queue. No effect if it is queued already. Never resumes.
inline void wake(waiter& w) noexcept {
  w.owner_context().in_reactor().ready(w);
}

// Reports to the observer what has happened to `c`.
inline void tell(happening what, const context& c, const waiter* w = nullptr) noexcept {
  if (observer* const o = c.in_reactor().observed_by()) [[unlikely]] {
    o->at(what, &c, w);
  }
}

}  // namespace kedge
