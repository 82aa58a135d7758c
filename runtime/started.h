// scope::start(fn, args...): spawns a child and waits until it is ready. started<T>: how the child
// reports that.
//
//     kedge::task<> serve(kedge::started<std::uint16_t>& ready, std::string name) {
//       listener l(name);
//       ready.report(l.port());
//       for (;;) co_await answer(co_await l.accept());
//     }
//
//     const std::uint16_t port = co_await s.start(serve, "files");   // serve() goes on in s
//
// fn is a function or a lambda whose first parameter is a started<T>&; T is an object or void. It
// is called at the child's turn, and kept with its arguments as spawn() does. named(),
// background() and handled() work as with spawn(): on_failure is called for a failure before the
// report too, and the start then fails with errc::abandoned.
//
// Until it has reported, the child belongs to the start. If it ends before, the start fails and the
// scope does not: with the child's exception, or with std::system_error (errc::abandoned, or
// errc::cancelled if the child was cancelled). A cancelled start cancels the child and awaits it,
// and fn is not called if the child has not had its turn. After the report the child is one of the
// scope like any other. A value that was reported before the cancellation arrives.
//
// The child takes a place below scope::set_limit(), and start() waits for one: a service that other
// children use belongs into an outer scope, or it holds their place and the end of their drain().
//
// Awaiting also throws std::system_error (errc::closed) if the scope drains or has ended, and
// std::bad_alloc; there is no child then. start() throws std::bad_alloc.
//
// Threads: the loop's thread only.
#pragma once

#include <exception>
#include <functional>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include "kedge/runtime/awaiting/closure.h"
#include "kedge/runtime/background.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/scope.h"
#include "kedge/runtime/task.h"

namespace kedge {

class start_link;

// The start as its child knows it: how it ends.
class start_state {
 public:
  start_state(const start_state&) = delete;
  start_state& operator=(const start_state&) = delete;

  bool was_cancelled() const noexcept { return is_asked_ && !is_reported_ && failure_ == nullptr; }
  std::exception_ptr await_failure() const noexcept { return failure_; }
  void describe(description& line) const noexcept { line.print("the start of a child"); }

 protected:
  start_state() = default;
  inline ~start_state();

  waiter* waiter_ = nullptr;
  bool is_asked_ = false;  // to end early

 private:
  friend class start_link;
  start_link* link_ = nullptr;  // null: the start has ended
  std::exception_ptr failure_;
  bool is_reported_ = false;
};

// The child's end of the connection with its start. Owned by the child; that it is destroyed before
// a report ends the start.
class start_link {
 public:
  explicit start_link(start_state& s) noexcept : start_(&s) { s.link_ = this; }
  start_link(start_link&& other) noexcept
      : start_(std::exchange(other.start_, nullptr)), has_reported_(other.has_reported_) {
    if (start_ != nullptr) start_->link_ = this;
  }
  start_link& operator=(start_link&&) = delete;
  ~start_link() { child_ended(errc::cancelled); }

  bool is_cancelled() const noexcept { return start_ != nullptr && start_->is_asked_; }

  // Returns the start that takes the report, or null. Throws std::logic_error at the second call.
  start_state* begin_report() {
    if (std::exchange(has_reported_, true)) {
      throw std::logic_error("kedge: a child has reported twice that it is started");
    }
    return is_cancelled() ? nullptr : start_;
  }
  void reported() noexcept {
    start_->is_reported_ = true;
    end_start();
  }
  // The child has failed with the current exception. Returns false if that is not the start's.
  bool child_failed() noexcept {
    if (start_ == nullptr) return false;
    start_->failure_ = std::current_exception();
    end_start();
    return true;
  }
  // The child has ended. No effect after a report. A start that was cancelled ends as such.
  void child_ended(errc how) noexcept {
    if (start_ == nullptr) return;
    if (start_->is_asked_) return end_start();
    try {
      throw std::system_error(make_error_code(how),
                              "kedge::scope::start: the child has ended before it reported");
    } catch (...) {
      child_failed();
    }
  }

 private:
  friend class start_state;
  void end_start() noexcept {
    start_->link_ = nullptr;
    wake(*std::exchange(start_, nullptr)->waiter_);
  }

  start_state* start_;  // null: it has ended, or is gone
  bool has_reported_ = false;
};

inline start_state::~start_state() {
  if (link_ != nullptr) link_->start_ = nullptr;
}

template <class T>
class started_value : public start_state {
  static_assert(std::is_object_v<T> || std::is_void_v<T>,
                "kedge: started<T> reports an object, or void");

 public:
  T await_resume() {
    if (const std::exception_ptr failure = this->await_failure()) std::rethrow_exception(failure);
    if constexpr (!std::is_void_v<T>) return *std::move(value);
  }

  std::optional<std::conditional_t<std::is_void_v<T>, std::monostate, T>> value;
};

// Given to the child by reference. Lives as long as the child.
template <class T>
class started {
 public:
  explicit started(start_link& l) noexcept : link_(l) {}
  started(const started&) = delete;
  started& operator=(const started&) = delete;

  // Ends the start with the value; the caller goes on at its turn. No effect if the start has been
  // cancelled. Throws std::logic_error if the child has reported already, and what the move of the
  // value throws.
  template <class U = T>
    requires std::is_constructible_v<T, U>
  void report(U&& value) {
    if (start_state* const s = link_.begin_report()) {
      static_cast<started_value<T>*>(s)->value.emplace(std::forward<U>(value));
      link_.reported();
    }
  }
  void report()
    requires std::is_void_v<T>
  {
    if (link_.begin_report() != nullptr) link_.reported();
  }

