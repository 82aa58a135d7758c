// read_exactly(s, room, done): reads until `room` is full.
//
//     std::array<std::byte, 16> header;
//     std::size_t done = 0;
//     const auto end = co_await kedge::net::read_exactly(connection, header, done);
//     if (!end && end.error() == kedge::errc::end_of_file && done == 0) ...   // ended between two
//
// `done` counts the bytes of `room` that have been read, and is the caller's: it is right however
// the wait ends, also when it is cancelled. A second call with the same `done` goes on behind those
// bytes, so that cancellation loses nothing.
//
// Errors: errc::end_of_file if the stream ends first, and those of the stream. `s`, `room` and
// `done` must live until the wait ends. Making the task throws std::bad_alloc; in the steady state
// its frame is a recycled one. Threads: the loop's thread only.
#pragma once

#include <cstddef>
#include <span>

#include "kedge/net/stream.h"
#include "kedge/runtime/task.h"

namespace kedge::net {

// What bytes are read from: a `stream`, or a `reader` over one.
template <class S>
concept byte_source = requires(S& s, std::span<std::byte> room) {
  { s.read_some(room) } -> byte_transfer;
};

// Requires that `done` is at most room.size().
template <byte_source S>
task<result<void>> read_exactly(S& s, std::span<std::byte> room, std::size_t& done) {
  while (done < room.size()) {
    const auto n = co_await s.read_some(room.subspan(done));
    if (!n) co_return n.failure();
    done += *n;
  }
  co_return result<void>();
}

// The same for a caller that gives up at the end or the cancellation: the bytes that came before it
// are lost.
template <byte_source S>
task<result<void>> read_exactly(S& s, std::span<std::byte> room) {
  std::size_t done = 0;
  co_return co_await read_exactly(s, room, done);
}

}  // namespace kedge::net
