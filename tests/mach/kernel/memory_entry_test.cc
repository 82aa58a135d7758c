// Memory entries, mach_vm_map() and mach_vm_remap(): memory that is mapped twice.
#include <doctest/doctest.h>

#include <mach/mach_vm.h>
#include <pthread.h>

#include "test_message.h"

using namespace test;

namespace {

const mach_port_t self = mach_task_self();

mach_vm_address_t new_memory(mach_vm_size_t size) {
  mach_vm_address_t at = 0;
  REQUIRE(mach_vm_allocate(self, &at, size, VM_FLAGS_ANYWHERE) == KERN_SUCCESS);
  return at;
}

volatile unsigned char& byte(mach_vm_address_t at) {
  return *reinterpret_cast<volatile unsigned char*>(at);
}

kern_return_t map(mach_port_t entry, mach_vm_address_t& at, mach_vm_size_t size,
                  mach_vm_offset_t offset = 0, bool copy = false,
                  vm_prot_t protection = VM_PROT_DEFAULT, int flags = VM_FLAGS_ANYWHERE,
                  mach_vm_offset_t mask = 0) {
  return mach_vm_map(self, &at, size, mask, flags, entry, offset, copy, protection, protection,
                     VM_INHERIT_DEFAULT);
}

mach_port_t entry_of(mach_vm_address_t at, mach_vm_size_t size,
                     vm_prot_t permission = VM_PROT_DEFAULT, mach_port_t parent = MACH_PORT_NULL) {
  memory_object_size_t length = size;
  mach_port_t made = MACH_PORT_NULL;
  REQUIRE(mach_make_memory_entry_64(self, &length, at, permission, &made, parent) == KERN_SUCCESS);
  return made;
}

}  // namespace

TEST_CASE("all mappings of an entry see each other's writes, with two pages and with 4 MiB") {
  for (const mach_vm_size_t size : {vm_page_size * 2, vm_size_t{4} << 20}) {
    CAPTURE(size);
    const mach_vm_address_t memory = new_memory(size);
    byte(memory + size - 1) = 1;
    const mach_port_t entry = entry_of(memory, size);
    mach_vm_address_t other = 0;
    REQUIRE(map(entry, other, size) == KERN_SUCCESS);
    CHECK(other != memory);
    CHECK(byte(other + size - 1) == 1);
    byte(memory) = 2;
    byte(other + vm_page_size) = 3;
    CHECK(byte(other) == 2);
    CHECK(byte(memory + vm_page_size) == 3);
    CHECK(mach_port_deallocate(self, entry) == KERN_SUCCESS);
    CHECK(mach_vm_deallocate(self, memory, size) == KERN_SUCCESS);
    byte(other) = 4;
    CHECK(byte(other + vm_page_size) == 3);
    CHECK(mach_vm_deallocate(self, other, size) == KERN_SUCCESS);
  }
}

TEST_CASE("an entry of a range and an entry of a part of it share the memory") {
  const mach_vm_size_t size = vm_size_t{2} << 20;
  const mach_vm_address_t memory = new_memory(size);
  mach_vm_address_t of_part = 0, of_whole = 0;
  REQUIRE(map(entry_of(memory + vm_page_size, vm_page_size), of_part, vm_page_size) ==
          KERN_SUCCESS);
  REQUIRE(map(entry_of(memory, size), of_whole, size) == KERN_SUCCESS);
  byte(memory + vm_page_size) = 1;
  CHECK(byte(of_part) == 1);
  CHECK(byte(of_whole + vm_page_size) == 1);
  byte(of_whole) = 2;
  CHECK(byte(memory) == 2);
}

TEST_CASE("memory of an entry is sent as a copy, with and without deallocate") {
  const mach_msg_size_t size = 1u << 20;
  for (const bool deallocates : {false, true}) {
    CAPTURE(deallocates);
    const mach_vm_address_t memory = new_memory(size);
    mach_vm_address_t other = 0;
    REQUIRE(map(entry_of(memory, size), other, size) == KERN_SUCCESS);
    byte(other) = 1;
    const mach_port_name_t port = new_port();
    message m(port, MACH_MSG_TYPE_MAKE_SEND);
    m.with(memory_descriptor(reinterpret_cast<void*>(memory), size, MACH_MSG_VIRTUAL_COPY,
                             deallocates));
    REQUIRE(m.send() == MACH_MSG_SUCCESS);
    byte(other) = 2;
    message got;
    REQUIRE(got.receive(port) == MACH_MSG_SUCCESS);
    const auto copy =
        reinterpret_cast<mach_vm_address_t>(got.at<mach_msg_ool_descriptor_t>().address);
    CHECK(byte(copy) == 1);
    byte(copy) = 3;
    CHECK(byte(other) == 2);
  }
}

