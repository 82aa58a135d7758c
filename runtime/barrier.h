// barrier: a number of tasks wait for each other, again and again.
//
//     kedge::barrier round(workers);
//     for (;;) { step(); static_cast<void>(co_await round.arrive_and_wait()); }
//
// Threads: the loop's thread only.
#pragma once

#include <cstddef>

#include "kedge/runtime/awaiting/source.h"

namespace kedge {

class barrier {
  struct state : queue_state {
    explicit state(std::size_t n) noexcept : count(n) {}
    const std::size_t count;
    std::size_t arrived = 0;
  };

 public:
  class arrival : public request<state> {
   public:
    static constexpr const char* aim = "others at a barrier";
    explicit arrival(source_hold<state> s) noexcept : request(std::move(s)) {}
    // Counts the arrival, whether it has to wait or not.
    bool try_take() noexcept {
      state& s = *source_;
      if (s.is_closed() || ++s.arrived < s.count) return false;
      s.arrived = 0;
      s.waiting.grant_all();
      return true;
    }
    void left() noexcept { --source_->arrived; }
    result<void> take() noexcept { return {}; }
    result<void> refusal() noexcept { return closed("barrier::arrive_and_wait"); }
  };

  // Throws std::system_error (EINVAL) if `count` is zero, and std::bad_alloc.
  explicit barrier(std::size_t count) : state_(std::in_place, count) {
    if (count == 0) refuse_argument(std::errc::invalid_argument, "kedge::barrier");
  }
  barrier(const barrier&) = delete;
  barrier& operator=(const barrier&) = delete;
  // Ends waits in progress, and awaitables that have not been awaited, with errc::closed.
  ~barrier() = default;

  // Waits until `count` tasks have arrived; the last one does not wait, and the next `count` make
  // the next round. Gives errc::closed if the barrier is destroyed first. Cancellation takes the
  // arrival back. Not for select(), whose other sources could end it when it has let others go.
  source_awaitable<arrival> arrive_and_wait() noexcept {
    return source_awaitable(arrival(state_.hold()));
  }
  // The tasks that wait for the others of their round.
  std::size_t arrived() const noexcept { return state_->arrived; }

 private:
  source_owner<state> state_;
};

}  // namespace kedge
