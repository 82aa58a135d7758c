// Memory that was not allocated by Mach, and is shared later: the heap, a stack, variables, files;
// and what becomes of its protection.
#include <doctest/doctest.h>

#include <mach/mach_vm.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "kedge/mach/kernel/extension.h"
#include "test_message.h"

using namespace test;

namespace {

const mach_port_t self = mach_task_self();
const mach_vm_size_t page = vm_page_size;

mach_vm_address_t address(const volatile void* of) {
  return reinterpret_cast<mach_vm_address_t>(of);
}

volatile unsigned char& byte(mach_vm_address_t at) {
  return *reinterpret_cast<volatile unsigned char*>(at);
}

mach_vm_address_t new_memory(mach_vm_size_t size, int flags = VM_FLAGS_ANYWHERE) {
  mach_vm_address_t at = 0;
  REQUIRE(mach_vm_allocate(self, &at, size, flags) == KERN_SUCCESS);
  return at;
}

bool can_be_read(mach_vm_address_t at) {
  unsigned char out = 0;
  mach_vm_size_t done = 0;
  return mach_vm_read_overwrite(self, at, 1, address(&out), &done) == KERN_SUCCESS;
}

vm_prot_t protection_of(mach_vm_address_t at) {
  mach_vm_size_t size = 0;
  vm_region_basic_info_data_64_t info{};
  mach_msg_type_number_t count = VM_REGION_BASIC_INFO_COUNT_64;
  mach_port_t object = MACH_PORT_NULL;
  REQUIRE(mach_vm_region(self, &at, &size, VM_REGION_BASIC_INFO_64,
                         reinterpret_cast<vm_region_info_t>(&info), &count,
                         &object) == KERN_SUCCESS);
  return info.protection;
}

kern_return_t remap(mach_vm_address_t& at, mach_vm_address_t from, mach_vm_size_t size, bool copy,
                    vm_prot_t& now) {
  vm_prot_t most = 0;
  at = 0;
  return mach_vm_remap(self, &at, size, 0, VM_FLAGS_ANYWHERE, self, from, copy, &now, &most,
                       VM_INHERIT_DEFAULT);
}

// Maps the memory of an entry of the range once more. Returns the address of the range's first
// byte there.
mach_vm_address_t map_entry_of(mach_vm_address_t at, mach_vm_size_t size, vm_prot_t flags = 0) {
  memory_object_size_t length = size;
  mach_port_t entry = MACH_PORT_NULL;
  REQUIRE(mach_make_memory_entry_64(self, &length, at, VM_PROT_DEFAULT | flags, &entry,
                                    MACH_PORT_NULL) == KERN_SUCCESS);
  mach_vm_address_t other = 0;
  REQUIRE(mach_vm_map(self, &other, length, 0, VM_FLAGS_ANYWHERE, entry, 0, 0, VM_PROT_DEFAULT,
                      VM_PROT_DEFAULT, VM_INHERIT_DEFAULT) == KERN_SUCCESS);
  CHECK(mach_port_deallocate(self, entry) == KERN_SUCCESS);
  return other + (at & (page - 1));
}

// Deallocates all pages that the range touches.
void release(mach_vm_address_t at, mach_vm_size_t size) {
  CHECK(mach_vm_deallocate(self, at, size) == KERN_SUCCESS);
}

void check_shared(mach_vm_address_t one, mach_vm_address_t other) {
  byte(one) = 7;
  CHECK(byte(other) == 7);
  byte(other) = 8;
  CHECK(byte(one) == 8);
}

int initialised[4] = {1, 2, 3, 4};
unsigned char zeroed[16];

}  // namespace

