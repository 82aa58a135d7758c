// pipe_stream: a stream that reads from one descriptor and writes to another one: two pipes, for
// example those of a child process.
//
//     kedge::process p(loop, {"bc"}, {.input = kedge::pipe, .output = kedge::pipe});
//     kedge::net::pipe_stream calculator(std::move(p.output()), std::move(p.input()));
//
// Cancelling a wait loses nothing. Its awaitables hold the descriptors' files: they may outlive
// this object, and then give kedge::errc::closed. Writing to a pipe whose reader has gone gives
// EPIPE, and raises no SIGPIPE (sigpipe_guard.h, which says what that costs). Threads: the loop's
// thread only.
#pragma once

#include <cstddef>
#include <span>
#include <system_error>
#include <utility>

#include "kedge/net/quiet_write.h"
#include "kedge/net/stream.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/result.h"

namespace kedge::net {

class pipe_stream {
 public:
  // Makes a closed stream.
  pipe_stream() = default;
  // Reads from `in` and writes to `out`. Either may be closed.
  pipe_stream(descriptor in, descriptor out) noexcept : in_(std::move(in)), out_(std::move(out)) {}
  // Waits in progress continue on the object that `other` is moved to. Assignment closes the stream
  // that was here before, as does the destructor.
  pipe_stream(pipe_stream&& other) noexcept = default;
  pipe_stream& operator=(pipe_stream&& other) noexcept = default;

  // As stream.h says, with the errors of descriptor::read_some() and write_some().
  auto read_some(std::span<std::byte> room) noexcept { return in_.read_some(room); }
  quiet_write write_some(std::span<const std::byte> bytes) noexcept { return {out_, bytes}; }
  // Closes the descriptor that is written to: the peer reads the end if no other process has the
  // pipe open for writing. Gives errc::closed if this stream is closed.
  result<void> shutdown_write() noexcept {
    if (!in_ && !out_) return unexpected(make_error_code(kedge::errc::closed));
    out_.close();
    return {};
  }
  void close() noexcept {
    in_.close();
    out_.close();
  }

  // The descriptors, which stay this object's.
  descriptor& input() noexcept { return in_; }
  descriptor& output() noexcept { return out_; }

 private:
  descriptor in_;
  descriptor out_;
};

}  // namespace kedge::net
