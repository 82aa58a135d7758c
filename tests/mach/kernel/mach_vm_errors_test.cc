// mach_vm_*: which error comes first, in tables over addresses, sizes and protections (Darwin:
// vm_sanitize.c, vm_sanitize_error_compat.c, vm_map_copyin_internal, vm_map_copy_overwrite).
#include <doctest/doctest.h>

#include <mach/mach_vm.h>

#include <initializer_list>

#include "test_message.h"

using namespace test;

namespace {

const mach_port_t self = mach_task_self();
const mach_vm_size_t page = vm_page_size;
constexpr mach_vm_size_t huge = ~mach_vm_size_t{0};
const mach_vm_address_t last_page = huge - page + 1;

// The largest copy that passes through a buffer of the kernel (Darwin: msg_ool_size_small).
#if defined(__x86_64__)
constexpr mach_vm_size_t buffered = 16 * 1024;
#else
constexpr mach_vm_size_t buffered = 32 * 1024;
#endif

mach_vm_address_t new_memory(mach_vm_size_t size) {
  mach_vm_address_t at = 0;
  REQUIRE(mach_vm_allocate(self, &at, size, VM_FLAGS_ANYWHERE) == KERN_SUCCESS);
  return at;
}

void release(mach_vm_address_t at, mach_vm_size_t size) {
  CHECK(mach_vm_deallocate(self, at, size) == KERN_SUCCESS);
}

kern_return_t read(mach_vm_address_t at, mach_vm_size_t size) {
  vm_offset_t data = 0;
  mach_msg_type_number_t count = 0;
  const kern_return_t result = mach_vm_read(self, at, size, &data, &count);
  if (result == KERN_SUCCESS) release(data, count);
  return result;
}

kern_return_t read_overwrite(mach_vm_address_t at, mach_vm_size_t size, mach_vm_address_t to) {
  mach_vm_size_t done = 0;
  return mach_vm_read_overwrite(self, at, size, to, &done);
}

kern_return_t write(mach_vm_address_t to, mach_vm_address_t from, mach_vm_size_t size) {
  return mach_vm_write(self, to, from, static_cast<mach_msg_type_number_t>(size));
}

kern_return_t allocate(mach_vm_address_t at, mach_vm_size_t size, int flags) {
  const kern_return_t result = mach_vm_allocate(self, &at, size, flags);
  if (result == KERN_SUCCESS && size > 0) release(at, size);
  return result;
}

kern_return_t map(mach_vm_address_t at, mach_vm_size_t size, int flags, mach_vm_offset_t mask = 0,
                  vm_prot_t now = VM_PROT_DEFAULT, vm_prot_t most = VM_PROT_ALL,
                  vm_inherit_t inheritance = VM_INHERIT_DEFAULT) {
  const kern_return_t result =
      mach_vm_map(self, &at, size, mask, flags, MACH_PORT_NULL, 0, 0, now, most, inheritance);
  if (result == KERN_SUCCESS) release(at, size);
  return result;
}

}  // namespace

TEST_CASE("a size of 0 succeeds at any address, before anything else is checked") {
  const mach_vm_address_t memory = new_memory(page);
  for (const mach_vm_address_t at :
       {mach_vm_address_t{0}, mach_vm_address_t{1}, page - 1, page + 1, last_page, huge}) {
    CAPTURE(at);
    CHECK(mach_vm_deallocate(self, at, 0) == KERN_SUCCESS);
    CHECK(mach_vm_protect(self, at, 0, 0, VM_PROT_READ) == KERN_SUCCESS);
    CHECK(mach_vm_protect(self, at, 0, 0, 0x100) == KERN_SUCCESS);
    CHECK(mach_vm_inherit(self, at, 0, 9) == KERN_SUCCESS);
    CHECK(read(at, 0) == KERN_SUCCESS);
    CHECK(read_overwrite(at, 0, memory) == KERN_SUCCESS);
    CHECK(read_overwrite(memory, 0, at) == KERN_SUCCESS);
    CHECK(write(at, memory, 0) == KERN_SUCCESS);
    CHECK(write(memory, at, 0) == KERN_SUCCESS);
    CHECK(mach_vm_copy(self, at, 0, memory) == KERN_SUCCESS);
    CHECK(mach_vm_copy(self, memory, 0, at) == KERN_SUCCESS);
    CHECK(allocate(at, 0, VM_FLAGS_FIXED) == KERN_SUCCESS);
    CHECK(map(at, 0, VM_FLAGS_FIXED) == KERN_INVALID_ARGUMENT);
  }
  release(memory, page);
}

