// notification_port: the loop's port for the kernel's notifications about names: the death of a
// port, room in a queue.
//
// An attachment of the loop: one guarded receive right, and a table of the names that waits of this
// loop watch. The kernel has one slot per name for both kinds of request, so each watched name has
// one request, always a send-possible one (MACH_NOTIFY_SEND_POSSIBLE). It reports the death of the
// port too, even of a name that is dead already, on every version of Darwin. (Since macOS 13 the
// kernel refuses dead-name requests for dead names.)
//
// A notification counts only if the audit token in its trailer is the kernel's.
//
// Two loops of one space that watch the same name displace each other's request. The kernel
// destroys the send-once right of a displaced request and reports that without the name
// (MACH_NOTIFY_SEND_ONCE). So the requests are counted, and if one is missing, all are made again
// 10 ms later. No notification is lost. Two such loops pay a few calls every 10 ms while both wait.
//
// Threads: the loop's only.
#pragma once

#include <mach/mach.h>

#include <cstddef>
#include <system_error>
#include <unordered_map>
#include <vector>

#include "kedge/mach/port_source.h"
#include "kedge/mach/receive_right.h"
#include "kedge/runtime/base/list.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/reactor/registration.h"
#include "kedge/runtime/reactor/timer.h"

namespace kedge::mach {

class notification_port;
class name_watch;

// An operation that waits for a notification about a name, in a queue with others. Its destructor
// takes it out of the queue. The operation holds a user reference to the name, and releases it only
// after it has left the queue.
class name_waiter {
 public:
  name_waiter(const name_waiter&) = delete;
  name_waiter& operator=(const name_waiter&) = delete;

 protected:
  name_waiter() = default;
  ~name_waiter() { leave(); }

  // Leaves the queue. Has no effect if the waiter is in none.
  void leave() noexcept;
  // Arms the notification of room. Requires that the waiter is in the queue for room. Returns the
  // error if the kernel refuses.
  std::error_code request_room() noexcept;

 private:
  friend class notification_port;
  friend class name_watch;
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

// One watched name: its request and its waiters.
class name_watch {
 public:
  name_watch(notification_port& port, mach_port_name_t name) noexcept : port_(port), name_(name) {}
  name_watch(const name_watch&) = delete;
  name_watch& operator=(const name_watch&) = delete;

 private:
  friend class notification_port;
  friend class name_waiter;
  using waiter_queue = name_waiter::waiter_queue;
  enum class request : unsigned char {
    none,
    death,  // notifies of the death only
    room,   // notifies of room as well
  };

  void push_back(waiter_queue& queue, name_waiter& waiter) noexcept;
  static void remove(name_waiter& waiter) noexcept;

  notification_port& port_;
  mach_port_name_t name_;
  waiter_queue for_room_;
  waiter_queue for_death_;
  request request_ = request::none;
  bool dead_ = false;
};

class notification_port final : private listener, private timer {
 public:
  explicit notification_port(reactor& r) noexcept : reactor_(r) {}
  notification_port(const notification_port&) = delete;
  notification_port& operator=(const notification_port&) = delete;
  // Ends all waits with errc::loop_gone.
  ~notification_port();

  // Returns true if an operation of this loop waits for room in the queue behind `name`.
  bool has_room_waiters(mach_port_name_t name) const noexcept;

  // Adds `waiter` to the queue for room behind `name`. The first in the queue requests the
  // notification itself (request_room) once a send has found the port's queue full. Throws
  // std::bad_alloc and std::system_error.
  void wait_for_room(mach_port_name_t name, name_waiter& waiter);
  // Adds `waiter` to the queue for the death of `name`. If the kernel refuses the request,
  // on_notified() receives its error. Throws the same.
  void wait_for_death(mach_port_name_t name, name_waiter& waiter);

 private:
  friend class name_waiter;
  using table = std::unordered_map<mach_port_name_t, name_watch>;
  using waiter_queue = name_waiter::waiter_queue;

  void open();
  name_watch& watch(mach_port_name_t name);
  void retire(name_watch& watch) noexcept;
  std::error_code request(name_watch& watch, name_watch::request kind) noexcept;
  void withdraw_request(name_watch& watch) noexcept;
  static void remove_request(mach_port_name_t name) noexcept;
  // Does what follows from a change of the watch's queues or request: notifies the first waiter for
  // room, arms the request, or retires the watch. May destroy `watch`.
  void advance(name_watch& watch) noexcept;
  static void notify_all(waiter_queue& queue, std::error_code error) noexcept;
  void fail(name_watch& watch, std::error_code why) noexcept;
  void fail_all(std::error_code why) noexcept;

  void notify(const kevent64_s&) noexcept override;
  void closed(std::error_code why) noexcept override;
  bool can_wake() const noexcept override { return !watches_.empty(); }
  void expire() noexcept override;
  void take_all() noexcept;
  void handle(const received& m) noexcept;
  void detect_displaced_requests() noexcept;

  reactor& reactor_;
  receive_right port_;
  port_source_hold source_;
  table watches_;
  // Nodes of retired watches, to be used again: waiting for room is frequent.
  std::vector<table::node_type> spare_;
  // Send-once rights to port_ that the kernel holds, or whose notification has not been received.
  std::size_t rights_outstanding_ = 0;
  // Watches whose request_ is not `none`. At least one right is outstanding for each, unless
  // another loop has displaced a request.
  std::size_t requests_ = 0;
  // A notification is queued that could not be received, for lack of memory.
  bool has_unread_ = false;
};

}  // namespace kedge::mach
