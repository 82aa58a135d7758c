// mach_vm_*: each call with each code that it can return.
#include <doctest/doctest.h>

#include <mach/mach_vm.h>

#include "kedge/mach/kernel/extension.h"
#include "test_message.h"

using namespace test;

namespace {

const mach_port_t self = mach_task_self();
constexpr mach_vm_size_t huge = ~mach_vm_size_t{0};

mach_vm_address_t new_memory(mach_vm_size_t size) {
  mach_vm_address_t at = 0;
  REQUIRE(mach_vm_allocate(self, &at, size, VM_FLAGS_ANYWHERE) == KERN_SUCCESS);
  return at;
}

// Returns the address of pages that are not mapped.
mach_vm_address_t no_memory(mach_vm_size_t size) {
  const mach_vm_address_t at = new_memory(size);
  REQUIRE(mach_vm_deallocate(self, at, size) == KERN_SUCCESS);
  return at;
}

char* bytes(mach_vm_address_t at) {
  return reinterpret_cast<char*>(at);
}

kern_return_t write(mach_vm_address_t to, const char* text, mach_msg_type_number_t size) {
  return mach_vm_write(self, to, reinterpret_cast<vm_offset_t>(text), size);
}

}  // namespace

TEST_CASE("vm_page_size is a power of two, and the rounding functions use it") {
  CHECK((vm_page_size & vm_page_mask) == 0);
  CHECK(vm_page_size == vm_size_t{1} << vm_page_shift);
  CHECK(mach_vm_round_page(vm_page_size + 1) == 2 * vm_page_size);
  CHECK(mach_vm_trunc_page(2 * vm_page_size - 1) == vm_page_size);
  CHECK(round_page(vm_size_t{1}) == vm_page_size);
  CHECK(trunc_page(vm_page_size + 1) == vm_page_size);
}

TEST_CASE(
    "mach_vm_allocate gives zero-filled pages, and replaces pages only by VM_FLAGS_OVERWRITE") {
  const mach_vm_address_t at = new_memory(vm_page_size + 1);
  CHECK(at % vm_page_size == 0);
  CHECK(bytes(at)[2 * vm_page_size - 1] == 0);
  bytes(at)[0] = 'x';

  mach_vm_address_t fixed = at + 10;
  CHECK(mach_vm_allocate(self, &fixed, vm_page_size, VM_FLAGS_FIXED) == KERN_NO_SPACE);
  CHECK(bytes(at)[0] == 'x');
  CHECK(mach_vm_allocate(self, &fixed, 1, VM_FLAGS_FIXED | VM_FLAGS_OVERWRITE) == KERN_SUCCESS);
  CHECK(fixed == at);
  CHECK(bytes(at)[0] == 0);
  CHECK(mach_vm_deallocate(self, at, 2 * vm_page_size) == KERN_SUCCESS);
  CHECK(mach_vm_allocate(self, &fixed, vm_page_size, VM_FLAGS_FIXED) == KERN_SUCCESS);
  CHECK(mach_vm_deallocate(self, at, vm_page_size) == KERN_SUCCESS);

  mach_vm_address_t other = 5;
  CHECK(mach_vm_allocate(self, &other, 0, VM_FLAGS_ANYWHERE) == KERN_SUCCESS);
  CHECK(other == 0);
  CHECK(mach_vm_allocate(self, &other, vm_page_size, VM_FLAGS_FIXED) == KERN_INVALID_ADDRESS);
  // The size counts from the page of the address.
  fixed = at + 10;
  CHECK(mach_vm_allocate(self, &fixed, vm_page_size, VM_FLAGS_FIXED) == KERN_SUCCESS);
  CHECK(write(at, "x", 1) == KERN_SUCCESS);
  CHECK(write(at + vm_page_size, "x", 1) == KERN_INVALID_ADDRESS);
  CHECK(mach_vm_deallocate(self, at, vm_page_size) == KERN_SUCCESS);
  CHECK(mach_vm_allocate(MACH_PORT_NULL, &other, 1, VM_FLAGS_ANYWHERE) == MACH_SEND_INVALID_DEST);
  CHECK(mach_vm_allocate(new_service(), &other, 1, VM_FLAGS_ANYWHERE) == KERN_INVALID_ARGUMENT);
}

