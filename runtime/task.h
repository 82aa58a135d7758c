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
// A cancelled task does not go on: the wait that it is suspended in never returns, and its frame is
// destroyed, innermost first, so that local destructors run. Cancellation loses what that wait
// declares.
//
// A task may be made, moved and dropped on any thread before it is awaited, and after that belongs
// to its loop's thread. Making one throws std::bad_alloc. Unstarted tasks that hold each other as
// arguments are dropped from the outside in; below the 32nd level, after the levels above.
#pragma once

#include <coroutine>
#include <exception>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "kedge/runtime/awaiting/awaiting.h"
#include "kedge/runtime/awaiting/closure.h"

namespace kedge {

template <class T>
class task;

// Ends the program: a task that was awaited or moved from is awaited by `w`.
[[noreturn]] void stop_empty(const waiter& w) noexcept;

namespace task_detail {

// The part of a promise that does not depend on T.
class promise_base : public awaiting_promise {
 public:
  static std::suspend_always initial_suspend() noexcept { return {}; }

  struct final_suspension {
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) const noexcept {
      return self.promise().finish();
    }
    void await_resume() const noexcept {}
  };
  void unhandled_exception() noexcept {
    if (unwinding_chains() != 0) [[unlikely]]
      stop(owner_context(), "has a destructor that throws");
    failure_ = std::current_exception();
  }

  const std::exception_ptr& failure() const noexcept { return failure_; }

 protected:
  void rethrow_failure() {
    if (failure_) [[unlikely]]
      raise();
  }

 private:
  [[noreturn, gnu::cold]] void raise();
};

template <class T>
class promise final : public promise_base {
  using held = std::conditional_t<std::is_reference_v<T>, std::remove_reference_t<T>*, T>;
  static_assert(alignof(held) <= 2 * sizeof(void*),
                "kedge: a task gives no type of extended alignment: frames are not aligned to it");

 public:
  promise() noexcept {}
  ~promise() {
    if (has_value_) std::destroy_at(std::addressof(kept));
  }
  task<T> get_return_object() noexcept;

  template <class U = T>
    requires std::is_constructible_v<T, U>
  void return_value(U&& value) {
    if constexpr (std::is_reference_v<T>) {
      kept = std::addressof(value);
    } else {
      ::new (static_cast<void*>(std::addressof(kept))) T(std::forward<U>(value));
    }
    has_value_ = true;
  }

  final_suspension final_suspend() const noexcept {
    if (!has_value_ && !failure()) [[unlikely]]
      stop(owner_context(), "ended without co_return");
    return {};
  }

  T take() {
    rethrow_failure();
    if constexpr (std::is_reference_v<T>) {
      return static_cast<T>(*kept);
    } else {
      return std::move(kept);
    }
  }

 private:
  union {
    held kept;
  };
};

template <>
class promise<void> final : public promise_base {
 public:
  promise() noexcept = default;
  task<void> get_return_object() noexcept;
  void return_void() noexcept {}
  static final_suspension final_suspend() noexcept { return {}; }
  void take() { rethrow_failure(); }
};

}  // namespace task_detail

template <class T>
class task_operation {
  using promise = task_detail::promise<T>;

 public:
  static constexpr operation_kind kind = operation_kind::coroutine;

  explicit task_operation(frame* f) noexcept : frame_(f) {}
  task_operation(const task_operation&) = delete;
  task_operation& operator=(const task_operation&) = delete;
  ~task_operation() {
    if (frame_ != nullptr) frame_->destroy();
  }

  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(waiter& w) noexcept {
    if (frame_ == nullptr) [[unlikely]]
      stop_empty(w);
    return frame_->start(w, frame_);
  }
  // The innermost wait of the task is cancelled through the context that both share.
  bool await_cancel(cancel_cause) noexcept { return false; }
  const std::exception_ptr& await_failure() const noexcept { return body().failure(); }
  T await_resume() { return body().take(); }
  void describe(description& line) const noexcept { line.print("a task"); }

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

  // Awaiting or spawning a task that has been awaited or moved from ends the program.
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

#if KEDGE_DESTROYS_TWICE
template <class T, class... Parameters>
struct std::coroutine_traits<kedge::task<T>, Parameters...> {
  using promise_type = typename kedge::task<T>::promise_type;
  static_assert(kedge::parameters<(kedge::is_destroyed_twice<Parameters>() || ...)>::check());
};
#endif