TEST_CASE("a range that wraps around is an invalid argument, or an invalid address for a copy") {
  const mach_vm_address_t memory = new_memory(page);
  const mach_vm_size_t uint_max = ~std::uint32_t{0};
  struct range {
    mach_vm_address_t at;
    mach_vm_size_t size;
  };
  for (const range& each :
       {range{huge - uint_max + 1, uint_max}, range{huge - uint_max + page, uint_max - page + 1},
        range{last_page, page}, range{last_page, 1}, range{huge, 1}}) {
    CAPTURE(each.at);
    CAPTURE(each.size);
    CHECK(mach_vm_deallocate(self, each.at, each.size) == KERN_INVALID_ARGUMENT);
    CHECK(mach_vm_protect(self, each.at, each.size, 0, VM_PROT_READ) == KERN_INVALID_ARGUMENT);
    CHECK(mach_vm_inherit(self, each.at, each.size, VM_INHERIT_COPY) == KERN_INVALID_ARGUMENT);
    CHECK(read(each.at, each.size) == KERN_INVALID_ADDRESS);
    CHECK(read_overwrite(each.at, each.size, memory) == KERN_INVALID_ADDRESS);
    CHECK(mach_vm_copy(self, each.at, each.size, memory) == KERN_INVALID_ADDRESS);
    CHECK(write(memory, each.at, each.size) == MACH_SEND_INVALID_MEMORY);
    CHECK(mach_vm_copy(self, memory, page, each.at) == KERN_INVALID_ADDRESS);
    CHECK(write(each.at, memory, page) == KERN_INVALID_ADDRESS);
    CHECK(allocate(each.at, each.size, VM_FLAGS_FIXED) == KERN_INVALID_ADDRESS);
    CHECK(map(each.at, each.size, VM_FLAGS_FIXED) == KERN_INVALID_ARGUMENT);
  }
  // 4 GiB and more do not fit into the count of mach_vm_read, whatever the address.
  for (const mach_vm_address_t at : {mach_vm_address_t{1}, memory, last_page, huge}) {
    CAPTURE(at);
    CHECK(read(at, uint_max + 1) == KERN_INVALID_ARGUMENT);
    CHECK(read(at, huge) == KERN_INVALID_ARGUMENT);
  }
  release(memory, page);
}

TEST_CASE(
    "an allocation whose size rounds to 0 is an invalid argument, a larger one finds no space") {
  for (const mach_vm_address_t at : {mach_vm_address_t{0}, mach_vm_address_t{1}, page}) {
    CAPTURE(at);
    CHECK(allocate(at, huge, VM_FLAGS_FIXED) == KERN_INVALID_ARGUMENT);
    CHECK(allocate(at, huge, VM_FLAGS_ANYWHERE) == KERN_INVALID_ARGUMENT);
    CHECK(map(at, huge, VM_FLAGS_FIXED) == KERN_INVALID_ARGUMENT);
    CHECK(map(at, huge, VM_FLAGS_ANYWHERE) == KERN_INVALID_ARGUMENT);
    CHECK(allocate(at, last_page, VM_FLAGS_ANYWHERE) == KERN_NO_SPACE);
    CHECK(map(at, last_page, VM_FLAGS_ANYWHERE) == KERN_NO_SPACE);
  }
  CHECK(allocate(last_page, page, VM_FLAGS_FIXED) == KERN_INVALID_ADDRESS);
}

