// event: a flag that tasks wait for; it stays set until it is reset.
//
//     kedge::event ready;
//     (co_await ready.wait()).value();   // elsewhere: ready.set();
//
// set() lets all go that wait. They have ended their wait even if the event is reset before their
// turn.
//
// Threads: the loop's thread only.
#pragma once

#include "kedge/runtime/awaiting/source.h"

namespace kedge {

class event {
  struct state : queue_state {
    void serve() noexcept {
      if (is_set) waiting.grant_all();
    }
    bool is_set = false;
  };

 public:
  class wait_request : public request<state> {
   public:
    static constexpr const char* aim = "an event";
    explicit wait_request(source_hold<state> s) noexcept : request(std::move(s)) {}
    bool try_take() noexcept { return source_->is_set && !source_->is_closed(); }
    result<void> take() noexcept { return {}; }
    result<void> refusal() noexcept { return closed("event::wait"); }
  };

  // Throws std::bad_alloc.
  event() : state_(std::in_place) {}
  event(const event&) = delete;
  event& operator=(const event&) = delete;
  // Ends waits in progress, and awaitables that have not been awaited, with errc::closed.
  ~event() = default;

  // No effect on an event that is set.
  void set() noexcept {
    state_->is_set = true;
    state_->serve();
  }
  void reset() noexcept { state_->is_set = false; }
  bool is_set() const noexcept { return state_->is_set; }

  // Waits until the event is set. Gives errc::closed if the event is destroyed first. Cancellation
  // loses nothing.
  source_awaitable<wait_request> wait() noexcept {
    return source_awaitable(wait_request(state_.hold()));
  }

 private:
  source_owner<state> state_;
};

}  // namespace kedge
