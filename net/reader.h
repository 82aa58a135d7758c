// reader<S>: reads lines, delimited parts and frames from a stream, by way of a buffer.
//
//     kedge::net::reader in(connection);                // borrows it; owns std::move(connection)
//     while (const auto line = co_await in.line(1000)) handle(*line);
//
// The reader owns the bytes that it has read and not given yet. Nothing is given in parts, so that
// cancelling any wait loses nothing: the next call finds all bytes. What a call gives is a view of
// the buffer, valid until the next call.
//
// Each call has a limit against a peer that sends without an end. A peer that exceeds it ends the
// call with net::errc::limit_exceeded, and the bytes stay in the buffer. The buffer grows with what
// arrives, up to the limit (with the line's end or the frame's length beside it) or its first size,
// whichever is more. Each byte is searched once, also if a call is cancelled and repeated.
//
// Ends. Where the stream ends between two lines or frames the calls give kedge::errc::end_of_file;
// within one, net::errc::cut_short, and buffered() has the rest. Only line() gives a last line
// without its line end. Errors of the stream are given as they are.
//
// One task may wait at a time; another one gets kedge::errc::already_awaited. The reader, and the
// stream that it borrows, must outlive its waits. Making a task throws std::bad_alloc, as does
// growing; in the steady state nothing allocates. Threads: the loop's thread only.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

#include "kedge/net/byte_buffer.h"
#include "kedge/net/errc.h"
#include "kedge/net/frame_length.h"
#include "kedge/net/read_exactly.h"
#include "kedge/net/wait_mark.h"
#include "kedge/runtime/awaiting/source.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/result.h"
#include "kedge/runtime/task.h"

namespace kedge::net {

// `S` is a stream, or a reference to one that the caller owns.
template <class S>
  requires byte_source<std::remove_reference_t<S>>
class reader {
 public:
  // `first_size` is what the buffer begins with, at the first read. Throws what moving `s` throws,
  // and std::system_error (EINVAL) if `first_size` is zero.
  explicit reader(S&& s, std::size_t first_size = 4096)
      : source_(std::forward<S>(s)), first_size_(first_size) {
    if (first_size == 0) refuse_argument(std::errc::invalid_argument, "kedge::net::reader");
  }
  // Requires that no task waits.
  reader(reader&& other) = default;
  reader& operator=(reader&& other) = default;

  // Reads up to a line feed, and gives the text without it, and without a carriage return in front
  // of it. `limit` is the longest text, in bytes. The last line may lack its end, as text files do;
  // a protocol that must not take half a line for a whole one uses read_until("\n").
  task<result<std::string_view>> line(std::size_t limit) {
    if (is_waiting_) co_return unexpected(refusal());
    limit = std::min(limit, largest_limit);
    for (;;) {
      const std::size_t at = find("\n");
      const std::string_view text = without_return(all().substr(0, at));
      if (text.size() > limit) co_return unexpected(make_error_code(errc::limit_exceeded));
      if (at != std::string_view::npos) {
        consume_found(at + 1);
        co_return text;
      }
      const std::error_code why = co_await fill(limit + 2);
      if (why == kedge::errc::end_of_file && !buffer_.empty()) {
        const std::string_view last = without_return(all());
        consume_found(buffer_.size());
        co_return last;
      }
      if (why) co_return unexpected(why);
    }
  }

  // Reads up to `delimiter`, and gives the bytes with it. `limit` is the largest number of bytes,
  // with the delimiter. `delimiter` must live until the wait ends. Throws std::system_error
  // (EINVAL) if it is empty.
  task<result<std::string_view>> read_until(std::string_view delimiter, std::size_t limit) {
    if (delimiter.empty()) refuse_argument(std::errc::invalid_argument, "reader::read_until");
    if (is_waiting_) co_return unexpected(refusal());
    for (;;) {
      const std::size_t at = find(delimiter);
      const bool is_found = at != std::string_view::npos;
      const std::size_t size = is_found ? at + delimiter.size() : buffer_.size();
      if (size > limit || (size == limit && !is_found)) {
        co_return unexpected(make_error_code(errc::limit_exceeded));
      }
      if (is_found) {
        const std::string_view part = all().substr(0, size);
        consume_found(size);
        co_return part;
      }
      const std::error_code why = co_await fill(limit);
      if (why) co_return unexpected(end_within(why));
    }
  }

