// scope::start(fn, args...): spawns a child and waits until it is ready. started<T>: by which the
// child reports that.
//
//     kedge::task<> serve(kedge::started<std::uint16_t>& ready, std::string name) {
//       listener l(name);
//       ready.report(l.port());
//       for (;;) co_await answer(co_await l.accept());
//     }
//
//     const std::uint16_t port = co_await s.start(serve, "files");   // serve() goes on in s
//
// Until it has reported, the child belongs to the start: its failure is thrown by the start and is
// not the scope's, and a cancelled start cancels the child and ends when the child has ended. After
// the report it is a child of the scope like any other.
//
// Threads: the loop's thread only.
#pragma once

#include <coroutine>
#include <exception>
#include <functional>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

#include "kedge/runtime/awaiting/closure.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/scope.h"

namespace kedge {

class start_base;

// A child that has not reported yet.
class starting {
 public:
  starting(const starting&) = delete;
  starting& operator=(const starting&) = delete;

  // Cancels the child. Returns true if it had not begun; it is dropped then, and reports nothing.
  virtual bool cancel_start(cancel_cause cause) noexcept = 0;

 protected:
  starting() = default;
  ~starting() { unlink(); }
  inline void unlink() noexcept;

  start_base* start_ = nullptr;

 private:
  friend class start_base;
};

class started_base {
 public:
  started_base(const started_base&) = delete;
  started_base& operator=(const started_base&) = delete;

 protected:
  explicit started_base(start_base& s) noexcept;
  ~started_base();
  // Returns the start that waits for this report, or null if it was cancelled. Throws
  // std::logic_error at the second call.
  start_base* begin_report();

  start_base* start_;

 private:
  friend class start_base;
  bool has_reported_ = false;
};

// The part of the operation that its child reaches.
class start_base {
 public:
  start_base(const start_base&) = delete;
  start_base& operator=(const start_base&) = delete;

  bool await_ready() const noexcept { return false; }
  bool await_cancel(cancel_cause cause) noexcept {
    is_asked_ = true;
    return child_->cancel_start(cause);
  }
  bool was_cancelled() const noexcept { return !is_reported_ && failure_ == nullptr; }
  std::exception_ptr await_failure() const noexcept { return failure_; }
  void describe(description& line) const noexcept { line.print("the start of a child"); }

  // The child has ended so before it reported. Returns what counts for the scope.
  outcome child_ended(outcome o, std::exception_ptr failure) noexcept {
    if (o == outcome::failed) {
      failure_ = std::move(failure);
    } else if (!is_asked_) {
      failure_ = std::make_exception_ptr(std::system_error(
          make_error_code(o == outcome::cancelled ? errc::cancelled : errc::abandoned),
          "kedge::scope::start: the child has ended before it reported"));
    }
    end();
    return o == outcome::cancelled && !is_asked_ ? o : outcome::value;
  }

 protected:
  start_base() = default;
  // Only with its scope, or with its loop, is it destroyed while it waits.
  ~start_base() { unlink(); }

  void report() noexcept {
    is_reported_ = true;
    end();
  }
  bool has_ended() const noexcept { return is_reported_ || failure_ != nullptr; }
  void link(starting& child) noexcept {
    child_ = &child;
    child.start_ = this;
  }

  waiter* waiter_ = nullptr;  // null while it starts

 private:
  friend class starting;
  friend class started_base;

  void end() noexcept {
    unlink();
    if (waiter_ != nullptr) wake(*waiter_);
  }
  void unlink() noexcept {
    if (child_ != nullptr) std::exchange(child_, nullptr)->start_ = nullptr;
    if (started_ != nullptr) std::exchange(started_, nullptr)->start_ = nullptr;
  }

  starting* child_ = nullptr;
  started_base* started_ = nullptr;
  std::exception_ptr failure_;
  bool is_reported_ = false;
  bool is_asked_ = false;
};

inline void starting::unlink() noexcept {
  if (start_ != nullptr) start_->unlink();
}
inline started_base::started_base(start_base& s) noexcept : start_(&s) {
  s.started_ = this;
}
inline started_base::~started_base() {
  if (start_ != nullptr) start_->started_ = nullptr;
}
inline start_base* started_base::begin_report() {
  if (std::exchange(has_reported_, true)) {
    throw std::logic_error("kedge: a child has reported twice that it is started");
  }
  return start_ == nullptr || start_->is_asked_ ? nullptr : start_;
}

template <class T>
class started_value : public start_base {
  static_assert(std::is_object_v<T>, "kedge: started<T> reports an object, or void");

 public:
  T await_resume() {
    if (const std::exception_ptr failure = this->await_failure()) std::rethrow_exception(failure);
    return *std::move(value_);
  }
  template <class U>
  void report(U&& value) {
    value_.emplace(std::forward<U>(value));
    start_base::report();
  }

 private:
  std::optional<T> value_;
};
template <>
class started_value<void> : public start_base {
 public:
  void await_resume() const {
    if (const std::exception_ptr failure = await_failure()) std::rethrow_exception(failure);
  }
  using start_base::report;
};

// Given to the child by reference. Lives as long as the child.
template <class T>
class started : private started_base {
 public:
  explicit started(started_value<T>& s) noexcept : started_base(s) {}

