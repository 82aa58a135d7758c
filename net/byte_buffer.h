// byte_buffer: bytes in a row that come in at the back and go out at the front.
//
// For reader and writer. Spans into it are valid until bytes come in again. Threads: one at a time.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <utility>

namespace kedge::net {

class byte_buffer {
 public:
  byte_buffer() = default;
  // Leaves `other` empty and without memory.
  byte_buffer(byte_buffer&& other) noexcept
      : memory_(std::move(other.memory_)),
        capacity_(std::exchange(other.capacity_, 0)),
        begin_(std::exchange(other.begin_, 0)),
        end_(std::exchange(other.end_, 0)) {}
  byte_buffer& operator=(byte_buffer&& other) noexcept;
  ~byte_buffer() = default;

  std::span<const std::byte> bytes() const noexcept { return {memory_.get() + begin_, size()}; }
  std::size_t size() const noexcept { return end_ - begin_; }
  bool empty() const noexcept { return begin_ == end_; }
  std::size_t capacity() const noexcept { return capacity_; }

  // Takes `n` bytes from the front. Requires so many.
  void consume(std::size_t n) noexcept {
    begin_ += n;
    if (begin_ == end_) begin_ = end_ = 0;
  }

  // Returns room behind the bytes, for a commit(). The memory is doubled when it is full, from
  // `first` bytes on, and is never larger than `most` unless it has been before. Requires that
  // size() is less than `most` or the capacity. Throws std::bad_alloc, without effect.
  std::span<std::byte> room(std::size_t first, std::size_t most);
  // The first `n` bytes of the room have been written to.
  void commit(std::size_t n) noexcept { end_ += n; }

  // Makes room for `n` more bytes. Throws std::bad_alloc, without effect.
  void reserve(std::size_t n);
  // Copies `more` behind the bytes. Requires so much reserved room.
  void append(std::span<const std::byte> more) noexcept;

 private:
  void move_to_front() noexcept;
  void move_to_memory_of(std::size_t capacity);

  std::unique_ptr<std::byte[]> memory_;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace kedge::net
