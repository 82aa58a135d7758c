// queue: one kqueue. Its descriptor is an epoll descriptor. The epoll set holds the program's
// descriptors (one registration each, descriptors/descriptor_table.h), the wakeup descriptor, and
// the pumps of the filters.
//
// Two paths lead to an event. A descriptor that epoll reports is delivered as it is, without a
// filter operation (`data` aside). Every other event comes from a knote that was activated in user
// space: the knote is in the list of active knotes, from where a kevent() call takes it and asks
// `process`.
//
// Order (kqueue_scan() and knote_enqueue() of Darwin's kern_event.c). The list is in the order of
// activation. A knote that stays active when it is delivered goes to the end of the list, after the
// knotes that became active while the call delivered. Descriptors come in epoll's order, which is
// that of their becoming ready. The list stands where epoll reports the wakeup, and what a pump
// activates stands where epoll reports the pump; without a wakeup the list stands behind epoll's
// events. If a call has no room for the whole list, the next calls deliver the rest before they ask
// epoll again (turn_left_).
//
// Wakeups. The wakeup descriptor is an eventfd, registered edge-triggered: each write makes the
// kqueue readable until the next epoll_wait.
// - It is written when a knote becomes active in user space, and a thread asleep in kevent() or a
//   poller outside has to notice. A caller can opt out of pollers (extension.h).
// - `wakeup_pending_`: epoll has not reported the last write yet. A burst of activations is one
//   write.
// - While one thread is about to write, others write too: a call that makes the kqueue readable
//   must not return before it is.
// - Until a delivering thread returns, activations wake only sleepers. If it leaves active knotes
//   behind, it writes when it returns.
// - The eventfd is read only if the cause of a write is gone before a thread has seen it.
//
// The fast path (fast_path.h) is a kevent() call that is no more than epoll_wait and one event per
// descriptor. Whatever makes a wait more than that closes it (close_fast_path()). The end of a wait
// that finds no such reason opens it again.
//
// Ownership. A queue object is never freed. It is reused for a later kqueue, so that a thread that
// comes too late (an activation, a call with a closed fd) finds an object whose lock it can take.
// `users_` counts the threads inside kevent(), except for those on the fast path, which are among
// the sleepers. The thread that ends the kqueue waits for all of them; only then are the fd closed
// and the object recycled.
//
// Lock order: a filter's locks, then lock_. Filter operations are called with lock_ released.
// System calls on the epoll set that do not wait are made with it held.
#pragma once

#include <sys/event.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "kedge/runtime/base/list.h"
#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/base/parker.h"
#include "kedge/runtime/kqueue/deadline.h"
#include "kedge/runtime/kqueue/descriptors/descriptor_table.h"
#include "kedge/runtime/kqueue/event_writer.h"
#include "kedge/runtime/kqueue/filter_table.h"
#include "kedge/runtime/kqueue/filters/timer_clock.h"
#include "kedge/runtime/kqueue/knote_record.h"
#include "kedge/runtime/kqueue/knote_table.h"

struct epoll_event;

namespace kedge::kqueue {

// Darwin lets a kqueue be used by kevent() or by kevent64(), whichever came first.
// narrow: kevent(). wide: kevent64().
enum class call_kind : std::uint8_t { undecided, narrow, wide };

template <class Event, bool with_data>
class fast_path;
struct wait_round;  // epoll_call.h

class queue {
 public:
  // --- Life and fds. A kqueue has one fd, and one more for each duplicate.

  // Makes the epoll set and returns its fd, or -1 with errno.
  int begin() noexcept;

  // Counts a further fd of the kqueue of `fd`. Returns false if the kqueue has ended. When
  // kqueue_registry names the further fd, call on_fd_added() with it.
  bool count_fd(int fd) noexcept;
  void on_fd_added(int fd) noexcept;

  // Removes `fd`, which kqueue_registry does not name as this kqueue's any more. If it was the last
  // fd, the kqueue ends: its knotes are detached, its sleepers get EBADF, and the call returns when
  // no thread is left in the kqueue.
  void remove_fd(int fd) noexcept;

  // Returns whether the fd of the current call still names our epoll set. It may have been closed
  // by a raw system call. Requires enter().
  bool fd_is_ours() const noexcept;

  // For the child of a fork, where no other thread exists.