TEST_CASE("an entry sent in a message can be mapped by its receiver") {
  const mach_vm_address_t memory = new_memory(vm_page_size);
  const mach_port_t entry = entry_of(memory, vm_page_size);
  const mach_port_name_t port = new_port();
  message m(port, MACH_MSG_TYPE_MAKE_SEND, 0, {{entry, MACH_MSG_TYPE_MOVE_SEND}});
  REQUIRE(m.send() == MACH_MSG_SUCCESS);
  CHECK(type_of(entry) == 0);
  message got;
  REQUIRE(got.receive(port) == MACH_MSG_SUCCESS);
  mach_vm_address_t other = 0;
  REQUIRE(map(got.port_at(0), other, vm_page_size) == KERN_SUCCESS);
  byte(memory) = 7;
  CHECK(byte(other) == 7);
  CHECK(mach_vm_deallocate(self, other, vm_page_size) == KERN_SUCCESS);
  CHECK(mach_vm_deallocate(self, memory, vm_page_size) == KERN_SUCCESS);
  mach_msg_destroy(&got.header());
}

TEST_CASE("MAP_MEM_NAMED_CREATE makes zero-filled memory that is not mapped yet") {
  memory_object_size_t size = vm_page_size + 1;
  mach_port_t entry = MACH_PORT_NULL;
  REQUIRE(mach_make_memory_entry_64(self, &size, 0, MAP_MEM_NAMED_CREATE | VM_PROT_DEFAULT, &entry,
                                    MACH_PORT_NULL) == KERN_SUCCESS);
  CHECK(size == 2 * vm_page_size);
  mach_vm_address_t first = 0, second = 0;
  REQUIRE(map(entry, first, size) == KERN_SUCCESS);
  REQUIRE(map(entry, second, vm_page_size, vm_page_size) == KERN_SUCCESS);
  CHECK(byte(first) == 0);
  byte(first + vm_page_size) = 5;
  CHECK(byte(second) == 5);
}

TEST_CASE(
    "an entry made from a parent entry shares the part, within the parent's size and permission") {
  const mach_vm_address_t memory = new_memory(4 * vm_page_size);
  const mach_port_t whole = entry_of(memory, 4 * vm_page_size);
  const mach_port_t part = entry_of(vm_page_size, 2 * vm_page_size, VM_PROT_READ, whole);
  mach_vm_address_t other = 0;
  REQUIRE(map(part, other, vm_page_size, vm_page_size, false, VM_PROT_READ) == KERN_SUCCESS);
  byte(memory + 2 * vm_page_size) = 9;
  CHECK(byte(other) == 9);
  memory_object_size_t size = 2 * vm_page_size;
  mach_port_t made = MACH_PORT_NULL;
  CHECK(mach_make_memory_entry_64(self, &size, 3 * vm_page_size, VM_PROT_READ, &made, whole) ==
        KERN_INVALID_ARGUMENT);
  CHECK(mach_make_memory_entry_64(self, &size, 0, VM_PROT_DEFAULT, &made, part) ==
        KERN_PROTECTION_FAILURE);
  // A port that is no entry counts as none, so that the offset is an address.
  CHECK(mach_make_memory_entry_64(self, &size, 0, VM_PROT_READ, &made, new_service()) ==
        KERN_INVALID_ADDRESS);
  CHECK(mach_make_memory_entry_64(self, &size, 0, VM_PROT_READ, &made, new_port()) ==
        MACH_SEND_INVALID_RIGHT);
}

