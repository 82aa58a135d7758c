// Ranges that are mapped again over themselves, or that are pages of several files in memory
// (vm_map_remap, mach_make_memory_entry_share).
#include <doctest/doctest.h>

#include <mach/mach_vm.h>

#include "test_message.h"

using namespace test;

namespace {

const mach_port_t self = mach_task_self();

volatile unsigned char& byte(mach_vm_address_t at) {
  return *reinterpret_cast<volatile unsigned char*>(at);
}

mach_vm_address_t new_pages(mach_vm_size_t count) {
  mach_vm_address_t at = 0;
  REQUIRE(mach_vm_allocate(self, &at, count * vm_page_size, VM_FLAGS_ANYWHERE) == KERN_SUCCESS);
  return at;
}

// Pages that begin with 1, 2, 3 and so on.
mach_vm_address_t new_numbered(mach_vm_size_t count) {
  const mach_vm_address_t at = new_pages(count);
  for (mach_vm_size_t each = 0; each < count; ++each) {
    byte(at + each * vm_page_size) = static_cast<unsigned char>(each + 1);
  }
  return at;
}

int number_at(mach_vm_address_t at, mach_vm_size_t page) {
  return byte(at + page * vm_page_size);
}

kern_return_t remap(mach_vm_address_t& at, mach_vm_address_t from, mach_vm_size_t pages, bool copy,
                    int flags) {
  vm_prot_t now = 0, most = 0;
  return mach_vm_remap(self, &at, pages * vm_page_size, 0, flags, self, from, copy, &now, &most,
                       VM_INHERIT_DEFAULT);
}

// Maps a new page at the address, and its entry once more. Returns the other mapping.
mach_vm_address_t map_entry_at(mach_vm_address_t at) {
  memory_object_size_t size = vm_page_size;
  mach_port_t entry = MACH_PORT_NULL;
  REQUIRE(mach_make_memory_entry_64(self, &size, 0, MAP_MEM_NAMED_CREATE | VM_PROT_DEFAULT, &entry,
                                    MACH_PORT_NULL) == KERN_SUCCESS);
  mach_vm_address_t other = 0;
  for (const bool first : {true, false}) {
    mach_vm_address_t& mapped = first ? at : other;
    REQUIRE(mach_vm_map(self, &mapped, size, 0,
                        first ? VM_FLAGS_FIXED | VM_FLAGS_OVERWRITE : VM_FLAGS_ANYWHERE, entry, 0,
                        0, VM_PROT_DEFAULT, VM_PROT_DEFAULT, VM_INHERIT_DEFAULT) == KERN_SUCCESS);
  }
  CHECK(mach_port_deallocate(self, entry) == KERN_SUCCESS);
  return other;
}

constexpr int over = VM_FLAGS_FIXED | VM_FLAGS_OVERWRITE;

}  // namespace

TEST_CASE("mach_vm_remap over its own source keeps the bytes, as a copy and shared") {
  for (const bool copy : {true, false}) {
    for (const mach_vm_size_t size : {vm_size_t{4}, (vm_size_t{2} << 20) / vm_page_size}) {
      CAPTURE(copy);
      CAPTURE(size);
      const mach_vm_address_t memory = new_numbered(size);
      mach_vm_address_t at = memory;
      REQUIRE(remap(at, memory, size, copy, over) == KERN_SUCCESS);
      CHECK(at == memory);
      for (const mach_vm_size_t page : {vm_size_t{0}, vm_size_t{1}, vm_size_t{3}}) {
        CHECK(number_at(memory, page) == static_cast<int>(page + 1));
      }
      byte(memory) = 9;
      CHECK(byte(memory) == 9);
      CHECK(mach_vm_deallocate(self, memory, size * vm_page_size) == KERN_SUCCESS);
    }
  }
}

