// Out-of-line memory (SEMANTICS 29, 31, 32).
#include <doctest/doctest.h>

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "test_message.h"

using namespace test;

namespace {

const auto page = static_cast<vm_size_t>(sysconf(_SC_PAGESIZE));

// Allocates memory whose byte i is seed + i.
unsigned char* new_memory(vm_size_t size, unsigned seed) {
  vm_address_t address = 0;
  REQUIRE(vm_allocate(mach_task_self(), &address, size, VM_FLAGS_ANYWHERE) == KERN_SUCCESS);
  auto* const bytes = reinterpret_cast<unsigned char*>(address);
  for (vm_size_t index = 0; index < size; ++index) {
    bytes[index] = static_cast<unsigned char>(seed + index);
  }
  return bytes;
}

bool holds(const void* address, vm_size_t size, unsigned seed) {
  const auto* const bytes = static_cast<const unsigned char*>(address);
  for (vm_size_t index = 0; index < size; ++index) {
    if (bytes[index] != static_cast<unsigned char>(seed + index)) return false;
  }
  return true;
}

void release(const void* address, vm_size_t size) {
  CHECK(vm_deallocate(mach_task_self(), reinterpret_cast<vm_address_t>(address), size) ==
        KERN_SUCCESS);
}

std::uintptr_t offset_in_page(const void* address) {
  return reinterpret_cast<std::uintptr_t>(address) % page;
}

// Returns pages that cannot be read.
void* unreadable() {
  static void* const pages = mmap(nullptr, 1 << 23, PROT_NONE, MAP_PRIVATE | MAP_ANON, -1, 0);
  return pages;
}

// Sends the descriptor to a new port and receives it.
mach_msg_ool_descriptor_t pass(const mach_msg_ool_descriptor_t& descriptor) {
  const mach_port_name_t port = new_service();
  message m(port, MACH_MSG_TYPE_COPY_SEND);
  REQUIRE(m.with(descriptor).send() == MACH_MSG_SUCCESS);
  message got;
  REQUIRE(got.receive(port) == MACH_MSG_SUCCESS);
  CHECK(got.header().msgh_size == sizeof(mach_msg_base_t) + sizeof(mach_msg_ool_descriptor_t));
  CHECK(MACH_MSGH_BITS_IS_COMPLEX(got.header().msgh_bits));
  CHECK(end_receive(port) == KERN_SUCCESS);
  CHECK(mach_port_deallocate(mach_task_self(), port) == KERN_SUCCESS);
  return got.at<mach_msg_ool_descriptor_t>();
}

}  // namespace

TEST_CASE("memory of 1 byte to 2 MiB arrives as a private copy, by either copy option") {
  for (const vm_size_t size : {vm_size_t{1}, vm_size_t{5000}, 3 * page, vm_size_t{2} << 20}) {
    for (const mach_msg_copy_options_t copy : {mach_msg_copy_options_t{MACH_MSG_PHYSICAL_COPY},
                                               mach_msg_copy_options_t{MACH_MSG_VIRTUAL_COPY}}) {
      CAPTURE(size);
      CAPTURE(copy);
      unsigned char* const memory = new_memory(size, 7);
      const auto got = pass(memory_descriptor(memory, static_cast<mach_msg_size_t>(size), copy));
      CHECK(got.size == size);
      CHECK(got.type == MACH_MSG_OOL_DESCRIPTOR);
      CHECK(got.copy == copy);
      CHECK(got.address != memory);
      REQUIRE(holds(got.address, size, 7));
      // Neither side may see the other's later writes.
      memory[0] = 1;
      static_cast<unsigned char*>(got.address)[size - 1] = 2;
      CHECK(static_cast<unsigned char*>(got.address)[0] == (size == 1 ? 2 : 7));
      CHECK(memory[size - 1] == (size == 1 ? 1 : static_cast<unsigned char>(7 + size - 1)));
      release(got.address, size);
      release(memory, size);
    }
  }
}