 private:
  start_link& link_;
};

namespace started_detail {

template <class T, class R, class... P>
std::type_identity<T> reported(R (*)(started<T>&, P...));
template <class T, class C, class R, class... P>
std::type_identity<T> reported(R (C::*)(started<T>&, P...));
template <class T, class C, class R, class... P>
std::type_identity<T> reported(R (C::*)(started<T>&, P...) const);

template <class Fn>
constexpr auto find_reported() {
  if constexpr (requires(Fn fn) { reported(fn); }) {
    return decltype(reported(std::declval<Fn>()))();
  } else if constexpr (requires { reported(&Fn::operator()); }) {
    return decltype(reported(&Fn::operator()))();
  } else if constexpr (requires { typename Fn::callable; }) {
    return find_reported<typename Fn::callable>();
  } else if constexpr (std::is_same_v<std::unwrap_reference_t<Fn>, Fn>) {
    static_assert(std::is_void_v<Fn>,
                  "kedge: start() takes a function or a lambda whose first parameter is a "
                  "started<T>&, and no template");
    return std::type_identity<void>();
  } else {
    return find_reported<std::remove_reference_t<std::unwrap_reference_t<Fn>>>();
  }
}
template <class Fn>
using reported_t = typename decltype(find_reported<Fn>())::type;

// What runs as the child. A class template: g++ 12 warns of a function template, if Fn or Args are
// in an anonymous namespace.
template <class Fn, class... Args>
struct runner {
  task<> operator()(Fn&& fn, start_link link, Args&&... args) const {
    started<reported_t<Fn>> ready(link);
    if (!link.is_cancelled()) {
      try {
        co_await std::invoke(std::move(fn), ready, std::forward<Args>(args)...);
      } catch (...) {
        if (!link.child_failed()) throw;
      }
    }
    link.child_ended(errc::abandoned);
  }
};

template <class A>
constexpr bool check_argument() {
  if constexpr (!std::is_lvalue_reference_v<A>) {
    KEDGE_CHECK_ITEM(A);
  }
  return true;
}

}  // namespace started_detail

template <class Fn, class... Args>
class start_operation final : public started_value<started_detail::reported_t<Fn>> {
  using handle = started<started_detail::reported_t<Fn>>;
  static_assert(std::is_invocable_v<Fn, handle&, Args...>,
                "kedge: start() keeps copies of its arguments and hands them on as rvalues: for a "
                "parameter that is a reference pass std::ref(x)");
  static_assert(awaitable<std::invoke_result_t<Fn, handle&, Args...>>,
                "kedge: start() takes a callable that gives an awaitable");
  using hold = source_hold<scope::control>;
  using runner = started_detail::runner<Fn, Args...>;
  using plain = scope::child_of<operation_of<task<>>>;
  using kind = std::conditional_t<is_background<Fn>, scope::background_child<plain>, plain>;
  using record =
      scope::record<operation_of<task<>>, scope::called<runner, Fn, start_link, Args...>, kind>;

 public:
  start_operation(hold&& in, Fn&& fn, std::tuple<Args...>&& args)
      : in_(std::move(in)), fn_(std::move(fn)), args_(std::move(args)) {}

  bool await_ready() const noexcept { return false; }
  bool await_suspend(waiter& w) {
    if (in_->is_closed()) {
      throw std::system_error(make_error_code(errc::closed),
                              "kedge::scope::start: the scope drains or has ended");
    }
    this->waiter_ = &w;
    std::apply(
        [&](Args&... args) {
          start_state& self = *this;
          auto* const child = new record(in_->of, std::in_place, runner(), std::move(fn_), self,
                                         std::move(args)...);
          child_ = &child->held();
          in_->of.adopt(child, w.place());
        },
        args_);
    return true;
  }
  bool await_cancel(cancel_cause cause) noexcept {
    this->is_asked_ = true;
    in_->release(*child_);
    child_->owner_context().cancel(cause);
    return false;
  }

 private:
  hold in_;
  Fn fn_;
  std::tuple<Args...> args_;
  branch_base* child_ = nullptr;  // valid until the start has ended
};

template <class Fn, class... Args>
class [[nodiscard]] start_awaitable {
 public:
  template <class F, class... A>
  start_awaitable(source_hold<scope::control> in, std::in_place_t, F&& fn, A&&... args)
      : in_(std::move(in)), fn_(std::forward<F>(fn)), args_(std::forward<A>(args)...) {}
  start_operation<Fn, Args...> operator co_await() && {
    return start_operation<Fn, Args...>(std::move(in_), std::move(fn_), std::move(args_));
  }

 private:
  source_hold<scope::control> in_;
  Fn fn_;
  std::tuple<Args...> args_;
};

template <class Fn, class... Args>
start_awaitable<std::decay_t<Fn>, std::decay_t<Args>...> scope::start(Fn&& fn, Args&&... args) {
  KEDGE_CHECK_CLOSURE(Fn);
  static_assert((started_detail::check_argument<Args>() && ...));
  return {need_control().hold(), std::in_place, std::forward<Fn>(fn), std::forward<Args>(args)...};
}

}  // namespace kedge
