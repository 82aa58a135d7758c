// mach_vm_inherit(), VM_FLAGS_PERMANENT and mach_vm_region(): what happens to memory later.
#include <doctest/doctest.h>

#include <mach/mach_vm.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kedge/mach/kernel/extension.h"
#include "test_message.h"

using namespace test;

namespace {

const mach_port_t self = mach_task_self();
const mach_vm_size_t page = vm_page_size;

mach_vm_address_t new_memory(mach_vm_size_t size, int flags = 0) {
  mach_vm_address_t at = 0;
  REQUIRE(mach_vm_allocate(self, &at, size, VM_FLAGS_ANYWHERE | flags) == KERN_SUCCESS);
  return at;
}

volatile unsigned char& byte(mach_vm_address_t at) {
  return *reinterpret_cast<volatile unsigned char*>(at);
}

bool can_be_read(mach_vm_address_t at) {
  unsigned char out = 0;
  mach_vm_size_t done = 0;
  return mach_vm_read_overwrite(self, at, 1, reinterpret_cast<mach_vm_address_t>(&out), &done) ==
         KERN_SUCCESS;
}

// Runs in a child and returns its exit status: 0 if `check` returns true there.
template <typename Check>
int status_in_child(Check&& check) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) _exit(check() ? 0 : 1);
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  return status;
}

// A child finds the byte, which is 1, and what it writes does not reach this process.
void check_child_has_copy(mach_vm_address_t at) {
  CHECK(status_in_child([at] {
          const bool is_copy = byte(at) == 1;
          byte(at) = 2;
          return is_copy;
        }) == 0);
  CHECK(byte(at) == 1);
}

mach_vm_address_t map_entry_of(mach_vm_address_t at, mach_vm_size_t size, vm_prot_t flags) {
  memory_object_size_t length = size;
  mach_port_t entry = MACH_PORT_NULL;
  REQUIRE(mach_make_memory_entry_64(self, &length, at, VM_PROT_DEFAULT | flags, &entry,
                                    MACH_PORT_NULL) == KERN_SUCCESS);
  mach_vm_address_t other = 0;
  REQUIRE(mach_vm_map(self, &other, length, 0, VM_FLAGS_ANYWHERE, entry, 0, 0, VM_PROT_DEFAULT,
                      VM_PROT_DEFAULT, VM_INHERIT_DEFAULT) == KERN_SUCCESS);
  CHECK(mach_port_deallocate(self, entry) == KERN_SUCCESS);
  return other;
}

mach_vm_address_t remap(mach_vm_address_t from, mach_vm_size_t size) {
  mach_vm_address_t at = 0;
  vm_prot_t now = 0, most = 0;
  REQUIRE(mach_vm_remap(self, &at, size, 0, VM_FLAGS_ANYWHERE, self, from, 0, &now, &most,
                        VM_INHERIT_DEFAULT) == KERN_SUCCESS);
  return at;
}

vm_region_submap_info_data_64_t info_of(mach_vm_address_t at) {
  vm_region_submap_info_data_64_t info{};
  mach_vm_size_t size = 0;
  natural_t depth = 7;
  mach_msg_type_number_t count = VM_REGION_SUBMAP_INFO_COUNT_64;
  REQUIRE(mach_vm_region_recurse(self, &at, &size, &depth,
                                 reinterpret_cast<vm_region_recurse_info_t>(&info),
                                 &count) == KERN_SUCCESS);
  CHECK(depth == 0);
  CHECK(count == VM_REGION_SUBMAP_INFO_COUNT_64);
  return info;
}

}  // namespace

