// offload(fn), offload_detached(fn): run a function that blocks, on a thread of a thread_pool.
//
//     const auto parse = [&](const kedge::stop_flag& stop) { return parse_file(path, stop); };
//     const document d = co_await kedge::offload(parse);
//
// fn is moved into the call, which runs fn(), or fn(const stop_flag&) if fn takes that, on a thread
// of the pool; the loop goes on meanwhile. The wait gives what fn returns and throws what fn
// throws. It throws std::system_error if the call cannot be made (see thread_pool): errc::closed,
// errc::forked, EAGAIN. One allocation.
//
//                          offload                          offload_detached
//     fn may use           the caller's objects             only what it owns or shares
//     cancelled, queued    fn does not run                  fn does not run
//     cancelled, running   asks fn to stop, waits for it    asks fn to stop, ends at once
//     destroyed, running   asks fn to stop, blocks          asks fn to stop, ends at once
//
// A call that is cancelled while it runs and returns without having seen the stop gives its value:
// it came before the end. If fn has seen the stop, the wait ends as cancelled, and what fn returns
// or throws is dropped. A result of offload_detached that nobody waits for any more is destroyed
// with the call, on either thread. fn must not wait for the loop that awaits it: a loop that is
// destroyed blocks until fn returns.
//
// Threads: the wait is the loop's thread's. fn and its result are made and used on two threads,
// never at the same time.
#pragma once

#include <exception>
#include <memory>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

#include "kedge/runtime/attempted.h"
#include "kedge/runtime/awaiting/closure.h"
#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/stop_flag.h"
#include "kedge/runtime/thread_pool.h"

namespace kedge {

// One call of an Fn.
template <class Fn>
class offloaded_call final : public thread_pool::job {
  static constexpr bool takes_flag = std::is_invocable_v<Fn&, const stop_flag&>;
  static_assert(takes_flag || std::is_invocable_v<Fn&>,
                "kedge: offload() takes a callable without arguments, or of a const stop_flag&");

  using invoked = std::conditional_t<takes_flag, std::invoke_result<Fn&, const stop_flag&>,
                                     std::invoke_result<Fn&>>;

 public:
  using value = typename invoked::type;

  explicit offloaded_call(Fn&& fn) : fn_(std::move(fn)) {}

  using remote_wake::attach_and_hold;

  // Destroys the function and its result. Requires that the pool does not run the call.
  void discard() noexcept {
    fn_.reset();
    end.reset();
  }

  stop_flag stop;
  std::optional<attempted<value>> end;  // nothing: the pool was destroyed before

 private:
  void call() noexcept override {
    try {
      end.emplace(std::in_place, [this]() -> value { return invoke(); });
    } catch (...) {
      end.emplace(std::current_exception());
    }
    fn_.reset();
  }

  value invoke() {
    if constexpr (takes_flag) {
      return (*fn_)(stop);
    } else {
      return (*fn_)();
    }
  }

  std::optional<Fn> fn_;
};

template <class Fn, bool IsDetached>
class offload_operation {
  using call = offloaded_call<Fn>;

 public:
  offload_operation(std::shared_ptr<thread_pool::state> pool, Fn&& fn)
      : pool_(std::move(pool)), fn_(std::move(fn)) {}
  offload_operation(const offload_operation&) = delete;
  offload_operation& operator=(const offload_operation&) = delete;
  ~offload_operation() {
    if (call_ == nullptr) return;
    if (call_->detach() != nullptr && !leave()) return;
    if constexpr (!IsDetached) call_->discard();
  }

  bool await_ready() const noexcept { return false; }
  bool await_suspend(waiter& w) {
    auto made = std::make_shared<call>(std::move(fn_));
    made->attach_and_hold(w);
    thread_pool::submit(*pool_, made);
    call_ = std::move(made);
    return true;
  }
  bool await_cancel(cancel_cause) noexcept {
    const auto at = thread_pool::leave(*pool_, *call_);
    if (at == thread_pool::progress::ended) return false;
    if (at == thread_pool::progress::running) {
      call_->stop.request_stop();
      if constexpr (!IsDetached) return false;
    }
    call_->detach();
    return true;
  }
  bool was_cancelled() const noexcept { return call_ != nullptr && call_->stop.is_seen(); }
  std::exception_ptr await_failure() noexcept {
    if (!call_->end) return std::make_exception_ptr(pool_closed());
    return call_->end->failure();
  }
  typename call::value await_resume() {
    if (!call_->end) throw pool_closed();
    return std::move(*call_->end).value();
  }
  void describe(description& line) const noexcept { line.print("a function on another thread"); }

 private:
  // The wait ends before the call has. Returns false if the call cannot be waited for: in a forked
  // child its thread does not exist.
  bool leave() noexcept {
    const auto at = thread_pool::leave(*pool_, *call_);
    if (at == thread_pool::progress::running) {
      call_->stop.request_stop();
      if constexpr (!IsDetached) thread_pool::wait_for(*pool_, *call_);
    }
    return at != thread_pool::progress::unknown;
  }
  static std::system_error pool_closed() {
    return std::system_error(make_error_code(errc::closed), "kedge::offload");
  }

  std::shared_ptr<thread_pool::state> pool_;
  std::shared_ptr<call> call_;  // once the wait has begun
  Fn fn_;                       // before that
};

template <class Fn, bool IsDetached>
class [[nodiscard]] offload_awaitable {
 public:
  template <class F>
  offload_awaitable(const thread_pool& pool, F&& fn)
      : pool_(pool.shared()), fn_(std::forward<F>(fn)) {}
  offload_operation<Fn, IsDetached> operator co_await() && {
    return offload_operation<Fn, IsDetached>(std::move(pool_), std::move(fn_));
  }

 private:
  std::shared_ptr<thread_pool::state> pool_;
  Fn fn_;
};

template <class Fn>
offload_awaitable<std::decay_t<Fn>, false> offload(const thread_pool& pool, Fn&& fn) {
  KEDGE_CHECK_CLOSURE(Fn);
  return {pool, std::forward<Fn>(fn)};
}
template <class Fn>
offload_awaitable<std::decay_t<Fn>, true> offload_detached(const thread_pool& pool, Fn&& fn) {
  KEDGE_CHECK_CLOSURE(Fn);
  return {pool, std::forward<Fn>(fn)};
}

// On a thread of the process' pool (thread_pool::of_process()).
template <class Fn>
offload_awaitable<std::decay_t<Fn>, false> offload(Fn&& fn) {
  KEDGE_CHECK_CLOSURE(Fn);
  return {thread_pool::of_process(), std::forward<Fn>(fn)};
}
template <class Fn>
offload_awaitable<std::decay_t<Fn>, true> offload_detached(Fn&& fn) {
  KEDGE_CHECK_CLOSURE(Fn);
  return {thread_pool::of_process(), std::forward<Fn>(fn)};
}

}  // namespace kedge
