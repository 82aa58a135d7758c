// What READ, WRITE and EXCEPT report of a descriptor besides that it is ready, and whether they
// report it at all where epoll knows too little: what the filters' f_event of Darwin's kernel see
// (filt_soread_common() and so on in bsd/kern).
#pragma once

#include <sys/event.h>

#include <cstdint>

#include "kedge/runtime/kqueue/filter.h"

namespace kedge::kqueue {

// `data` of a descriptor that is ready and has neither ended nor failed: READ: bytes to read;
// connections to accept, 1 where Linux does not tell. WRITE: bytes of room. 1 for a file that
// cannot say.
std::int64_t amount_of(std::int16_t filter, int fd) noexcept;

// Does the knote's low-water mark ask for more than epoll does? Not if it is 1 or less, or if its
// descriptor's filter on Darwin does not look at marks, or if Linux cannot count that far.
bool has_mark(const knote& note) noexcept;

// poll's events (which are epoll's) that may make the knote active.
std::uint32_t awaited_by(const knote& note) noexcept;

// Has this side of a connection been shut for sending? Linux tells nobody who waits.
bool sending_is_shut(int fd) noexcept;

struct sighting {
  bool reported = false;    // the event is filled in
  bool unusual = false;     // an end or an error: whatever follows, epoll's word is not enough
  bool look_again = false;  // what it wants may come to be without epoll telling: try again soon
};

// Looks at the descriptor of a READ, WRITE or EXCEPT knote that epoll watches and fills in EV_EOF,
// fflags and (with_data) `data`. SO_ERROR is left as it is: the program may look at it afterwards.
sighting look_at(const knote& note, kevent64_s& event, bool with_data) noexcept;

}  // namespace kedge::kqueue