TEST_CASE("mach_vm_deallocate removes whole pages, and accepts ranges that are not mapped") {
  const mach_vm_address_t at = new_memory(2 * vm_page_size);
  CHECK(mach_vm_deallocate(self, at + 1, 1) == KERN_SUCCESS);
  CHECK(write(at, "x", 1) == KERN_INVALID_ADDRESS);
  CHECK(write(at + vm_page_size, "x", 1) == KERN_SUCCESS);
  CHECK(mach_vm_deallocate(self, at, 2 * vm_page_size) == KERN_SUCCESS);
  CHECK(mach_vm_deallocate(self, at, 0) == KERN_SUCCESS);
  CHECK(mach_vm_deallocate(self, at, huge) == KERN_INVALID_ARGUMENT);
}

TEST_CASE("mach_vm_protect changes whole pages, or fails for a hole and changes nothing") {
  const mach_vm_address_t at = new_memory(2 * vm_page_size);
  CHECK(mach_vm_protect(self, at, 1, 0, VM_PROT_READ) == KERN_SUCCESS);
  CHECK(write(at, "x", 1) == KERN_INVALID_ADDRESS);
  CHECK(write(at + vm_page_size, "x", 1) == KERN_SUCCESS);
  CHECK(mach_vm_protect(self, at, 1, 0, VM_PROT_DEFAULT) == KERN_SUCCESS);
  CHECK(write(at, "x", 1) == KERN_SUCCESS);
  CHECK(mach_vm_protect(self, at, 2 * vm_page_size, 1, VM_PROT_READ) == KERN_SUCCESS);
  CHECK(write(at + vm_page_size, "x", 1) == KERN_INVALID_ADDRESS);
  CHECK(mach_vm_protect(self, at, 0, 0, VM_PROT_READ) == KERN_SUCCESS);
  CHECK(mach_vm_deallocate(self, at + vm_page_size, vm_page_size) == KERN_SUCCESS);
  CHECK(mach_vm_protect(self, at, 2 * vm_page_size, 0, VM_PROT_NONE) == KERN_INVALID_ADDRESS);
  CHECK(mach_vm_protect(self, at, 2 * vm_page_size, 1, VM_PROT_NONE) == KERN_INVALID_ADDRESS);
  CHECK(bytes(at)[0] == 'x');
  CHECK(mach_vm_protect(self, at, huge, 0, VM_PROT_READ) == KERN_INVALID_ARGUMENT);
  CHECK(mach_vm_deallocate(self, at, 2 * vm_page_size) == KERN_SUCCESS);
  CHECK(mach_vm_protect(self, at, 1, 0, VM_PROT_READ) == KERN_INVALID_ADDRESS);
  CHECK(mach_vm_protect(self, at, 1, 1, VM_PROT_READ) == KERN_INVALID_ADDRESS);
}

TEST_CASE("mach_vm_read copies 100 bytes and 2 MiB, and refuses unreadable memory") {
  for (const mach_vm_size_t size : {mach_vm_size_t{100}, mach_vm_size_t{2} << 20}) {
    CAPTURE(size);
    const mach_vm_address_t at = new_memory(size + 8);
    bytes(at)[8] = 'a';
    bytes(at)[7 + size] = 'z';
    vm_offset_t data = 0;
    mach_msg_type_number_t count = 0;
    REQUIRE(mach_vm_read(self, at + 8, size, &data, &count) == KERN_SUCCESS);
    CHECK(count == size);
    bytes(at)[8] = 'b';
    CHECK(bytes(data)[0] == 'a');
    CHECK(bytes(data)[size - 1] == 'z');
    CHECK(mach_vm_deallocate(self, data, count) == KERN_SUCCESS);
    CHECK(mach_vm_deallocate(self, at, size + 8) == KERN_SUCCESS);
  }
  vm_offset_t data = 0;
  mach_msg_type_number_t count = 0;
  const mach_vm_address_t none = no_memory(vm_page_size);
  CHECK(mach_vm_read(self, none, 1, &data, &count) == KERN_INVALID_ADDRESS);
  CHECK(mach_vm_read(self, none, mach_vm_size_t{1} << 32, &data, &count) == KERN_INVALID_ARGUMENT);
  const mach_vm_address_t hidden = new_memory(vm_page_size);
  REQUIRE(mach_vm_protect(self, hidden, 1, 0, VM_PROT_NONE) == KERN_SUCCESS);
  CHECK(mach_vm_read(self, hidden, 1, &data, &count) == KERN_INVALID_ADDRESS);
}

