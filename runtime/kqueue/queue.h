// One kqueue. Its descriptor is an epoll descriptor, which watches: the program's descriptors (one
// registration each, descriptor_table.h), the bell, and the filters' pumps.
//
// Two ways lead to an event. A descriptor that epoll reports is delivered as it comes, without a
// filter operation (`data` aside). Everything else is a knote that was activated in user space: it
// stands in the list of its filter, and a kevent() call takes it from there and asks `process`.
//
// The bell is an eventfd in the epoll set, edge-triggered: each write makes the kqueue readable
// until the next epoll_wait. It is read only if what it was rung for is gone before anybody came.
// It is rung when a knote becomes active in user space and somebody has to notice: a thread asleep
// in kevent(), or, unless the caller has opted out, an outside poller. `rung_` remembers that this
// wait is still to come, so a burst of activations is one write; but while a thread is about to
// write, others do so too, since the kqueue is readable when the call returns that made it so. A
// thread that is delivering rings when it returns and something is left, so until then only
// sleepers are rung for.
//
// A queue object is never freed but used again for a later kqueue, so that a thread that comes too
// late (an activation, a call with a closed number) finds an object whose lock it can take and see.
// `users_` counts the threads inside kevent(), those on the short way (fast_path.h) apart, which
// are among the sleepers; who ends the kqueue waits for all of them, and only then is the number
// closed and the object given back.
//
// The short way is closed by whatever makes a wait more than epoll_wait and a record for each event
// (close_short_way()), and opened again at the end of a wait that finds nothing in its way.
//
// Lock order: a filter's locks, then lock_. Filter operations are called with it released, system
// calls on the epoll set that do not wait are made under it.
#pragma once

#include <sys/event.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/kqueue/deadline.h"
#include "kedge/runtime/kqueue/descriptors/descriptor_table.h"
#include "kedge/runtime/kqueue/event_writer.h"
#include "kedge/runtime/kqueue/filter_table.h"
#include "kedge/runtime/kqueue/knote_record.h"
#include "kedge/runtime/kqueue/knote_table.h"

struct epoll_event;

namespace kedge::kqueue {

// Darwin lets a kqueue be used by kevent() or by kevent64(), whichever came first.
enum class call_kind : std::uint8_t { undecided, narrow, wide };

template <class Record, bool with_data>
class fast_path;
struct round;  // queue_wait.h

class queue {
 public:
  // Life. begin() makes the epoll set and returns its descriptor, or -1 with errno. With its last
  // number the queue ends: all is detached, and the sleepers get EBADF.
  int begin() noexcept;
  // The queue of `number` has one more, which has_gained() says when kqueue_registry names it.
  // False if it has ended.
  bool gain_number(int number) noexcept;
  void has_gained(int number) noexcept;
  // It has lost `number`, which kqueue_registry does not name as its own any more. If that was the
  // last one, returns when no thread is left in the queue.
  void lose_number(int number) noexcept;

  // A thread's stay. enter() refuses with EBADF a queue that is not `number`'s (any more), with
  // EINVAL the other kind of call; otherwise the thread holds the lock until leave(). What stands
  // between the two is called with it held, and may release it meanwhile.
  int enter(int number, call_kind kind) noexcept {
    lock_.lock();
    const bool is = !ended_ && (number_ == number || has_number(number));
    if (is) {
      if (kind_ == call_kind::undecided) kind_ = kind;
      if (kind_ == kind || kind == call_kind::undecided) {
        ++users_;
        return 0;
      }
    }
    lock_.unlock();
    return is ? EINVAL : EBADF;
  }
  void leave() noexcept {
    --users_;
    if (ended_) gate_.wake_all();
    lock_.unlock();
  }
  // leave() for a thread that has found that its queue's number was closed behind our back.
  void leave_lost() noexcept;

  // One change. Returns 0 or the errno of its EV_ERROR. Takes from its flags what Darwin's kernel
  // does, which its record then shows.
  int apply(kevent64_s& change) noexcept;

  // After changes: a poller outside is not to see what they have deleted or disabled.
  void unring() noexcept;

  // Waits and fills `out`. Returns 0 or an errno.
  int collect(records& out, deadline& limit) noexcept;

  // Only what is active in user space; no system call.
  void collect_active(records& out) noexcept;

  // Options of extension.h, as bits.
  void leave_out(unsigned what) noexcept;
  void provide(unsigned what) noexcept;

  // True while the number still means our epoll set: it may have been closed behind our back.
  bool number_is_ours() const noexcept;

  // No stay is needed for the rest.

  // Whether a number of the queue's is still our epoll set's, asked in the child of a fork: touches
  // no lock.
  bool owns(int number) const noexcept;

  // The timers' clock is another one, perhaps a virtual one.
  void clock_changes() noexcept;

  // The number of a descriptor is about to be closed: its knotes go, or vanish.
  void descriptor_closes(int fd) noexcept;
  // The connection behind the number sends no more: its WRITE knotes are examined.
  void sending_ends(int fd) noexcept;
  // The file has another offset: its READ and WRITE knotes, which no epoll watches, are asked.
  void offset_moves(int fd) noexcept;
  // Another file has taken the number of a descriptor over, with all that was registered.
  void renew(int fd) noexcept;

  // For the filters' side of the contract (filter.h).
  void activate(knote_record& k) noexcept;
  void release(knote_record& k) noexcept;
  void* owner() const noexcept { return owner_; }
  void* state_of(unsigned filter) const noexcept { return slots_[filter].state; }

  // For READ, in attach: opens the state of another filter here. Returns 0 or an errno.
  int open_state(unsigned filter) noexcept;