TEST_CASE("writes of the sender after the send do not arrive") {
  const mach_port_name_t port = new_service();
  for (const vm_size_t size : {page, vm_size_t{1} << 20}) {
    CAPTURE(size);
    unsigned char* const memory = new_memory(size, 3);
    message m(port, MACH_MSG_TYPE_COPY_SEND);
    m.with(memory_descriptor(memory, static_cast<mach_msg_size_t>(size), MACH_MSG_VIRTUAL_COPY));
    REQUIRE(m.send() == MACH_MSG_SUCCESS);
    std::fill(memory, memory + size, static_cast<unsigned char>(0));
    message got;
    REQUIRE(got.receive(port) == MACH_MSG_SUCCESS);
    CHECK(holds(got.at<mach_msg_ool_descriptor_t>().address, size, 3));
    mach_msg_destroy(&got.header());
    release(memory, size);
  }
}

TEST_CASE("the deallocate flag of received memory is set for virtual copies only") {
  unsigned char* const memory = new_memory(page, 1);
  const auto physical = pass(memory_descriptor(memory, 10, MACH_MSG_PHYSICAL_COPY));
  CHECK(!physical.deallocate);
  const auto virtual_copy = pass(memory_descriptor(memory, 10, MACH_MSG_VIRTUAL_COPY));
  CHECK(virtual_copy.deallocate);
  const auto moved = pass(memory_descriptor(memory, 10, MACH_MSG_PHYSICAL_COPY, true));
  CHECK(!moved.deallocate);
  for (const auto& each : {physical, virtual_copy, moved}) {
    CHECK(holds(each.address, 10, 1));
    release(each.address, 10);
  }
}

TEST_CASE("memory of size 0 arrives without an address") {
  const auto none = pass(memory_descriptor(nullptr, 0));
  CHECK(none.address == nullptr);
  CHECK(none.size == 0);
  const auto bad = pass(memory_descriptor(reinterpret_cast<void*>(0x10), 0, MACH_MSG_VIRTUAL_COPY));
  CHECK(bad.address == nullptr);
  CHECK(bad.size == 0);
  CHECK(bad.deallocate);
}

TEST_CASE("a virtual copy keeps its offset in the page, and a physical copy begins at a page") {
  unsigned char* const memory = new_memory(vm_size_t{1} << 20, 5);
  const mach_msg_size_t size = (1u << 20) - 100;
  const auto virtual_copy = pass(memory_descriptor(memory + 60, size, MACH_MSG_VIRTUAL_COPY));
  CHECK(offset_in_page(virtual_copy.address) == 60);
  CHECK(holds(virtual_copy.address, size, 65));
  release(virtual_copy.address, size);
  const auto physical = pass(memory_descriptor(memory + 60, size, MACH_MSG_PHYSICAL_COPY));
  CHECK(offset_in_page(physical.address) == 0);
  CHECK(holds(physical.address, size, 65));
  release(physical.address, size);
  release(memory, vm_size_t{1} << 20);
}

TEST_CASE(
    "memory that passes through the kernel's buffer arrives at a page, other virtual copies keep "
    "their offset") {
#if defined(__x86_64__)
  const mach_msg_size_t buffered = 16 * 1024;
#else
  const mach_msg_size_t buffered = 32 * 1024;
#endif
  for (const mach_msg_size_t size : {100u, buffered, buffered + 1, 100000u, 3u << 20}) {
    for (const mach_msg_copy_options_t copy : {mach_msg_copy_options_t{MACH_MSG_PHYSICAL_COPY},
                                               mach_msg_copy_options_t{MACH_MSG_VIRTUAL_COPY}}) {
      for (const bool deallocates : {false, true}) {
        CAPTURE(size);
        CAPTURE(copy);
        CAPTURE(deallocates);
        unsigned char* const memory = new_memory(size + 5, 5);
        const auto got = pass(memory_descriptor(memory + 5, size, copy, deallocates));
        // Deallocated pages are moved, also by a physical copy.
        const bool keeps = size > buffered && (copy == MACH_MSG_VIRTUAL_COPY || deallocates);
        CHECK(offset_in_page(got.address) == (keeps ? 5 : 0));
        CHECK(holds(got.address, size, 10));
        release(got.address, size);
        if (!deallocates) release(memory, size + 5);
      }
    }
  }
}