  // Reads a frame: its length as a `Length`, the highest byte first, and so many bytes, which it
  // gives. `limit` is the largest length. A longer one is refused before its bytes are read.
  template <frame_length Length = std::uint32_t>
  task<result<std::span<const std::byte>>> frame(std::size_t limit) {
    if (is_waiting_) co_return unexpected(refusal());
    limit = std::min(limit, largest_limit);
    while (buffer_.size() < sizeof(Length)) {
      const std::error_code why = co_await fill(sizeof(Length));
      if (why) co_return unexpected(end_within(why));
    }
    const std::uint64_t length = read_length<Length>(buffer_.bytes());
    if (length > limit) co_return unexpected(make_error_code(errc::limit_exceeded));
    const std::size_t size = sizeof(Length) + static_cast<std::size_t>(length);
    while (buffer_.size() < size) {
      const std::error_code why = co_await fill(size);
      if (why) co_return unexpected(end_within(why));
    }
    const std::span<const std::byte> whole = buffer_.bytes().first(size);
    take(size);
    co_return whole.subspan(sizeof(Length));
  }

  // Waits until `n` bytes are there, and gives them without taking them. The buffer grows to `n`.
  task<result<std::span<const std::byte>>> peek(std::size_t n) {
    if (is_waiting_) co_return unexpected(refusal());
    while (buffer_.size() < n) {
      const std::error_code why = co_await fill(n);
      if (why) co_return unexpected(end_within(why));
    }
    co_return buffer_.bytes().first(n);
  }
  // Takes `n` of the buffered bytes. Throws std::system_error (EINVAL) if there are fewer.
  void consume(std::size_t n) {
    if (is_waiting_ || n > buffer_.size()) {
      refuse_argument(std::errc::invalid_argument, "reader::consume");
    }
    take(n);
  }

  // Gives the pending bytes, at most room.size(): those that are buffered, else those of one read
  // of the stream, which reads into `room` itself if that is at least as large as the buffer's
  // first size. Gives kedge::errc::end_of_file at the end. `room` must live until the wait ends.
  task<result<std::size_t>> read_some(std::span<std::byte> room) {
    if (is_waiting_) co_return unexpected(refusal());
    if (room.empty()) co_return std::size_t{0};
    if (buffer_.empty() && room.size() >= first_size_) {
      const wait_mark mark(is_waiting_);
      co_return co_await source_.read_some(room);
    }
    if (buffer_.empty()) {
      const std::error_code why = co_await fill(first_size_);
      if (why) co_return unexpected(why);
    }
    const std::size_t n = std::min(room.size(), buffer_.size());
    std::memcpy(room.data(), buffer_.bytes().data(), n);
    take(n);
    co_return n;
  }

  // The bytes that have been read and not given.
  std::span<const std::byte> buffered() const noexcept { return buffer_.bytes(); }
  // How much memory the buffer has.
  std::size_t capacity() const noexcept { return buffer_.capacity(); }

  // The stream. What is buffered has been read from it already.
  std::remove_reference_t<S>& source() noexcept { return source_; }

 private:
  // A line's end or a frame's length fits beside it.
  static constexpr std::size_t largest_limit = std::numeric_limits<std::size_t>::max() / 4;

  static std::error_code refusal() noexcept { return kedge::errc::already_awaited; }
  static std::string_view without_return(std::string_view text) noexcept {
    if (text.ends_with('\r')) text.remove_suffix(1);
    return text;
  }

  std::string_view all() const noexcept {
    return {reinterpret_cast<const char*>(buffer_.bytes().data()), buffer_.size()};
  }
  // What the end of the stream means to a call that gives no part.
  std::error_code end_within(std::error_code why) const noexcept {
    return why == kedge::errc::end_of_file && !buffer_.empty() ? errc::cut_short : why;
  }

  // Returns where `what` begins, or npos. Goes on where the last search for it has stopped.
  std::size_t find(std::string_view what) {
    if (sought_ != what) {
      sought_ = what;
      searched_ = 0;
    }
    const std::size_t at = all().find(what, searched_);
    if (at == std::string_view::npos && buffer_.size() >= what.size()) {
      searched_ = buffer_.size() - what.size() + 1;
    }
    return at;
  }
  void take(std::size_t n) noexcept {
    searched_ -= std::min(n, searched_);
    buffer_.consume(n);
  }
  void consume_found(std::size_t n) noexcept {
    searched_ = 0;
    buffer_.consume(n);
  }

  // Reads once. Gives no error, or that of the stream. The buffer holds fewer than `most` bytes,
  // and will not grow beyond that.
  task<std::error_code> fill(std::size_t most) {
    const std::span<std::byte> room = buffer_.room(first_size_, most);
    const wait_mark mark(is_waiting_);
    const auto n = co_await source_.read_some(room);
    if (!n) co_return n.error();
    buffer_.commit(*n);
    co_return std::error_code();
  }

  S source_;
  std::size_t first_size_;
  byte_buffer buffer_;
  std::string sought_;        // what was searched for
  std::size_t searched_ = 0;  // it does not begin before this
  bool is_waiting_ = false;
};

template <class S>
reader(S&&) -> reader<S>;
template <class S>
reader(S&&, std::size_t) -> reader<S>;

}  // namespace kedge::net
