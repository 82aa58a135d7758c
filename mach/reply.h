// reply(): answers a request. Never waits, so that no client can hold up its service.
//
//     mach::reply(request, mach::message(answer, count));
//
// A send-once right, which most clients send along, always finds room. A client may have sent a
// send right instead, to a queue that it keeps full: then the reply is dropped and counted
// (dropped_replies()), as mach_msg_server drops it.
//
// Ownership: the reply right is consumed, and the message sent or destroyed, whatever happens.
// Returns why the reply was not sent, which a service may ignore: errc::peer_died, empty_right if
// the client expects no reply, queue_full, and the other errors of try_send(). Throws
// std::bad_alloc, and only if the message is empty.
// Threads: any; dropped_replies() counts those of all threads.
#pragma once

#include <cstdint>
#include <system_error>

#include "kedge/mach/message.h"
#include "kedge/mach/received.h"
#include "kedge/mach/reply_right.h"

namespace kedge::mach {

std::error_code reply(reply_right&& to, message m);
// Takes the reply right out of the request. Throws std::bad_alloc.
std::error_code reply(received& request, message m);

// The number of replies of this process that were dropped for a full queue.
std::uint64_t dropped_replies() noexcept;

}  // namespace kedge::mach