  // Returns whether `fd` names our epoll set. Takes no lock.
  bool owns(int fd) const noexcept;
  // Ends the parent's kqueue for handles. Whatever state a thread of the parent has left it in, it
  // stays like that, but for its lock.
  void abandon() noexcept;

  // --- A call. enter() takes the lock and counts the thread; leave() undoes both. The functions
  // between the two require the lock, and may release it while they run.

  // Returns 0, EBADF if `fd` is not (or not any more) this kqueue's, or EINVAL for the other kind
  // of call.
  int enter(int fd, call_kind kind) noexcept {
    lock_.lock();
    const bool is_ours = !ended_ && (fd_ == fd || has_fd(fd));
    if (is_ours) {
      if (kind_ == call_kind::undecided) kind_ = kind;
      if (kind_ == kind || kind == call_kind::undecided) {
        ++users_;
        return 0;
      }
    }
    lock_.unlock();
    return is_ours ? EINVAL : EBADF;
  }
  void leave() noexcept {
    --users_;
    if (ended_) state_changed_.wake_all();
    lock_.unlock();
  }
  // leave() for a thread that has found that the fd was closed by a raw system call.
  void leave_lost() noexcept;

  // Applies one change. Returns 0 or the errno of its EV_ERROR. Clears the flags that Darwin's
  // kernel clears, which the change's event then shows.
  int apply(kevent64_s& change) noexcept;

  // Takes back a wakeup for knotes that the changes have deleted or disabled, so that a poller
  // outside does not see it.
  void retract_wakeup() noexcept;

  // Waits and fills `out`. Returns 0 or an errno.
  int collect(event_writer& out, deadline& until) noexcept;

  // Delivers only knotes that are active in user space. Makes no system call.
  void collect_active(event_writer& out) noexcept;

  // Turns options of extension.h on and off.
  void set_options(unsigned turned_on, unsigned turned_off) noexcept;

  // use_clock() of extension.h. Returns false if there are timers, or a thread waits.
  bool replace_clock(kedge_kqueue_clock* replacement, void* argument) noexcept;

  // The replaced clock has moved: the timers that are due become active, and each thread that
  // sleeps looks at the clock. Releases the lock while timers become active.
  void on_clock_moved() noexcept;

  // --- Notifications. The rest needs no enter().

  // `fd` is about to be closed: its knotes are dropped, or vanish.
  void on_close(int fd) noexcept;
  // The connection of `fd` was shut for sending: its WRITE knotes are probed.
  void on_shutdown(int fd) noexcept;
  // The file of `fd` has another offset: READ and WRITE knotes that epoll does not watch are asked.
  void on_seek(int fd) noexcept;
  // Another file has taken `fd` over: it is registered with epoll again.
  void on_replace(int fd) noexcept;

  // --- For the filters (filter.h).

  void activate(knote_record& k) noexcept;
  void release(knote_record& k) noexcept;
  void* owner() const noexcept { return owner_; }
  void* state_of(unsigned filter) const noexcept { return slots_[filter].state; }

  // Returns the state of another filter in this kqueue, or null if it is not open. For use in
  // attach and pump, which a state outlives.
  void* open_state_of(unsigned filter) noexcept;
  // The clock of timers and time-outs.
  const timer_clock& clock() const noexcept { return clock_; }

  // Opens the state of another filter in this kqueue. For use in attach. Returns 0 or an errno.
  int open_state(unsigned filter) noexcept;

  // Registers a knote about a descriptor with epoll, for the events of `interest`. For use in
  // attach. Returns 0 or an errno.
  //
  // With `needs_probe` the knote's events go through `process`. A hang-up or an error turns that
  // on, until the filter turns it off by set_interest().
  int watch(knote_record& k, std::uint32_t interest, bool needs_probe) noexcept;

  // Changes what watch() has set. For use in touch and process, which are followed by the epoll_ctl
  // that makes it take effect.
  void set_interest(knote_record& k, std::uint32_t interest, bool needs_probe) noexcept;

  // Returns whether all of these options of extension.h are set.
  bool has_options(unsigned options) noexcept;

  // For a handle: not 0 while there are active knotes.
  const std::uint32_t* active_word() const noexcept {
    static_assert(sizeof active_word_ == sizeof(std::uint32_t));
    return reinterpret_cast<const std::uint32_t*>(&active_word_);
  }

  // --- For kqueue_registry.