TEST_CASE(
    "mach_vm_map at a fixed address checks the mask, then the bounds, then for other pages in the "
    "range") {
  const mach_vm_address_t memory = new_memory(2 * page);
  CHECK(map(0, page, VM_FLAGS_FIXED) == KERN_INVALID_ADDRESS);
  CHECK(map(0, page, VM_FLAGS_FIXED, page - 1) == KERN_INVALID_ADDRESS);
  CHECK(map(memory, page, VM_FLAGS_FIXED) == KERN_NO_SPACE);
  release(memory, 2 * page);
  const mach_vm_address_t odd = memory & page ? memory : memory + page;
  CHECK(map(odd, page, VM_FLAGS_FIXED, 2 * page - 1) == KERN_NO_SPACE);
  CHECK(map(odd, page, VM_FLAGS_FIXED, page - 1) == KERN_SUCCESS);
}

TEST_CASE("mach_vm_map at any address begins at the hint, and does not begin again below") {
  const mach_vm_address_t first = new_memory(page);
  mach_vm_address_t next = first;
  REQUIRE(mach_vm_map(self, &next, page, 0, VM_FLAGS_ANYWHERE, MACH_PORT_NULL, 0, 0,
                      VM_PROT_DEFAULT, VM_PROT_ALL, VM_INHERIT_DEFAULT) == KERN_SUCCESS);
  CHECK(next > first);
  for (mach_vm_address_t between = first; between <= next; between += page) {
    CAPTURE(between);
    CHECK(allocate(between, page, VM_FLAGS_FIXED) != KERN_SUCCESS);
  }
  release(first, page);
  release(next, page);
  CHECK(map(last_page, page, VM_FLAGS_ANYWHERE) == KERN_NO_SPACE);
  CHECK(map(1, page, VM_FLAGS_ANYWHERE, huge) == KERN_NO_SPACE);
  // mach_vm_allocate ignores the hint.
  CHECK(allocate(last_page, page, VM_FLAGS_ANYWHERE) == KERN_SUCCESS);
}

TEST_CASE("mach_vm_allocate gives a page behind the one before") {
  const mach_vm_address_t first = new_memory(page), second = new_memory(page);
  CHECK(second > first);
  release(first, page);
  release(second, page);
}

TEST_CASE("each call accepts the flags that are its own") {
  struct flag {
    int value;
    kern_return_t allocates, maps, remaps;
  };
  const kern_return_t good = KERN_SUCCESS, bad = KERN_INVALID_ARGUMENT;
  for (const flag& each :
       {flag{VM_FLAGS_PURGABLE, good, good, bad}, flag{VM_FLAGS_4GB_CHUNK, good, good, bad},
        flag{VM_FLAGS_RANDOM_ADDR, good, good, good}, flag{VM_FLAGS_NO_CACHE, good, good, bad},
        flag{VM_FLAGS_RESILIENT_CODESIGN, bad, bad, good},
        flag{VM_FLAGS_RESILIENT_MEDIA, bad, bad, good}, flag{0x100, bad, bad, bad},
        flag{0x200, bad, bad, bad}, flag{0x2000, bad, bad, bad}, flag{0x8000, bad, bad, bad},
        flag{VM_FLAGS_RETURN_DATA_ADDR, bad, good, good}, flag{0x200000, bad, bad, bad},
        flag{0x400000, bad, bad, bad}, flag{VM_FLAGS_RETURN_4K_DATA_ADDR, bad, good, bad},
        flag{static_cast<int>(VM_MAKE_TAG(240u)), good, good, bad}}) {
    CAPTURE(each.value);
    CHECK(allocate(0, page, each.value | VM_FLAGS_ANYWHERE) == each.allocates);
    CHECK(map(0, page, each.value | VM_FLAGS_ANYWHERE) == each.maps);
    const mach_vm_address_t memory = new_memory(page);
    REQUIRE(mach_vm_protect(self, memory, page, 0, VM_PROT_READ) == KERN_SUCCESS);
    mach_vm_address_t copy = 0;
    vm_prot_t now = 0, most = 0;
    CHECK(mach_vm_remap(self, &copy, page, 0, each.value | VM_FLAGS_ANYWHERE, self, memory, 1, &now,
                        &most, VM_INHERIT_DEFAULT) == each.remaps);
    if (each.remaps == KERN_SUCCESS) release(copy, page);
    release(memory, page);
  }
  const mach_vm_address_t memory = new_memory(page);
  mach_vm_address_t same = 0;
  vm_prot_t now = 0, most = 0;
  CHECK(mach_vm_remap(self, &same, page, 0, VM_FLAGS_ANYWHERE | VM_FLAGS_RESILIENT_MEDIA, self,
                      memory, 0, &now, &most, VM_INHERIT_DEFAULT) == KERN_INVALID_ARGUMENT);
  release(memory, page);
}

