// message_buffer<Head, usual>: the memory of one message, and of a Head that describes it. It comes
// from the frame recycler, so in the steady state a small message costs no call to malloc. The size
// `usual` is the cheapest one.
//
// The Head is kept with the bytes, so that an object that owns a message is one pointer, and costs
// little to move: a message is moved several times on its way.
#pragma once

#include <mach/mach.h>

#include <cstddef>
#include <new>
#include <utility>

#include "kedge/runtime/awaiting/frame_recycler.h"

namespace kedge::mach {

template <class Head, std::size_t usual>
class message_buffer {
 public:
  // Empty: no memory.
  message_buffer() = default;
  // Allocates `size` bytes, uninitialised. Throws std::bad_alloc.
  explicit message_buffer(std::size_t size) : bytes_(allocate(size) + front_size) {
    ::new (static_cast<void*>(bytes_ - front_size)) front{size, {}};
  }
  message_buffer(message_buffer&& other) noexcept : bytes_(std::exchange(other.bytes_, nullptr)) {}
  message_buffer& operator=(message_buffer&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~message_buffer() {
    if (bytes_ != nullptr) release(bytes_ - front_size, size());
  }

  // Null if empty.
  std::byte* data() const noexcept { return bytes_; }
  // Those below require that there is memory.
  std::size_t size() const noexcept { return whole().size; }
  Head& head() const noexcept { return whole().head; }
  // The header of the message. Requires at least sizeof(mach_msg_header_t) bytes.
  mach_msg_header_t& header() const noexcept {
    return *reinterpret_cast<mach_msg_header_t*>(bytes_);
  }

 private:
  struct alignas(std::max_align_t) front {
    std::size_t size;
    Head head;
  };
  static constexpr std::size_t front_size = sizeof(front);

  // With `usual` the recycler's list is known when this is compiled.
  static std::byte* allocate(std::size_t size) {
    return static_cast<std::byte*>(size == usual ? frame_recycler::allocate(front_size + usual)
                                                 : frame_recycler::allocate(front_size + size));
  }
  static void release(std::byte* block, std::size_t size) noexcept {
    size == usual ? frame_recycler::release(block, front_size + usual)
                  : frame_recycler::release(block, front_size + size);
  }
  front& whole() const noexcept {
    return *std::launder(reinterpret_cast<front*>(bytes_ - front_size));
  }

  std::byte* bytes_ = nullptr;
};

}  // namespace kedge::mach
