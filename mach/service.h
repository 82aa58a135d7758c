// service: a client of a service that is found by its name, and found again when it was restarted.
//
//     mach::service letters("org.example.letters");
//     const auto counted = co_await letters.call<count_letters>("kedge");
//     if (!counted) std::fputs(counted.error().text().c_str(), stderr);
//
// The first call looks the name up. A later one uses the same send right, until a send by it finds
// that the port has died: then the call looks the name up again. A call whose request was not sent
// goes on: while no service has the name, and while it has died, the call tries again, after 10 ms,
// then twice as long each time, up to 1 s. Once a request was sent it is never sent again, since
// the service may have acted on it: errc::no_reply is the caller's to judge.
//
// `deadline` bounds all tries of a call and the wait for its reply together, 30 s unless said
// otherwise; nanoseconds::max() is none.
//
// call<T>(arguments...) takes the arguments of mach::call<T>() (typed_call.h), and gives
// result<T::reply, service_error>; send<T>(arguments...) is for one-way requests, and gives
// result<void, service_error>. What encoding throws is thrown before the co_await. Errors, whose
// text names the service:
//   errc::unknown_service, errc::peer_died: the deadline has passed, and this was why the request
//     was not sent at the last try;
//   errc::timed_out (of kedge): the deadline has passed for want of room in the queue, or of a
//     reply; is_sent() tells them apart;
//   errc::no_reply: the service has died with the request, or has dropped it;
//   a code of mach.kern: the service has refused the request, or its handler has failed;
//   errc::bad_reply, and the other errors of call() and look_up(), which are not tried again.
//
// Cancellation loses the request if it was not sent, else the reply. The object can be destroyed
// while a call waits, which goes on. Throws std::bad_alloc, and what look_up() and send() throw.
// Threads: the loop's thread only; the space of a loop.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "kedge/mach/interface.h"
#include "kedge/mach/message.h"
#include "kedge/mach/received.h"
#include "kedge/mach/service_names.h"
#include "kedge/runtime/result.h"
#include "kedge/runtime/task.h"

namespace kedge::mach {

// Why a call of a service has failed.
class service_error {
 public:
  service_error(std::error_code code, bool is_sent, std::string text)
      : code_(code), is_sent_(is_sent), text_(std::move(text)) {}
  std::error_code code() const noexcept { return code_; }
  // Returns true if the service may have got the request.
  bool is_sent() const noexcept { return is_sent_; }
  const std::string& text() const noexcept { return text_; }

 private:
  std::error_code code_;
  bool is_sent_;
  std::string text_;
};

struct service_options {
  std::chrono::nanoseconds deadline = std::chrono::seconds(30);
};

class service {
 public:
  // Looks nothing up. Throws std::bad_alloc.
  explicit service(std::string_view name, service_options options = {})
      : service(service_names(), name, options) {}
  service(const service_names& within, std::string_view name, service_options options = {});

  template <request_with_reply T, class... Arguments>
  task<result<typename T::reply, service_error>> call(Arguments&&... arguments) {
    return typed<T>::call(state_, encode<T>(std::forward<Arguments>(arguments)...));
  }
  template <request T, class... Arguments>
  task<result<void, service_error>> send(Arguments&&... arguments) {
    static_assert(!request_with_reply<T>,
                  "kedge::mach: a request with a reply is not sent, but called: call<T>()");
    return send_message(state_, encode<T>(std::forward<Arguments>(arguments)...));
  }

 private:
  struct state;
  class attempts;
  using shared_state = std::shared_ptr<state>;
  static service_error failure(const state& s, std::error_code code, bool is_sent);
  template <class Value, class Start>
  static task<result<Value, service_error>> repeat(shared_state s, message request, Start start);
  static task<result<received, service_error>> call_message(shared_state s, message request,
                                                            std::size_t max);
  static task<result<void, service_error>> send_message(shared_state s, message request);

  // A class template: g++ 12 warns of coroutines that are function templates, if T is in an
  // anonymous namespace.
  template <class T>
  struct typed {
    static task<result<typename T::reply, service_error>> call(shared_state s, message request) {
      constexpr std::size_t max = std::max(default_max_message, reply_layout_of<T>.max_size);
      auto reply = co_await call_message(s, std::move(request), max);
      if (!reply) co_return reply.failure();
      auto decoded = decode_reply<T>(*reply);
      if (!decoded) co_return unexpected(failure(*s, decoded.error(), true));
      co_return *std::move(decoded);
    }
  };

  shared_state state_;
};

}  // namespace kedge::mach