TEST_CASE(
    "mach_vm_map refuses unknown protections and inheritances, and lowers one beyond the maximum") {
  for (const vm_prot_t wrong :
       {vm_prot_t{VM_PROT_ALL + 1}, ~VM_PROT_IS_MASK, vm_prot_t{0x7fffffff}}) {
    CAPTURE(wrong);
    CHECK(map(0, page, VM_FLAGS_ANYWHERE, 0, wrong) == KERN_INVALID_ARGUMENT);
    CHECK(map(0, page, VM_FLAGS_ANYWHERE, 0, VM_PROT_DEFAULT, wrong) == KERN_INVALID_ARGUMENT);
  }
  for (const vm_inherit_t wrong : {vm_inherit_t{VM_INHERIT_LAST_VALID + 1}, ~vm_inherit_t{0}}) {
    CAPTURE(wrong);
    CHECK(map(0, page, VM_FLAGS_ANYWHERE, 0, VM_PROT_DEFAULT, VM_PROT_ALL, wrong) ==
          KERN_INVALID_ARGUMENT);
  }
  mach_vm_address_t at = 0;
  REQUIRE(mach_vm_map(self, &at, page, 0, VM_FLAGS_ANYWHERE, MACH_PORT_NULL, 0, 0, VM_PROT_DEFAULT,
                      VM_PROT_READ, VM_INHERIT_DEFAULT) == KERN_SUCCESS);
  CHECK(write(at, at, 1) == KERN_INVALID_ADDRESS);
  CHECK(read(at, 1) == KERN_SUCCESS);
  release(at, page);
}

TEST_CASE("a copy without access fails by its size, as the kernel's buffer or as the pages say") {
  const mach_vm_size_t all = 2 * buffered;
  const mach_vm_address_t hidden = new_memory(all), constant = new_memory(all),
                          open = new_memory(all);
  REQUIRE(mach_vm_protect(self, hidden + buffered, page, 0, VM_PROT_NONE) == KERN_SUCCESS);
  REQUIRE(mach_vm_protect(self, constant + buffered, page, 0, VM_PROT_READ) == KERN_SUCCESS);
  for (const mach_vm_size_t size :
       {mach_vm_size_t{1}, page, 2 * page, buffered, buffered + 1, all - 1}) {
    // The range has the page in its middle, or the page is the range.
    const mach_vm_size_t ahead = size > page ? size / 2 : 0;
    CAPTURE(size);
    const bool is_small = size <= buffered;
    const kern_return_t wanted = is_small ? KERN_INVALID_ADDRESS : KERN_PROTECTION_FAILURE;
    const mach_vm_address_t source = hidden + buffered - ahead, to = constant + buffered - ahead;
    CHECK(read(source, size) == wanted);
    CHECK(read_overwrite(source, size, open) == wanted);
    CHECK(mach_vm_copy(self, source, size, open) == wanted);
    CHECK(write(open, source, size) == MACH_SEND_INVALID_MEMORY);
    CHECK(read_overwrite(open, size, to) == wanted);
    CHECK(mach_vm_copy(self, open, size, to) == wanted);
    CHECK(write(to, open, size) == wanted);
    // The source is checked before the destination.
    CHECK(mach_vm_copy(self, source, size, 0) == wanted);
  }
  release(hidden, all);
  release(constant, all);
  release(open, all);
}

