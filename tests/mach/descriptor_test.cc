// descriptor: whatever kind a sender chose, its contents can be taken once, and are released with
// the message otherwise. The messages are made by hand, as a stranger could.
#include "kedge/mach/descriptor.h"

#include <doctest/doctest.h>
#include <mach/mach.h>
#include <mach/notify.h>
#include <mach/vm_map.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ostream>
#include <system_error>
#include <utility>
#include <vector>

#include "kedge/mach/error.h"
#include "kedge/mach/message.h"
#include "kedge/mach/received.h"
#include "kedge/mach/send.h"
#include "kedge/mach/try_receive.h"
#include "space_names.h"

namespace kedge::mach {
namespace {

// A complex message with the bytes of one descriptor, and a word behind it.
template <class Descriptor>
void send_one(const receive_right& port, const Descriptor& d) {
  struct {
    mach_msg_base_t base;
    Descriptor d;
    std::uint32_t tail;
  } m{};
  m.base.header.msgh_bits =
      MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND_ONCE, 0u) | MACH_MSGH_BITS_COMPLEX;
  m.base.header.msgh_remote_port = port.name();
  m.base.body.msgh_descriptor_count = 1;
  m.d = d;
  m.tail = 77;
  REQUIRE(mach_msg(&m.base.header, MACH_SEND_MSG, sizeof m, 0, MACH_PORT_NULL, 0, MACH_PORT_NULL) ==
          MACH_MSG_SUCCESS);
}

constexpr std::size_t large = 4 * 1024 * 1024;

mach_msg_ool_descriptor_t memory(void* address, std::size_t size, mach_msg_descriptor_type_t type,
                                 mach_msg_copy_options_t copy) {
  mach_msg_ool_descriptor_t d{};
  d.address = address;
  d.size = static_cast<mach_msg_size_t>(size);
  d.type = type & 0xff;
  d.copy = copy & 0xff;
  return d;
}

mach_msg_ool_ports_descriptor_t array(const std::vector<mach_port_name_t>& names,
                                      mach_msg_type_name_t disposition) {
  mach_msg_ool_ports_descriptor_t d{};
  d.address = const_cast<mach_port_name_t*>(names.data());
  d.count = static_cast<mach_msg_size_t>(names.size());
  d.type = MACH_MSG_OOL_PORTS_DESCRIPTOR;
  d.copy = MACH_MSG_VIRTUAL_COPY;
  d.disposition = disposition & 0xff;
  return d;
}

mach_msg_guarded_port_descriptor_t guarded(mach_port_name_t name, mach_msg_guard_flags_t flags) {
  mach_msg_guarded_port_descriptor_t d{};
  d.name = name;
  d.flags = flags & 0xffff;
  d.disposition = MACH_MSG_TYPE_MOVE_RECEIVE;
  d.type = MACH_MSG_GUARDED_PORT_DESCRIPTOR;
  return d;
}

// Receives with a buffer of its own, and tells where the memory of the first descriptor is.
received take_finding_address(const receive_right& port, vm_address_t* address = nullptr) {
  received_buffer buffer(4096);
  REQUIRE(mach_msg(&buffer.header(),
                   MACH_RCV_MSG | MACH_RCV_TIMEOUT | MACH_RCV_GUARDED_DESC |
                       MACH_RCV_TRAILER_TYPE(MACH_MSG_TRAILER_FORMAT_0) |
                       MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT),
                   0, 4096, port.name(), 0, MACH_PORT_NULL) == MACH_MSG_SUCCESS);
  if (address != nullptr) {
    mach_msg_ool_descriptor_t d;
    std::memcpy(&d, buffer.data() + sizeof(mach_msg_base_t), sizeof d);
    *address = reinterpret_cast<vm_address_t>(d.address);
  }
  return received(std::move(buffer));
}

// Returns true if the process has memory at `address`.
bool is_allocated(vm_address_t address) {
  vm_address_t page = address & ~vm_address_t{vm_page_size - 1};
  return vm_allocate(mach_task_self(), &page, vm_page_size, VM_FLAGS_FIXED) != KERN_SUCCESS
             ? true
             : (vm_deallocate(mach_task_self(), page, vm_page_size), false);
}

}  // namespace