TEST_CASE("mach_vm_map with copy maps a copy of the entry's memory") {
  const mach_vm_address_t memory = new_memory(vm_page_size);
  byte(memory) = 1;
  mach_vm_address_t copy = 0;
  // The entry has to permit what the mapping allows, also for a copy.
  const mach_port_t constant = entry_of(memory, vm_page_size, VM_PROT_READ);
  CHECK(map(constant, copy, vm_page_size, 0, true) == KERN_INVALID_RIGHT);
  const mach_port_t entry = entry_of(memory, vm_page_size);
  REQUIRE(map(entry, copy, vm_page_size, 0, true) == KERN_SUCCESS);
  byte(copy) = 2;
  CHECK(byte(memory) == 1);
  byte(memory) = 3;
  CHECK(byte(copy) == 2);
}

TEST_CASE(
    "mach_vm_map refuses missing permission, ranges beyond the entry and ports that are not "
    "entries") {
  const mach_vm_address_t memory = new_memory(2 * vm_page_size);
  const mach_port_t entry = entry_of(memory, 2 * vm_page_size, VM_PROT_READ);
  mach_vm_address_t at = 0;
  CHECK(map(entry, at, vm_page_size) == KERN_INVALID_RIGHT);
  CHECK(map(entry, at, 3 * vm_page_size, 0, false, VM_PROT_READ) == KERN_INVALID_ARGUMENT);
  CHECK(map(entry, at, vm_page_size, 2 * vm_page_size, false, VM_PROT_READ) ==
        KERN_INVALID_ARGUMENT);
  CHECK(map(entry, at, 0, 0, false, VM_PROT_READ) == KERN_INVALID_ARGUMENT);
  CHECK(map(new_service(), at, vm_page_size) == KERN_INVALID_OBJECT);
  CHECK(map(new_port(), at, vm_page_size) == MACH_SEND_INVALID_RIGHT);
  // A dead name counts as none.
  REQUIRE(map(MACH_PORT_DEAD, at, vm_page_size) == KERN_SUCCESS);
  CHECK(byte(at) == 0);
  CHECK(mach_vm_deallocate(self, at, vm_page_size) == KERN_SUCCESS);
  at = memory;
  CHECK(map(entry, at, vm_page_size, 0, false, VM_PROT_READ, VM_FLAGS_FIXED) == KERN_NO_SPACE);
  CHECK(map(entry, at, vm_page_size, vm_page_size, false, VM_PROT_READ,
            VM_FLAGS_FIXED | VM_FLAGS_OVERWRITE) == KERN_SUCCESS);
  byte(memory + vm_page_size) = 6;
  CHECK(byte(memory) == 6);
}

TEST_CASE("mach_vm_map without an object allocates pages aligned to the mask") {
  mach_vm_address_t at = 0;
  const mach_vm_offset_t mask = (mach_vm_offset_t{1} << 24) - 1;
  REQUIRE(map(MACH_PORT_NULL, at, 3 * vm_page_size, 0, false, VM_PROT_DEFAULT, VM_FLAGS_ANYWHERE,
              mask) == KERN_SUCCESS);
  CHECK((at & mask) == 0);
  byte(at + 3 * vm_page_size - 1) = 1;
  CHECK(mach_vm_deallocate(self, at, 3 * vm_page_size) == KERN_SUCCESS);
}

TEST_CASE("mach_make_memory_entry_64 refuses protected, unmapped and empty ranges") {
  memory_object_size_t size = vm_page_size;
  mach_port_t made = MACH_PORT_NULL;
  const mach_vm_address_t memory = new_memory(vm_page_size);
  REQUIRE(mach_vm_protect(self, memory, vm_page_size, 0, VM_PROT_READ) == KERN_SUCCESS);
  CHECK(mach_make_memory_entry_64(self, &size, memory, VM_PROT_DEFAULT, &made, MACH_PORT_NULL) ==
        KERN_PROTECTION_FAILURE);
  REQUIRE(mach_vm_deallocate(self, memory, vm_page_size) == KERN_SUCCESS);
  CHECK(mach_make_memory_entry_64(self, &size, memory, VM_PROT_READ, &made, MACH_PORT_NULL) ==
        KERN_INVALID_ADDRESS);
  size = 0;
  CHECK(mach_make_memory_entry_64(self, &size, memory, VM_PROT_READ, &made, MACH_PORT_NULL) ==
        KERN_INVALID_ARGUMENT);
}