TEST_CASE(
    "a fork's child has a copy of pages, shares those of VM_INHERIT_SHARE, and lacks others") {
  for (const mach_vm_size_t size : {2 * page, mach_vm_size_t{2} << 20}) {
    CAPTURE(size);
    const mach_vm_address_t copied = new_memory(size), shared = new_memory(size),
                            hidden = new_memory(size);
    byte(shared) = 1;
    REQUIRE(mach_vm_inherit(self, shared, size, VM_INHERIT_SHARE) == KERN_SUCCESS);
    REQUIRE(mach_vm_inherit(self, hidden, page, VM_INHERIT_NONE) == KERN_SUCCESS);
    CHECK(info_of(copied).inheritance == VM_INHERIT_COPY);
    CHECK(info_of(shared).inheritance == VM_INHERIT_SHARE);
    CHECK(info_of(shared).share_mode == SM_SHARED);
    CHECK(info_of(hidden).inheritance == VM_INHERIT_NONE);
    CHECK(info_of(hidden + page).inheritance == VM_INHERIT_COPY);
    const int status = status_in_child([&] {
      const bool was_shared = byte(shared) == 1;
      byte(copied) = 2;
      byte(shared) = 2;
      return was_shared && !can_be_read(hidden) && can_be_read(hidden + page);
    });
    CHECK(status == 0);
    CHECK(byte(copied) == 0);
    CHECK(byte(shared) == 2);
    CHECK(can_be_read(hidden));
    // A second fork is as the first one.
    CHECK(status_in_child([&] { return !can_be_read(hidden); }) == 0);
    REQUIRE(mach_vm_inherit(self, hidden, page, VM_INHERIT_COPY) == KERN_SUCCESS);
    CHECK(status_in_child([&] { return can_be_read(hidden); }) == 0);
    for (const mach_vm_address_t each : {copied, shared, hidden}) {
      CHECK(mach_vm_deallocate(self, each, size) == KERN_SUCCESS);
    }
  }
}

TEST_CASE("the inheritance of a range ends with its pages") {
  for (const mach_vm_size_t size : {page, mach_vm_size_t{2} << 20}) {
    CAPTURE(size);
    mach_vm_address_t memory = new_memory(size);
    REQUIRE(mach_vm_inherit(self, memory, size, VM_INHERIT_NONE) == KERN_SUCCESS);
    REQUIRE(mach_vm_deallocate(self, memory, size) == KERN_SUCCESS);
    REQUIRE(mach_vm_allocate(self, &memory, size, VM_FLAGS_FIXED) == KERN_SUCCESS);
    CHECK(info_of(memory).inheritance == VM_INHERIT_COPY);
    CHECK(status_in_child([&] { return can_be_read(memory); }) == 0);
    CHECK(mach_vm_deallocate(self, memory, size) == KERN_SUCCESS);
  }
  const mach_vm_size_t size = 2u << 20;
  const mach_vm_address_t memory = new_memory(size);
  REQUIRE(mach_vm_inherit(self, memory, size, VM_INHERIT_NONE) == KERN_SUCCESS);
  const mach_port_name_t port = new_port();
  message m(port, MACH_MSG_TYPE_MAKE_SEND);
  m.with(memory_descriptor(reinterpret_cast<void*>(memory), size, MACH_MSG_VIRTUAL_COPY, true));
  REQUIRE(m.send() == MACH_MSG_SUCCESS);
  message got;
  REQUIRE(got.receive(port) == MACH_MSG_SUCCESS);
  const auto at = reinterpret_cast<mach_vm_address_t>(got.at<mach_msg_ool_descriptor_t>().address);
  CHECK(info_of(at).inheritance == VM_INHERIT_COPY);
  CHECK(status_in_child([&] { return can_be_read(at); }) == 0);
  mach_msg_destroy(&got.header());
}

TEST_CASE(
    "mach_vm_map and mach_vm_remap give new pages the inheritance that they are called with") {
  mach_vm_address_t hidden = 0, shared = 0, again = 0;
  REQUIRE(mach_vm_map(self, &hidden, page, 0, VM_FLAGS_ANYWHERE, MACH_PORT_NULL, 0, 0,
                      VM_PROT_DEFAULT, VM_PROT_ALL, VM_INHERIT_NONE) == KERN_SUCCESS);
  REQUIRE(mach_vm_map(self, &shared, page, 0, VM_FLAGS_ANYWHERE, MACH_PORT_NULL, 0, 0,
                      VM_PROT_DEFAULT, VM_PROT_ALL, VM_INHERIT_SHARE) == KERN_SUCCESS);
  vm_prot_t now = 0, most = 0;
  REQUIRE(mach_vm_remap(self, &again, page, 0, VM_FLAGS_ANYWHERE, self, shared, 0, &now, &most,
                        VM_INHERIT_NONE) == KERN_SUCCESS);
  CHECK(status_in_child([&] {
          byte(shared) = 3;
          return !can_be_read(hidden) && !can_be_read(again);
        }) == 0);
  CHECK(byte(shared) == 3);
  CHECK(byte(again) == 3);
  for (const mach_vm_address_t each : {hidden, shared, again}) {
    CHECK(mach_vm_deallocate(self, each, page) == KERN_SUCCESS);
  }
}