TEST_CASE("out-of-line memory of every kind is deallocated with a message that is dropped unread") {
  const receive_right port = receive_right::make();
  const std::vector<std::byte> content(large, std::byte{7});
  for (const unsigned type :
       {unsigned{MACH_MSG_OOL_DESCRIPTOR}, unsigned{MACH_MSG_OOL_VOLATILE_DESCRIPTOR}}) {
    for (const unsigned copy :
         {unsigned{MACH_MSG_PHYSICAL_COPY}, unsigned{MACH_MSG_VIRTUAL_COPY}}) {
      CAPTURE(type);
      CAPTURE(copy);
      send_one(port, memory(const_cast<std::byte*>(content.data()), large, type, copy));
      vm_address_t at = 0;
      received m = take_finding_address(port, &at);
      REQUIRE(at != 0);
      CHECK(is_allocated(at));
      m.clear();
      CHECK_FALSE(is_allocated(at));
    }
  }
}

TEST_CASE("out-of-line memory can be taken once, as an object that deallocates it") {
  const receive_right port = receive_right::make();
  std::vector<std::byte> content(large, std::byte{7});
  for (const unsigned type :
       {unsigned{MACH_MSG_OOL_DESCRIPTOR}, unsigned{MACH_MSG_OOL_VOLATILE_DESCRIPTOR}}) {
    CAPTURE(type);
    send_one(port, memory(content.data(), large, type, MACH_MSG_PHYSICAL_COPY));
    vm_address_t at = 0;
    received m = take_finding_address(port, &at);
    CHECK(m.rights() == 1);
    CHECK_FALSE(m.take_send(0));
    CHECK(m.take_send_array(0).empty());
    memory_region region = m.take_memory(0);
    CHECK_FALSE(m.take_memory(0));
    CHECK(m.read<std::uint32_t>() == 77u);
    m.clear();
    CHECK(region.size() == large);
    CHECK(std::memcmp(region.bytes().data(), content.data(), large) == 0);
    region.clear();
    CHECK_FALSE(is_allocated(at));
    CHECK(region.bytes().empty());
  }
  send_one(port, memory(nullptr, 0, MACH_MSG_OOL_DESCRIPTOR, MACH_MSG_VIRTUAL_COPY));
  CHECK_FALSE(take_finding_address(port).take_memory(0));
}