TEST_CASE("mach_vm_remap maps the same pages again, or a copy of them") {
  const mach_vm_address_t memory = new_memory(vm_page_size);
  byte(memory) = 1;
  vm_prot_t now = 0, most = 0;
  mach_vm_address_t same = 0, copy = 0;
  REQUIRE(mach_vm_remap(self, &copy, vm_page_size, 0, VM_FLAGS_ANYWHERE, self, memory, 1, &now,
                        &most, VM_INHERIT_DEFAULT) == KERN_SUCCESS);
  REQUIRE(mach_vm_remap(self, &same, vm_page_size, 0, VM_FLAGS_ANYWHERE, self, memory, 0, &now,
                        &most, VM_INHERIT_DEFAULT) == KERN_SUCCESS);
  CHECK(now == VM_PROT_DEFAULT);
  CHECK(most == VM_PROT_ALL);
  byte(memory) = 2;
  CHECK(byte(same) == 2);
  CHECK(byte(copy) == 1);
  CHECK(mach_vm_deallocate(self, memory, vm_page_size) == KERN_SUCCESS);
  CHECK(mach_vm_remap(self, &same, vm_page_size, 0, VM_FLAGS_ANYWHERE, self, memory, 0, &now, &most,
                      VM_INHERIT_DEFAULT) == KERN_INVALID_ADDRESS);
}

TEST_CASE("a virtual copy of common memory keeps the contents of the moment of the send") {
  const mach_vm_size_t size = mach_vm_size_t{2} << 20;
  const mach_vm_address_t memory = new_memory(size);
  const mach_port_t entry = entry_of(memory, size);
  mach_vm_address_t other = 0;
  REQUIRE(map(entry, other, size) == KERN_SUCCESS);
  byte(memory) = 1;
  const mach_port_name_t port = new_port();
  message m(port, MACH_MSG_TYPE_MAKE_SEND);
  m.with(memory_descriptor(reinterpret_cast<void*>(memory), static_cast<mach_msg_size_t>(size),
                           MACH_MSG_VIRTUAL_COPY));
  REQUIRE(m.send() == MACH_MSG_SUCCESS);
  byte(other) = 2;
  CHECK(byte(memory) == 2);
  message got;
  REQUIRE(got.receive(port) == MACH_MSG_SUCCESS);
  const auto* const arrived =
      static_cast<const unsigned char*>(got.at<mach_msg_ool_descriptor_t>().address);
  CHECK(arrived[0] == 1);
  mach_msg_destroy(&got.header());
}

namespace {

struct cancelled_thread {
  mach_vm_size_t size;
  mach_vm_address_t memory;
  int done = 0;

  static void* run(void* thread) {
    static_cast<cancelled_thread*>(thread)->use_memory();
    pthread_testcancel();
    return nullptr;
  }

  void use_memory() {
    pthread_cancel(pthread_self());
    memory_object_size_t length = size;
    mach_port_t entry = MACH_PORT_NULL;
    mach_vm_address_t shared = 0, copy = 0, start = memory;
    mach_vm_size_t found = 0;
    vm_region_basic_info_data_64_t info{};
    mach_msg_type_number_t count = VM_REGION_BASIC_INFO_COUNT_64;
    mach_port_t object = MACH_PORT_NULL;
    const kern_return_t results[] = {
        mach_make_memory_entry_64(self, &length, memory, VM_PROT_DEFAULT, &entry, MACH_PORT_NULL),
        map(entry, shared, size),
        map(entry, copy, size, 0, true),
        mach_vm_region(self, &start, &found, VM_REGION_BASIC_INFO_64,
                       reinterpret_cast<vm_region_info_t>(&info), &count, &object),
        mach_port_deallocate(self, entry),
        mach_vm_deallocate(self, shared, size),
        mach_vm_deallocate(self, copy, size),
        mach_vm_deallocate(self, memory, size),
    };
    for (const kern_return_t each : results) done += each == KERN_SUCCESS ? 1 : 0;
  }
};

}  // namespace

