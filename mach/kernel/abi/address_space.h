// address_space: the memory of this process that the Mach kernel has allocated.
//
// Large allocations are pages of files in memory, so that a virtual copy can share them: the file
// has what was written before the copy, and after the copy each side writes to pages of its own
// (MAP_PRIVATE). A program may unmap or protect its memory without a call to this kernel. So before
// mapping anything over a range, these functions ask Linux what is mapped there now.
//
// Threads: all functions may be called from any thread.
#pragma once

#include <mach/kern_return.h>

#include <cstddef>
#include <cstdint>

#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/mach/kernel/core/memory_object.h"

namespace kedge::mach::kernel::address_space {

// Memory of at least this many bytes is allocated in a file, shared by virtual copies, and moved to
// the receiver if its sender deallocates it.
inline constexpr std::uint64_t shared_from = 1u << 20;

std::uint64_t page_size() noexcept;
inline std::uint64_t offset_in_page(user_address at) noexcept {
  return at & (page_size() - 1);
}
inline std::uint64_t round_to_pages(std::uint64_t size) noexcept {
  return (size + page_size() - 1) & ~(page_size() - 1);
}

// The pages that a range touches.
struct page_range {
  page_range(user_address at, std::uint64_t size) noexcept
      : start(at - offset_in_page(at)), end(round_to_pages(at + size)) {}
  user_address start;
  user_address end;
};

// Memory in a message, in this process.
class passing_memory : public memory_object {
 public:
  // Maps all of the memory into the address space. The caller then owns the pages. Called at most
  // once. KERN_NO_SPACE.
  virtual kern_return_t enter(user_address& at) noexcept = 0;
};

// Allocates zero-filled pages, at `hint` if nothing is mapped there. KERN_NO_SPACE.
kern_return_t allocate(std::uint64_t size, user_address& at, user_address hint = 0) noexcept;
// The same, behind the pages that the last call has allocated, if nothing is mapped there.
kern_return_t allocate_next(std::uint64_t size, user_address& at) noexcept;
// Allocates zero-filled pages at `at`, the start of a page. KERN_NO_SPACE: a page there is in use,
// and `replaces` is false or the page is permanent. KERN_INVALID_ADDRESS: the range is not in the
// address space.
kern_return_t allocate_at(user_address at, std::uint64_t size, bool replaces) noexcept;
// Releases every page that the range touches. Permanent pages lose all access instead.
void deallocate(user_address at, std::uint64_t size) noexcept;

// Makes the pages permanent (VM_FLAGS_PERMANENT), for calls of this kernel: the program's own
// munmap() still removes them. KERN_RESOURCE_SHORTAGE.
kern_return_t make_permanent(user_address at, std::uint64_t size) noexcept;
// Returns true if some page of the range is permanent and was deallocated.
bool is_closed(user_address start, user_address end) noexcept;

// Moves the anonymous pages at `from` to the page of `wanted`, unless a page there is in use.
// Returns the address of the pages afterwards.
user_address move(user_address from, std::uint64_t size, user_address wanted) noexcept;

// Makes an object with pages of its own, and sets `bytes` to them for the caller to fill. Returns
// null if there is no memory.
ref<memory_object> fresh(std::uint64_t size, std::byte*& bytes) noexcept;
// Makes an object with the present contents of every page that the range touches. Copies only pages
// that were written to since they were last shared. Returns null if the caller must copy the range:
// not all of it is memory of this kernel, or Linux has refused.
ref<memory_object> share(user_address from, std::uint64_t size) noexcept;
// Makes an object of the pages that the range touches, and removes them from the address space.
// Returns null, without an effect, if not all of them are memory of this kernel.
ref<memory_object> take_away(user_address from, std::uint64_t size) noexcept;

// Where to map memory.
struct place {
  bool anywhere = true;
  bool replaces = false;
  user_address at = 0;          // the start of a page. If `anywhere`: from there on, 0 for all
  std::uint64_t alignment = 0;  // mask of the bits that must be 0 in the address
};
// Maps zero-filled pages at `where`. KERN_NO_SPACE and KERN_INVALID_ADDRESS as of allocate_at; also
// KERN_NO_SPACE if the address is not aligned (Darwin: vm_map_locate_space_fixed).
kern_return_t find_room(const place& where, std::uint64_t size, user_address& at) noexcept;

}  // namespace kedge::mach::kernel::address_space
