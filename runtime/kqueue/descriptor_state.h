#pragma once

// What READ and WRITE report of a descriptor besides that it is ready.

#include <sys/event.h>

#include <cstdint>

namespace kedge::kqueue {

// `data`: READ: bytes to read; connections to accept, 1 where Linux does not tell. WRITE: bytes of
// room. 1 for a file that cannot say.
std::int64_t amount_of(std::int16_t filter, int fd) noexcept;

// Adds EV_EOF, and the errno in fflags, to an event that epoll reported with EPOLLHUP, EPOLLRDHUP
// or EPOLLERR. Leaves SO_ERROR as it is: the program may look at it after the event.
void describe_end(std::uint32_t epoll_events, kevent64_s& event) noexcept;

}  // namespace kedge::kqueue