TEST_CASE("an array of rights is released right by right, and its memory after them") {
  const std::size_t before = names_in_space();
  {
    const receive_right port = receive_right::make(), other = receive_right::make();
    const send_right to = other.make_send();
    const std::vector<mach_port_name_t> names(100, to.name());
    vm_address_t at = 0;
    SUBCASE("of send rights, dropped") {
      send_one(port, array(names, MACH_MSG_TYPE_COPY_SEND));
      received m = take_finding_address(port, &at);
      CHECK(send_references(to.name()) == 1);
      m.clear();
    }
    SUBCASE("of send rights, taken") {
      send_one(port, array(names, MACH_MSG_TYPE_COPY_SEND));
      received m = take_finding_address(port, &at);
      CHECK(m.take_send_once_array(0).empty());
      std::vector<send_right> rights = m.take_send_array(0);
      CHECK_FALSE(is_allocated(at));
      m.clear();
      CHECK(rights.size() == 100);
      CHECK(rights[99].name() == to.name());
      CHECK(send_references(to.name()) == 1);
    }
    SUBCASE("of send-once rights, dropped") {
      send_one(port, array(std::vector<mach_port_name_t>(100, other.name()),
                           MACH_MSG_TYPE_MAKE_SEND_ONCE));
      received m = take_finding_address(port, &at);
      CHECK(other.status().mps_sorights == 100);
      m.clear();
      CHECK(other.status().mps_msgcount == 100);
    }
    SUBCASE("of receive rights, taken") {
      receive_right a = receive_right::make(), b = receive_right::make();
      send_one(port,
               array({std::move(a).release(), std::move(b).release()}, MACH_MSG_TYPE_MOVE_RECEIVE));
      received m = take_finding_address(port, &at);
      std::vector<receive_right> rights = m.take_receive_array(0);
      REQUIRE(rights.size() == 2);
      CHECK(type_of(rights[1].name()) == MACH_PORT_TYPE_RECEIVE);
    }
    SUBCASE("of receive rights, dropped") {
      receive_right a = receive_right::make(), b = receive_right::make();
      send_one(port,
               array({std::move(a).release(), std::move(b).release()}, MACH_MSG_TYPE_MOVE_RECEIVE));
      take_finding_address(port, &at).clear();
    }
    CHECK_FALSE(is_allocated(at));
    CHECK(send_references(to.name()) == 1);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a guarded receive right is released by its guard, or taken with a guard of its own") {
  const std::size_t before = names_in_space();
  {
    const receive_right port = receive_right::make();
    for (const unsigned flags : {unsigned{MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND},
                                 unsigned{MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND |
                                          MACH_MSG_GUARD_FLAGS_IMMOVABLE_RECEIVE}}) {
      CAPTURE(flags);
      send_one(port, guarded(receive_right::make().release(), flags));
      take_finding_address(port).clear();
      send_one(port, guarded(receive_right::make().release(), flags));
      received m = take_finding_address(port);
      const receive_right right = m.take_receive(0);
      REQUIRE(right);
      CHECK_FALSE(m.take_receive(0));
      CHECK((right.status().mps_flags & MACH_PORT_STATUS_FLAG_STRICT_GUARD) != 0);
    }
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("16,383 rights are read by a loop over descriptors(), and by their numbers") {
  const std::size_t before = names_in_space();
  {
    constexpr std::size_t count = 16'383;
    const receive_right port = receive_right::make(), other = receive_right::make();
    const send_right to = other.make_send();
    const auto make = [&] {
      std::vector<std::byte> bytes(sizeof(mach_msg_base_t) + 12 * count + MAX_TRAILER_SIZE);
      auto& base = *reinterpret_cast<mach_msg_base_t*>(bytes.data());
      base.header.msgh_bits =
          MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND_ONCE, 0u) | MACH_MSGH_BITS_COMPLEX;
      base.header.msgh_remote_port = port.name();
      base.body.msgh_descriptor_count = count;
      mach_msg_port_descriptor_t d{};
      d.name = to.name();
      d.disposition = MACH_MSG_TYPE_COPY_SEND;
      for (std::size_t i = 0; i < count; ++i) {
        std::memcpy(bytes.data() + sizeof base + 12 * i, &d, sizeof d);
      }
      const auto size = static_cast<mach_msg_size_t>(bytes.size() - MAX_TRAILER_SIZE);
      REQUIRE(mach_msg(&base.header, MACH_SEND_MSG, size, 0, MACH_PORT_NULL, 0, MACH_PORT_NULL) ==
              MACH_MSG_SUCCESS);
      received_buffer buffer(bytes.size());
      REQUIRE(mach_msg(&buffer.header(), MACH_RCV_MSG, 0,
                       static_cast<mach_msg_size_t>(bytes.size()), port.name(), 0,
                       MACH_PORT_NULL) == MACH_MSG_SUCCESS);
      return received(std::move(buffer));
    };
    std::size_t taken = 0;
    SUBCASE("descriptors()") {
      received m = make();
      for (auto& d : m.descriptors()) taken += d.take_send().name() == to.name();
    }
    SUBCASE("take_send(i)") {
      received m = make();
      for (std::size_t i = 0; i < m.rights(); ++i) taken += m.take_send(i).name() == to.name();
    }
    CHECK(taken == count);
    CHECK(send_references(to.name()) == 1);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a receive right that its sender can take back is refused, and goes back with the rest") {
  const std::size_t before = names_in_space();
  {
    const receive_right port = receive_right::make(), stranger = receive_right::make();
    const mach_port_name_t armed = receive_right::make().release();
    mach_port_t previous = MACH_PORT_NULL;
    REQUIRE(mach_port_request_notification(mach_task_self(), armed, MACH_NOTIFY_PORT_DESTROYED, 0,
                                           stranger.name(), MACH_MSG_TYPE_MAKE_SEND_ONCE,
                                           &previous) == KERN_SUCCESS);
    SUBCASE("in a descriptor of its own") {
      mach_msg_port_descriptor_t d{};
      d.name = armed;
      d.disposition = MACH_MSG_TYPE_MOVE_RECEIVE;
      send_one(port, d);
      received m = take_finding_address(port);
      try {
        static_cast<void>(m.take_receive(0));
        FAIL("was not refused");
      } catch (const std::system_error& e) {
        CHECK(e.code() == errc::revocable);
      }
    }
    SUBCASE("in an array, behind another") {
      send_one(port, array({receive_right::make().release(), armed}, MACH_MSG_TYPE_MOVE_RECEIVE));
      received m = take_finding_address(port);
      CHECK_THROWS_AS(static_cast<void>(m.take_receive_array(0)), std::system_error);
    }
    SUBCASE("guarded") {
      send_one(port, guarded(armed, MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND));
      received m = take_finding_address(port);
      CHECK_THROWS_AS(static_cast<void>(m.take_receive(0)), std::system_error);
    }
    CHECK(stranger.status().mps_msgcount == 1);
  }
  CHECK(names_in_space() == before);
}

}  // namespace kedge::mach