TEST_CASE("mach_vm_inherit ignores holes and refuses an unknown inheritance") {
  const mach_vm_address_t memory = new_memory(3 * page);
  REQUIRE(mach_vm_deallocate(self, memory + page, page) == KERN_SUCCESS);
  CHECK(mach_vm_inherit(self, memory, 3 * page, VM_INHERIT_NONE) == KERN_SUCCESS);
  CHECK(status_in_child([&] { return !can_be_read(memory) && !can_be_read(memory + 2 * page); }) ==
        0);
  CHECK(mach_vm_inherit(self, memory, page, VM_INHERIT_LAST_VALID + 1) == KERN_INVALID_ARGUMENT);
  CHECK(vm_inherit(self, memory, page, VM_INHERIT_COPY) == KERN_SUCCESS);
  CHECK(mach_vm_deallocate(self, memory, 3 * page) == KERN_SUCCESS);
}

TEST_CASE(
    "a copy at a fork of pages that another mapping shares is refused where it cannot be made") {
  if (!kedge::mach::kernel::has_many_tasks()) return;  // Darwin copies them
  const mach_vm_address_t memory = new_memory(page);
  mach_vm_address_t same = 0;
  vm_prot_t now = 0, most = 0;
  REQUIRE(mach_vm_remap(self, &same, page, 0, VM_FLAGS_ANYWHERE, self, memory, 0, &now, &most,
                        VM_INHERIT_DEFAULT) == KERN_SUCCESS);
  CHECK(mach_vm_inherit(self, memory, page, VM_INHERIT_COPY) == KERN_NOT_SUPPORTED);
  CHECK(mach_vm_inherit(self, memory, page, VM_INHERIT_SHARE) == KERN_SUCCESS);
  CHECK(mach_vm_inherit(self, memory, page, VM_INHERIT_NONE) == KERN_SUCCESS);
  CHECK(status_in_child([&] { return !can_be_read(memory) && can_be_read(same); }) == 0);
  CHECK(mach_vm_deallocate(self, memory, page) == KERN_SUCCESS);
  CHECK(mach_vm_deallocate(self, same, page) == KERN_SUCCESS);
}

TEST_CASE("deallocating permanent pages takes their access away, and nothing gives it back") {
  for (const mach_vm_size_t size : {2 * page, mach_vm_size_t{2} << 20}) {
    CAPTURE(size);
    const mach_vm_address_t memory = new_memory(size, VM_FLAGS_PERMANENT);
    byte(memory + page) = 1;
    CHECK(mach_vm_deallocate(self, memory, page) == KERN_SUCCESS);
    CHECK(!can_be_read(memory));
    CHECK(byte(memory + page) == 1);
    // The page is still there.
    mach_vm_address_t fixed = memory;
    CHECK(mach_vm_allocate(self, &fixed, page, VM_FLAGS_FIXED) == KERN_NO_SPACE);
    CHECK(mach_vm_allocate(self, &fixed, page, VM_FLAGS_FIXED | VM_FLAGS_OVERWRITE) ==
          KERN_NO_SPACE);
    CHECK(mach_vm_protect(self, memory, page, 0, VM_PROT_READ) == KERN_PROTECTION_FAILURE);
    CHECK(mach_vm_protect(self, memory, 2 * page, 0, VM_PROT_READ) == KERN_PROTECTION_FAILURE);
    CHECK(mach_vm_protect(self, memory, page, 0, VM_PROT_NONE) == KERN_SUCCESS);
    CHECK(mach_vm_protect(self, memory + page, page, 0, VM_PROT_READ) == KERN_SUCCESS);
    CHECK(byte(memory + page) == 1);
  }
}