  // For knotes about descriptors, in attach: puts the knote under epoll's watch for the events of
  // `interest`. Returns 0 or an errno. `examined`: they go through `process`; so does a hang-up or
  // an error, from when on all do, until the filter says no more of it by examine().
  int watch(knote_record& k, std::uint32_t interest, bool examined) noexcept;

  // The same of a knote under watch, in touch and process. Takes effect when epoll's next look at
  // the descriptor is arranged, which follows both.
  void examine(knote_record& k, std::uint32_t interest, bool examined) noexcept;

  // Has the caller opted out of these (extension.h)?
  bool leaves_out(unsigned what) noexcept;

  queue* next_free = nullptr;  // lists of kqueue_registry.cc: unused queues, and all
  queue* next_of_all = nullptr;

 private:
  template <class Record, bool with_data>
  friend class fast_path;

  // Of a kind that is decided, in open_for_.
  static constexpr std::size_t index_of(call_kind kind, bool with_data) noexcept {
    return (kind == call_kind::wide ? 1 : 0) + (with_data ? 2 : 0);
  }

  enum class slot_state : std::uint8_t { closed, opening, open };
  struct filter_slot {  // one filter's state here
    void* state = nullptr;
    int pump = -1;
    slot_state phase = slot_state::closed;
  };

  bool has_number(int number) const noexcept;
  void finish() noexcept;

  // The short way.
  void close_short_way() noexcept { std::ranges::fill(open_for_, -1); }
  void open_short_way() noexcept;
  int finish_wait(const round& r, records& out, deadline& limit) noexcept;

  // Changes (queue_change.cc).
  knote_record* find(const kevent64_s& change) noexcept;
  int open_slot(unsigned filter) noexcept;
  int attach(kevent64_s& change, unsigned filter) noexcept;
  int touch(knote_record& k, const kevent64_s& change) noexcept;
  void unlink(knote_record& k) noexcept;
  void end_use(knote_record& k) noexcept;
  void drop(knote_record& k) noexcept;
  void vanish(knote_record& k) noexcept;
  void drop_all(int fd, bool but_new) noexcept;
  knote_record* take_block() noexcept;
  void give_back(knote_record& k) noexcept;

  // The epoll set (queue_set.cc).
  static bool add_bell(int epoll, int bell) noexcept;
  bool renew_set() noexcept;
  void wake_old_set() noexcept;
  void leave_old_set() noexcept;

  // Activity.
  void enqueue(knote_record& k) noexcept;
  void dequeue(knote_record& k) noexcept;
  bool somebody_waits() const noexcept;
  // The bell is written (not: about to be), and epoll's event of it is still to come.
  bool has_rung() const noexcept { return rung_ && striking_ == 0; }
  // For a knote that is in a list: whether somebody has to notice who has not been rung for.
  bool has_to_ring() const noexcept;
  void enqueue_and_tell(knote_record& k) noexcept;
  void ring() noexcept;
  // By a thread that is counted, and without the lock meanwhile: it is what the thread that is
  // woken wants first.
  void ring_released() noexcept;
  static void strike(int bell) noexcept;

  // Waiting (queue_wait.cc).
  static constexpr int one_more_round = -1;  // not an errno
  int collect_from(int result, records& out, deadline& limit) noexcept;
  void plan(round& r, unsigned room, const deadline& limit) noexcept;
  void ask_epoll(round& r, deadline& limit) noexcept;
  int deliver_round(const round& r, records& out, deadline& limit) noexcept;
  int deliver_reported(const round& r, records& out, bool& seen_all, bool& is_stuck) noexcept;
  bool pause(deadline& limit) noexcept;
  void end_delivery() noexcept;
  void deliver_ready(std::uint64_t tag, std::uint32_t events, records& out) noexcept;
  void answer_own(std::uint32_t own) noexcept;
  bool deliver_active(records& out) noexcept;
  bool deliver_filter(unsigned filter, records& out) noexcept;
  void report_end(knote_record& k, records& out) noexcept;
  void settle(delivery& d, bool still, records& out) noexcept;
  void run_pumps(std::uint32_t filters) noexcept;

  base::mutex lock_;
  base::condition gate_;  // a knote stopped being busy, a slot opening, a thread pumping
  int number_ = -1;       // one of them, for calls on the epoll set
  int numbers_ = 0;       // how many it has
  int bell_ = -1;
  int users_ = 0;
  int sleepers_ = 0;    // threads in epoll_wait, or about to be
  int collectors_ = 0;  // threads that deliver: they look at waiting_ before they sleep or return
  int pumping_ = 0;     // threads in a filter's pump
  // By kind of call, without `data` and with: the number that may go the short way, or -1.
  int open_for_[4] = {-1, -1, -1, -1};
  unsigned options_ = 0;
  call_kind kind_ = call_kind::undecided;
  bool ended_ = true;
  bool rung_ = false;    // the bell is written, or is about to be, and its event is not taken yet
  int striking_ = 0;     // threads that have set rung_ and are about to write
  bool stale_ = false;   // this wait brought an event of a registration that is no more
  unsigned set_ = 0;     // which epoll set it is
  int in_old_sets_ = 0;  // threads asleep in one of those before
  bool turn_ = false;    // with room for one event: whose turn it is
  unsigned next_filter_ = 0;   // which list is served first: the next one from here on
  std::uint32_t waiting_ = 0;  // bit per filter: its list is not empty
  std::uint32_t active_count_ = 0;
  void* owner_ = nullptr;
  knote_list active_[filter_count];
  filter_slot slots_[filter_count];
  descriptor_table descriptors_;
  knote_table others_;
  knote_record* free_blocks_ = nullptr;
};

}  // namespace kedge::kqueue