TEST_CASE("memory calls are not cancellation points") {
  for (const mach_vm_size_t size : {vm_page_size, vm_size_t{4} << 20}) {
    CAPTURE(size);
    cancelled_thread thread{size, new_memory(size)};
    byte(thread.memory) = 1;
    pthread_t id;
    REQUIRE(pthread_create(&id, nullptr, cancelled_thread::run, &thread) == 0);
    void* result = nullptr;
    REQUIRE(pthread_join(id, &result) == 0);
    CHECK(result == PTHREAD_CANCELED);
    CHECK(thread.done == 8);
  }
}

namespace {

// Makes an entry, and checks the size that it has.
mach_port_t entry_with(vm_prot_t permission, mach_vm_address_t at, mach_vm_size_t size,
                       mach_vm_size_t expected, mach_port_t parent = MACH_PORT_NULL) {
  memory_object_size_t length = size;
  mach_port_t made = MACH_PORT_NULL;
  REQUIRE(mach_make_memory_entry_64(self, &length, at, permission, &made, parent) == KERN_SUCCESS);
  CHECK(length == expected);
  return made;
}

kern_return_t entry_error(vm_prot_t permission, mach_vm_address_t at, mach_vm_size_t size,
                          mach_port_t parent = MACH_PORT_NULL) {
  memory_object_size_t length = size;
  mach_port_t made = MACH_PORT_NULL;
  return mach_make_memory_entry_64(self, &length, at, permission, &made, parent);
}

}  // namespace

TEST_CASE("MAP_MEM_VM_SHARE shares all of a range, which every mapping has as a whole") {
  const mach_vm_address_t memory = new_memory(3 * vm_page_size);
  const mach_port_t entry =
      entry_with(VM_PROT_DEFAULT | MAP_MEM_VM_SHARE, memory, 3 * vm_page_size, 3 * vm_page_size);
  mach_vm_address_t other = 0;
  REQUIRE(map(entry, other, vm_page_size) == KERN_SUCCESS);
  byte(memory + 2 * vm_page_size) = 4;
  CHECK(byte(other + 2 * vm_page_size) == 4);
  byte(other) = 5;
  CHECK(byte(memory) == 5);
  // A flag that says how to allocate has no place here, and no entry is made of a part.
  mach_vm_address_t purgeable = 0;
  CHECK(map(entry, purgeable, vm_page_size, 0, false, VM_PROT_DEFAULT,
            VM_FLAGS_ANYWHERE | VM_FLAGS_PURGABLE) == KERN_INVALID_ARGUMENT);
  CHECK(entry_error(VM_PROT_READ, 0, vm_page_size, entry) == KERN_INVALID_ARGUMENT);
  CHECK(map(entry, other, 4 * vm_page_size) == KERN_INVALID_ARGUMENT);
  CHECK(mach_vm_deallocate(self, other, 3 * vm_page_size) == KERN_SUCCESS);
  CHECK(mach_vm_deallocate(self, memory, 3 * vm_page_size) == KERN_SUCCESS);
}

TEST_CASE("MAP_MEM_VM_COPY keeps the contents of its moment, which all mappings share") {
  const mach_vm_address_t memory = new_memory(2 * vm_page_size);
  byte(memory) = 1;
  REQUIRE(mach_vm_protect(self, memory, vm_page_size, 0, VM_PROT_READ) == KERN_SUCCESS);
  // The copy may be written to though its source may not.
  const mach_port_t entry =
      entry_with(VM_PROT_DEFAULT | MAP_MEM_VM_COPY, memory, 2 * vm_page_size, 2 * vm_page_size);
  REQUIRE(mach_vm_protect(self, memory, vm_page_size, 0, VM_PROT_DEFAULT) == KERN_SUCCESS);
  byte(memory) = 2;
  mach_vm_address_t first = 0, second = 0, apart = 0;
  REQUIRE(map(entry, first, 2 * vm_page_size) == KERN_SUCCESS);
  CHECK(byte(first) == 1);
  REQUIRE(map(entry, second, 2 * vm_page_size) == KERN_SUCCESS);
  REQUIRE(map(entry, apart, 2 * vm_page_size, 0, true) == KERN_SUCCESS);
  byte(first) = 3;
  CHECK(byte(second) == 3);
  CHECK(byte(apart) == 1);
  CHECK(byte(memory) == 2);
  REQUIRE(mach_vm_protect(self, memory, vm_page_size, 0, VM_PROT_NONE) == KERN_SUCCESS);
  CHECK(entry_error(VM_PROT_READ | MAP_MEM_VM_COPY, memory, vm_page_size) ==
        KERN_PROTECTION_FAILURE);
  REQUIRE(mach_vm_deallocate(self, memory, vm_page_size) == KERN_SUCCESS);
  CHECK(entry_error(VM_PROT_READ | MAP_MEM_VM_COPY, memory, vm_page_size) == KERN_INVALID_ADDRESS);
}

