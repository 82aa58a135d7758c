// stream: what TCP and Unix sockets, pipes, terminals, streams in memory and any_stream have in
// common. Functions over streams are templates that take a `stream`.
//
//     co_await s.read_some(room)      result<size_t>: the pending bytes, at most room.size();
//                                     errc::end_of_file at the end, 0 only for an empty `room`
//     co_await s.write_some(bytes)    result<size_t>: as many of the bytes as there is room for;
//                                     0 only for no bytes
//     s.shutdown_write()              result<void>: the peer reads the end behind what was written;
//                                     reading goes on
//     s.close()                       ends the waits in progress with errc::closed; no effect on a
//                                     closed stream
//
// `room` and `bytes` must live until the wait ends. Bytes move when the task has its turn, so
// cancelling either wait loses nothing. One task may wait to read and one to write; a second one
// gets errc::already_awaited.
//
// Threads: the loop's thread only.
#pragma once

#include <concepts>
#include <cstddef>
#include <span>

#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/result.h"

namespace kedge::net {

template <class A>
concept byte_transfer = awaitable<A> && std::same_as<awaited_t<A>, result<std::size_t>>;

template <class S>
concept stream = requires(S& s, std::span<std::byte> room, std::span<const std::byte> bytes) {
  { s.read_some(room) } -> byte_transfer;
  { s.write_some(bytes) } -> byte_transfer;
  { s.shutdown_write() } -> std::same_as<result<void>>;
  { s.close() } noexcept;
};

}  // namespace kedge::net
