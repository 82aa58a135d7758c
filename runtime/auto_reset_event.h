// auto_reset_event: a flag that is reset by the one task that it lets go.
//
//     kedge::auto_reset_event work;
//     while (const auto set = co_await work.wait()) do_all_work();   // elsewhere: work.set();
//
// set() lets the task go that has waited longest. If none waits the event stays set, and the next
// wait ends at once. So several set() before a wait count as one.
//
// Threads: the loop's thread only.
#pragma once

#include <utility>

#include "kedge/runtime/awaiting/source.h"

namespace kedge {

class auto_reset_event {
  struct state : queue_state {
    void set() noexcept {
      is_set = true;
      serve();
    }
    void serve() noexcept {
      if (!is_set) return;
      if (queued_operation* const op = waiting.first()) {
        is_set = false;
        waiting.grant(*op);
      }
    }
    bool is_set = false;
  };

 public:
  class wait_request : public request<state> {
   public:
    static constexpr const char* aim = "an event";
    explicit wait_request(source_hold<state> s) noexcept : request(std::move(s)) {}
    bool try_take() noexcept {
      return !source_->is_closed() && std::exchange(source_->is_set, false);
    }
    void give_back() noexcept { source_->set(); }
    result<void> take() noexcept { return {}; }
    result<void> refusal() noexcept { return closed("auto_reset_event::wait"); }
  };

  // Throws std::bad_alloc.
  auto_reset_event() : state_(std::in_place) {}
  auto_reset_event(const auto_reset_event&) = delete;
  auto_reset_event& operator=(const auto_reset_event&) = delete;
  // Ends waits in progress, and awaitables that have not been awaited, with errc::closed.
  ~auto_reset_event() = default;

  void set() noexcept { state_->set(); }
  void reset() noexcept { state_->is_set = false; }
  bool is_set() const noexcept { return state_->is_set; }

  // Waits until the event is set, and resets it. Gives errc::closed if the event is destroyed
  // first. Cancellation loses nothing: the next task that waits is let go instead.
  source_awaitable<wait_request> wait() noexcept {
    return source_awaitable(wait_request(state_.hold()));
  }

 private:
  source_owner<state> state_;
};

}  // namespace kedge