TEST_CASE("MAP_MEM_USE_DATA_ADDR and VM_FLAGS_RETURN_DATA_ADDR keep the address of the data") {
  const mach_vm_address_t memory = new_memory(3 * vm_page_size);
  byte(memory + 100) = 7;
  byte(memory + vm_page_size + 40) = 8;
  const int at_data = VM_FLAGS_ANYWHERE | VM_FLAGS_RETURN_DATA_ADDR;
  for (const vm_prot_t kind : {0, MAP_MEM_VM_SHARE, MAP_MEM_VM_COPY}) {
    CAPTURE(kind);
    const mach_port_t entry = entry_with(VM_PROT_DEFAULT | MAP_MEM_USE_DATA_ADDR | kind,
                                         memory + 100, vm_page_size, 2 * vm_page_size - 100);
    mach_vm_address_t data = 0, base = 0;
    REQUIRE(map(entry, data, vm_page_size, 0, false, VM_PROT_DEFAULT, at_data) == KERN_SUCCESS);
    CHECK((data & vm_page_mask) == 100);
    CHECK(byte(data) == 7);
    CHECK(byte(data + vm_page_size - 60) == 8);
    // Without the flag the mapping begins with the page.
    REQUIRE(map(entry, base, vm_page_size) == KERN_SUCCESS);
    CHECK((base & vm_page_mask) == 0);
    CHECK(byte(base + 100) == 7);
    mach_vm_address_t beyond = 0;
    CHECK(map(entry, beyond, 2 * vm_page_size - 99, 0, false, VM_PROT_DEFAULT, at_data) ==
          KERN_INVALID_ARGUMENT);
  }
  // An offset within a page needs the flag, unless the whole entry is mapped.
  const mach_port_t plain = entry_with(VM_PROT_DEFAULT, memory, 2 * vm_page_size, 2 * vm_page_size);
  mach_vm_address_t at = 0;
  CHECK(map(plain, at, 100, 100) == KERN_INVALID_ARGUMENT);
  REQUIRE(map(plain, at, 100, vm_page_size + 40, false, VM_PROT_DEFAULT, at_data) == KERN_SUCCESS);
  CHECK((at & vm_page_mask) == 40);
  CHECK(byte(at) == 8);
  const mach_port_t part =
      entry_with(VM_PROT_DEFAULT | MAP_MEM_USE_DATA_ADDR, 100, 50, vm_page_size - 100, plain);
  at = 0;
  REQUIRE(map(part, at, 50, 0, false, VM_PROT_DEFAULT, at_data) == KERN_SUCCESS);
  CHECK(byte(at) == 7);
  const mach_port_t in_4k =
      entry_with(VM_PROT_DEFAULT | MAP_MEM_4K_DATA_ADDR, memory + 100, 1, vm_page_size);
  CHECK(mach_port_deallocate(self, in_4k) == KERN_SUCCESS);
}

