// task_local<T>: a key for a value that a chain of tasks carries. with_value(key, value, x): awaits
// x with the key bound to a value.
//
//     constinit const kedge::task_local<int> request_number(0);   // 0 where none is bound
//
//     co_await kedge::with_value(request_number, 17, serve(std::move(connection)));
//
//     kedge::task<> log(std::string text) {                       // somewhere below serve()
//       print("[{}] {}", co_await request_number.get(), text);
//     }
//
// A value is inherited along the tree of contexts: by x, the tasks that x awaits, the branches of
// its combinators, and the children of scopes that are opened within x. A child that x spawns into
// a scope or loop that was there before has the values of that scope, not those of x. So a value
// lives as long as the with_value() that binds it, no task that sees it outlives it, and nothing is
// counted or copied. Values do not change: with_value() within x hides the value around it.
//
// A program that binds no value pays a pointer in each context. Reading takes time linear in the
// number of values that are bound around the task.
//
// Threads: keys may be shared by loops and threads; all else is the loop's thread's.
#pragma once

#include <concepts>
#include <coroutine>
#include <exception>
#include <utility>

#include "kedge/runtime/awaiting/single_branch.h"

namespace kedge {

// A value that is bound to a key, in the list of those around a chain of tasks.
class bound_value {
 public:
  bound_value(const bound_value&) = delete;
  bound_value& operator=(const bound_value&) = delete;

  // Returns the innermost value that is bound to `key`, of those from `innermost` outwards, or
  // null.
  static const bound_value* find(const void* key, const bound_value* innermost) noexcept {
    while (innermost != nullptr && innermost->key_ != key) innermost = innermost->outer_;
    return innermost;
  }

 protected:
  explicit bound_value(const void* key) noexcept : key_(key) {}
  ~bound_value() = default;

  // Makes this the innermost value of `c`, and of the contexts that enter the tree below `c` later.
  void bind_in(context& c) noexcept {
    outer_ = c.values();
    c.set_values(*this);
  }

 private:
  const void* key_;
  const bound_value* outer_ = nullptr;
};

template <class T>
class task_local;

template <class T>
class local_operation {
 public:
  // Begins in a cancelled context too: reading a value is not a wait.
  static constexpr operation_kind kind = operation_kind::composite;

  explicit local_operation(const task_local<T>& key) noexcept : key_(key) {}
  local_operation(const local_operation&) = delete;
  local_operation& operator=(const local_operation&) = delete;

  bool await_ready() const noexcept { return false; }
  bool await_suspend(waiter& w) noexcept {
    value_ = &key_.in(w.owner_context());
    return false;
  }
  bool await_cancel(cancel_cause) noexcept { return false; }  // never called: it does not wait
  const T& await_resume() const noexcept { return *value_; }
  void describe(description& line) const noexcept { line.print("a task-local value"); }

 private:
  const task_local<T>& key_;
  const T* value_ = nullptr;
};

template <class T>
class [[nodiscard]] local_awaitable {
 public:
  explicit local_awaitable(const task_local<T>& key) noexcept : key_(&key) {}
  local_operation<T> operator co_await() && noexcept { return local_operation<T>(*key_); }

 private:
  const task_local<T>* key_;
};

// Must outlive the tasks that use it. Usually static.
template <class T>
class task_local {
 public:
  // `otherwise` is the value where none is bound.
  constexpr explicit task_local(T otherwise) noexcept(std::is_nothrow_move_constructible_v<T>)
      : otherwise_(std::move(otherwise)) {}
  constexpr task_local() noexcept(std::is_nothrow_default_constructible_v<T>)
    requires std::default_initializable<T>
      : otherwise_() {}
  task_local(const task_local&) = delete;
  task_local& operator=(const task_local&) = delete;
  constexpr ~task_local() = default;

  // `co_await key.get()` gives a const T&: the value that is bound around the task, which stays
  // valid as long as the task, or the key's own; in a generator until the next co_yield, since the
  // next value may be asked for elsewhere. Waits for nothing, works in a cancelled task too, and
  // cannot be cancelled.
  local_awaitable<T> get() const noexcept { return local_awaitable<T>(*this); }

  // Returns the same for the chain of `c`, for operations and observers.
  const T& in(const context& c) const noexcept {
    const bound_value* const found = bound_value::find(this, c.values());
    return found == nullptr ? otherwise_ : static_cast<const held_value&>(*found).value;
  }

 private:
  template <class, awaitable>
  friend class with_value_operation;

  struct held_value : bound_value {
    template <class U>
    held_value(const task_local& key, U&& v) : bound_value(&key), value(std::forward<U>(v)) {}
    using bound_value::bind_in;
    const T value;
  };

  T otherwise_;
};

template <class T, awaitable A>
class with_value_operation final : private task_local<T>::held_value, public context_branch<A> {
  using bound = typename task_local<T>::held_value;

 public:
  with_value_operation(const task_local<T>& key, T&& v, A&& a)
      : bound(key, std::move(v)), context_branch<A>(std::move(a)) {}

  std::coroutine_handle<> await_suspend(waiter& w) noexcept {
    this->held.enter_context(w.owner_context());
    this->bind_in(this->held);
    return this->begun(w, this->held.start_entered_directly());
  }
  void describe(description& line) const noexcept { line.print("a branch with a value"); }

 private:
  const char* branch_name() const noexcept override { return "with_value"; }
};

template <class T, awaitable A>
class [[nodiscard]] with_value_awaitable {
 public:
  with_value_awaitable(const task_local<T>& key, T&& v, A&& a)
      : key_(&key), value_(std::move(v)), awaitable_(std::move(a)) {}
  with_value_operation<T, A> operator co_await() && {
    return with_value_operation<T, A>(*key_, std::move(value_), std::move(awaitable_));
  }

 private:
  const task_local<T>* key_;
  T value_;
  A awaitable_;
};

// Gives the value of x or throws its exception. x starts in a cancelled context too, as a task
// does. `value` may be of any type that T can be made from. Cancellation loses what x declares.
template <class T, class U, awaitable A>
  requires(!std::is_lvalue_reference_v<A> && std::constructible_from<T, U>)
with_value_awaitable<T, A> with_value(const task_local<T>& key, U&& value, A&& x) {
  return with_value_awaitable<T, A>(key, T(std::forward<U>(value)), std::move(x));
}

}  // namespace kedge