TEST_CASE("permanent pages that a message deallocates are copied, and stay without access") {
  const mach_msg_size_t size = 2u << 20;
  const mach_vm_address_t memory = new_memory(size, VM_FLAGS_PERMANENT);
  byte(memory) = 4;
  const mach_port_name_t port = new_port();
  message m(port, MACH_MSG_TYPE_MAKE_SEND);
  m.with(memory_descriptor(reinterpret_cast<void*>(memory), size, MACH_MSG_VIRTUAL_COPY, true));
  REQUIRE(m.send() == MACH_MSG_SUCCESS);
  message got;
  REQUIRE(got.receive(port) == MACH_MSG_SUCCESS);
  const auto at = reinterpret_cast<mach_vm_address_t>(got.at<mach_msg_ool_descriptor_t>().address);
  CHECK(byte(at) == 4);
  CHECK(at != memory);
  CHECK(!can_be_read(memory));
  mach_vm_address_t fixed = memory;
  CHECK(mach_vm_allocate(self, &fixed, page, VM_FLAGS_FIXED) == KERN_NO_SPACE);
  mach_msg_destroy(&got.header());
}

TEST_CASE("mach_vm_map makes permanent pages too") {
  mach_vm_address_t memory = 0;
  REQUIRE(mach_vm_map(self, &memory, page, 0, VM_FLAGS_ANYWHERE | VM_FLAGS_PERMANENT,
                      MACH_PORT_NULL, 0, 0, VM_PROT_DEFAULT, VM_PROT_ALL,
                      VM_INHERIT_DEFAULT) == KERN_SUCCESS);
  CHECK(mach_vm_deallocate(self, memory, page) == KERN_SUCCESS);
  mach_vm_address_t fixed = memory;
  CHECK(mach_vm_allocate(self, &fixed, page, VM_FLAGS_FIXED) == KERN_NO_SPACE);
}

TEST_CASE("mach_vm_region_recurse and the flavors of mach_vm_region describe the same region") {
  const mach_vm_address_t memory = new_memory(3 * page);
  REQUIRE(mach_vm_protect(self, memory + page, page, 0, VM_PROT_READ) == KERN_SUCCESS);
  const vm_region_submap_info_data_64_t recursed = info_of(memory + page + 5);
  CHECK(recursed.protection == VM_PROT_READ);
  CHECK(recursed.max_protection == VM_PROT_ALL);
  CHECK(!recursed.is_submap);

  mach_vm_address_t at = memory + page + 5;
  mach_vm_size_t size = 0;
  natural_t depth = 0;
  vm_region_submap_short_info_data_64_t brief{};
  mach_msg_type_number_t count = VM_REGION_SUBMAP_SHORT_INFO_COUNT_64;
  REQUIRE(mach_vm_region_recurse(self, &at, &size, &depth,
                                 reinterpret_cast<vm_region_recurse_info_t>(&brief),
                                 &count) == KERN_SUCCESS);
  CHECK(at == memory + page);
  CHECK(size == page);
  CHECK(brief.protection == VM_PROT_READ);
  count = VM_REGION_SUBMAP_SHORT_INFO_COUNT_64 - 1;
  CHECK(mach_vm_region_recurse(self, &at, &size, &depth,
                               reinterpret_cast<vm_region_recurse_info_t>(&brief),
                               &count) == KERN_INVALID_ARGUMENT);

  vm_region_extended_info_data_t extended{};
  mach_port_t object = MACH_PORT_DEAD;
  count = VM_REGION_EXTENDED_INFO_COUNT;
  REQUIRE(mach_vm_region(self, &at, &size, VM_REGION_EXTENDED_INFO,
                         reinterpret_cast<vm_region_info_t>(&extended), &count,
                         &object) == KERN_SUCCESS);
  CHECK(extended.protection == VM_PROT_READ);
  CHECK(object == MACH_PORT_NULL);
  at = ~mach_vm_address_t{0} - 1;
  CHECK(mach_vm_region(self, &at, &size, VM_REGION_EXTENDED_INFO,
                       reinterpret_cast<vm_region_info_t>(&extended), &count,
                       &object) == KERN_INVALID_ADDRESS);
  CHECK(mach_vm_region(self, &at, &size, 99, reinterpret_cast<vm_region_info_t>(&extended), &count,
                       &object) == KERN_INVALID_ARGUMENT);
  CHECK(mach_vm_deallocate(self, memory, 3 * page) == KERN_SUCCESS);
}