TEST_CASE("a volatile descriptor arrives as a volatile descriptor") {
  unsigned char* const memory = new_memory(page, 9);
  auto descriptor = memory_descriptor(memory, 4);
  descriptor.type = MACH_MSG_OOL_VOLATILE_DESCRIPTOR;
  const auto got = pass(descriptor);
  CHECK(got.type == MACH_MSG_OOL_VOLATILE_DESCRIPTOR);
  CHECK(holds(got.address, 4, 9));
  release(got.address, 4);
  release(memory, page);
}

TEST_CASE("deallocate removes every page of the sender that the memory touches") {
  for (const vm_size_t pages : {vm_size_t{3}, (vm_size_t{1} << 20) / page + 1}) {
    CAPTURE(pages);
    unsigned char* const memory = new_memory((pages + 1) * page, 1);
    const auto size = static_cast<mach_msg_size_t>((pages - 1) * page);
    // The memory begins within the first page and ends within the last page but one.
    const auto got = pass(memory_descriptor(memory + 8, size, MACH_MSG_VIRTUAL_COPY, true));
    CHECK(holds(got.address, size, 9));
    CHECK(holds(memory + pages * page, page, static_cast<unsigned>(1 + pages * page)));
    const mach_port_name_t port = new_service();
    for (const vm_size_t gone : {vm_size_t{0}, pages - 1}) {
      // The received memory may be at this address.
      const unsigned char* const at = memory + gone * page;
      const auto* const first = static_cast<unsigned char*>(got.address) - 8;
      if (at >= first && at < first + pages * page) continue;
      message m(port, MACH_MSG_TYPE_COPY_SEND);
      CHECK(m.with(memory_descriptor(at, 1)).send() == MACH_SEND_INVALID_MEMORY);
    }
    release(got.address, size);
    release(memory + pages * page, page);
  }
}

TEST_CASE("class 1: an unknown copy option consumes nothing") {
  const mach_port_name_t port = new_service(), cargo = new_service();
  message m(port, MACH_MSG_TYPE_MOVE_SEND);
  m.with(port_descriptor(cargo, MACH_MSG_TYPE_MOVE_SEND)).with(memory_descriptor(nullptr, 4, 2));
  CHECK(m.send() == MACH_SEND_INVALID_TYPE);
  CHECK(refs_of(port, MACH_PORT_RIGHT_SEND) == 1);
  CHECK(refs_of(cargo, MACH_PORT_RIGHT_SEND) == 1);
}

TEST_CASE("class 1: a message too short for its descriptor consumes nothing") {
  const mach_port_name_t port = new_service();
  unsigned char* const memory = new_memory(page, 0);
  message m(port, MACH_MSG_TYPE_MOVE_SEND);
  m.with(memory_descriptor(memory, 4, MACH_MSG_VIRTUAL_COPY, true));
  m.size -= 4;  // the length of a port descriptor
  CHECK(m.send() == MACH_SEND_MSG_TOO_SMALL);
  CHECK(refs_of(port, MACH_PORT_RIGHT_SEND) == 1);
  CHECK(holds(memory, page, 0));
  release(memory, page);
}

