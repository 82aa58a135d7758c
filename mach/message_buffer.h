// message_buffer: the memory of one message. It comes from the frame recycler, so in the steady
// state a small message costs no call to malloc.
#pragma once

#include <mach/mach.h>

#include <cstddef>
#include <utility>

#include "kedge/runtime/awaiting/frame_recycler.h"

namespace kedge::mach {

class message_buffer {
 public:
  // Empty: no memory.
  message_buffer() = default;
  // Allocates `size` bytes, uninitialised. Throws std::bad_alloc.
  explicit message_buffer(std::size_t size)
      : bytes_(static_cast<std::byte*>(frame_recycler::allocate(size))), size_(size) {}
  message_buffer(message_buffer&& other) noexcept
      : bytes_(std::exchange(other.bytes_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  message_buffer& operator=(message_buffer&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~message_buffer() {
    if (bytes_ != nullptr) frame_recycler::release(bytes_, size_);
  }

  std::byte* data() const noexcept { return bytes_; }
  std::size_t size() const noexcept { return size_; }
  // The header of the message. Requires at least sizeof(mach_msg_header_t) bytes.
  mach_msg_header_t& header() const noexcept {
    return *reinterpret_cast<mach_msg_header_t*>(bytes_);
  }

 private:
  std::byte* bytes_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace kedge::mach
