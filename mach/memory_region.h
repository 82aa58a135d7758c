// memory_region: a piece of the process's memory that messages carry out-of-line. Owns it.
//
//     auto picture = mach::memory_region::make(16 << 20);
//     draw(picture.bytes());
//     co_await mach::send(screen, mach::message(show, std::move(picture)));    // moved, not copied
//
//     mach::memory_region picture = request.take_memory(0);
//
// Memory is moved in whole pages, so a region never shares a page with other memory. A received
// region may begin inside a page: the kernel keeps the sender's page offset of large memory.
//
// Ownership: the region is released by the destructor. A region that is moved into a message
// belongs to the message. What a sender has written is not trusted: it can be of any size, and its
// contents can be anything, but no other task can change them any more.
// Threads: as a std::vector.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

namespace kedge::mach {

class memory_region {
 public:
  // Empty: no memory.
  memory_region() = default;
  // Allocates `size` bytes, all zero, at the beginning of a page. Empty if `size` is 0. Throws
  // std::system_error with KERN_NO_SPACE or another kern_return_t.
  static memory_region make(std::size_t size);
  // The same, with the contents of `bytes`.
  static memory_region copy_of(std::span<const std::byte> bytes);
  // Takes over `size` bytes that vm_allocate() or a message has given. A null address gives an
  // empty region.
  static memory_region adopt(void* address, std::size_t size) noexcept {
    return address != nullptr ? memory_region(static_cast<std::byte*>(address), size)
                              : memory_region();
  }

  memory_region(memory_region&& other) noexcept
      : begin_(std::exchange(other.begin_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  memory_region& operator=(memory_region&& other) noexcept {
    if (this != &other) {
      clear();
      begin_ = std::exchange(other.begin_, nullptr);
      size_ = std::exchange(other.size_, 0);
    }
    return *this;
  }
  ~memory_region() { clear(); }

  // False if the object is empty: default-constructed, moved from, released or cleared.
  explicit operator bool() const noexcept { return begin_ != nullptr; }

  std::size_t size() const noexcept { return size_; }
  std::span<std::byte> bytes() noexcept { return {begin_, size_}; }
  std::span<const std::byte> bytes() const noexcept { return {begin_, size_}; }
  std::string_view text() const noexcept { return {reinterpret_cast<const char*>(begin_), size_}; }

  // Makes a copy. The kernel copies pages only when one side writes to them, where it can. Throws
  // std::system_error (kern_return_t).
  memory_region copy() const;

  // Transfers the memory to the caller, to be released by vm_deallocate(). Null if empty.
  void* release() && noexcept {
    size_ = 0;
    return std::exchange(begin_, nullptr);
  }
  // Releases the memory. The object is then empty.
  void clear() noexcept;

 private:
  memory_region(std::byte* begin, std::size_t size) noexcept : begin_(begin), size_(size) {}

  std::byte* begin_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace kedge::mach