TEST_CASE("an entry of memory of the heap, or its inheritance, leaves the heap whole") {
  for (const int how : {0, 1, 2}) {
    for (const std::size_t size : {std::size_t{100}, std::size_t{5000}, std::size_t{60000}}) {
      CAPTURE(how);
      CAPTURE(size);
      auto* const memory = static_cast<unsigned char*>(std::malloc(size));
      REQUIRE(memory);
      for (std::size_t each = 0; each < size; ++each) {
        memory[each] = static_cast<unsigned char>(each);
      }
      if (how == 2) {
        CHECK(mach_vm_inherit(self, address(memory), size, VM_INHERIT_SHARE) == KERN_SUCCESS);
      } else {
        const mach_vm_address_t other =
            map_entry_of(address(memory), size, how == 1 ? MAP_MEM_VM_SHARE : 0);
        CHECK(byte(other + 99) == 99);
        check_shared(address(memory), other);
        memory[0] = 0;
        // Else an entry of pages of this one and of others could not be made (MAP_MEM_VM_SHARE).
        release(other, size);
      }
      std::vector<void*> blocks;
      for (std::size_t each = 1; each < 300; ++each) {
        blocks.push_back(std::malloc(each * 97));
        std::memset(blocks.back(), 0xee, each * 97);
      }
      for (void* const each : blocks) std::free(each);
      std::size_t same = 0;
      for (std::size_t each = 0; each < size; ++each) {
        same += memory[each] == static_cast<unsigned char>(each);
      }
      CHECK(same == size);
      if (how == 2) {
        CHECK(mach_vm_inherit(self, address(memory), size, VM_INHERIT_COPY) == KERN_SUCCESS);
      }
      std::free(memory);
    }
  }
}

TEST_CASE("an entry of an array on the stack leaves the frames below and above whole") {
  for (const bool whole : {false, true}) {
    std::size_t before = 1;
    unsigned char memory[5000];
    std::size_t after = 2;
    for (std::size_t each = 0; each < sizeof memory; ++each) {
      memory[each] = static_cast<unsigned char>(each);
    }
    const mach_vm_address_t other =
        map_entry_of(address(memory), sizeof memory, whole ? MAP_MEM_VM_SHARE : 0);
    CHECK(byte(other + 4999) == static_cast<unsigned char>(4999));
    check_shared(address(memory), other);
    before += after;
    CHECK(before == 3);
    release(other, sizeof memory);
  }
}

TEST_CASE("variables of the program and private mappings of files can be shared") {
  // While the other mappings exist, a fork's child would share the pages of these variables.
  const mach_vm_address_t of_initialised = map_entry_of(address(&initialised[1]), 1);
  check_shared(address(&initialised[1]), of_initialised);
  CHECK(initialised[0] == 1);
  CHECK(initialised[2] == 3);
  release(of_initialised, 1);
  const mach_vm_address_t of_zeroed = map_entry_of(address(&zeroed[3]), 1);
  check_shared(address(&zeroed[3]), of_zeroed);
  CHECK(zeroed[2] == 0);
  release(of_zeroed, 1);

  std::FILE* const file = std::tmpfile();
  REQUIRE(file);
  const std::vector<char> text(2 * page, 'x');
  REQUIRE(std::fwrite(text.data(), 1, text.size(), file) == text.size());
  REQUIRE(std::fflush(file) == 0);
  void* const mapped =
      mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fileno(file), 0);
  REQUIRE(mapped != MAP_FAILED);
  const mach_vm_address_t at = address(mapped);
  byte(at + 1) = 'y';
  const mach_vm_address_t other = map_entry_of(at, 2 * page);
  CHECK(byte(other) == 'x');
  CHECK(byte(other + 1) == 'y');
  check_shared(at + page, other + page);
  mach_vm_address_t again = 0;
  vm_prot_t now = 0;
  CHECK(remap(again, at, 2 * page, false, now) == KERN_SUCCESS);
  check_shared(at, again);
  CHECK(pread(fileno(file), mapped, 1, 0) == 1);
  CHECK(byte(again) == 'x');
  munmap(mapped, 2 * page);
  std::fclose(file);
}

TEST_CASE("a shared mapping of the program, of which the file is not known, is not supported") {
  if (!kedge::mach::kernel::has_many_tasks()) return;  // Darwin shares it
  void* const mapped =
      mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(mapped != MAP_FAILED);
  for (const vm_prot_t flag : {0, MAP_MEM_VM_SHARE}) {
    memory_object_size_t size = page;
    mach_port_t entry = MACH_PORT_NULL;
    CHECK(mach_make_memory_entry_64(self, &size, address(mapped), VM_PROT_DEFAULT | flag, &entry,
                                    MACH_PORT_NULL) == KERN_NOT_SUPPORTED);
  }
  mach_vm_address_t again = 0;
  vm_prot_t now = 0;
  CHECK(remap(again, address(mapped), page, false, now) == KERN_NOT_SUPPORTED);
  CHECK(remap(again, address(mapped), page, true, now) == KERN_SUCCESS);
  CHECK(mach_vm_deallocate(self, again, page) == KERN_SUCCESS);
  munmap(mapped, page);
}

