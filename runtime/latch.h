// latch: a counter that tasks wait for; it lets them go at zero, and stays there.
//
//     kedge::latch started(3);
//     static_cast<void>(co_await started.wait());   // each of three tasks: started.count_down();
//
// Threads: the loop's thread only.
#pragma once

#include <cstddef>

#include "kedge/runtime/awaiting/source.h"

namespace kedge {

class latch {
  struct state : queue_state {
    explicit state(std::size_t n) noexcept : left(n) {}
    void serve() noexcept {
      if (left == 0) waiting.grant_all();
    }
    std::size_t left;
  };

 public:
  class wait_request : public request<state> {
   public:
    static constexpr const char* aim = "a latch";
    explicit wait_request(source_hold<state> s) noexcept : request(std::move(s)) {}
    bool try_take() noexcept { return source_->left == 0 && !source_->is_closed(); }
    result<void> take() noexcept { return {}; }
    result<void> refusal() noexcept { return closed("latch::wait"); }
  };

  // A latch of zero lets everyone go. Throws std::bad_alloc.
  explicit latch(std::size_t count) : state_(std::in_place, count) {}
  latch(const latch&) = delete;
  latch& operator=(const latch&) = delete;
  // Ends waits in progress, and awaitables that have not been awaited, with errc::closed.
  ~latch() = default;

  // Throws std::system_error (ERANGE), and counts nothing, if less than n is left.
  void count_down(std::size_t n = 1) {
    if (n > state_->left) {
      refuse_argument(std::errc::result_out_of_range, "kedge::latch: count_down");
    }
    state_->left -= n;
    state_->serve();
  }
  // What is left to count.
  std::size_t left() const noexcept { return state_->left; }

  // Waits until nothing is left to count. Gives errc::closed if the latch is destroyed first.
  // Cancellation loses nothing.
  source_awaitable<wait_request> wait() noexcept {
    return source_awaitable(wait_request(state_.hold()));
  }

 private:
  source_owner<state> state_;
};

}  // namespace kedge
