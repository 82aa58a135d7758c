// foreign_event, foreign_task: what another coroutine library has, for tests. It knows nothing of
// Kedge.
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <stdexcept>
#include <utility>

namespace other {

// An awaiter that is also a source: gives the number with which it is set.
class foreign_event {
 public:
  foreign_event() = default;
  foreign_event(const foreign_event&) = delete;
  foreign_event& operator=(const foreign_event&) = delete;

  class awaiter {
   public:
    explicit awaiter(foreign_event& e) noexcept : event_(&e) {}
    awaiter(awaiter&& moved) noexcept : event_(moved.event_) {}
    awaiter& operator=(awaiter&&) = delete;
    ~awaiter() {
      if (waits_) event_->waiting_ = nullptr;
    }
    bool await_ready() const noexcept { return event_->number_.has_value(); }
    void await_suspend(std::coroutine_handle<> h) noexcept {
      event_->waiting_ = h;
      waits_ = true;
    }
    int await_resume() {
      waits_ = false;
      const int n = *std::exchange(event_->number_, std::nullopt);
      if (n < 0) throw std::runtime_error("negative");
      ++event_->taken;
      return n;
    }

   private:
    foreign_event* event_;
    bool waits_ = false;
  };
  awaiter wait() noexcept { return awaiter(*this); }

  // Resumes the waiting coroutine within this call.
  void set(int n) {
    number_ = n;
    if (const auto h = std::exchange(waiting_, nullptr)) h.resume();
  }
  bool is_awaited() const noexcept { return waiting_ != nullptr; }
  bool is_set() const noexcept { return number_.has_value(); }

  int taken = 0;

 private:
  std::optional<int> number_;
  std::coroutine_handle<> waiting_;
};

// Awaits by a member operator co_await, transfers symmetrically, and gives a reference.
class foreign_task {
 public:
  struct promise_type {
    std::suspend_always initial_suspend() const noexcept { return {}; }
    struct last {
      bool await_ready() const noexcept { return false; }
      std::coroutine_handle<> await_suspend(
          std::coroutine_handle<promise_type> self) const noexcept {
        return self.promise().awaiter;
      }
      void await_resume() const noexcept {}
    };
    last final_suspend() const noexcept { return {}; }
    foreign_task get_return_object() noexcept {
      return foreign_task(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    void return_value(int& n) noexcept { value = &n; }
    void unhandled_exception() const noexcept { std::terminate(); }
    std::coroutine_handle<> awaiter;
    int* value = nullptr;
  };
  class operation {
   public:
    explicit operation(std::coroutine_handle<promise_type> c) noexcept : coroutine_(c) {}
    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> h) const noexcept {
      coroutine_.promise().awaiter = h;
      return coroutine_;
    }
    int& await_resume() const noexcept { return *coroutine_.promise().value; }

   private:
    std::coroutine_handle<promise_type> coroutine_;
  };

  foreign_task(foreign_task&& moved) noexcept : coroutine_(std::exchange(moved.coroutine_, {})) {}
  foreign_task& operator=(foreign_task&&) = delete;
  ~foreign_task() {
    if (coroutine_) coroutine_.destroy();
  }
  operation operator co_await() && noexcept { return operation(coroutine_); }

 private:
  explicit foreign_task(std::coroutine_handle<promise_type> c) noexcept : coroutine_(c) {}
  std::coroutine_handle<promise_type> coroutine_;
};

// Awaited by a free operator co_await.
struct half {
  int number;
};
struct half_awaiter {
  int number;
  bool await_ready() const noexcept { return number % 2 == 0; }
  bool await_suspend(std::coroutine_handle<>) const noexcept { return false; }
  int await_resume() const noexcept { return number / 2; }
};
inline half_awaiter operator co_await(half h) noexcept {
  return half_awaiter{h.number};
}

}  // namespace other
