// memory_region: a piece of the process's memory that messages carry out-of-line. Owns it.
//
//     auto picture = mach::memory_region::make(16 << 20);
//     draw(picture.bytes());
//     co_await mach::send(screen, mach::message(show, std::move(picture)));    // moved, not copied
//
//     mach::memory_region picture = request.take_memory(0);
//
// Moved memory belongs to one side at a time. Memory that both sides see at once is shared:
//
//     co_await mach::send(peer, mach::message(use, picture.share(), picture.size()));
//
//     auto shared = mach::memory_region::map(request.take_send(0), size);      // the same pages
//
// Memory is moved in whole pages, so a region never shares a page with other memory. A received
// region may begin inside a page: the kernel keeps the sender's page offset of large memory.
//
// Ownership: the region is released by the destructor. A region that is moved into a message
// belongs to the message. What a sender has written is not trusted: it can be of any size, and its
// contents can be anything, but no other task can change them any more. Shared memory is changed by
// any of its holders at any moment, also between two looks: copy what you check.
// Threads: as a std::vector.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "kedge/mach/send_right.h"

namespace kedge::mach {

enum class memory_access : std::uint8_t { read_only, read_write };

class memory_region {
 public:
  // Empty: no memory.
  memory_region() = default;
  // Allocates `size` bytes, all zero, at the beginning of a page. Empty if `size` is 0. Throws
  // std::system_error with KERN_NO_SPACE or another kern_return_t.
  static memory_region make(std::size_t size);
  // The same, with the contents of `bytes`.
  static memory_region copy_of(std::span<const std::byte> bytes);
  // Maps the first `size` bytes of the memory that `entry` stands for, which share() has given; a
  // page that is mapped read_only must not be written to. The region sees what all others write to
  // these pages, and keeps them alive; `entry` is not needed any longer. Empty if `size` is 0.
  // Throws std::system_error: KERN_INVALID_ARGUMENT for memory of fewer pages, or of a copy, whose
  // size is not known; KERN_PROTECTION_FAILURE for more access than the entry gives;
  // KERN_INVALID_ADDRESS for a right that is not a memory entry, and other kern_return_t.
  static memory_region map(const send_right& entry, std::size_t size,
                           memory_access access = memory_access::read_write);
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

  // Makes a memory entry that stands for the region's pages, and gives a send right to it, to be
  // sent to a peer and mapped there, with no more access than this. The pages live as long as a
  // region or a right refers to them. Requires that no other thread writes to the region during the
  // call. Throws std::system_error: KERN_INVALID_ARGUMENT for an empty region, for one that begins
  // inside a page or that the kernel does not have in one piece, as it may have arrived: share a
  // copy() of those.
  send_right share(memory_access access = memory_access::read_write,
                   const place& where = place::current());

  // Changes the size. The bytes that are added are zero, and those that remain stay as they are,
  // but may be at another address. Pages that are added to shared memory are not shared, and if the
  // address has changed, none is. A size of 0 leaves the region empty. Throws std::system_error
  // (KERN_NO_SPACE and others); the region is unchanged then.
  void resize(std::size_t size);

  // Transfers the memory to the caller, to be released by vm_deallocate(). Null if empty.
  void* release() && noexcept {
    size_ = 0;
    return std::exchange(begin_, nullptr);
  }
  // Releases the memory. The object is then empty.
  void clear() noexcept;

 private:
  memory_region(std::byte* begin, std::size_t size) noexcept : begin_(begin), size_(size) {}
  static bool extend(std::uintptr_t end, std::size_t more) noexcept;

  std::byte* begin_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace kedge::mach
