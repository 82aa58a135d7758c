// name_watches: the waits of one loop for notifications about names: the death of a port, room in a
// queue.
//
// An attachment of the loop: a table of the names that its operations watch, with their queues. The
// requests to the kernel are those of the space (space_notifications.h).
//
// Threads: the loop's only.
#pragma once

#include <mach/mach.h>

#include <atomic>
#include <cstddef>
#include <system_error>

#include "kedge/mach/name_table.h"
#include "kedge/mach/send_right.h"
#include "kedge/mach/space_notifications.h"
#include "kedge/runtime/base/list.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/reactor/registration.h"

namespace kedge::mach {

class name_watch;
class name_watches;

// An operation that waits for a notification about a name, in a queue with others. One that waits
// for room holds a user reference to the name, and releases it only after it has left the queue.
class name_waiter {
 public:
  name_waiter(const name_waiter&) = delete;
  name_waiter& operator=(const name_waiter&) = delete;

 protected:
  name_waiter() = default;
  // Requires that the waiter is in no queue: the destructor of each derived class leaves.
  ~name_waiter() = default;

  // Leaves the queue. Has no effect if the waiter is in none.
  void leave() noexcept {
    if (watch_ != nullptr) leave_queue();
  }
  // Arms the notification of room. Requires that the waiter is in the queue for room. Returns the
  // error if the kernel refuses.
  std::error_code request_room() noexcept;

 private:
  friend class name_watch;
  friend class name_watches;
  void leave_queue() noexcept;
  // Called when the waiter's turn has come. In the queue for room: the waiter, still in the queue,
  // tries to send, then leaves or requests room again. In the queue for death: the port has died,
  // and the waiter has left the queue. With an error, in either queue: the wait is over, and the
  // waiter has left the queue.
  virtual void on_notified(std::error_code error) noexcept = 0;

  base::list_link<name_waiter> link_;
  using waiter_queue = base::list<name_waiter, &name_waiter::link_>;  // the longest waiting first
  name_watch* watch_ = nullptr;
  waiter_queue* queue_ = nullptr;
};

// One watched name: what the loop has requested, and its waiters.
class name_watch final : public name_interest {
 public:
  name_watch(mach_port_name_t name, name_watches& of) noexcept;

 private:
  friend class name_waiter;
  friend class name_watches;
  using waiter_queue = name_waiter::waiter_queue;

  void push_back(waiter_queue& queue, name_waiter& waiter) noexcept;
  void remove(name_waiter& waiter) noexcept;

  name_watches& watches_;
  waiter_queue for_room_;
  waiter_queue for_death_;
  notice requested_ = notice::none;  // and the loop has not taken the notification
  send_right held_;                  // for those that wait for death
};

class name_watches final : private listener, private notified_loop {
 public:
  // Returns false if no operation of the process waits for room: spares a look at the loop's.
  static bool any_room_waiters() noexcept {
    return room_waiters_.load(std::memory_order_relaxed) != 0;
  }

  explicit name_watches(reactor& r) : notified_loop(r), reactor_(r) {}
  // Ends all waits with errc::loop_gone.
  ~name_watches();

  // Returns true if an operation of this loop waits for room in the queue behind `name`.
  bool has_room_waiters(mach_port_name_t name) noexcept {
    const name_watch* const watch = watches_.find(name);
    return watch != nullptr && !watch->for_room_.empty();
  }

  // Adds `waiter` to the queue for room behind `name`. The first in the queue requests the
  // notification itself (request_room) once a send has found the port's queue full. Throws
  // std::bad_alloc, std::system_error, and std::logic_error if the current space is not the loop's.
  void wait_for_room(mach_port_name_t name, name_waiter& waiter);
  // Adds `waiter` to the queue for the death of `name`. If the kernel refuses the request,
  // on_notified() receives its error. Throws the same.
  void wait_for_death(mach_port_name_t name, name_waiter& waiter);

 private:
  friend class name_waiter;
  friend class name_watch;
  using waiter_queue = name_waiter::waiter_queue;

  void open();
  name_watch& watch(mach_port_name_t name);
  bool is_stuck(const name_watch& watch) const noexcept;
  void retire(name_watch& watch) noexcept;
  std::error_code request(name_watch& watch, notice n) noexcept;
  // Does what follows from a change of the watch's queues or request: notifies the first waiter for
  // room, makes the request, or retires the watch. May destroy `watch`.
  void advance(name_watch& watch) noexcept;
  static void notify_all(name_watch& watch, waiter_queue& queue, std::error_code error) noexcept;
  void fail(name_watch& watch, std::error_code why) noexcept;
  void fail_all(std::error_code why) noexcept;
  void take_all() noexcept;

  void notify(const kevent64_s&) noexcept override;
  void closed(std::error_code why) noexcept override { fail_all(why); }
  bool can_wake() const noexcept override;
  void on_posted() noexcept override;

  static inline constinit std::atomic<std::size_t> room_waiters_{0};

  reactor& reactor_;
  space_notifications* space_ = nullptr;  // null until the first wait
  registration registration_;             // of the space's port, while the loop has waits
  name_table<name_watch> watches_;
};

}  // namespace kedge::mach
