// byte_buffer: how it grows, and when it moves its bytes instead.
#include "kedge/net/byte_buffer.h"

#include <algorithm>
#include <cstring>

namespace kedge::net {
namespace {

// memcpy and memmove accept no null pointer, not even for nothing.
void move_bytes(std::byte* to, const std::byte* from, std::size_t n) noexcept {
  if (n != 0) std::memmove(to, from, n);
}

}  // namespace

byte_buffer& byte_buffer::operator=(byte_buffer&& other) noexcept {
  memory_ = std::move(other.memory_);
  capacity_ = std::exchange(other.capacity_, 0);
  begin_ = std::exchange(other.begin_, 0);
  end_ = std::exchange(other.end_, 0);
  return *this;
}

std::span<std::byte> byte_buffer::room(std::size_t first, std::size_t most) {
  if (size() == capacity_) {
    const std::size_t doubled = capacity_ == 0 ? first : capacity_ + std::min(capacity_, most);
    move_to_memory_of(std::max(std::min(doubled, std::max(first, most)), capacity_));
  } else if (begin_ != 0) {
    move_to_front();
  }
  return {memory_.get() + end_, capacity_ - end_};
}

void byte_buffer::reserve(std::size_t n) {
  if (capacity_ - end_ >= n) return;
  // Moving costs no more than the bytes in front of it have cost.
  if (begin_ >= size() && capacity_ - size() >= n) return move_to_front();
  move_to_memory_of(std::max(size() + n, 2 * capacity_));
}

void byte_buffer::append(std::span<const std::byte> more) noexcept {
  move_bytes(memory_.get() + end_, more.data(), more.size());
  end_ += more.size();
}

void byte_buffer::move_to_front() noexcept {
  move_bytes(memory_.get(), memory_.get() + begin_, size());
  end_ = size();
  begin_ = 0;
}

void byte_buffer::move_to_memory_of(std::size_t capacity) {
  auto larger = std::make_unique_for_overwrite<std::byte[]>(capacity);
  move_bytes(larger.get(), memory_.get() + begin_, size());
  end_ = size();
  begin_ = 0;
  memory_ = std::move(larger);
  capacity_ = capacity;
}

}  // namespace kedge::net
