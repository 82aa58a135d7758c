// notification_port: the loop's port for what the kernel tells about names: a death, room in a
// queue.
//
// An attachment of the loop: one guarded receive right, and a table of the names that somebody in
// this loop watches. The kernel has one slot per name for both kinds of request, so a name has one
// request here, always of the send-possible kind: it tells of the death too, even of a name that is
// dead already, on every version (dead-name requests for dead names are refused since macOS 13).
//
// Believed is what the kernel's audit token vouches for, nothing else.
//
// Two loops of one space that watch one name displace each other's request. A displaced request's
// send-once right is destroyed, of which the kernel tells us without the name; so requests are
// counted, and where one is missing all are made again 10 ms later. Nothing is lost by it; two such
// loops pay a few calls every 10 ms while both wait.
#pragma once

#include <mach/mach.h>

#include <cstddef>
#include <system_error>
#include <unordered_map>
#include <vector>

#include "kedge/mach/port_source.h"
#include "kedge/mach/receive_right.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/reactor/registration.h"
#include "kedge/runtime/reactor/timer.h"

namespace kedge::mach {

class notification_port;
class waiter_queue;
class name_watch;

// Waits for something about a name, in line with others. Unlinks itself when destroyed. Whoever
// waits holds a user reference to the name, released after it has left.
class name_waiter {
 public:
  name_waiter(const name_waiter&) = delete;
  name_waiter& operator=(const name_waiter&) = delete;

 protected:
  name_waiter() = default;
  ~name_waiter() { leave(); }

  void leave() noexcept;
  // For one that waits for room: asks to be told of it. An error says why that is not possible.
  std::error_code ask_for_room() noexcept;

 private:
  friend class notification_port;
  friend class waiter_queue;
  // For room: time to try, and to leave or to ask again. For the death: it has happened. Or, with
  // an error, there is nothing to wait for any more. Unlinked already, except in the first case.
  virtual void told(std::error_code error) noexcept = 0;

  name_watch* watch_ = nullptr;
  waiter_queue* line_ = nullptr;
  name_waiter* previous_ = nullptr;
  name_waiter* next_ = nullptr;
};

// Waiters, the longest waiting one first.
class waiter_queue {
 public:
  name_waiter* first() const noexcept { return first_; }
  void push_back(name_watch& watch, name_waiter& w) noexcept;
  static void remove(name_waiter& w) noexcept;

 private:
  name_waiter* first_ = nullptr;
  name_waiter* last_ = nullptr;
};

// One name, its request, and who waits.
class name_watch {
 public:
  name_watch(notification_port& port, mach_port_name_t name) noexcept : port_(port), name_(name) {}
  name_watch(const name_watch&) = delete;
  name_watch& operator=(const name_watch&) = delete;

 private:
  friend class notification_port;
  friend class name_waiter;
  enum class request : unsigned char {
    none,
    death,  // tells of the death only
    room,   // tells of room as well
  };

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

  // Whether anybody in this loop waits for room in the queue behind `name`.
  bool has_line_for_room(mach_port_name_t name) const noexcept;

  // Puts w into the line for room behind `name`. The first in the line asks for it when it has
  // found the queue full (ask_for_room). Throws std::bad_alloc and std::system_error.
  void wait_for_room(mach_port_name_t name, name_waiter& w);
  // Puts w into the line for the death of `name`. Throws the same; a name that cannot be watched
  // ends the wait with an error.
  void wait_for_death(mach_port_name_t name, name_waiter& w);

 private:
  friend class name_waiter;
  using table = std::unordered_map<mach_port_name_t, name_watch>;

  void open();
  name_watch& watch(mach_port_name_t name);
  void end(name_watch& w) noexcept;
  std::error_code request(name_watch& w, name_watch::request kind) noexcept;
  void withdraw_request(name_watch& w) noexcept;
  // What is to be done after something about w has changed. May destroy w.
  void go_on(name_watch& w) noexcept;
  void tell_all(waiter_queue& line, std::error_code error) noexcept;
  void end(name_watch& w, std::error_code why) noexcept;
  void end_all(std::error_code why) noexcept;

  void notify(const kevent64_s&) noexcept override;
  void closed(std::error_code why) noexcept override;
  void expire() noexcept override;
  void handle(const received& m) noexcept;
  void look_for_displaced() noexcept;

  reactor& reactor_;
  receive_right port_;
  port_source_hold source_;
  table watches_;
  // Of watches that have ended, for the next ones: waiting for room is frequent.
  std::vector<table::node_type> spare_;
  // Send-once rights to port_ that the kernel holds or has not accounted for yet, and watches that
  // believe to have one there.
  std::size_t rights_out_ = 0;
  std::size_t requests_ = 0;
};

}  // namespace kedge::mach