  base::list_link<queue> unused_link;  // in the list of unused queues
  queue* next_of_all = nullptr;        // in the list of all, which threads walk without a lock

 private:
  template <class Event, bool with_data>
  friend class fast_path;

  // The index in fast_path_fds_ of a decided kind.
  static constexpr std::size_t index_of(call_kind kind, bool with_data) noexcept {
    return (kind == call_kind::wide ? 1 : 0) + (with_data ? 2 : 0);
  }

  enum class slot_state : std::uint8_t { closed, opening, open };
  struct filter_slot {  // a filter's state in this kqueue
    void* state = nullptr;
    int pump = -1;
    slot_state phase = slot_state::closed;
  };

  bool has_fd(int fd) const noexcept;
  void finish() noexcept;
  void detach_all() noexcept;
  void close_slots() noexcept;

  // The fast path.
  void close_fast_path() noexcept { std::ranges::fill(fast_path_fds_, -1); }
  void open_fast_path() noexcept;
  int finish_wait(wait_round& r, event_writer& out, deadline& until) noexcept;

  // Changes (queue_change.cc). Here and below, `inline` marks a part of one other function, which
  // the compiler puts there.
  knote_record* find(const kevent64_s& change) noexcept;
  // Opens the state of a filter that has one in this kqueue. Returns 0 if it was open, an errno, or
  // try_again after the lock was released.
  int open_slot(unsigned filter) noexcept {
    return slots_[filter].phase == slot_state::open ? 0 : open_closed_slot(filter);
  }
  int open_closed_slot(unsigned filter) noexcept;
  int attach(kevent64_s& change, unsigned filter) noexcept;
  // Activates the knotes whose sources have done something that no pump has noticed, so that they
  // stand in the list before the knote of a change. Releases the lock if there are any.
  void activate_earlier() noexcept {
    if (sources_ != 0) [[unlikely]]
      pump_sources();
  }
  void pump_sources() noexcept;
  inline void initialise(knote_record& k, const kevent64_s& change) noexcept;
  inline bool insert(knote_record& k) noexcept;
  int touch(knote_record& k, const kevent64_s& change) noexcept;
  inline int accept_touch(knote_record& k, const kevent64_s& change, bool active) noexcept;
  int remove(knote_record& k, const kevent64_s& change) noexcept;
  void unlink(knote_record& k) noexcept;
  void end_operation(knote_record& k) noexcept;
  void drop_polled(knote_record& k) noexcept;
  void drop(knote_record& k) noexcept;
  void vanish(knote_record& k) noexcept;
  void drop_all(int fd, bool but_new) noexcept;
  knote_record* allocate_knote() noexcept;
  void release_locked(knote_record& k) noexcept;

  // The epoll set (queue_set.cc).
  static bool add_wakeup(int epoll, int wakeup) noexcept;
  bool replace_set() noexcept;
  void drop_stale_registrations() noexcept;
  int fill_set(int epoll) noexcept;
  void wake_old_set() noexcept;
  void leave_old_set() noexcept;

  // Active knotes and wakeups.
  void enqueue(knote_record& k) noexcept;
  void publish_count() noexcept { active_word_.store(active_count_, std::memory_order_relaxed); }
  void dequeue(knote_record& k) noexcept;
  // Keeps a delivered knote that stays active apart until the call ends, which moves it to the end
  // of the list.
  void enqueue_served(knote_record& k) noexcept;
  void restore_served() noexcept;
  void enqueue_and_wake(knote_record& k) noexcept;
  // A thread sleeps, or there may be a poller.
  bool has_waiters() const noexcept;
  // The eventfd is written (not only about to be), and epoll's event of it is still to come.
  bool has_wakeup() const noexcept { return wakeup_pending_ && wakeup_writers_ == 0; }
  // For a knote that is in a list: a waiter has to notice, and there is no wakeup for it yet.
  bool needs_wakeup() const noexcept;
  void post_wakeup() noexcept;
  // Releases the lock while it writes, because the woken thread wants it first. Requires that the
  // thread is counted in users_.
  void post_wakeup_unlocked() noexcept;
  static void write_wakeup(int wakeup) noexcept;

