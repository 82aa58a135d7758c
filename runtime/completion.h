// completion<T>: a task waits for one result, which any thread may give.
//
//     kedge::completion<int> answer;
//     start_query([to = answer.get_completer()](int value) { to.complete(value); });
//     const kedge::result<int> r = co_await answer.wait();
//
// For callbacks of other libraries and for threads of the program's own. The result is a value, or
// an error of the completer's. If all completers are dropped and none has completed, the result is
// errc::abandoned. The first completer that completes gives the result.
//
// Costs: one allocation by the constructor, none after it. A completer takes no lock. It makes a
// system call only if a task waits on a loop that sleeps.
//
// Threads: completers may be used, copied and dropped on any thread. All else belongs to one
// thread, that of the loop on which the wait is. A completer may outlive the completion and the
// loop.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/reactor/remote_wake.h"
#include "kedge/runtime/result.h"

namespace kedge {

class completion_wait;

// What a completion and its completers share, but for the result.
class completion_state : public remote_wake {
 public:
  // --- For completers ---------------------------------------------------------------------------

  // Returns true to the one caller that may store the result.
  bool claim() noexcept { return !claimed_.exchange(true, std::memory_order_relaxed); }
  // The result is stored. `self` owns this state.
  void publish(std::shared_ptr<completion_state> self) noexcept;
  void add_completer() noexcept { completers_.fetch_add(1, std::memory_order_relaxed); }
  // Returns true to the last completer.
  bool remove_completer() noexcept {
    return completers_.fetch_sub(1, std::memory_order_acq_rel) == 1;
  }

  // --- For the completion -----------------------------------------------------------------------

  // The completion is destroyed: ends the wait in progress with errc::closed.
  void close() noexcept;

 protected:
  completion_state() = default;
  ~completion_state() = default;

 private:
  friend class completion_wait;
  enum class stage : unsigned char {
    idle,
    awaited,  // a waiter is attached
    done,     // the result is stored
  };

  // Returns false if the result came first.
  bool move_on(stage from, stage to) noexcept {
    return stage_.compare_exchange_strong(from, to, std::memory_order_acq_rel,
                                          std::memory_order_acquire);
  }

  std::atomic<stage> stage_{stage::idle};
  std::atomic<bool> claimed_{false};
  std::atomic<unsigned> completers_{0};
  // The loop's thread's:
  completion_wait* standing_ = nullptr;  // waits, or has been given the result
  bool is_over_ = false;                 // the result was taken, or the completion is gone
};

// The wait, but for the result.
class completion_wait {
 public:
  completion_wait(const completion_wait&) = delete;
  completion_wait& operator=(const completion_wait&) = delete;

  bool await_ready() noexcept;
  bool await_suspend(waiter& w) noexcept;
  bool await_cancel(cancel_cause) noexcept;
  void describe(description& line) const noexcept { line.print("a completion"); }

 protected:
  explicit completion_wait(std::shared_ptr<completion_state> s) noexcept : state_(std::move(s)) {}
  ~completion_wait() { leave(); }

  // Returns the state, whose result this wait takes, or null if there is an error() instead.
  completion_state* take() noexcept;
  std::error_code error() const noexcept { return error_; }

 private:
  friend class completion_state;
  void leave() noexcept;

  std::shared_ptr<completion_state> state_;
  std::error_code error_;
};

template <class T>
class completion;

// Gives the result of a completion. Copies give it to the same completion.
template <class T>
class completer {
 public:
  completer(const completer& other) noexcept : state_(other.state_) {
    if (state_ != nullptr) state_->add_completer();
  }
  completer(completer&& other) noexcept = default;
  completer& operator=(completer other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  // The last completer abandons a completion that has no result.
  ~completer() {
    if (state_ != nullptr && state_->remove_completer()) {
      complete(unexpected(errc::abandoned, failed_operation{"completion::wait"}));
    }
  }

  // Gives the result: a T, nothing if T is void, or unexpected(error). Returns false, and destroys
  // it, if the completion has a result already or is gone. A result that is not taken is destroyed
  // with the completion or with the last completer, whichever is later. Any thread.
  bool complete(result<T> r = {}) const noexcept {
    if (state_ == nullptr || !state_->claim()) return false;
    state_->stored.emplace(std::move(r));
    state_->publish(state_);
    return true;
  }

 private:
  friend class completion<T>;
  using state = typename completion<T>::state;

  explicit completer(std::shared_ptr<state> s) noexcept : state_(std::move(s)) {
    state_->add_completer();
  }

  std::shared_ptr<state> state_;  // null once moved from
};

template <class T>
class completion {
  static_assert(
      std::is_nothrow_move_constructible_v<result<T>>,
      "kedge: the result of a completion must move without throwing: a completer's thread "
      "could not report it");

  struct state final : completion_state {
    std::optional<result<T>> stored;
  };

 public:
  class wait_operation final : public completion_wait {
   public:
    explicit wait_operation(std::shared_ptr<state> s) noexcept : completion_wait(std::move(s)) {}

    result<T> await_resume() {
      auto* const from = static_cast<state*>(this->take());
      if (from == nullptr) return unexpected(this->error(), failed_operation{"completion::wait"});
      result<T> r = *std::move(from->stored);
      from->stored.reset();
      return r;
    }
  };

  class [[nodiscard]] completion_awaitable {
   public:
    explicit completion_awaitable(std::shared_ptr<state> s) noexcept : state_(std::move(s)) {}
    wait_operation operator co_await() && noexcept { return wait_operation(std::move(state_)); }

   private:
    std::shared_ptr<state> state_;
  };

  // Throws std::bad_alloc.
  completion() : state_(std::make_shared<state>()) {}
  completion(const completion&) = delete;
  completion& operator=(const completion&) = delete;
  // Ends a wait in progress, and the awaitables that have not been awaited, with errc::closed. A
  // result that has arrived before is delivered to a wait in progress.
  ~completion() { state_->close(); }

  // Returns a completer. Once the last one has been dropped, later ones have no effect.
  completer<T> get_completer() const noexcept { return completer<T>(state_); }

  // Waits for the result. It is taken once: later waits end with errc::closed. One task may wait at
  // a time; a second one gets errc::already_awaited. Cancellation loses nothing: the next wait
  // takes the result. May be awaited on any loop.
  completion_awaitable wait() noexcept { return completion_awaitable(state_); }

 private:
  friend class completer<T>;
  std::shared_ptr<state> state_;
};

}  // namespace kedge
