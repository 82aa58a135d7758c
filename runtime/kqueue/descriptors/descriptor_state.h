// descriptor_state: what READ, WRITE and EXCEPT report about a descriptor beyond that it is ready;
// and whether they report it, where epoll knows too little. It follows the f_event functions of the
// filters in Darwin's kernel (filt_soread_common() and so on in bsd/kern).
//
// Threads: any. No function acts on a cancellation. Errors: a question that Linux does not answer
// gets the answer that the function's comment names.
#pragma once

#include <sys/event.h>

#include <cstdint>

#include "kedge/runtime/kqueue/filter.h"

namespace kedge::kqueue {

// Returns `data` for a descriptor that is ready and has neither ended nor failed. READ: bytes to
// read, or connections to accept (1 where Linux does not say). WRITE: bytes of room. 1 for a file
// without such an amount. Keeps errno.
std::int64_t amount_of(std::int16_t filter, int fd) noexcept;

// Returns whether the knote's low-water mark demands more than epoll checks. It does not if the
// mark is 1 or less, if Darwin's filter ignores marks for the descriptor, or if Linux cannot count
// the bytes.
bool has_low_water_mark(const knote& note) noexcept;

// Returns the events of poll (which are epoll's) that may make the knote active.
std::uint32_t epoll_interest_of(const knote& note) noexcept;

// Returns whether this side of a connection was shut for sending, which wakes no waiter on Linux.
// Keeps errno.
bool is_shut_for_sending(int fd) noexcept;

struct poll_result {
  bool reported = false;    // the event is filled in
  bool unusual = false;     // an end or an error: later events have to be probed too
  bool poll_again = false;  // what the knote waits for may come without an event of epoll
};

// Probes the descriptor of a READ, WRITE or EXCEPT knote that is registered with epoll. Fills in
// EV_EOF, fflags (with_marks, NOTE_OOB for a mark ahead) and, with_data, `data`. Does not clear
// SO_ERROR, which the program may want to read.
poll_result probe(const knote& note, kevent64_s& event, bool with_data, bool with_marks) noexcept;

// What Linux reports about an AF_UNIX socket only by netlink (sock_diag(7)), in
// unix_socket_state.cc.
struct unix_socket_state {
  unsigned backlog = 0;        // of a listener: connections to accept
  bool peer_is_stuck = false;  // the peer has sent so much that poll does not call it writable

  // Returns false if `fd` is not an AF_UNIX socket, or if the kernel does not answer (built without
  // sock_diag, another network namespace). Costs five system calls or more.
  bool query(int fd) noexcept;
};

}  // namespace kedge::kqueue
