// memory_region: made, copied, shared and resized. Each test ends with the pages gone.
#include "kedge/mach/memory_region.h"

#include <doctest/doctest.h>
#include <mach/mach.h>
#include <mach/vm_map.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "error_of.h"
#include "kedge/mach/error.h"
#include "kedge/mach/message.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/send.h"
#include "kedge/mach/space.h"
#include "space_names.h"
#include "take_message.h"

namespace kedge::mach {
namespace {

constexpr std::size_t page = 16384;  // a multiple of every page size
constexpr std::size_t large = 3 << 20;

bool is_mapped(const void* address) {
  char byte = 0;
  vm_size_t size = 0;
  return vm_read_overwrite(mach_task_self(), reinterpret_cast<vm_address_t>(address), 1,
                           reinterpret_cast<vm_address_t>(&byte), &size) == KERN_SUCCESS;
}

void write(memory_region& to, std::size_t at, std::string_view text) {
  std::memcpy(to.bytes().data() + at, text.data(), text.size());
}
std::string_view read(const memory_region& from, std::size_t at, std::size_t size) {
  return from.text().substr(at, size);
}
bool is_zero(const memory_region& from, std::size_t at) {
  const auto bytes = from.bytes().subspan(at);
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{}; });
}

}  // namespace

TEST_CASE("two regions of shared memory see what either writes, and the pages end with the last") {
  const std::size_t before = names_in_space();
  for (const std::size_t size : {std::size_t{100}, page + 1, large}) {
    CAPTURE(size);
    memory_region first = memory_region::make(size);
    write(first, 0, "before");
    memory_region second = memory_region::map(first.share(), size);
    REQUIRE(second.size() == size);
    CHECK(second.bytes().data() != first.bytes().data());
    CHECK(read(second, 0, 6) == "before");
    write(first, 0, "first");
    CHECK(read(second, 0, 5) == "first");
    write(second, size - 6, "second");
    CHECK(read(first, size - 6, 6) == "second");
    const void* const was_first = first.bytes().data();
    const void* const was_second = second.bytes().data();
    first.clear();
    CHECK_FALSE(is_mapped(was_first));
    CHECK(read(second, size - 6, 6) == "second");
    second.clear();
    CHECK_FALSE(is_mapped(was_second));
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("an entry alone keeps the pages, and is mapped any number of times") {
  memory_region first = memory_region::make(page);
  write(first, 0, "kept");
  const send_right entry = first.share();
  first.clear();
  memory_region second = memory_region::map(entry, page), third = memory_region::map(entry, 4);
  CHECK(read(second, 0, 4) == "kept");
  write(third, 0, "seen");
  CHECK(read(second, 0, 4) == "seen");
}

TEST_CASE("a peer in another space maps the memory that was sent to it" *
          doctest::skip(!kernel::has_many_tasks())) {
  const std::size_t before = names_in_space();
  {
    space other;
    receive_right requests;
    mach_port_name_t name = MACH_PORT_NULL;
    {
      const scoped_space inside(other);
      requests = receive_right::make();
    }
    const receive_right own = receive_right::make();
    memory_region picture = memory_region::make(large);
    {
      const send_right entry = picture.share();
      name = other.give(send_right(entry));
    }
    {
      const scoped_space inside(other);
      memory_region there = memory_region::map(send_right::adopt(name), large);
      write(there, 1000, "painted");
      requests.destroy();
    }
    CHECK(read(picture, 1000, 7) == "painted");
    // In a message too.
    REQUIRE(try_send(own.make_send(), message(1, picture.share())));
    const memory_region again = memory_region::map(take(own).take_send(0), large);
    CHECK(read(again, 1000, 7) == "painted");
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("memory that is shared read_only cannot be mapped to be written") {
  const std::size_t before = names_in_space();
  {
    memory_region first = memory_region::make(page);
    const send_right entry = first.share(memory_access::read_only);
    CHECK(error_of([&] { (void)memory_region::map(entry, page); }) ==
          kern_error(KERN_PROTECTION_FAILURE));
    const memory_region second = memory_region::map(entry, page, memory_access::read_only);
    write(first, 5, "seen");
    CHECK(read(second, 5, 4) == "seen");
    // Of an entry with more access too: the pages are mapped with what was asked for.
    const memory_region third = memory_region::map(first.share(), page, memory_access::read_only);
    const auto at = reinterpret_cast<vm_address_t>(third.bytes().data());
    char byte = 'x';
    CHECK(vm_write(mach_task_self(), at, reinterpret_cast<vm_offset_t>(&byte), 1) != KERN_SUCCESS);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("map refuses what is no entry of enough memory, and share what has no page of its own") {
  const std::size_t before = names_in_space();
  {
    memory_region region = memory_region::make(page);
    const send_right entry = region.share();
    CHECK(error_of([&] { (void)memory_region::map(entry, page + 1); }) ==
          kern_error(KERN_INVALID_ARGUMENT));
    constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
    CHECK(error_of([&] { (void)memory_region::map(entry, most); }) ==
          kern_error(KERN_INVALID_ARGUMENT));
    CHECK_FALSE(memory_region::map(entry, 0));
    CHECK(error_of([] { (void)memory_region::map({}, 1); }) == kern_error(KERN_INVALID_ARGUMENT));
    receive_right port = receive_right::make();
    const send_right other = port.make_send();
    CHECK(error_of([&] { (void)memory_region::map(other, 1); }) ==
          kern_error(KERN_INVALID_ADDRESS));
    port.destroy();
    CHECK(error_of([&] { (void)memory_region::map(other, 1); }) != std::error_code());
    CHECK(error_of([] { (void)memory_region().share(); }) == kern_error(KERN_INVALID_ARGUMENT));
    // As a large region may arrive.
    void* const begin = std::move(region).release();
    memory_region inside = memory_region::adopt(static_cast<std::byte*>(begin) + 8, page - 8);
    CHECK(error_of([&] { (void)inside.share(); }) == kern_error(KERN_INVALID_ARGUMENT));
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("map refuses the entry of a copy, which a stranger could make larger than it says") {
  const std::size_t before = names_in_space();
  {
    memory_region region = memory_region::make(4 * page);
    memory_object_size_t size = 4 * page;
    mach_port_t entry = MACH_PORT_NULL;
    REQUIRE(mach_make_memory_entry_64(mach_task_self(), &size,
                                      reinterpret_cast<vm_address_t>(region.bytes().data()),
                                      VM_PROT_READ | VM_PROT_WRITE | MAP_MEM_VM_COPY, &entry,
                                      MACH_PORT_NULL) == KERN_SUCCESS);
    CHECK(error_of([&, right = send_right::adopt(entry)] {
            (void)memory_region::map(right, page);
          }) == kern_error(KERN_INVALID_ARGUMENT));
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("resize keeps the bytes that remain, and adds zeros") {
  memory_region region = memory_region::make(10);
  write(region, 0, "0123456789");
  SUBCASE("inside a page") {
    region.resize(5);
    CHECK(region.text() == "01234");
    region.resize(100);
    CHECK(read(region, 0, 5) == "01234");
    CHECK(is_zero(region, 5));
  }
  SUBCASE("to many pages and back") {
    region.resize(large);
    CHECK(region.size() == large);
    CHECK(read(region, 0, 10) == "0123456789");
    CHECK(is_zero(region, 10));
    write(region, large - 3, "end");
    const std::byte* const end = region.bytes().data() + large - 1;
    const std::byte* const begin = region.bytes().data();
    region.resize(3);
    CHECK(region.bytes().data() == begin);
    CHECK(region.text() == "012");
    CHECK_FALSE(is_mapped(end));
    region.resize(large);
    CHECK(read(region, 0, 3) == "012");
    CHECK(is_zero(region, 3));
  }
  SUBCASE("where the address behind it is in use") {
    memory_region two = memory_region::make(2 * page);
    std::byte* const begin = static_cast<std::byte*>(std::move(two).release());
    region = memory_region::adopt(begin, page);
    memory_region neighbour = memory_region::adopt(begin + page, page);
    write(region, page - 4, "last");
    write(neighbour, 0, "next");
    region.resize(2 * page);
    CHECK(region.bytes().data() != begin);
    CHECK_FALSE(is_mapped(begin));
    CHECK(read(region, page - 4, 4) == "last");
    CHECK(is_zero(region, page));
    CHECK(read(neighbour, 0, 4) == "next");
  }
  SUBCASE("to nothing, and from nothing") {
    const std::byte* const begin = region.bytes().data();
    region.resize(0);
    CHECK_FALSE(region);
    CHECK_FALSE(is_mapped(begin));
    region.resize(page);
    CHECK(region.size() == page);
    CHECK(is_zero(region, 0));
  }
  SUBCASE("to a size that no space has room for: the region is unchanged") {
    const std::size_t most = std::size_t{1} << 62;
    CHECK(error_of([&] { region.resize(most); }) != std::error_code());
    CHECK(region.text() == "0123456789");
  }
}

TEST_CASE("a region that was resized is sent whole") {
  const receive_right port = receive_right::make();
  memory_region region = memory_region::make(page);
  write(region, 0, "begin");
  region.resize(large);
  write(region, large - 3, "end");
  REQUIRE(try_send(port.make_send(), message(1, std::move(region))));
  const memory_region arrived = take(port).take_memory(0);
  CHECK(arrived.size() == large);
  CHECK(read(arrived, 0, 5) == "begin");
  CHECK(read(arrived, large - 3, 3) == "end");
}

TEST_CASE("a copy of shared memory is not shared") {
  memory_region first = memory_region::make(large);
  memory_region second = memory_region::map(first.share(), large);
  const memory_region copy = second.copy();
  write(first, 0, "later");
  CHECK(read(second, 0, 5) == "later");
  CHECK(is_zero(copy, 0));
}

}  // namespace kedge::mach
