// exceptional_fd: awaits out-of-band data of a socket.
//
//     kedge::exceptional_fd urgent(loop, fd);
//     (co_await urgent.next()).value();
//     ::recv(fd, &byte, 1, MSG_OOB);
//
// This is what poll(2) calls exceptional (POLLPRI). Each byte that is sent with MSG_OOB is
// reported, also one that has come before the constructor; several that come between two calls of
// next() are reported once. One that is not read may be reported again when more bytes arrive.
// Ordinary bytes are left to a descriptor, which may be of the same fd.
//
// Costs: the kernel also reports ordinary bytes here, so each arrival of some costs an event.
//
// Threads: the loop's thread only. An exceptional_fd may outlive its loop: waits then end with
// errc::loop_gone, as in the child of a fork.
#pragma once

#include <memory>

#include "kedge/runtime/awaiting/event_source.h"

namespace kedge {

class exceptional_fd {
 public:
  // `r` is the loop. The caller owns `fd`, and keeps it open while this object lives. Throws
  // std::system_error with the kernel's answer (EBADF; EINVAL for what is not a socket), and
  // std::bad_alloc.
  exceptional_fd(reactor& r, int fd);
  exceptional_fd(const exceptional_fd&) = delete;
  exceptional_fd& operator=(const exceptional_fd&) = delete;
  // Ends a wait in progress, and the awaitables that have not been awaited, with errc::closed.
  ~exceptional_fd();

  // Waits for out-of-band data. Gives errc::end_of_file once none can come any more. One task may
  // wait at a time; a second one gets errc::already_awaited. Cancellation loses nothing: the task
  // takes at its turn.
  event_awaitable<void> next() const noexcept;

 private:
  class state;
  std::shared_ptr<state> state_;
};

}  // namespace kedge
