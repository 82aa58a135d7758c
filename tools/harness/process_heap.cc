// Implements process_heap: blocks by size, each behind a header, cut one behind the other.
#include "kedge/tools/harness/process_heap.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <new>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "kedge/runtime/base/process_state.h"
#include "kedge/tools/harness/sanitizers.h"

namespace kedge::harness {
namespace {

const base::process_state outside_of_process([] { return base::outside_heap::address_of_depth(); },
                                             sizeof(unsigned));

constinit process_heap* heaps[process_heap::most]{};
[[maybe_unused]] constinit bool is_mapped[process_heap::most]{};

}  // namespace

#if defined(__APPLE__) || defined(KEDGE_HARNESS_ASAN) || defined(KEDGE_HARNESS_TSAN)
constinit const bool process_heap::is_supported = false;
#else
constinit const bool process_heap::is_supported = true;
#endif

constinit thread_local process_heap* process_heap::current_ = nullptr;

struct process_heap::header {
  std::uint32_t index;   // of its class
  std::uint32_t offset;  // of the block from where its class's memory begins
};

process_heap* process_heap::set_current(process_heap* next) noexcept {
  return std::exchange(current_, next);
}

std::size_t process_heap::class_of(std::size_t bytes) noexcept {
  const std::size_t needed = std::max<std::size_t>(bytes, 1);
  if (needed <= small_classes * granule) return (needed - 1) / granule;
  return small_classes + static_cast<std::size_t>(std::bit_width(needed - 1)) - 11;
}

std::size_t process_heap::bytes_of(std::size_t index) noexcept {
  if (index < small_classes) return (index + 1) * granule;
  return std::size_t{1} << (index - small_classes + 11);
}

process_heap* process_heap::find(const void* block) noexcept {
  return heaps[(reinterpret_cast<std::uintptr_t>(block) - base) / size];
}

process_heap::process_heap(std::size_t number)
    : begin_(reinterpret_cast<std::byte*>(base + number * size)) {
  if (number >= most) throw std::invalid_argument("kedge::harness: too many processes with a heap");
#if defined(MAP_FIXED_NOREPLACE)
  if (!is_mapped[number]) {
    void* const at = ::mmap(begin_, size, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANON | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (at != begin_) {
      const int error = at == MAP_FAILED ? errno : EEXIST;
      if (at != MAP_FAILED) ::munmap(at, size);
      throw std::system_error(error, std::system_category(), "kedge::harness: a process's heap");
    }
    is_mapped[number] = true;
  }
#endif
  heaps[number] = this;
}

// The addresses stay taken, for the next heap of this number.
process_heap::~process_heap() {
  heaps[(reinterpret_cast<std::uintptr_t>(begin_) - base) / size] = nullptr;
  constexpr std::size_t cleared = std::size_t{256} << 10;
  std::memset(begin_, 0, std::min(used_, cleared));
  if (used_ > cleared) ::madvise(begin_ + cleared, used_ - cleared, MADV_DONTNEED);
}

void* process_heap::allocate(std::size_t bytes, std::size_t alignment) noexcept {
  constexpr std::size_t largest = size / 4;
  if (bytes > largest || alignment > largest) return nullptr;
  const std::size_t slack = alignment > granule ? alignment : 0;
  const std::size_t index = class_of(bytes + slack);
  std::byte* start = nullptr;
  if (free_block* const reused = free_[index]) {
    free_[index] = reused->next;
    start = reinterpret_cast<std::byte*>(reused);
  } else {
    const std::size_t whole = granule + bytes_of(index);
    if (whole > size - used_) return nullptr;
    start = begin_ + used_ + granule;
    used_ += whole;
  }
  const auto address = reinterpret_cast<std::uintptr_t>(start);
  const std::size_t offset = slack == 0 ? 0 : (alignment - address % alignment) % alignment;
  std::byte* const block = start + offset;
  new (block - sizeof(header))
      header{static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(offset)};
  return block;
}

void process_heap::release(void* block) noexcept {
  process_heap* const of = find(block);
  if (of == nullptr) return;
  auto* const at = static_cast<std::byte*>(block);
  const header h = *std::launder(reinterpret_cast<header*>(at - sizeof(header)));
  of->free_[h.index] = new (at - h.offset) free_block{of->free_[h.index]};
}

std::size_t process_heap::room_of(const void* block) noexcept {
  const auto* const at = static_cast<const std::byte*>(block);
  const header h = *std::launder(reinterpret_cast<const header*>(at - sizeof(header)));
  return bytes_of(h.index) - h.offset;
}

}  // namespace kedge::harness
