// user_event: awaits that another thread triggers it.
//
//     kedge::user_event reload(loop);
//     std::thread control([trigger = reload.get_trigger()] { ...; trigger(); });
//     const std::uint32_t flags = (co_await reload.next()).value();
//
// A trigger may carry flags, whose meaning is the program's. What comes between two calls of next()
// is reported once, with the flags of all of it, so nothing is lost and nothing queues. For work
// with data post to the loop (remote.h), and for one result use completion.h.
//
// Costs: a trigger takes a lock and makes a system call, unless the one before has not been taken
// yet. It allocates nothing.
//
// Threads: triggers may be used, copied and dropped on any thread, but not in a signal handler. All
// else belongs to the loop's thread. Both may outlive the loop: waits then end with
// errc::loop_gone, and triggers have no effect. The same holds in the child of a fork.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "kedge/runtime/awaiting/event_source.h"

namespace kedge {

class user_event {
  class state;

 public:
  class trigger {
   public:
    // Ends the wait in progress, or the next one. Returns false if the user_event or its loop is
    // gone. Any thread.
    bool operator()(std::uint32_t flags = 0) const noexcept;

   private:
    friend class user_event;
    explicit trigger(std::shared_ptr<state> s) noexcept : state_(std::move(s)) {}
    std::shared_ptr<state> state_;
  };

  // `r` is the loop. Returns when the kernel has the event. Throws std::system_error if the kqueue
  // fails, and std::bad_alloc.
  explicit user_event(reactor& r);
  user_event(const user_event&) = delete;
  user_event& operator=(const user_event&) = delete;
  // Ends a wait in progress, and the awaitables that have not been awaited, with errc::closed.
  ~user_event();

  trigger get_trigger() const noexcept { return trigger(state_); }

  // Waits until it has been triggered since the last time that a wait took it, and gives the flags
  // of all triggers since then. One task may wait at a time; a second one gets
  // errc::already_awaited. Cancellation loses nothing: the task takes at its turn.
  event_awaitable<std::uint32_t> next() const noexcept;

 private:
  std::shared_ptr<state> state_;
};

}  // namespace kedge
