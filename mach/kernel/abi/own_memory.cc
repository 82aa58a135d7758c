// Implements copyio for a caller in this process: out-of-line memory is taken from and given to its
// address space.
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstddef>
#include <utility>

#include "kedge/mach/kernel/abi/address_space.h"
#include "kedge/mach/kernel/core/copyio.h"

namespace kedge::mach::kernel {
namespace {

class memory_of_process final : public copyio {
 public:
  constexpr memory_of_process() noexcept : copyio(true) {}

  // A simulation defines a getpid() of its own, so the system is asked.
  bool in_checked(user_address from, void* to, std::size_t size) noexcept override {
    auto* at = static_cast<std::byte*>(to);
    const auto self = static_cast<pid_t>(syscall(SYS_getpid));
    while (size > 0) {
      const iovec local{at, size};
      const iovec remote{reinterpret_cast<void*>(from), size};
      // Linux copies at most 2 GiB at once.
      const ssize_t done = process_vm_readv(self, &local, 1, &remote, 1, 0);
      if (done <= 0) return false;
      at += done;
      from += static_cast<std::uint64_t>(done);
      size -= static_cast<std::size_t>(done);
    }
    return true;
  }

  kern_return_t take(user_address from, std::uint64_t size, ool_transfer_mode how,
                     carried_memory& taken) noexcept override {
    if (from + size < from) return KERN_INVALID_ADDRESS;
    const std::uint64_t offset = how.keeps_offset ? address_space::offset_in_page(from) : 0;
    if (size >= address_space::shared_from && offset == address_space::offset_in_page(from)) {
      if (how.deallocates) taken.object = address_space::take_away(from, size);
      if (!taken.object && how.keeps_offset) {
        taken.object = address_space::share(from, size);
        if (taken.object && how.deallocates) deallocate(from, size);
      }
      taken.offset = offset;
      taken.size = size;
      if (taken.object) return KERN_SUCCESS;
    }
    std::byte* bytes = nullptr;
    ref<memory_object> copy = address_space::fresh(offset + size, bytes);
    if (!copy) return KERN_RESOURCE_SHORTAGE;
    // The new pages were allocated where nothing was mapped, so a source range that overlaps them
    // was not readable.
    const auto start = reinterpret_cast<std::uintptr_t>(bytes);
    const bool overlaps = from < start + offset + size && start < from + size;
    if (overlaps || !in_checked(from, bytes + offset, size)) return KERN_INVALID_ADDRESS;
    taken = {std::move(copy), offset, size, how.deallocates ? from : 0};
    if (how.deallocates) deallocate(from, size);
    return KERN_SUCCESS;
  }

  kern_return_t give(carried_memory& given, user_address& at) noexcept override {
    const std::uint64_t offset = address_space::offset_in_page(given.offset);
    if (auto* const passing = dynamic_cast<address_space::passing_memory*>(given.object.get())) {
      if (passing->enter(at) != KERN_SUCCESS) return KERN_NO_SPACE;
      if (given.origin != 0) at = address_space::move(at, given.offset + given.size, given.origin);
      at += given.offset;
    } else {
      if (allocate(offset + given.size, at) != KERN_SUCCESS) return KERN_NO_SPACE;
      at += offset;
      given.object->read(given.offset, reinterpret_cast<void*>(at), given.size);
    }
    given = {};
    return KERN_SUCCESS;
  }

  kern_return_t allocate(std::uint64_t size, user_address& at) noexcept override {
    return address_space::allocate(size, at);
  }

  void deallocate(user_address at, std::uint64_t size) noexcept override {
    address_space::deallocate(at, size);
  }

 private:
  bool copy_in(user_address, void*, std::size_t) noexcept override { return false; }
  bool copy_out(const void*, user_address, std::size_t) noexcept override { return false; }
};

constinit memory_of_process memory;

}  // namespace

constinit copyio& memory_of_this_process = memory;

}  // namespace kedge::mach::kernel