TEST_CASE("class 1: more than 7 MiB of physical copies is refused, virtual copies do not count") {
  const mach_port_name_t port = new_service();
  const vm_size_t size = vm_size_t{4} << 20;
  unsigned char* const memory = new_memory(size, 0);
  const auto half = memory_descriptor(memory, static_cast<mach_msg_size_t>(size));
  message m(port, MACH_MSG_TYPE_MOVE_SEND);
  CHECK(m.with(half).with(half).send() == MACH_MSG_VM_KERNEL);
  CHECK(refs_of(port, MACH_PORT_RIGHT_SEND) == 1);
  // Virtual copies and small pieces do not count.
  const auto shared =
      memory_descriptor(memory, static_cast<mach_msg_size_t>(size), MACH_MSG_VIRTUAL_COPY);
  message other(port, MACH_MSG_TYPE_COPY_SEND);
  CHECK(other.with(half).with(shared).with(memory_descriptor(memory, 100)).send() ==
        MACH_MSG_SUCCESS);
  message got;
  REQUIRE(got.receive(port) == MACH_MSG_SUCCESS);
  const auto physical = got.at<mach_msg_ool_descriptor_t>();
  CHECK(holds(physical.address, size, 0));
  const auto small = got.at<mach_msg_ool_descriptor_t>(2 * sizeof physical);
  CHECK(holds(small.address, 100, 0));
  release(physical.address, size);
  release(small.address, 100);
  mach_msg_destroy(&got.header());
  release(memory, size);
}

TEST_CASE("class 2: unreadable memory destroys the header's rights and the descriptors before it") {
  const mach_port_name_t port = new_service(), before = new_service(), behind = new_service(),
                         reply = new_port();
  unsigned char* const memory = new_memory(page, 0);
  for (void* const address :
       {unreadable(), reinterpret_cast<void*>(0x10), static_cast<void*>(nullptr)}) {
    for (const mach_msg_size_t size : {4u, 9000u, 5u << 20}) {
      CAPTURE(address);
      CAPTURE(size);
      mach_port_insert_right(mach_task_self(), port, port, MACH_MSG_TYPE_MAKE_SEND);
      mach_port_insert_right(mach_task_self(), before, before, MACH_MSG_TYPE_MAKE_SEND);
      const auto sends = refs_of(port, MACH_PORT_RIGHT_SEND);
      message m(port, MACH_MSG_TYPE_MOVE_SEND);
      m.reply_to(reply, MACH_MSG_TYPE_MAKE_SEND_ONCE);
      m.with(port_descriptor(before, MACH_MSG_TYPE_MOVE_SEND))
          .with(memory_descriptor(memory, 16, MACH_MSG_VIRTUAL_COPY))
          .with(memory_descriptor(address, size, MACH_MSG_VIRTUAL_COPY, true))
          .with(port_descriptor(behind, MACH_MSG_TYPE_MOVE_SEND));
      const message as_sent = m;
      CHECK(m.send() == MACH_SEND_INVALID_MEMORY);
      CHECK(std::memcmp(as_sent.bytes, m.bytes, sizeof m.bytes) == 0);
      CHECK(refs_of(port, MACH_PORT_RIGHT_SEND) == sends - 1);
      CHECK(refs_of(before, MACH_PORT_RIGHT_SEND) == 1);
      CHECK(refs_of(behind, MACH_PORT_RIGHT_SEND) == 1);
      CHECK(next_id(reply) == MACH_NOTIFY_SEND_ONCE);
      CHECK(status_of(port).mps_msgcount == 0);
    }
  }
  release(memory, page);
}

TEST_CASE("class 2: memory that was deallocated before the send is refused") {
  const mach_port_name_t port = new_service();
  for (const vm_size_t size : {page, vm_size_t{1} << 21}) {
    unsigned char* const memory = new_memory(size, 0);
    CAPTURE(size);
    const hole h(memory, size);
    REQUIRE(h.gone());
    message m(port, MACH_MSG_TYPE_COPY_SEND);
    m.with(memory_descriptor(memory, static_cast<mach_msg_size_t>(size), MACH_MSG_VIRTUAL_COPY));
    CHECK(m.send() == MACH_SEND_INVALID_MEMORY);
  }
}

