// call<T>(): sends a typed request and waits for its reply.
// send<T>(), try_send<T>(): send a typed request that has no reply.
//
//     auto counted = co_await mach::call<count_letters>(service, "kedge");
//     if (counted) std::printf("%llu\n", counted->letters);
//
//     co_await mach::send<show>(display, width, height, std::move(picture));
//
// The arguments are those of the members of T, in their order (kedge/mach/interface.h). Integers
// are converted to the type of the member; std::out_of_range is thrown for one that does not fit.
// The request is encoded at once, before the co_await, which throws what mach::encode() throws.
//
// send<T>() and try_send<T>() are send() and try_send() of that message. call<T>() gives
// result<T::reply, send_failure>. Its errors are those of call(), then without a message: the code
// with which the service has refused the request (category "mach.kern": KERN_FAILURE,
// MIG_BAD_ARGUMENTS ...), and errc::bad_reply if the reply is not that of a T. with_timeout(), what
// is borrowed and what a cancellation loses: as for call().
#pragma once

#include <algorithm>
#include <utility>

#include "kedge/mach/call.h"
#include "kedge/mach/interface.h"
#include "kedge/mach/send.h"

namespace kedge::mach {

template <request_with_reply T>
class typed_call_operation {
 public:
  explicit typed_call_operation(call_awaitable&& untyped)
      : untyped_(std::move(untyped).operator co_await()) {}
  typed_call_operation(const typed_call_operation&) = delete;
  typed_call_operation& operator=(const typed_call_operation&) = delete;

  bool await_ready() const noexcept { return untyped_.await_ready(); }
  bool await_suspend(waiter& w) { return untyped_.await_suspend(w); }
  bool await_settle() noexcept { return untyped_.await_settle(); }
  bool await_cancel(cancel_cause cause) noexcept { return untyped_.await_cancel(cause); }
  send_failure await_expired(kedge::errc e) && noexcept {
    return std::move(untyped_).await_expired(e);
  }
  result<typename T::reply, send_failure> await_resume() {
    result<received, send_failure> reply = untyped_.await_resume();
    if (!reply) return unexpected(std::move(reply).error());
    result<typename T::reply> decoded = decode_reply<T>(*reply);
    if (!decoded) return unexpected(send_failure(decoded.error(), {}));
    return *std::move(decoded);
  }
  void describe(description& line) const noexcept { untyped_.describe(line); }

 private:
  call_operation untyped_;
};

template <request_with_reply T>
class [[nodiscard]] typed_call_awaitable {
 public:
  explicit typed_call_awaitable(call_awaitable&& untyped) noexcept : untyped_(std::move(untyped)) {}
  typed_call_operation<T> operator co_await() && {
    return typed_call_operation<T>(std::move(untyped_));
  }

 private:
  call_awaitable untyped_;
};

// `to` is a send_right, borrowed until the co_await begins or moved in.
template <request_with_reply T, class Right, class... Arguments>
  requires std::same_as<std::remove_cvref_t<Right>, send_right>
typed_call_awaitable<T> call(Right&& to, Arguments&&... arguments) {
  constexpr std::size_t most = std::max(default_max_message, reply_layout_of<T>.max_size);
  return typed_call_awaitable<T>(
      call(std::forward<Right>(to), encode<T>(std::forward<Arguments>(arguments)...))
          .at_most(most));
}

// `to` is a send_right, borrowed until the co_await begins or moved in, or a send_once_right.
template <request T, class Right, class... Arguments>
send_awaitable send(Right&& to, Arguments&&... arguments) {
  static_assert(!request_with_reply<T>,
                "kedge::mach: a request with a reply is not sent, but called: call<T>()");
  return send(std::forward<Right>(to), encode<T>(std::forward<Arguments>(arguments)...));
}

// The same for try_send().
template <request T, class Right, class... Arguments>
result<void, send_failure> try_send(Right&& to, Arguments&&... arguments) {
  static_assert(!request_with_reply<T>,
                "kedge::mach: a request with a reply is not sent, but called: call<T>()");
  return try_send(std::forward<Right>(to), encode<T>(std::forward<Arguments>(arguments)...));
}

}  // namespace kedge::mach
