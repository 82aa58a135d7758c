// write_all(s, bytes, done): writes all of the bytes.
//
//     std::size_t done = 0;
//     const auto end = co_await kedge::net::write_all(connection, answer, done);
//
// `done` counts the bytes that the stream has taken, and is the caller's: it is right however the
// wait ends, also when it fails or is cancelled. A second call with the same `done` goes on behind
// those bytes, so that nothing is lost or written twice.
//
// Errors: those of the stream. `s`, `bytes` and `done` must live until the wait ends. Making the
// task throws std::bad_alloc; in the steady state its frame is a recycled one. Threads: the loop's
// thread only.
#pragma once

#include <cstddef>
#include <span>

#include "kedge/net/stream.h"
#include "kedge/runtime/task.h"

namespace kedge::net {

// What bytes are written to: a `stream`, or one end of a pipe.
template <class S>
concept byte_sink = requires(S& s, std::span<const std::byte> bytes) {
  { s.write_some(bytes) } -> byte_transfer;
};

// Requires that `done` is at most bytes.size().
template <byte_sink S>
task<result<void>> write_all(S& s, std::span<const std::byte> bytes, std::size_t& done) {
  while (done < bytes.size()) {
    const auto n = co_await s.write_some(bytes.subspan(done));
    if (!n) co_return n.failure();
    done += *n;
  }
  co_return result<void>();
}

// The same for a caller that need not know how many bytes were written before a failure or a
// cancellation.
template <byte_sink S>
task<result<void>> write_all(S& s, std::span<const std::byte> bytes) {
  std::size_t done = 0;
  co_return co_await write_all(s, bytes, done);
}

}  // namespace kedge::net
