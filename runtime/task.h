// task<T>: a coroutine that gives a T. Lazy, move-only, awaited once.
//
//     kedge::task<int> answer() { co_return 42; }
//     int n = co_await answer();
//
// A task runs nothing before it is awaited or spawned; dropping it before that destroys its
// arguments. An exception that leaves the task is rethrown by the co_await that awaits it. A task
// runs in its awaiter's context: the same loop, the same cancellation. If its awaiter is destroyed
// while the task is suspended, the chain is destroyed innermost first. Control passes to and from a
// task without growing the stack, at every optimisation level: by symmetric transfer while the
// turn's budget lasts, through the ready queue otherwise.
//
// Cancellation is delivered to the wait that the task is suspended in. It loses what that wait
// declares; an exception or a value with which the task still ends is delivered.
// A task may be made, moved and dropped on any thread before it is awaited, and after that belongs
// to its loop's thread. Making one throws std::bad_alloc.
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include "kedge/runtime/awaiting/awaiting.h"

namespace kedge {

template <class T>
class task;

namespace task_detail {

// The part of a promise that does not depend on T.
class promise_base : public awaiting_promise {
 public:
  using awaiting_promise::awaiting_promise;

  static std::suspend_always initial_suspend() noexcept { return {}; }

  struct final_suspension {
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) const noexcept {
      return self.promise().finish();
    }
    void await_resume() const noexcept {}
  };
  static final_suspension final_suspend() noexcept { return {}; }

  void unhandled_exception() noexcept {
    failure_ = std::current_exception();
    try {
      throw;
    } catch (const cancelled&) {
      cancelled_ = true;
    } catch (...) {
    }
  }

  bool ended_cancelled() const noexcept { return cancelled_; }
  bool failed() const noexcept { return failure_ != nullptr; }

 protected:
  void rethrow_failure() {
    if (failure_) [[unlikely]]
      std::rethrow_exception(std::exchange(failure_, nullptr));
  }

 private:
  std::exception_ptr failure_;
  bool cancelled_ = false;
};

template <class T>
class promise final : public promise_base {
  using held = std::conditional_t<std::is_reference_v<T>, std::remove_reference_t<T>*, T>;

 public:
  promise() noexcept : promise_base(std::coroutine_handle<promise>::from_promise(*this)) {}
  task<T> get_return_object() noexcept;

  template <class U = T>
    requires std::is_constructible_v<T, U>
  void return_value(U&& value) {
    if constexpr (std::is_reference_v<T>) {
      value_.emplace(std::addressof(value));
    } else {
      value_.emplace(std::forward<U>(value));
    }
  }

  T take() {
    rethrow_failure();
    if constexpr (std::is_reference_v<T>) {
      return static_cast<T>(**value_);
    } else {
      return std::move(*value_);
    }
  }

 private:
  std::optional<held> value_;
};

template <>
class promise<void> final : public promise_base {
 public:
  promise() noexcept : promise_base(std::coroutine_handle<promise>::from_promise(*this)) {}
  task<void> get_return_object() noexcept;
  void return_void() noexcept {}
  void take() { rethrow_failure(); }
};

}  // namespace task_detail

template <class T>
class task_operation {
  using promise = task_detail::promise<T>;

 public:
  explicit task_operation(frame* f) noexcept : frame_(f) {}
  task_operation(const task_operation&) = delete;
  task_operation& operator=(const task_operation&) = delete;
  ~task_operation() {
    if (frame_ != nullptr) frame_->destroy();
  }

  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(waiter& w) noexcept { return frame_->start(w, frame_); }
  // The innermost wait of the task is cancelled through the context that both share.
  bool await_cancel(cancel_cause) noexcept { return false; }
  bool was_cancelled() const noexcept { return body().ended_cancelled(); }
  bool await_failed() const noexcept { return body().failed(); }
  T await_resume() { return body().take(); }
  void describe(description& line) const noexcept { line.print("a task to start or end"); }

 private:
  promise& body() const noexcept { return static_cast<promise&>(*frame_); }
  frame* frame_;
};

template <class T = void>
class [[nodiscard]] task {
 public:
  using promise_type = task_detail::promise<T>;

  task(task&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
  task& operator=(task&& other) noexcept {
    if (this != &other) {
      if (frame_ != nullptr) frame_->destroy();
      frame_ = std::exchange(other.frame_, nullptr);
    }
    return *this;
  }
  ~task() {
    if (frame_ != nullptr) frame_->destroy();
  }

  // Undefined for a task that has been awaited or moved from.
  task_operation<T> operator co_await() && noexcept {
    return task_operation<T>(std::exchange(frame_, nullptr));
  }

 private:
  friend promise_type;
  explicit task(promise_type& body) noexcept : frame_(&body) {}
  frame* frame_;
};

namespace task_detail {

template <class T>
task<T> promise<T>::get_return_object() noexcept {
  return task<T>(*this);
}
inline task<void> promise<void>::get_return_object() noexcept {
  return task<void>(*this);
}

}  // namespace task_detail

}  // namespace kedge