TEST_CASE("class 2: memory that is not mapped up to its end is refused, and not deallocated") {
  unsigned char* const memory = new_memory(2 * page, 0);
  const hole h(memory + page, page);
  REQUIRE(h.gone());
  const mach_port_name_t port = new_service();
  message m(port, MACH_MSG_TYPE_COPY_SEND);
  m.with(memory_descriptor(memory + page - 8, 16, MACH_MSG_VIRTUAL_COPY, true));
  CHECK(m.send() == MACH_SEND_INVALID_MEMORY);
  CHECK(holds(memory, page, 0));  // nothing was deallocated
  release(memory, page);
}

TEST_CASE("class 3: a full queue gives memory back, as a copy or moved") {
  const mach_port_name_t port = new_service();
  REQUIRE(set_limit(port, 0) == KERN_SUCCESS);
  for (const vm_size_t size : {page, vm_size_t{1} << 20}) {
    CAPTURE(size);
    for (const bool deallocates : {false, true}) {
      CAPTURE(deallocates);
      unsigned char* const memory = new_memory(size, 4);
      message m(port, MACH_MSG_TYPE_COPY_SEND);
      m.with(memory_descriptor(memory, static_cast<mach_msg_size_t>(size), MACH_MSG_VIRTUAL_COPY,
                               deallocates))
          .with(memory_descriptor(nullptr, 0))
          .with_body("body");
      REQUIRE(m.send() == MACH_SEND_TIMED_OUT);
      CHECK(m.header().msgh_bits ==
            (MACH_MSGH_BITS(MACH_MSG_TYPE_MOVE_SEND, 0u) | MACH_MSGH_BITS_COMPLEX));
      const auto back = m.at<mach_msg_ool_descriptor_t>();
      CHECK(back.size == size);
      CHECK(back.deallocate);
      CHECK(holds(back.address, size, 4));
      if (!deallocates) {
        CHECK(back.address != memory);
        release(memory, size);
      }
      CHECK(m.at<mach_msg_ool_descriptor_t>(sizeof back).address == nullptr);
      CHECK(std::memcmp(m.bytes + m.size - 4, "body", 4) == 0);
      mach_msg_destroy(&m.header());
    }
  }
}

TEST_CASE("class 4: a port with memory in its queue can be destroyed") {
  const mach_port_name_t port = new_service();
  unsigned char* const memory = new_memory(vm_size_t{1} << 20, 4);
  message m(port, MACH_MSG_TYPE_COPY_SEND);
  m.with(memory_descriptor(memory, 1u << 20, MACH_MSG_VIRTUAL_COPY))
      .with(memory_descriptor(memory, 1u << 20, MACH_MSG_VIRTUAL_COPY, true));
  REQUIRE(m.send() == MACH_MSG_SUCCESS);
  CHECK(end_receive(port) == KERN_SUCCESS);
  CHECK(type_of(port) == MACH_PORT_TYPE_DEAD_NAME);
}

TEST_CASE("two memory descriptors, a port between them and a body arrive in order") {
  const mach_port_name_t port = new_service(), cargo = new_service();
  unsigned char* const memory = new_memory(3 * page, 0);
  message m(port, MACH_MSG_TYPE_COPY_SEND);
  m.with(memory_descriptor(memory, 10))
      .with(port_descriptor(cargo, MACH_MSG_TYPE_COPY_SEND))
      .with(memory_descriptor(memory + 1, 2 * static_cast<mach_msg_size_t>(page),
                              MACH_MSG_VIRTUAL_COPY))
      .with_body("the body");
  REQUIRE(m.send() == MACH_MSG_SUCCESS);
  message got;
  REQUIRE(got.receive(port) == MACH_MSG_SUCCESS);
  CHECK(got.header().msgh_size == m.size);
  CHECK(holds(got.at<mach_msg_ool_descriptor_t>().address, 10, 0));
  CHECK(got.at<mach_msg_port_descriptor_t>(16).name == cargo);
  CHECK(refs_of(cargo, MACH_PORT_RIGHT_SEND) == 2);
  const auto second = got.at<mach_msg_ool_descriptor_t>(28);
  CHECK(holds(second.address, 2 * page, 1));
  CHECK(std::memcmp(got.bytes + got.header().msgh_size - 8, "the body", 8) == 0);
  release(got.at<mach_msg_ool_descriptor_t>().address, 10);
  mach_msg_destroy(&got.header());
  CHECK(refs_of(cargo, MACH_PORT_RIGHT_SEND) == 1);
  release(memory, 3 * page);
}

