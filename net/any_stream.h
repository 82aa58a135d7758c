// any_stream: owns a stream of any type. For code that is compiled once and serves TCP, Unix
// sockets, pipes and streams in memory alike.
//
//     kedge::task<> serve(kedge::net::any_stream s);
//     loop.spawn(serve, kedge::net::any_stream(std::move(connection)));
//
// It is a `stream` (stream.h) itself. Each transfer costs a virtual call and a coroutine frame,
// which is a recycled one in the steady state; making its task throws std::bad_alloc. The tasks
// hold the stream: they may outlive this object, and then give kedge::errc::closed. Being tasks
// they cannot be branches of a select(). Cancelling a transfer loses what it loses for the stream:
// nothing.
//
// Threads: the loop's thread only.
#pragma once

#include <concepts>
#include <cstddef>
#include <memory>
#include <span>
#include <system_error>
#include <type_traits>
#include <utility>

#include "kedge/net/stream.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/result.h"
#include "kedge/runtime/task.h"

namespace kedge::net {

class any_stream {
  // The stream behind its type.
  class kept {
   public:
    kept(const kept&) = delete;
    kept& operator=(const kept&) = delete;
    virtual ~kept() = default;

    // The task holds `self`, which is this object.
    virtual task<result<std::size_t>> read_some(std::shared_ptr<kept> self,
                                                std::span<std::byte> room) = 0;
    virtual task<result<std::size_t>> write_some(std::shared_ptr<kept> self,
                                                 std::span<const std::byte> bytes) = 0;
    virtual result<void> shutdown_write() = 0;
    virtual void close() noexcept = 0;
    virtual void reset() noexcept = 0;

   protected:
    kept() = default;
  };

  template <stream S>
  class kept_as final : public kept {
   public:
    explicit kept_as(S&& s) : stream_(std::move(s)) {}
    task<result<std::size_t>> read_some(std::shared_ptr<kept>, std::span<std::byte> room) override {
      co_return co_await stream_.read_some(room);
    }
    task<result<std::size_t>> write_some(std::shared_ptr<kept>,
                                         std::span<const std::byte> bytes) override {
      co_return co_await stream_.write_some(bytes);
    }
    result<void> shutdown_write() override { return stream_.shutdown_write(); }
    void close() noexcept override { stream_.close(); }
    void reset() noexcept override {
      if constexpr (requires { stream_.reset(); }) stream_.reset();
      stream_.close();
    }

   private:
    S stream_;
  };

 public:
  // Makes a closed stream.
  any_stream() = default;
  // Throws std::bad_alloc, and what moving `s` throws.
  template <stream S>
    requires(!std::same_as<S, any_stream> && !std::is_const_v<S>)
  explicit any_stream(S s) : kept_(std::make_shared<kept_as<S>>(std::move(s))) {}
  // Waits in progress continue on the object that `other` is moved to. Assignment closes the stream
  // that was here before.
  any_stream(any_stream&& other) noexcept = default;
  any_stream& operator=(any_stream&& other) noexcept {
    if (this != &other) {
      close();
      kept_ = std::move(other.kept_);
    }
    return *this;
  }
  // Closes, as close() does.
  ~any_stream() { close(); }

  // As stream.h says, with the errors of the stream.
  task<result<std::size_t>> read_some(std::span<std::byte> room) {
    return kept_ ? kept_->read_some(kept_, room) : refuse();
  }
  task<result<std::size_t>> write_some(std::span<const std::byte> bytes) {
    return kept_ ? kept_->write_some(kept_, bytes) : refuse();
  }
  result<void> shutdown_write() {
    if (!kept_) return unexpected(make_error_code(kedge::errc::closed));
    return kept_->shutdown_write();
  }
  void close() noexcept {
    if (!kept_) return;
    kept_->close();
    kept_.reset();
  }
  // Closes, and drops what the peer has not received, where the stream can: a TCP connection is
  // reset. After close() the system would keep the bytes for a peer that does not read.
  void reset() noexcept {
    if (!kept_) return;
    kept_->reset();
    kept_.reset();
  }
  explicit operator bool() const noexcept { return kept_ != nullptr; }

 private:
  static task<result<std::size_t>> refuse() {
    co_return unexpected(make_error_code(kedge::errc::closed));
  }

  std::shared_ptr<kept> kept_;  // null when closed
};

}  // namespace kedge::net