TEST_CASE("a copy from or to a hole is an invalid address, whatever its size") {
  const mach_vm_size_t all = 2 * buffered;
  const mach_vm_address_t torn = new_memory(all), whole = new_memory(all);
  release(torn + buffered, page);
  for (const mach_vm_size_t size : {page + 2, buffered, buffered + 2, all}) {
    CAPTURE(size);
    const mach_vm_address_t at = torn + buffered - size / 2;
    CHECK(read(at, size) == KERN_INVALID_ADDRESS);
    CHECK(read_overwrite(at, size, whole) == KERN_INVALID_ADDRESS);
    CHECK(mach_vm_copy(self, at, size, whole) == KERN_INVALID_ADDRESS);
    CHECK(write(whole, at, size) == MACH_SEND_INVALID_MEMORY);
    CHECK(read_overwrite(whole, size, at) == KERN_INVALID_ADDRESS);
    CHECK(mach_vm_copy(self, whole, size, at) == KERN_INVALID_ADDRESS);
    CHECK(write(at, whole, size) == KERN_INVALID_ADDRESS);
  }
  release(torn, all);
  release(whole, all);
}

TEST_CASE("mach_vm_read gives a buffered copy at a page, and a larger one at the source's offset") {
  const mach_vm_size_t all = 2u << 20;
  const mach_vm_address_t memory = new_memory(all);
  for (const mach_vm_size_t size : {mach_vm_size_t{100}, buffered, buffered + 1, all - 5}) {
    CAPTURE(size);
    vm_offset_t data = 0;
    mach_msg_type_number_t count = 0;
    REQUIRE(mach_vm_read(self, memory + 5, size, &data, &count) == KERN_SUCCESS);
    CHECK((data & (page - 1)) == (size > buffered ? 5 : 0));
    release(data, count);
  }
  release(memory, all);
}

TEST_CASE("a bad task is reported before bad arguments, and after a message that cannot be sent") {
  const mach_vm_address_t memory = new_memory(page);
  vm_offset_t data = 0;
  mach_msg_type_number_t count = 0;
  CHECK(mach_vm_read(MACH_PORT_NULL, memory, huge, &data, &count) == MACH_SEND_INVALID_DEST);
  CHECK(mach_vm_deallocate(MACH_PORT_NULL, memory, 0) == MACH_SEND_INVALID_DEST);
  CHECK(mach_vm_copy(MACH_PORT_NULL, memory, 0, memory) == MACH_SEND_INVALID_DEST);
  const mach_port_t other = new_service();
  CHECK(mach_vm_deallocate(other, memory, 0) == KERN_INVALID_ARGUMENT);
  CHECK(mach_vm_write(other, memory, huge, 1) == MACH_SEND_INVALID_MEMORY);
  CHECK(mach_vm_write(other, memory, memory, 1) == KERN_INVALID_ARGUMENT);
  CHECK(mach_vm_write(MACH_PORT_NULL, memory, huge, 1) == MACH_SEND_INVALID_DEST);
  release(memory, page);
}

TEST_CASE("vm_read_list copies each range, and clears those that it cannot copy") {
  const mach_vm_address_t memory = new_memory(2 * page);
  *reinterpret_cast<char*>(memory + 3) = 'x';
  release(memory + page, page);
  mach_vm_read_entry_t list{};
  list[0] = {memory + 3, 1};
  list[1] = {memory + page, 1};
  list[2] = {memory, 0};
  CHECK(mach_vm_read_list(self, list, 2) == KERN_INVALID_ADDRESS);
  CHECK(list[1].address == 0);
  CHECK(list[1].size == 0);
  REQUIRE(list[0].size == 1);
  CHECK(*reinterpret_cast<char*>(list[0].address) == 'x');
  release(list[0].address, 1);
  list[0] = {memory + 3, 1};
  list[1] = {memory + page, 1};
  // The result is that of the last range that is not empty.
  CHECK(mach_vm_read_list(self, list, 3) == KERN_INVALID_ADDRESS);
  release(list[0].address, 1);
  CHECK(mach_vm_read_list(self, list, VM_MAP_ENTRY_MAX + 1) == KERN_INVALID_ARGUMENT);

  vm_read_entry_t narrow{};
  narrow[0] = {memory + page, 1};
  narrow[1] = {memory + 3, 1};
  CHECK(vm_read_list(self, narrow, 2) == KERN_SUCCESS);
  CHECK(narrow[0].address == 0);
  CHECK(*reinterpret_cast<char*>(narrow[1].address) == 'x');
  release(narrow[1].address, 1);
  release(memory, page);
}
