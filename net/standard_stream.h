// standard_stream: standard input and standard output as one stream, whatever they are: a terminal,
// pipes, sockets, files.
//
//     kedge::net::standard_stream console(loop);
//     kedge::net::reader in(console);
//     while (const auto line = co_await in.line(1000)) ...
//
// The loop's thread never blocks. Pipes, sockets and terminals are waited for, and a terminal gets
// only what it has room for. What has no readiness to wait for is read and written by a thread of
// thread_pool::of_process(): regular files and block devices always, another device once a wait for
// it is refused with EPERM or EINVAL, as kqueues refuse some.
//
// The files are shared with the shell and with other programs, so they stay as they were found:
// O_NONBLOCK and the terminal's modes are not touched, and no fd is closed. So shutdown_write()
// gives std::errc::operation_not_supported. A program that the shell has put into the background is
// stopped by the system when it reads the terminal, as usual.
//
// Cancelling a wait loses nothing. A transfer that a thread has begun cannot be withdrawn: its wait
// ends when it is done, with its value. The fds must be open until the last wait has ended.
//
// Writing to a pipe whose reader has gone gives EPIPE, and raises no SIGPIPE (sigpipe_guard.h,
// which says what that costs): `prog | head` ends as the program decides.
//
// Threads: the loop's thread only.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <memory>
#include <span>

#include "kedge/net/stream.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/result.h"
#include "kedge/runtime/task.h"

namespace kedge::net {

class standard_stream {
 public:
  // Makes a closed stream.
  standard_stream() = default;
  // `r` is the loop. Other fds than the standard ones are for tests. Throws std::system_error
  // (EBADF) if one of them is not open, and std::bad_alloc.
  explicit standard_stream(reactor& r, int in = STDIN_FILENO, int out = STDOUT_FILENO);
  // Waits in progress continue on the object that `other` is moved to. Assignment closes the stream
  // that was here before.
  standard_stream(standard_stream&& other) noexcept = default;
  standard_stream& operator=(standard_stream&& other) noexcept;
  // Closes, as close() does.
  ~standard_stream() { close(); }

  // As stream.h says. The task holds what it needs, and may outlive this object. Making it throws
  // std::bad_alloc; awaiting it throws what offload() throws if no thread can be had.
  task<result<std::size_t>> read_some(std::span<std::byte> room);
  task<result<std::size_t>> write_some(std::span<const std::byte> bytes);
  // Always fails: other programs have the file too.
  result<void> shutdown_write() noexcept;
  // Ends the waits, but for those of a thread, and further transfers with kedge::errc::closed. The
  // fds stay open.
  void close() noexcept;

 private:
  class side;

  std::shared_ptr<side> in_;  // null when closed
  std::shared_ptr<side> out_;
};

}  // namespace kedge::net