TEST_CASE("mach_vm_remap covers the data's last byte only with VM_FLAGS_RETURN_DATA_ADDR") {
  const mach_vm_address_t memory = new_memory(2 * vm_page_size);
  const mach_vm_address_t data = memory + vm_page_size - 2;
  byte(data) = 1;
  byte(data + 3) = 2;
  for (const bool copies : {false, true}) {
    CAPTURE(copies);
    // A hole of one page.
    mach_vm_address_t base = new_memory(2 * vm_page_size), at = 0;
    REQUIRE(mach_vm_deallocate(self, base, vm_page_size) == KERN_SUCCESS);
    vm_prot_t now = 0, most = 0;
    CHECK(mach_vm_remap(self, &base, 4, 0, VM_FLAGS_FIXED | VM_FLAGS_RETURN_DATA_ADDR, self, data,
                        copies, &now, &most, VM_INHERIT_DEFAULT) == KERN_NO_SPACE);
    REQUIRE(mach_vm_remap(self, &base, 4, 0, VM_FLAGS_FIXED, self, data, copies, &now, &most,
                          VM_INHERIT_DEFAULT) == KERN_SUCCESS);
    CHECK((base & vm_page_mask) == 0);
    CHECK(byte(base + vm_page_size - 2) == 1);
    REQUIRE(mach_vm_deallocate(self, base, 2 * vm_page_size) == KERN_SUCCESS);
    REQUIRE(mach_vm_remap(self, &at, 4, 0, VM_FLAGS_ANYWHERE | VM_FLAGS_RETURN_DATA_ADDR, self,
                          data, copies, &now, &most, VM_INHERIT_DEFAULT) == KERN_SUCCESS);
    CHECK((at & vm_page_mask) == vm_page_size - 2);
    CHECK(byte(at) == 1);
    CHECK(byte(at + 3) == 2);
    CHECK(mach_vm_deallocate(self, at, 4) == KERN_SUCCESS);
  }
}

TEST_CASE("VM_PROT_IS_MASK asks for what there is of the permissions") {
  const mach_vm_address_t memory = new_memory(vm_page_size);
  REQUIRE(mach_vm_protect(self, memory, vm_page_size, 0, VM_PROT_READ) == KERN_SUCCESS);
  CHECK(entry_error(VM_PROT_DEFAULT, memory, vm_page_size) == KERN_PROTECTION_FAILURE);
  const mach_port_t entry =
      entry_with(VM_PROT_DEFAULT | VM_PROT_IS_MASK, memory, vm_page_size, vm_page_size);
  mach_vm_address_t at = 0;
  CHECK(map(entry, at, vm_page_size) == KERN_INVALID_RIGHT);
  REQUIRE(map(entry, at, vm_page_size, 0, false, VM_PROT_DEFAULT | VM_PROT_IS_MASK) ==
          KERN_SUCCESS);
  CHECK(byte(at) == 0);
  CHECK(mach_vm_write(self, at, at, 1) == KERN_INVALID_ADDRESS);
  REQUIRE(mach_vm_protect(self, memory, vm_page_size, 0, VM_PROT_NONE) == KERN_SUCCESS);
  CHECK(entry_error(VM_PROT_DEFAULT | VM_PROT_IS_MASK, memory, vm_page_size) ==
        KERN_PROTECTION_FAILURE);
}

TEST_CASE("MAP_MEM_NAMED_REUSE gives another right to the entry of the same memory") {
  const mach_vm_address_t memory = new_memory(2 * vm_page_size);
  const mach_port_t entry = entry_with(VM_PROT_DEFAULT, memory, 2 * vm_page_size, 2 * vm_page_size);
  const mach_port_t same = entry_with(VM_PROT_DEFAULT | MAP_MEM_NAMED_REUSE, memory,
                                      2 * vm_page_size, 2 * vm_page_size, entry);
  CHECK(same == entry);
  CHECK(refs_of(entry, MACH_PORT_RIGHT_SEND) == 2);
  const mach_port_t part =
      entry_with(VM_PROT_DEFAULT | MAP_MEM_NAMED_REUSE, memory, vm_page_size, vm_page_size, entry);
  CHECK(part != entry);
  CHECK(refs_of(entry, MACH_PORT_RIGHT_SEND) == 2);
}

