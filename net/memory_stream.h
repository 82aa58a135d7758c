// memory_pipe: two connected streams in memory, for tests: a protocol runs without a socket, and
// under a virtual_time (kedge/runtime/virtual_time.h) each run is the same.
//
//     kedge::net::memory_pipe pipe(loop, {.capacity = 100, .delay = 20ms, .fragment = 3});
//     loop.spawn(serve, std::move(pipe.a));
//     loop.spawn(ask, std::move(pipe.b));
//
// What one end writes the other one reads. Both ends are `stream`s (stream.h). Options and members
// slow the bytes down, cut them into pieces, and break the connection. What is random follows from
// the seed alone.
//
// An end that is closed or dropped is like a socket: the peer reads what was written and then
// kedge::errc::end_of_file, and its writes give EPIPE. What the closed end had not read is lost.
// Waits of the closed end give kedge::errc::closed, and so do its awaitables that have not been
// awaited.
//
// Threads: the loop's thread only. What is written when the loop is gone arrives without a delay.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <system_error>
#include <utility>

#include "kedge/net/memory_connection.h"
#include "kedge/net/stream.h"
#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/result.h"

namespace kedge::net {

class memory_read {
 public:
  static constexpr const char* aim = "bytes of a stream in memory";
  static constexpr const char* name = "memory_stream::read_some";

  memory_read(memory_connection::end e, std::span<std::byte> room) noexcept
      : end_(e), room_(room) {}
  waiter*& waiting(memory_connection& c) const noexcept { return c.reader_of(end_); }
  std::optional<result<std::size_t>> attempt(memory_connection& c) const noexcept {
    return c.read(end_, room_);
  }

 private:
  memory_connection::end end_;
  std::span<std::byte> room_;
};

class memory_write {
 public:
  static constexpr const char* aim = "room in a stream in memory";
  static constexpr const char* name = "memory_stream::write_some";

  memory_write(memory_connection::end e, std::span<const std::byte> bytes) noexcept
      : end_(e), bytes_(bytes) {}
  waiter*& waiting(memory_connection& c) const noexcept { return c.writer_of(end_); }
  std::optional<result<std::size_t>> attempt(memory_connection& c) const noexcept {
    return c.write(end_, bytes_);
  }

 private:
  memory_connection::end end_;
  std::span<const std::byte> bytes_;
};

template <class Transfer>
class memory_operation final {
 public:
  memory_operation(std::shared_ptr<memory_connection> c, Transfer t) noexcept
      : connection_(std::move(c)), transfer_(t) {}
  memory_operation(const memory_operation&) = delete;
  memory_operation& operator=(const memory_operation&) = delete;
  ~memory_operation() { leave(); }

  bool await_ready() noexcept {
    if (!connection_) return fail(kedge::errc::closed);
    if (transfer_.waiting(*connection_) != nullptr) return fail(kedge::errc::already_awaited);
    return attempt();
  }
  bool await_suspend(waiter& w) noexcept {
    transfer_.waiting(*connection_) = &w;
    waits_ = true;
    return true;
  }
  bool await_settle() noexcept {
    if (!attempt()) return false;
    leave();
    return true;
  }
  bool await_cancel(cancel_cause) noexcept {
    leave();
    return true;
  }
  result<std::size_t> await_resume() { return *std::move(outcome_); }
  void describe(description& line) const noexcept { line.print("%s", Transfer::aim); }

 private:
  bool fail(std::error_code why) noexcept {
    outcome_ = unexpected(why, failed_operation{Transfer::name});
    return true;
  }
  bool attempt() noexcept {
    outcome_ = transfer_.attempt(*connection_);
    return outcome_.has_value();
  }
  void leave() noexcept {
    if (std::exchange(waits_, false)) transfer_.waiting(*connection_) = nullptr;
  }

  std::shared_ptr<memory_connection> connection_;
  std::optional<result<std::size_t>> outcome_;
  Transfer transfer_;
  bool waits_ = false;
};

template <class Transfer>
class [[nodiscard]] memory_awaitable {
 public:
  memory_awaitable(std::shared_ptr<memory_connection> c, Transfer t) noexcept
      : connection_(std::move(c)), transfer_(t) {}
  memory_operation<Transfer> operator co_await() && noexcept {
    return {std::move(connection_), transfer_};
  }

 private:
  std::shared_ptr<memory_connection> connection_;
  Transfer transfer_;
};

// One end of a memory_pipe.
class memory_stream {
 public:
  // Makes a closed stream.
  memory_stream() = default;
  memory_stream(std::shared_ptr<memory_connection> c, memory_connection::end e) noexcept
      : connection_(std::move(c)), end_(e) {}
  // Waits in progress continue on the object that `other` is moved to. Assignment closes the stream
  // that was here before.
  memory_stream(memory_stream&& other) noexcept = default;
  memory_stream& operator=(memory_stream&& other) noexcept {
    if (this != &other) {
      close();
      connection_ = std::move(other.connection_);
      end_ = other.end_;
    }
    return *this;
  }
  // Closes, as close() does.
  ~memory_stream() { close(); }

  // As stream.h says. Cancelling either wait loses nothing. Beside the errors of the top of this
  // file they give ECONNRESET once the connection is reset.
  memory_awaitable<memory_read> read_some(std::span<std::byte> room) noexcept {
    return {connection_, memory_read(end_, room)};
  }
  // Gives ENOMEM if memory for delayed bytes is lacking; none of `bytes` was written then.
  memory_awaitable<memory_write> write_some(std::span<const std::byte> bytes) noexcept {
    return {connection_, memory_write(end_, bytes)};
  }
  // Further writes of this end give EPIPE. Gives kedge::errc::closed if this end is closed.
  result<void> shutdown_write() noexcept;
  void close() noexcept;

  // --- Faults ---------------------------------------------------------------------------------
  // No effect on a closed stream.

  // Resets the connection: after this call both ends give ECONNRESET, and what was not read is
  // lost.
  void reset() noexcept {
    if (connection_) connection_->reset();
  }
  // The same, once this end has written `bytes` bytes in total. At once if it has already.
  void reset_after(std::size_t bytes) noexcept {
    if (connection_) connection_->reset_after(end_, bytes);
  }
  // Lets writes of this end give `why` once it has written `bytes` bytes in total. What was written
  // arrives. Requires that `why` is an error.
  void fail_writes_after(std::size_t bytes, std::error_code why) noexcept {
    if (connection_) connection_->fail_writes_after(end_, bytes, why);
  }
  // Cuts the cable: nothing that has not arrived will arrive, in either direction, not even an end.
  // Writes go on until the capacity is used up, and then wait. A reset() still reaches both ends.
  void sever() noexcept {
    if (connection_) connection_->sever();
  }

 private:
  std::shared_ptr<memory_connection> connection_;  // null when closed
  memory_connection::end end_ = memory_connection::end::a;
};

class memory_pipe {
 public:
  // Both ends are for tasks of the loop `r`. Throws std::bad_alloc, and std::system_error (EINVAL)
  // if the capacity is zero or the delay is negative.
  explicit memory_pipe(reactor& r, const memory_options& o = {})
      : memory_pipe(std::make_shared<memory_connection>(r, o)) {}

  memory_stream a;
  memory_stream b;

 private:
  explicit memory_pipe(const std::shared_ptr<memory_connection>& c) noexcept
      : a(c, memory_connection::end::a), b(c, memory_connection::end::b) {}
};

}  // namespace kedge::net
