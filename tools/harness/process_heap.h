// process_heap: the memory that a process allocates, at addresses that are the same in every run,
// with and without the system's randomisation of addresses.
//
// malloc() and its like take from the current heap. What a heap has given is dropped with it: no
// destructor runs. A later heap of the same number has zeros there.
//
// Threads: one at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kedge/runtime/base/outside_heap.h"

namespace kedge::harness {

class process_heap {
 public:
  // Whether malloc() takes from heaps here. It does not with a sanitizer, nor on Darwin.
  static const bool is_supported;

  static constexpr std::size_t most = 256;                   // heaps
  static constexpr std::size_t size = std::size_t{1} << 30;  // of each, in bytes

  // Throws std::system_error if the addresses of this number are in use, std::invalid_argument if
  // the number is not below `most`.
  explicit process_heap(std::size_t number);
  process_heap(const process_heap&) = delete;
  process_heap& operator=(const process_heap&) = delete;
  ~process_heap();

  // Returns null if the heap is full. `alignment` is a power of two.
  void* allocate(std::size_t bytes, std::size_t alignment = alignof(std::max_align_t)) noexcept;
  // Of any heap. No effect if the heap is gone.
  static void release(void* block) noexcept;
  static std::size_t room_of(const void* block) noexcept;
  static bool holds(const void* address) noexcept {
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    return at - base < most * size;
  }

  // The heap that the calling thread allocates from; null: the program's.
  static process_heap* current() noexcept {
    return current_ != nullptr && !base::outside_heap::is_set() ? current_ : nullptr;
  }
  // Returns the one before.
  static process_heap* set_current(process_heap* next) noexcept;

 private:
  struct header;
  struct free_block {
    free_block* next;
  };
  static constexpr std::uintptr_t base = 0x1000'0000'0000;
  static constexpr std::size_t granule = 16;
  static constexpr std::size_t small_classes = 64;            // up to 1 KiB, in steps of 16 bytes
  static constexpr std::size_t classes = small_classes + 20;  // and powers of two

  static std::size_t class_of(std::size_t bytes) noexcept;
  static std::size_t bytes_of(std::size_t index) noexcept;
  static process_heap* find(const void* block) noexcept;

  [[gnu::tls_model("initial-exec")]] static constinit thread_local process_heap* current_;

  std::byte* const begin_;
  std::size_t used_ = 0;
  std::array<free_block*, classes> free_{};
};

}  // namespace kedge::harness