TEST_CASE("new memory of size 0 succeeds without an entry, and other flags have their own errors") {
  memory_object_size_t size = 0;
  mach_port_t made = MACH_PORT_DEAD;
  CHECK(mach_make_memory_entry_64(self, &size, 0, VM_PROT_DEFAULT | MAP_MEM_NAMED_CREATE, &made,
                                  MACH_PORT_NULL) == KERN_SUCCESS);
  CHECK(made == MACH_PORT_NULL);
  CHECK(size == 0);
  const mach_vm_address_t memory = new_memory(vm_page_size);
  CHECK(entry_error(VM_PROT_READ | MAP_MEM_VM_SHARE, memory, 0) == KERN_INVALID_ARGUMENT);
  CHECK(entry_error(VM_PROT_READ | MAP_MEM_VM_COPY, memory, 0) == KERN_INVALID_ARGUMENT);
  CHECK(entry_error(VM_PROT_READ | 0x100, memory, vm_page_size) == KERN_INVALID_VALUE);
  CHECK(entry_error(VM_PROT_READ | MAP_MEM_ONLY, memory, vm_page_size) == KERN_INVALID_ARGUMENT);
  CHECK(entry_error(VM_PROT_READ | MAP_MEM_NAMED_CREATE | MAP_MEM_PURGABLE, 0, vm_page_size) ==
        KERN_INVALID_ARGUMENT);
  CHECK(entry_error(VM_PROT_DEFAULT | MAP_MEM_NAMED_CREATE, 0, ~mach_vm_size_t{0}) ==
        KERN_INVALID_ARGUMENT);
  CHECK(entry_error(VM_PROT_DEFAULT | MAP_MEM_NAMED_CREATE, 0, ~vm_page_mask) == KERN_FAILURE);
  const mach_port_t purgeable =
      entry_with(VM_PROT_DEFAULT | MAP_MEM_NAMED_CREATE | MAP_MEM_PURGABLE, 0, 1, vm_page_size);
  CHECK(mach_port_deallocate(self, purgeable) == KERN_SUCCESS);
  const mach_port_t entry = entry_with(VM_PROT_READ, memory, vm_page_size, vm_page_size);
  made = MACH_PORT_DEAD;
  size = vm_page_size;
  CHECK(mach_make_memory_entry_64(self, &size, 0, VM_PROT_READ | MAP_MEM_ONLY, &made, entry) ==
        KERN_SUCCESS);
  CHECK(made == MACH_PORT_NULL);
  CHECK(entry_error(static_cast<vm_prot_t>(VM_PROT_READ | MAP_MEM_ONLY | MAP_MEM_WCOMB << 24), 0,
                    vm_page_size, entry) == KERN_INVALID_RIGHT);
}

TEST_CASE("mach_make_memory_entry makes the same entry by its narrower sizes") {
  const mach_vm_address_t memory = new_memory(vm_page_size);
  vm_size_t size = 1;
  mem_entry_name_port_t entry = MACH_PORT_NULL;
  REQUIRE(mach_make_memory_entry(self, &size, memory, VM_PROT_DEFAULT, &entry, MACH_PORT_NULL) ==
          KERN_SUCCESS);
  CHECK(size == vm_page_size);
  mach_vm_address_t other = 0;
  REQUIRE(map(entry, other, vm_page_size) == KERN_SUCCESS);
  byte(memory) = 9;
  CHECK(byte(other) == 9);
}

TEST_CASE("no part of an entry begins or ends outside of it, also if its range wraps around") {
  const mach_vm_address_t memory = new_memory(3 * vm_page_size);
  const mach_port_t whole = entry_of(memory, 3 * vm_page_size);
  const mach_port_t part = entry_of(vm_page_size, vm_page_size, VM_PROT_DEFAULT, whole);
  const mach_vm_address_t last = ~mach_vm_address_t{0};
  struct row {
    memory_object_offset_t offset;
    memory_object_size_t size;
  };
  for (const row& each : {row{last, 0}, row{last - vm_page_size, 0}, row{last - 2, 1}, row{last, 1},
                          row{last - 1, last}, row{0, last}, row{vm_page_size + 1, 0},
                          row{vm_page_size - 1, 2}, row{0, vm_page_size + 1}}) {
    for (const vm_prot_t flag : {0, MAP_MEM_USE_DATA_ADDR}) {
      CAPTURE(each.offset);
      CAPTURE(each.size);
      CAPTURE(flag);
      memory_object_size_t size = each.size;
      mach_port_t bad = MACH_PORT_NULL;
      CHECK(mach_make_memory_entry_64(self, &size, each.offset, VM_PROT_READ | flag, &bad, part) ==
            KERN_INVALID_ARGUMENT);
      CHECK(bad == MACH_PORT_NULL);
    }
  }
  CHECK(mach_port_deallocate(self, part) == KERN_SUCCESS);
  CHECK(mach_port_deallocate(self, whole) == KERN_SUCCESS);
  CHECK(mach_vm_deallocate(self, memory, 3 * vm_page_size) == KERN_SUCCESS);
}