  // Ends the start with the value; the caller goes on at its turn. No effect if the start has been
  // cancelled. Throws std::logic_error if the child has reported already, and what the move of the
  // value throws.
  template <class U = T>
    requires std::is_constructible_v<T, U>
  void report(U&& value) {
    if (start_base* const s = this->begin_report()) {
      static_cast<started_value<T>*>(s)->report(std::forward<U>(value));
    }
  }
};
template <>
class started<void> : private started_base {
 public:
  explicit started(started_value<void>& s) noexcept : started_base(s) {}
  void report() {
    if (start_base* const s = begin_report()) static_cast<started_value<void>*>(s)->report();
  }
};

namespace started_detail {

template <class T, class R, class... P>
std::type_identity<T> reported(R (*)(started<T>&, P...));
template <class T, class C, class R, class... P>
std::type_identity<T> reported(R (C::*)(started<T>&, P...));
template <class T, class C, class R, class... P>
std::type_identity<T> reported(R (C::*)(started<T>&, P...) const);

template <class Fn>
concept is_function = requires(Fn fn) { reported(fn); };
template <class Fn>
concept is_function_object = requires { reported(&Fn::operator()); };

template <class Fn>
struct reported_by {
  static_assert(is_function<Fn> || is_function_object<Fn>,
                "kedge: start() takes a function or a lambda whose first parameter is a "
                "started<T>&, not a template");
  using type = void;
};
template <is_function Fn>
struct reported_by<Fn> {
  using type = typename decltype(reported(std::declval<Fn>()))::type;
};
template <is_function_object Fn>
struct reported_by<Fn> {
  using type = typename decltype(reported(&Fn::operator()))::type;
};

template <class Fn>
struct reported_by<std::reference_wrapper<Fn>> : reported_by<Fn> {};

template <class Fn, class T>
struct starter_parts {
  Fn& fn;
  started_value<T>& start;
};
// A callable that lives in the child, with what it reports by.
template <class Fn, class T>
class starter {
 public:
  explicit starter(const starter_parts<Fn, T>& from)
      : fn_(std::move(from.fn)), started_(from.start) {}
  template <class... Args>
    requires std::is_invocable_v<Fn, started<T>&, Args...>
  decltype(auto) operator()(Args&&... args) {
    return std::invoke(std::move(fn_), started_, std::forward<Args>(args)...);
  }

 private:
  [[no_unique_address]] Fn fn_;
  started<T> started_;
};

template <class A>
constexpr bool check_argument() {
  if constexpr (!std::is_lvalue_reference_v<A>) {
    KEDGE_CHECK_ITEM(A);
  }
  return true;
}

}  // namespace started_detail

template <class Fn>
using reported_t = typename started_detail::reported_by<Fn>::type;

template <class Fn, class... Args>
class start_operation final : public started_value<reported_t<Fn>> {
  using value = reported_t<Fn>;
  static_assert(std::is_invocable_v<Fn, started<value>&, Args...>,
                "kedge: start() keeps copies of its arguments and hands them on as rvalues: for a "
                "parameter that is a reference pass std::ref(x)");
  using source = std::invoke_result_t<Fn, started<value>&, Args...>;
  static_assert(awaitable<source>, "kedge: start() takes a callable that gives an awaitable");
  using hold = source_hold<scope::room_state>;

 public:
  start_operation(hold&& in, Fn&& fn, std::tuple<Args...>&& args)
      : in_(std::move(in)), fn_(std::move(fn)), args_(std::move(args)) {}

  bool await_suspend(waiter& w) {
    if (in_->is_closed()) {
      throw std::system_error(make_error_code(errc::closed),
                              "kedge::scope::start: the scope drains or has ended");
    }
    scope& s = in_->of;
    auto* const c = std::apply(
        [&](Args&... args) {
          return new record(s, std::in_place, parts{fn_, *this}, std::move(args)...);
        },
        args_);
    if (!this->has_ended()) this->link(*c);
    s.adopt(c, w.place());
    if (this->has_ended()) return false;
    this->waiter_ = &w;
    return true;
  }

 private:
  template <class Child>
  class starting_child : public Child, public starting {
   public:
    using Child::Child;

   private:
    static constexpr bool is_leaf = std::is_same_v<Child, scope::leaf_child>;

    waiter* branch_done(branch_base& b) noexcept override {
      if constexpr (is_leaf) this->owner().unlink(*this);
      outcome o = b.ended();
      if (start_ != nullptr) {
        o = start_->child_ended(o, o == outcome::failed ? this->failure() : nullptr);
      }
      return this->owner().child_done(*this, o);
    }
    bool cancel_start(cancel_cause cause) noexcept override {
      if (this->owner().drop_kept(*this)) {
        starting::unlink();
        return true;
      }
      if constexpr (is_leaf) {
        this->cancel(cause);
      } else {
        this->held_branch().owner_context().cancel(cause);
      }
      return false;
    }
  };

  using parts = started_detail::starter_parts<Fn, value>;
  using operation = operation_of<source>;
  using record =
      scope::record<operation, scope::called<started_detail::starter<Fn, value>, Args...>,
                    starting_child<scope::child_of<operation>>>;

  hold in_;
  Fn fn_;
  std::tuple<Args...> args_;
};

template <class Fn, class... Args>
class [[nodiscard]] start_awaitable {
 public:
  template <class F, class... A>
  start_awaitable(source_hold<scope::room_state> in, std::in_place_t, F&& fn, A&&... args)
      : in_(std::move(in)), fn_(std::forward<F>(fn)), args_(std::forward<A>(args)...) {}
  start_operation<Fn, Args...> operator co_await() && {
    return start_operation<Fn, Args...>(std::move(in_), std::move(fn_), std::move(args_));
  }

 private:
  source_hold<scope::room_state> in_;
  Fn fn_;
  std::tuple<Args...> args_;
};

template <class Fn, class... Args>
start_awaitable<std::decay_t<Fn>, std::decay_t<Args>...> scope::start(Fn&& fn, Args&&... args) {
  KEDGE_CHECK_CLOSURE(Fn);
  static_assert((started_detail::check_argument<Args>() && ...));
  return {hold_open(), std::in_place, std::forward<Fn>(fn), std::forward<Args>(args)...};
}

}  // namespace kedge