TEST_CASE("mach_msg_destroy releases memory with the deallocate flag, except volatile memory") {
  const mach_port_name_t port = new_service();
  unsigned char* const memory = new_memory(page, 2);
  auto volatile_memory = memory_descriptor(memory, 4, MACH_MSG_VIRTUAL_COPY);
  volatile_memory.type = MACH_MSG_OOL_VOLATILE_DESCRIPTOR;
  message m(port, MACH_MSG_TYPE_COPY_SEND);
  m.with(memory_descriptor(memory, 4, MACH_MSG_VIRTUAL_COPY))
      .with(memory_descriptor(memory, 4))
      .with(volatile_memory);
  REQUIRE(m.send() == MACH_MSG_SUCCESS);
  message got;
  REQUIRE(got.receive(port) == MACH_MSG_SUCCESS);
  mach_msg_destroy(&got.header());
  message gone(port, MACH_MSG_TYPE_COPY_SEND);
  CHECK(gone.with(memory_descriptor(got.at<mach_msg_ool_descriptor_t>().address, 4)).send() ==
        MACH_SEND_INVALID_MEMORY);
  for (const std::size_t kept : {16u, 32u}) {
    const auto descriptor = got.at<mach_msg_ool_descriptor_t>(kept);
    CHECK(holds(descriptor.address, 4, 2));
    release(descriptor.address, 4);
  }
  release(memory, page);
}

TEST_CASE("a virtual copy of static data arrives with its bytes and page offset") {
  static unsigned char own[100000];
  for (std::size_t index = 0; index < sizeof own; ++index) {
    own[index] = static_cast<unsigned char>(index);
  }
  const auto got = pass(memory_descriptor(own + 3, 90000, MACH_MSG_VIRTUAL_COPY));
  CHECK(holds(got.address, 90000, 3));
  CHECK(offset_in_page(got.address) == offset_in_page(own + 3));
  release(got.address, 90000);
}

TEST_CASE(
    "a message with memory too large for the buffer stays with MACH_RCV_LARGE, else is destroyed") {
  const mach_port_name_t port = new_service();
  unsigned char* const memory = new_memory(page, 6);
  message m(port, MACH_MSG_TYPE_COPY_SEND);
  m.with(memory_descriptor(memory, 50, MACH_MSG_VIRTUAL_COPY));
  const message as_sent = m;
  REQUIRE(m.send() == MACH_MSG_SUCCESS);
  message got;
  CHECK(got.receive(port, MACH_RCV_LARGE, 40) == MACH_RCV_TOO_LARGE);
  CHECK(got.header().msgh_size == m.size);
  REQUIRE(got.receive(port) == MACH_MSG_SUCCESS);
  CHECK(holds(got.at<mach_msg_ool_descriptor_t>().address, 50, 6));
  mach_msg_destroy(&got.header());
  m = as_sent;
  REQUIRE(m.send() == MACH_MSG_SUCCESS);
  CHECK(got.receive(port, 0, 40) == MACH_RCV_TOO_LARGE);
  CHECK(got.receive(port) == MACH_RCV_TIMED_OUT);
  release(memory, page);
}
