// Out-of-line memory of this process.
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstring>
#include <new>
#include <utility>

#include "kedge/mach/kernel/core/copyio.h"

namespace kedge::mach::kernel {
namespace {

std::uint64_t page_size() noexcept {
  static const auto size = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  return size;
}

std::uint64_t offset_in_page(user_address at) noexcept {
  return at & (page_size() - 1);
}

std::uint64_t round_to_pages(std::uint64_t size) noexcept {
  return (size + page_size() - 1) & ~(page_size() - 1);
}

// Pages of this process that nobody else has.
class pages final : public memory_object {
 public:
  // Null: there is no memory for them.
  static pages* make(std::uint64_t size) noexcept {
    void* const at =
        mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return nullptr;
    pages* const made = new (std::nothrow) pages(at, size);
    if (!made) munmap(at, size);
    return made;
  }

  std::byte* bytes() const noexcept { return static_cast<std::byte*>(at_); }
  void read(std::uint64_t offset, void* to, std::size_t size) const noexcept override {
    std::memcpy(to, bytes() + offset, size);
  }
  bool overlaps(user_address from, std::uint64_t size) const noexcept {
    const auto start = reinterpret_cast<std::uintptr_t>(at_);
    return from < start + size_ && start < from + size;
  }
  // They are the caller's from here on.
  std::byte* detach() noexcept { return static_cast<std::byte*>(std::exchange(at_, nullptr)); }

 private:
  pages(void* at, std::uint64_t size) noexcept : at_(at), size_(size) {}
  ~pages() override {
    if (at_) munmap(at_, size_);
  }

  void* at_;
  const std::uint64_t size_;
};

// Caller and kernel in one process.
class memory_of_process final : public copyio {
 public:
  constexpr memory_of_process() noexcept : copyio(true) {}

  bool in_checked(user_address from, void* to, std::size_t size) noexcept override {
    const iovec local{to, size};
    const iovec remote{reinterpret_cast<void*>(from), size};
    return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == static_cast<ssize_t>(size);
  }

  kern_return_t take(user_address from, std::uint64_t size, taking how,
                     carried_memory& taken) noexcept override {
    const std::uint64_t offset = how.keeps_offset ? offset_in_page(from) : 0;
    pages* const copy = pages::make(round_to_pages(offset + size));
    if (!copy) return KERN_RESOURCE_SHORTAGE;
    taken = {ref<memory_object>::adopt(copy), offset, size};
    // Where the new pages have found room, nothing was.
    if (copy->overlaps(from, size) || !in_checked(from, copy->bytes() + offset, size)) {
      taken = {};
      return KERN_INVALID_ADDRESS;
    }
    if (how.deallocates) deallocate(from, size);
    return KERN_SUCCESS;
  }

  kern_return_t give(carried_memory& given, user_address& at) noexcept override {
    if (pages* const own = dynamic_cast<pages*>(given.object.get())) {
      at = reinterpret_cast<std::uintptr_t>(own->detach()) + given.offset;
      given = {};
      return KERN_SUCCESS;
    }
    const std::uint64_t offset = offset_in_page(given.offset);
    if (allocate(offset + given.size, at) != KERN_SUCCESS) return KERN_NO_SPACE;
    at += offset;
    given.object->read(given.offset, reinterpret_cast<void*>(at), given.size);
    given = {};
    return KERN_SUCCESS;
  }

  kern_return_t allocate(std::uint64_t size, user_address& at) noexcept override {
    void* const made =
        mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED) return KERN_NO_SPACE;
    at = reinterpret_cast<std::uintptr_t>(made);
    return KERN_SUCCESS;
  }

  void deallocate(user_address at, std::uint64_t size) noexcept override {
    const std::uint64_t offset = offset_in_page(at);
    munmap(reinterpret_cast<void*>(at - offset), round_to_pages(offset + size));
  }

 private:
  bool copy_in(user_address, void*, std::size_t) noexcept override { return false; }
  bool copy_out(const void*, user_address, std::size_t) noexcept override { return false; }
};

constinit memory_of_process memory;

}  // namespace

copyio& own_memory() noexcept {
  return memory;
}

}  // namespace kedge::mach::kernel