TEST_CASE("read_overwrite, write and copy move bytes, and refuse memory without access") {
  const mach_vm_address_t at = new_memory(2 * vm_page_size), none = no_memory(vm_page_size);
  CHECK(write(at, "text", 4) == KERN_SUCCESS);
  CHECK(write(none, "text", 4) == KERN_INVALID_ADDRESS);
  CHECK(mach_vm_write(self, at, none, 1) == MACH_SEND_INVALID_MEMORY);
  char out[4] = {};
  const auto to = reinterpret_cast<mach_vm_address_t>(out);
  mach_vm_size_t done = 0;
  CHECK(mach_vm_read_overwrite(self, at, 4, to, &done) == KERN_SUCCESS);
  CHECK(done == 4);
  CHECK(std::memcmp(out, "text", 4) == 0);
  CHECK(mach_vm_read_overwrite(self, none, 4, to, &done) == KERN_INVALID_ADDRESS);
  CHECK(mach_vm_read_overwrite(self, at, 4, none, &done) == KERN_INVALID_ADDRESS);
  CHECK(mach_vm_copy(self, at, 4, at + 2) == KERN_SUCCESS);
  CHECK(std::memcmp(bytes(at), "tetext", 6) == 0);
  CHECK(mach_vm_copy(self, none, 4, at) == KERN_INVALID_ADDRESS);
  CHECK(mach_vm_copy(self, at, 4, none) == KERN_INVALID_ADDRESS);
  REQUIRE(mach_vm_protect(self, at, 1, 0, VM_PROT_READ) == KERN_SUCCESS);
  CHECK(mach_vm_copy(self, at + vm_page_size, 4, at) == KERN_INVALID_ADDRESS);
}

TEST_CASE("copy, read_overwrite and write refuse a range that wraps around the address space") {
  const mach_vm_address_t at = new_memory(vm_page_size), last = huge - 15;
  mach_vm_size_t done = 0;
  CHECK(mach_vm_copy(self, at, vm_page_size, last) == KERN_INVALID_ADDRESS);
  CHECK(mach_vm_read_overwrite(self, at, vm_page_size, last, &done) == KERN_INVALID_ADDRESS);
  CHECK(mach_vm_write(self, at, last, 64) == MACH_SEND_INVALID_MEMORY);
  CHECK(mach_vm_deallocate(self, at, vm_page_size) == KERN_SUCCESS);
}

TEST_CASE("mach_vm_region describes the first region that ends behind the address") {
  const mach_vm_address_t at = new_memory(3 * vm_page_size);
  REQUIRE(mach_vm_protect(self, at + vm_page_size, vm_page_size, 0, VM_PROT_READ) == KERN_SUCCESS);
  mach_vm_address_t found = at + vm_page_size + 5;
  mach_vm_size_t size = 0;
  vm_region_basic_info_data_64_t info{};
  const auto words = reinterpret_cast<vm_region_info_t>(&info);
  mach_msg_type_number_t count = VM_REGION_BASIC_INFO_COUNT_64;
  mach_port_t object = MACH_PORT_NULL;
  REQUIRE(mach_vm_region(self, &found, &size, VM_REGION_BASIC_INFO_64, words, &count, &object) ==
          KERN_SUCCESS);
  CHECK(found == at + vm_page_size);
  CHECK(size == vm_page_size);
  CHECK(info.protection == VM_PROT_READ);
  CHECK(count == VM_REGION_BASIC_INFO_COUNT_64);
  count = 1;
  CHECK(mach_vm_region(self, &found, &size, VM_REGION_BASIC_INFO_64, words, &count, &object) ==
        KERN_INVALID_ARGUMENT);
  found = ~mach_vm_address_t{0} - 1;
  count = VM_REGION_BASIC_INFO_COUNT_64;
  CHECK(mach_vm_region(self, &found, &size, VM_REGION_BASIC_INFO_64, words, &count, &object) ==
        KERN_INVALID_ADDRESS);
}

TEST_CASE("mach_vm_allocate accepts the self port of another task") {
  namespace extension = kedge::mach::kernel;
  const extension::task other = extension::create_task();
  const mach_port_t port = extension::task_self_port(other);
  mach_vm_address_t at = 0;
  CHECK(mach_vm_allocate(port, &at, vm_page_size, VM_FLAGS_ANYWHERE) == KERN_SUCCESS);
  CHECK(mach_vm_deallocate(port, at, vm_page_size) == KERN_SUCCESS);
  extension::terminate_task(other);
}