TEST_CASE("a range that was shared keeps its inheritance") {
  for (const mach_vm_size_t size : {page, mach_vm_size_t{2} << 20}) {
    for (const int how : {0, 1, 2}) {
      CAPTURE(size);
      CAPTURE(how);
      const mach_vm_address_t memory = new_memory(size);
      REQUIRE(mach_vm_inherit(self, memory, size, VM_INHERIT_NONE) == KERN_SUCCESS);
      const mach_vm_address_t other =
          how == 2 ? remap(memory, size)
                   : map_entry_of(memory, size, how == 1 ? MAP_MEM_VM_SHARE : 0);
      CHECK(status_in_child([&] { return !can_be_read(memory) && can_be_read(other); }) == 0);
      byte(memory) = 7;
      CHECK(byte(other) == 7);
      CHECK(mach_vm_deallocate(self, memory, size) == KERN_SUCCESS);
      CHECK(mach_vm_deallocate(self, other, size) == KERN_SUCCESS);
    }
  }
}

TEST_CASE("VM_INHERIT_SHARE can be taken back until a child shares the pages") {
  for (const mach_vm_size_t size : {2 * page, mach_vm_size_t{2} << 20}) {
    CAPTURE(size);
    const mach_vm_address_t memory = new_memory(size);
    byte(memory + page) = 1;
    REQUIRE(mach_vm_inherit(self, memory, size, VM_INHERIT_SHARE) == KERN_SUCCESS);
    CHECK(mach_vm_inherit(self, memory, size, VM_INHERIT_COPY) == KERN_SUCCESS);
    check_child_has_copy(memory + page);
    CHECK(mach_vm_deallocate(self, memory, size) == KERN_SUCCESS);
  }
}

TEST_CASE("pages that a child did not get are not permanent there") {
  const mach_vm_address_t memory = new_memory(page, VM_FLAGS_PERMANENT);
  REQUIRE(mach_vm_inherit(self, memory, page, VM_INHERIT_NONE) == KERN_SUCCESS);
  CHECK(status_in_child([&] {
          mach_vm_address_t at = memory;
          if (mach_vm_allocate(mach_task_self(), &at, page, VM_FLAGS_FIXED | VM_FLAGS_OVERWRITE) !=
              KERN_SUCCESS) {
            return false;
          }
          if (mach_vm_deallocate(mach_task_self(), at, page) != KERN_SUCCESS) return false;
          return mach_vm_allocate(mach_task_self(), &at, page, VM_FLAGS_FIXED) == KERN_SUCCESS;
        }) == 0);
  CHECK(mach_vm_deallocate(self, memory, page) == KERN_SUCCESS);
  CHECK(!can_be_read(memory));
}

TEST_CASE("VM_INHERIT_SHARE does not look at the protection") {
  const mach_vm_address_t memory = new_memory(2 * page);
  byte(memory + page) = 1;
  REQUIRE(mach_vm_protect(self, memory, 2 * page, 0, VM_PROT_NONE) == KERN_SUCCESS);
  CHECK(mach_vm_inherit(self, memory, 2 * page, VM_INHERIT_SHARE) == KERN_SUCCESS);
  CHECK(!can_be_read(memory + page));
  REQUIRE(mach_vm_protect(self, memory, 2 * page, 0, VM_PROT_DEFAULT) == KERN_SUCCESS);
  CHECK(byte(memory + page) == 1);
  CHECK(status_in_child([&] {
          byte(memory + page) = 2;
          return true;
        }) == 0);
  CHECK(byte(memory + page) == 2);
  CHECK(mach_vm_deallocate(self, memory, 2 * page) == KERN_SUCCESS);
}

