// block: memory for one message; recycled, so that a small message costs no call to malloc.
#pragma once

#include <mach/mach.h>

#include <cstddef>
#include <utility>

#include "kedge/runtime/awaiting/frame_recycler.h"

namespace kedge::mach {

class block {
 public:
  block() = default;
  // Throws std::bad_alloc.
  explicit block(std::size_t size)
      : bytes_(static_cast<std::byte*>(frame_recycler::allocate(size))), size_(size) {}
  block(block&& other) noexcept
      : bytes_(std::exchange(other.bytes_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  block& operator=(block&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~block() {
    if (bytes_ != nullptr) frame_recycler::release(bytes_, size_);
  }

  std::byte* data() const noexcept { return bytes_; }
  std::size_t size() const noexcept { return size_; }
  // The message's header; the block must be large enough for one.
  mach_msg_header_t& header() const noexcept {
    return *reinterpret_cast<mach_msg_header_t*>(bytes_);
  }

 private:
  std::byte* bytes_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace kedge::mach
