// call_blocking(): sends a request and waits for its reply, and blocks the thread meanwhile.
//
//     auto reply = mach::call_blocking(service, mach::message(add, 1, 2), 5s);
//
// For tools and threads without a loop. In a coroutine it would block the whole loop, also from
// serving the request: there it is call().
//
// Gives what call() gives, with the same errors: mach::errc::peer_died, and the whole request in
// message(), if the service was dead; no_reply if the service destroys the reply right, or dies
// with the request or while the request waits for room. The time-out bounds the wait for room and
// the wait for the reply together. When it has passed, the error is errc::timed_out, and message()
// tells how far the call came: it is the request if that was not sent, without a reply right, and
// empty if it was. A time-out of zero sends if there is room, and takes a reply that is there at
// once. A signal handler does not end the call.
//
// A reply of more than `max` bytes is refused with mach::errc::message_too_large. It throws
// std::bad_alloc and std::system_error if the call cannot begin; the request is lost then.
//
// Costs one trap, if the reply comes within half of the time-out and is no larger than 400 bytes or
// so. The thread keeps its reply port for its next call. A port whose reply has not arrived in time
// is destroyed: a late reply is dropped by the kernel and cannot reach a newer call.
//
// Threads: any thread. The time is that of mach_absolute_time(), as of all traps; a kernel_clock
// replaces it.
#pragma once

#include <chrono>
#include <cstddef>
#include <utility>

#include "kedge/mach/message.h"
#include "kedge/mach/received.h"
#include "kedge/mach/send.h"
#include "kedge/mach/try_receive.h"
#include "kedge/runtime/reactor/clock.h"
#include "kedge/runtime/result.h"

namespace kedge::mach {

// `limit`: clock::duration::max() is none.
result<received, send_failure> call_blocking(destination to, message request, clock::duration limit,
                                             std::size_t max);

// `to` is borrowed.
inline result<received, send_failure> call_blocking(const send_right& to, message request) {
  return call_blocking(destination(to), std::move(request), clock::duration::max(),
                       default_max_message);
}
// A duration of any type, which saturates: a type's largest one waits without end.
template <class Rep, class Period>
result<received, send_failure> call_blocking(const send_right& to, message request,
                                             std::chrono::duration<Rep, Period> limit,
                                             std::size_t max = default_max_message) {
  return call_blocking(destination(to), std::move(request), saturate(limit), max);
}

}  // namespace kedge::mach