TEST_CASE("mach_vm_remap over a part of its source maps what was there before") {
  for (const bool copy : {true, false}) {
    CAPTURE(copy);
    const mach_vm_address_t memory = new_numbered(6);
    mach_vm_address_t up = memory + vm_page_size;
    REQUIRE(remap(up, memory, 4, copy, over) == KERN_SUCCESS);
    CHECK(number_at(memory, 0) == 1);
    for (const mach_vm_size_t page : {1u, 2u, 3u, 4u}) {
      CHECK(number_at(memory, page) == static_cast<int>(page));
    }
    CHECK(number_at(memory, 5) == 6);
    // Page 0 and page 1 are one page if they are shared.
    byte(memory) = 50;
    CHECK(number_at(memory, 1) == (copy ? 1 : 50));
    mach_vm_address_t down = memory;
    REQUIRE(remap(down, memory + 3 * vm_page_size, 3, copy, over) == KERN_SUCCESS);
    CHECK(number_at(memory, 0) == 3);
    CHECK(number_at(memory, 1) == 4);
    CHECK(number_at(memory, 2) == 6);
    CHECK(mach_vm_deallocate(self, memory, 6 * vm_page_size) == KERN_SUCCESS);
  }
}

TEST_CASE("mach_vm_remap shares a range of two entries' pages, and of pages of neither") {
  const mach_vm_address_t memory = new_numbered(5);
  const mach_vm_address_t first = map_entry_at(memory + vm_page_size);
  const mach_vm_address_t second = map_entry_at(memory + 2 * vm_page_size);
  mach_vm_address_t again = 0;
  REQUIRE(remap(again, memory, 5, false, VM_FLAGS_ANYWHERE) == KERN_SUCCESS);
  byte(again + 1 * vm_page_size) = 20;
  byte(again + 2 * vm_page_size) = 30;
  CHECK(byte(first) == 20);
  CHECK(byte(second) == 30);
  for (const mach_vm_size_t page : {0u, 3u, 4u}) {
    CAPTURE(page);
    CHECK(number_at(again, page) == static_cast<int>(page + 1));
    byte(memory + page * vm_page_size) = 70;
    CHECK(number_at(again, page) == 70);
  }
  for (const mach_vm_address_t each : {first, second}) mach_vm_deallocate(self, each, vm_page_size);
  mach_vm_deallocate(self, memory, 5 * vm_page_size);
  mach_vm_deallocate(self, again, 5 * vm_page_size);
}

TEST_CASE("an entry of a range ends where another entry's pages begin") {
  const mach_vm_address_t memory = new_numbered(3);
  const mach_vm_address_t other = map_entry_at(memory + 2 * vm_page_size);
  struct row {
    mach_vm_size_t first, pages, made;
  };
  for (const row& each : {row{0, 3, 2}, row{2, 1, 1}, row{1, 1, 1}}) {
    CAPTURE(each.first);
    memory_object_size_t size = each.pages * vm_page_size;
    mach_port_t entry = MACH_PORT_NULL;
    REQUIRE(mach_make_memory_entry_64(self, &size, memory + each.first * vm_page_size,
                                      VM_PROT_DEFAULT, &entry, MACH_PORT_NULL) == KERN_SUCCESS);
    CHECK(size == each.made * vm_page_size);
    mach_vm_address_t mapped = 0;
    REQUIRE(mach_vm_map(self, &mapped, size, 0, VM_FLAGS_ANYWHERE, entry, 0, 0, VM_PROT_DEFAULT,
                        VM_PROT_DEFAULT, VM_INHERIT_DEFAULT) == KERN_SUCCESS);
    byte(mapped) = 60;
    CHECK(number_at(memory, each.first) == 60);
    CHECK(mach_port_deallocate(self, entry) == KERN_SUCCESS);
    CHECK(mach_vm_deallocate(self, mapped, size) == KERN_SUCCESS);
  }
  mach_vm_deallocate(self, other, vm_page_size);
  mach_vm_deallocate(self, memory, 3 * vm_page_size);
}