  // Waiting (queue_wait.cc).
  static constexpr int wait_again = -1;  // not an errno
  int collect_from(int result, wait_round& r, event_writer& out, deadline& until) noexcept;
  void plan(wait_round& r, event_writer& out, deadline& until) noexcept;
  void follow_clock(wait_round& r, const event_writer& out, deadline& until) noexcept;
  void ask_epoll(wait_round& r, deadline& until) noexcept;
  void ask_and_park(wait_round& r, deadline& until, base::parker& by) noexcept;
  std::uint64_t next_due() const noexcept;
  const knote_record* find_outside() const noexcept;
  int deliver_round(wait_round& r, event_writer& out, deadline& until) noexcept;
  int deliver_reported(wait_round& r, event_writer& out, bool& seen_all, bool& is_stuck) noexcept;
  inline int check_wait(const wait_round& r) noexcept;
  bool pause(deadline& until) noexcept;
  void leave_old_time() noexcept;
  void end_collecting() noexcept;
  std::size_t deliver_ready(const wait_round& r, const epoll_event& event, delivery* probes,
                            event_writer& out) noexcept;
  inline delivery begin_delivery(knote_record& k) noexcept;
  inline bool deliver_polled(knote_record& k, std::uint32_t events, bool is_edge,
                             event_writer& out) noexcept;
  inline void run_reported_pumps(const wait_round& r, unsigned first) noexcept;
  void pump_if_due(unsigned filter) noexcept;
  void deliver_turn(event_writer& out) noexcept;
  inline bool deliver_list(event_writer& out, std::uint32_t most) noexcept;
  bool deliver_active(event_writer& out, std::uint32_t most) noexcept;
  void put_amounts(event_writer& out) noexcept;
  [[gnu::always_inline]] inline std::size_t take_batch(std::uint32_t& left, delivery* batch,
                                                       event_writer& out, bool& tried) noexcept;
  inline void process_batch(std::span<delivery> batch, event_writer& out) noexcept;
  void report_end(knote_record& k, event_writer& out) noexcept;
  void finish_delivery(delivery& d, bool still_active, event_writer& out) noexcept;
  void run_pumps(std::uint32_t filters) noexcept;

  base::mutex lock_;
  // A knote is not busy any more, a slot is not opening any more, a thread has left a pump or, when
  // the kqueue has ended, the kqueue.
  base::condition state_changed_;
  int fd_ = -1;                        // one of its fds, for calls on the epoll set
  int fd_count_ = 0;                   // how many fds it has
  int wakeup_ = -1;                    // the eventfd
  base::parker* parked_by_ = nullptr;  // of the thread that sleeps, if a scheduler runs it
  int users_ = 0;                      // threads inside kevent(), without those on the fast path
  int sleepers_ = 0;                   // threads in epoll_wait, or about to be
  int pumping_ = 0;                    // threads in a filter's pump
  // Threads that deliver. They look at active_count_ before they sleep or return.
  int collectors_ = 0;
  // For which fd the fast path is open, or -1. By kind of call, without `data` and with it.
  int fast_path_fds_[4] = {-1, -1, -1, -1};
  unsigned options_ = 0;  // of extension.h
  call_kind kind_ = call_kind::undecided;
  bool ended_ = true;
  // The eventfd is written, or is about to be, and epoll's event of it is not taken yet.
  bool wakeup_pending_ = false;
  int wakeup_writers_ = 0;    // threads that have set wakeup_pending_ and are about to write
  bool stale_ = false;        // the wait brought an event of a registration that is gone
  unsigned set_ = 0;          // counts the epoll sets that the kqueue has had
  int in_old_sets_ = 0;       // threads asleep in earlier ones
  unsigned clock_moves_ = 0;  // counts the calls of on_clock_moved()
  int in_old_time_ = 0;       // threads asleep since before the last one
  std::uint32_t waits_ = 0;   // counts the rounds of calls, but for those of the fast path alone
  // How many knotes at the front of the list are delivered before epoll is asked again.
  std::uint32_t turn_left_ = 0;
  std::uint32_t active_count_ = 0;
  std::atomic<std::uint32_t> active_word_{0};  // active_count_, to be read without the lock
  std::uint32_t sources_ = 0;  // the open slots whose filters have `is_due`, as bits
  knote_list active_;          // oldest first
  knote_list served_;
  void* owner_ = nullptr;
  timer_clock clock_;
  filter_slot slots_[filter_count];
  descriptor_table descriptors_;
  knote_table others_;
  knote_list free_knotes_;
};

}  // namespace kedge::kqueue
