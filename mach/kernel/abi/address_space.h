// The memory of this process that the kernel has allocated. Large pieces are pages of files in
// memory, so that a virtual copy can share them: what was written before the copy is in the file,
// and from the copy on both sides write to pages of their own (MAP_PRIVATE). What is where is asked
// of the system again before anything is mapped over it: a program may unmap, or protect, what the
// kernel gave it without telling anybody. All functions may be called from any thread.
#pragma once

#include <mach/kern_return.h>

#include <cstddef>
#include <cstdint>

#include "kedge/mach/kernel/abi/memory_file.h"
#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/mach/kernel/core/memory_object.h"

namespace kedge::mach::kernel::address_space {

// From this size on memory is allocated in a file, shared when it is copied virtually, and handed
// over when its sender deallocates it.
inline constexpr std::uint64_t shared_from = 1u << 20;

std::uint64_t page_size() noexcept;
inline std::uint64_t offset_in_page(user_address at) noexcept {
  return at & (page_size() - 1);
}
inline std::uint64_t round_to_pages(std::uint64_t size) noexcept {
  return (size + page_size() - 1) & ~(page_size() - 1);
}

// Memory on its way through this process.
class passing_memory : public memory_object {
 public:
  // Puts the whole of it into the address space, as the caller's from then on; once at most.
  // KERN_NO_SPACE.
  virtual kern_return_t enter(user_address& at) noexcept = 0;
};

// Fresh pages, full of zeros. KERN_NO_SPACE.
kern_return_t allocate(std::uint64_t size, user_address& at) noexcept;
// The same at an address, which begins a page. KERN_NO_SPACE (some page there is in use, and is not
// to be replaced), KERN_INVALID_ADDRESS.
kern_return_t allocate_at(user_address at, std::uint64_t size, bool replaces) noexcept;
// Releases the pages that the range lies in.
void deallocate(user_address at, std::uint64_t size) noexcept;

// Moves the anonymous pages from `from` on to the page of `wanted` on, if nothing stands there:
// where they stand then.
user_address move(user_address from, std::uint64_t size, user_address wanted) noexcept;

// Pages that belong to the object alone, to be filled by whoever makes it. Null: no memory.
ref<memory_object> fresh(std::uint64_t size, std::byte*& bytes) noexcept;
// The pages that the range lies in as they are now, without a copy of those that the kernel has
// allocated and that nobody has written to since they were shared. Null: they must be copied.
ref<memory_object> share(user_address from, std::uint64_t size) noexcept;
// Those pages themselves, which are no longer where they were. Null, and nothing has happened: they
// are not the kernel's.
ref<memory_object> take_away(user_address from, std::uint64_t size) noexcept;

// Where memory is to be mapped.
struct place {
  bool anywhere = true;
  bool replaces = false;
  user_address at = 0;          // begins a page; if not anywhere
  std::uint64_t alignment = 0;  // a mask of bits that are 0 in the address
};
// KERN_NO_SPACE, KERN_INVALID_ADDRESS, as allocate_at's.
kern_return_t find_room(const place& where, std::uint64_t size, user_address& at) noexcept;

// From here on the pages of the range can be mapped elsewhere, too, and what is written in one
// place is seen in all. Memory that the kernel did not allocate is put into a file for it; what
// another thread writes to it meanwhile may be lost. KERN_INVALID_ADDRESS (some of it is nobody's,
// or is of a file of the program's, or of another one of these), KERN_RESOURCE_SHORTAGE.
kern_return_t make_common(user_address start, std::uint64_t size, ref<memory_file>& file,
                          std::uint64_t& offset) noexcept;
// Maps pages of a file that others have mapped, or will.
kern_return_t map_common(const ref<memory_file>& file, std::uint64_t offset, std::uint64_t size,
                         const place& where, int protection, user_address& at) noexcept;

}  // namespace kedge::mach::kernel::address_space