TEST_CASE("a child has a copy of pages again when their entry and other mappings are gone") {
  for (const mach_vm_size_t size : {2 * page, mach_vm_size_t{2} << 20}) {
    for (const int how : {0, 1, 2, 3}) {
      CAPTURE(size);
      CAPTURE(how);
      const mach_vm_address_t memory = new_memory(size);
      byte(memory) = 1;
      if (how == 0) {  // an entry that is never mapped
        memory_object_size_t length = size;
        mach_port_t entry = MACH_PORT_NULL;
        REQUIRE(mach_make_memory_entry_64(self, &length, memory, VM_PROT_DEFAULT, &entry,
                                          MACH_PORT_NULL) == KERN_SUCCESS);
        CHECK(mach_port_deallocate(self, entry) == KERN_SUCCESS);
      } else {
        const mach_vm_address_t other =
            how == 3 ? remap(memory, size)
                     : map_entry_of(memory, size, how == 1 ? MAP_MEM_VM_SHARE : 0);
        CHECK(mach_vm_deallocate(self, other, size) == KERN_SUCCESS);
      }
      CHECK(info_of(memory).inheritance == VM_INHERIT_COPY);
      CHECK(mach_vm_inherit(self, memory, size, VM_INHERIT_COPY) == KERN_SUCCESS);
      check_child_has_copy(memory);
      CHECK(mach_vm_deallocate(self, memory, size) == KERN_SUCCESS);
    }
  }
}

TEST_CASE("a child shares pages of VM_INHERIT_SHARE also when an entry of them has come and gone") {
  for (const bool entry_is_first : {false, true}) {
    CAPTURE(entry_is_first);
    const mach_vm_address_t memory = new_memory(page);
    mach_vm_address_t other = 0;
    if (entry_is_first) other = map_entry_of(memory, page, 0);
    REQUIRE(mach_vm_inherit(self, memory, page, VM_INHERIT_SHARE) == KERN_SUCCESS);
    if (!entry_is_first) other = map_entry_of(memory, page, 0);
    byte(other) = 1;
    CHECK(byte(memory) == 1);
    CHECK(mach_vm_deallocate(self, other, page) == KERN_SUCCESS);
    CHECK(info_of(memory).inheritance == VM_INHERIT_SHARE);
    CHECK(status_in_child([&] {
            byte(memory) = 2;
            return true;
          }) == 0);
    CHECK(byte(memory) == 2);
    CHECK(mach_vm_deallocate(self, memory, page) == KERN_SUCCESS);
  }
}

TEST_CASE("a child has a copy of the mapping that is left of an entry's memory") {
  const mach_vm_address_t memory = new_memory(page);
  const mach_vm_address_t other = map_entry_of(memory, page, 0);
  REQUIRE(mach_vm_deallocate(self, memory, page) == KERN_SUCCESS);
  byte(other) = 1;
  check_child_has_copy(other);
  CHECK(mach_vm_deallocate(self, other, page) == KERN_SUCCESS);
}

TEST_CASE("an entry that is held over a fork shows the writes of both sides of its memory") {
  const mach_vm_address_t memory = new_memory(page);
  memory_object_size_t size = page;
  mach_port_t entry = MACH_PORT_NULL;
  REQUIRE(mach_make_memory_entry_64(self, &size, memory, VM_PROT_DEFAULT, &entry, MACH_PORT_NULL) ==
          KERN_SUCCESS);
  CHECK(status_in_child([&] { return byte(memory) == 0; }) == 0);
  mach_vm_address_t other = 0;
  REQUIRE(mach_vm_map(self, &other, page, 0, VM_FLAGS_ANYWHERE, entry, 0, 0, VM_PROT_DEFAULT,
                      VM_PROT_DEFAULT, VM_INHERIT_DEFAULT) == KERN_SUCCESS);
  byte(memory) = 3;
  CHECK(byte(other) == 3);
  byte(other) = 4;
  CHECK(byte(memory) == 4);
  CHECK(mach_port_deallocate(self, entry) == KERN_SUCCESS);
  CHECK(mach_vm_deallocate(self, memory, page) == KERN_SUCCESS);
  CHECK(mach_vm_deallocate(self, other, page) == KERN_SUCCESS);
}

TEST_CASE("a process can fork after an entry of its stack was released") {
  unsigned char memory[5000] = {1};
  memory_object_size_t size = sizeof memory;
  mach_port_t entry = MACH_PORT_NULL;
  REQUIRE(mach_make_memory_entry_64(self, &size, reinterpret_cast<mach_vm_address_t>(memory),
                                    VM_PROT_DEFAULT, &entry, MACH_PORT_NULL) == KERN_SUCCESS);
  CHECK(mach_port_deallocate(self, entry) == KERN_SUCCESS);
  CHECK(status_in_child([&] {
          memory[0] = 2;
          return true;
        }) == 0);
  CHECK(memory[0] == 1);
}
