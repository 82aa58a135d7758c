// writer<S>: collects what is written to a stream in a buffer, and writes it in large pieces.
//
//     kedge::net::writer out(connection);              // borrows it; owns std::move(connection)
//     co_await out.write("220 ready\r\n");
//     co_await out.flush();
//
// A write() that would bring the buffer above its high-water mark first waits until the stream has
// taken enough. So a slow peer slows its writer down, and the buffer holds at most the mark. Bytes
// beyond the mark are not copied: once the buffer is empty the stream takes them from the caller,
// and the buffer takes the rest, at most the mark. What is buffered is written by a later write()
// or by flush(); the destructor drops it.
//
// Cancellation. What was in the buffer stays there, but for what the stream has taken, and a later
// call goes on with it. So nothing of it is lost or written twice.
// - A write() or frame() of at most the mark that is cancelled has taken none of its bytes: repeat
//   it, or not. So has a larger one of which the stream has taken nothing.
// - A larger one of which the stream has taken a part leaves the peer with that part. No later
//   call can send the rest, so all later calls give net::errc::half_written. They do too if it ends
//   there because another task writes to the stream itself, or because memory is lacking.
// - write(bytes, done) counts in `done` what was taken, however it ends. A second call with the
//   same `done` goes on behind those bytes, so any size can be cancelled and repeated.
//
// Errors. The first error of the stream stays: all later calls give it, since what the stream has
// taken of a piece can no longer be told from what has arrived.
//
// One task may wait at a time; another one gets kedge::errc::already_awaited. The writer, and the
// stream that it borrows, must outlive its waits. Making a task throws std::bad_alloc, as does
// growing; in the steady state nothing allocates. Threads: the loop's thread only.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

#include "kedge/net/byte_buffer.h"
#include "kedge/net/errc.h"
#include "kedge/net/frame_length.h"
#include "kedge/net/wait_mark.h"
#include "kedge/net/write_all.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/result.h"
#include "kedge/runtime/task.h"

namespace kedge::net {

// `S` is a stream, or a reference to one that the caller owns.
template <class S>
  requires byte_sink<std::remove_reference_t<S>>
class writer {
 public:
  explicit writer(S&& s, std::size_t high_water = 65536)
      : sink_(std::forward<S>(s)), high_water_(high_water) {}
  // Requires that no task waits.
  writer(writer&& other) = default;
  writer& operator=(writer&& other) = default;

  // Takes all of the bytes, which must live until the wait ends.
  task<result<void>> write(std::span<const std::byte> bytes) { return take(bytes, {}, nullptr); }
  task<result<void>> write(std::string_view text) {
    return take(std::as_bytes(std::span(text.data(), text.size())), {}, nullptr);
  }
  // Takes the bytes behind the first `done`, and adds to `done` what was taken. Both must live
  // until the wait ends. Requires that `done` is at most bytes.size().
  task<result<void>> write(std::span<const std::byte> bytes, std::size_t& done) {
    return take(bytes, {}, &done);
  }

  // Takes a frame for a reader's frame(): the number of bytes as a `Length`, the highest byte
  // first, and the bytes. Gives std::errc::message_size if a `Length` cannot tell the number; that
  // does not stay.
  template <frame_length Length = std::uint32_t>
  task<result<void>> frame(std::span<const std::byte> bytes) {
    if (bytes.size() > std::numeric_limits<Length>::max()) {
      co_return unexpected(std::make_error_code(std::errc::message_size));
    }
    std::byte length[sizeof(Length)];
    write_length<Length>(length, bytes.size());
    co_return co_await take(length, bytes, nullptr);
  }

  // Waits until the stream has taken everything that is buffered.
  task<result<void>> flush() {
    if (is_waiting_) co_return unexpected(refusal());
    while (!failure_ && !buffer_.empty()) {
      const std::error_code why = co_await write_out();
      if (why) co_return unexpected(why);
    }
    if (failure_) co_return unexpected(failure_);
    co_return result<void>();
  }

  // The bytes that the stream has not taken.
  std::span<const std::byte> buffered() const noexcept { return buffer_.bytes(); }
  // How much memory the buffer has.
  std::size_t capacity() const noexcept { return buffer_.capacity(); }

  // The stream. What is written to it directly overtakes what is buffered.
  std::remove_reference_t<S>& sink() noexcept { return sink_; }

 private:
  static std::error_code refusal() noexcept { return kedge::errc::already_awaited; }

  // How much of a write has been taken. If the caller has no count, a write that ends in the middle
  // fails the writer.
  class progress {
   public:
    progress(writer& w, std::size_t size, std::size_t* counted) noexcept
        : writer_(w), size_(size), counted_(counted) {}
    progress(const progress&) = delete;
    progress& operator=(const progress&) = delete;
    ~progress() {
      if (counted_ != nullptr || own_ == 0 || own_ == size_) return;
      if (!writer_.failure_) writer_.failure_ = errc::half_written;
    }
    std::size_t& done() noexcept { return counted_ != nullptr ? *counted_ : own_; }
    std::size_t rest() noexcept { return size_ - done(); }

   private:
    writer& writer_;
    std::size_t size_;
    std::size_t* counted_;
    std::size_t own_ = 0;
  };

  // Takes both parts, one behind the other. `counted` is the caller's count, or null.
  task<result<void>> take(std::span<const std::byte> first, std::span<const std::byte> second,
                          std::size_t* counted) {
    if (is_waiting_) co_return unexpected(refusal());
    progress taken(*this, first.size() + second.size(), counted);
    while (!failure_ && !fits(taken.rest())) {
      std::error_code why;
      if (!buffer_.empty()) {
        why = co_await write_out();
      } else if (taken.done() < first.size()) {
        why = co_await write_through(first.subspan(taken.done()), taken.done());
      } else {
        why = co_await write_through(second.subspan(taken.done() - first.size()), taken.done());
      }
      if (why) co_return unexpected(why);
    }
    if (failure_) co_return unexpected(failure_);
    buffer_.reserve(taken.rest());
    const std::size_t of_first = std::min(taken.done(), first.size());
    buffer_.append(first.subspan(of_first));
    buffer_.append(second.subspan(taken.done() - of_first));
    taken.done() += taken.rest();
    co_return result<void>();
  }
  bool fits(std::size_t size) const noexcept {
    return buffer_.size() <= high_water_ && size <= high_water_ - buffer_.size();
  }

  // Write once, from the buffer or from the caller's bytes. Give no error, or that of the stream,
  // which stays. They count what was written before anything can cancel the caller.
  task<std::error_code> write_out() {
    const wait_mark mark(is_waiting_);
    const auto n = co_await sink_.write_some(buffer_.bytes());
    if (!n) co_return keep(n.error());
    buffer_.consume(*n);
    co_return std::error_code();
  }
  task<std::error_code> write_through(std::span<const std::byte> bytes, std::size_t& done) {
    const wait_mark mark(is_waiting_);
    const auto n = co_await sink_.write_some(bytes);
    if (!n) co_return keep(n.error());
    done += *n;
    co_return std::error_code();
  }
  std::error_code keep(std::error_code why) noexcept {
    // Another task of the program's writes to the stream. Nothing was tried.
    if (why != kedge::errc::already_awaited) failure_ = why;
    return why;
  }

  S sink_;
  std::size_t high_water_;
  byte_buffer buffer_;
  std::error_code failure_;
  bool is_waiting_ = false;
};

template <class S>
writer(S&&) -> writer<S>;
template <class S>
writer(S&&, std::size_t) -> writer<S>;

}  // namespace kedge::net