TEST_CASE("what was permanent or closed ends when the program unmaps it itself") {
  for (const mach_vm_size_t size : {page, mach_vm_size_t{2} << 20}) {
    for (const int how : {0, 1, 2, 3}) {
      CAPTURE(size);
      CAPTURE(how);
      mach_vm_address_t memory = new_memory(size, VM_FLAGS_ANYWHERE | VM_FLAGS_PERMANENT);
      REQUIRE(mach_vm_deallocate(self, memory, size) == KERN_SUCCESS);
      REQUIRE(munmap(reinterpret_cast<void*>(memory), size) == 0);
      if (how < 2) {
        const int replaces = how == 1 ? VM_FLAGS_OVERWRITE : 0;
        REQUIRE(mach_vm_allocate(self, &memory, size, VM_FLAGS_FIXED | replaces) == KERN_SUCCESS);
      } else {
        mach_vm_address_t source = new_memory(size);
        vm_prot_t now = 0, most = 0;
        REQUIRE(mach_vm_remap(self, &memory, size, 0, VM_FLAGS_FIXED, self, source, how == 3, &now,
                              &most, VM_INHERIT_DEFAULT) == KERN_SUCCESS);
        CHECK(mach_vm_deallocate(self, source, size) == KERN_SUCCESS);
      }
      CHECK(mach_vm_protect(self, memory, size, 0, VM_PROT_READ) == KERN_SUCCESS);
      CHECK(mach_vm_protect(self, memory, size, 0, VM_PROT_DEFAULT) == KERN_SUCCESS);
      CHECK(mach_vm_deallocate(self, memory, size) == KERN_SUCCESS);
      CHECK(mach_vm_allocate(self, &memory, size, VM_FLAGS_FIXED) == KERN_SUCCESS);
      CHECK(mach_vm_deallocate(self, memory, size) == KERN_SUCCESS);
    }
  }
}

TEST_CASE("mach_vm_remap keeps the protection of each page, and reports what all permit") {
  for (const bool copy : {false, true}) {
    for (const mach_vm_size_t size : {3 * page, mach_vm_size_t{2} << 20}) {
      CAPTURE(copy);
      CAPTURE(size);
      const mach_vm_address_t memory = new_memory(size);
      byte(memory + page) = 5;
      byte(memory + 2 * page) = 6;
      REQUIRE(mach_vm_protect(self, memory + page, page, 0, VM_PROT_READ) == KERN_SUCCESS);
      mach_vm_address_t other = 0;
      vm_prot_t now = VM_PROT_NONE;
      REQUIRE(remap(other, memory, size, copy, now) == KERN_SUCCESS);
      CHECK(now == VM_PROT_READ);
      CHECK(protection_of(other) == VM_PROT_DEFAULT);
      CHECK(protection_of(other + page) == VM_PROT_READ);
      CHECK(protection_of(memory + page) == VM_PROT_READ);
      CHECK(byte(other + page) == 5);
      CHECK(mach_vm_deallocate(self, other, size) == KERN_SUCCESS);
      // Pages without access can be mapped too, and have what was written to them.
      REQUIRE(mach_vm_protect(self, memory + 2 * page, page, 0, VM_PROT_NONE) == KERN_SUCCESS);
      REQUIRE(remap(other, memory + page, 2 * page, copy, now) == KERN_SUCCESS);
      CHECK(now == VM_PROT_NONE);
      CHECK(!can_be_read(other + page));
      CHECK(!can_be_read(memory + 2 * page));
      REQUIRE(mach_vm_protect(self, other + page, page, 0, VM_PROT_READ) == KERN_SUCCESS);
      CHECK(byte(other + page) == 6);
      CHECK(mach_vm_deallocate(self, other, 2 * page) == KERN_SUCCESS);
      CHECK(mach_vm_deallocate(self, memory, size) == KERN_SUCCESS);
      CHECK(remap(other, memory, page, copy, now) == KERN_INVALID_ADDRESS);
    }
  }
}
