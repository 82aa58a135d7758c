// transmit() and try_send(): what the caller owns after each of the four classes of failed sends
// (mach/kernel/README.md).
#include "kedge/mach/transmit.h"

#include <doctest/doctest.h>
#include <mach/mach.h>

#include <cstdint>
#include <ostream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "kedge/mach/error.h"
#include "kedge/mach/immovable.h"
#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/memory_region.h"
#include "kedge/mach/send.h"
#include "kedge/mach/try_receive.h"
#include "space_names.h"
#include "take_message.h"

namespace kedge::mach {
namespace {

// Makes messages with a right of each kind to the port `other`.
struct fixture {
  receive_right other = receive_right::make(64);
  message make() {
    message m(5, "the text", other.make_send(), other.make_send_once(), receive_right::make());
    m.reply_to(other.make_send_once());
    return m;
  }
  // Returns true if every right that went into a message was released exactly once.
  bool all_gone() {
    received m;
    std::size_t expected = 0;
    while (try_receive(other.name(), expected, m) == MACH_MSG_SUCCESS) m.clear();
    return send_references(other.name()) == 0 && other.status().mps_sorights == 0;
  }
};

void fill(const receive_right& port) {
  const send_right to = port.make_send();
  while (try_send(to, message(0))) {
  }
  CHECK(port.status().mps_msgcount == port.status().mps_qlimit);
}

}  // namespace

TEST_CASE("class 1, nothing consumed: a send to a dead port hands the whole message back") {
  const std::size_t before = names_in_space();
  {
    fixture f;
    receive_right port = receive_right::make();
    send_right to = port.make_send();
    port.destroy();
    SUBCASE("by a borrowed right, and the message can be sent to another port") {
      auto failed = try_send(to, f.make());
      REQUIRE_FALSE(failed);
      CHECK(failed.error().code() == errc::peer_died);
      CHECK(dead_references(to.name()) == 1);
      message m = std::move(failed.error()).message();
      CHECK(m.rights() == 3);
      CHECK(m.id() == 5);
      const receive_right heir = receive_right::make();
      REQUIRE(try_send(heir.make_send(), std::move(m)));
      received r = take(heir);
      CHECK(r.text() == "the text");
      CHECK(r.take_send(0));
      CHECK(r.take_send_once(1));
      CHECK(r.take_receive(2));
      CHECK(r.take_reply());
    }
    SUBCASE("by a right that is moved in") {
      auto failed = try_send(destination(std::move(to)), f.make());
      CHECK(failed.error().code() == errc::peer_died);
      CHECK_FALSE(to);
    }
    SUBCASE("by an empty right") {
      auto failed = try_send(send_right(), f.make());
      CHECK(failed.error().code() == errc::empty_right);
      CHECK(failed.error().message().rights() == 3);
    }
    SUBCASE("by a reply right whose port is dead") {
      receive_right client = receive_right::make();
      reply_right reply =
          reply_right::adopt(client.make_send_once().release(), MACH_MSG_TYPE_MOVE_SEND_ONCE);
      client.destroy();
      // Makes the kernel turn the right into a dead name.
      static_cast<void>(type_of(reply.name()));
      auto failed = try_send(destination(std::move(reply)), f.make());
      CHECK(failed.error().code() == errc::peer_died);
    }
    CHECK(f.all_gone());
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a malformed descriptor consumes the message in macOS 11, and nothing in macOS 15") {
  const std::size_t before = names_in_space();
  {
    fixture f;
    const receive_right port = receive_right::make();
    const send_right to = port.make_send();
    message m = f.make();
    // The type of the last descriptor, in front of the bytes. No call of the library makes another.
    std::byte* const type = const_cast<std::byte*>(m.bytes().data()) - 1;
    SUBCASE("macOS 15") {
      *type = std::byte{9};
      CHECK(transmit(m, to.name(), MACH_MSG_TYPE_COPY_SEND).code == MACH_SEND_INVALID_TYPE);
      *type = std::byte{MACH_MSG_PORT_DESCRIPTOR};
      CHECK(m.rights() == 3);
      CHECK(m.take_send(0));
      CHECK(m.take_receive(2));
      m.clear();
    }
    SUBCASE("macOS 11") {
      kernel::set_kernel_profile(kernel::kernel_profile::macos11);
      *type = std::byte{9};
      CHECK(transmit(m, to.name(), MACH_MSG_TYPE_COPY_SEND).code == MACH_SEND_INVALID_TYPE);
      kernel::set_kernel_profile(kernel::kernel_profile::macos15);
      CHECK_FALSE(m);
    }
    CHECK(send_references(to.name()) == 1);
    CHECK(f.all_gone());
  }
  CHECK(names_in_space() <= before + 1);  // macOS 11: the receive right behind the bad descriptor
}

TEST_CASE("a send for which the kernel has no memory hands the message back, in every macOS" *
          doctest::skip(!kernel::has_many_tasks())) {
  const std::size_t before = names_in_space();
  for (const kernel::kernel_profile profile :
       {kernel::kernel_profile::macos11, kernel::kernel_profile::macos15}) {
    CAPTURE(static_cast<int>(profile));
    kernel::set_kernel_profile(profile);
    fixture f;
    const receive_right port = receive_right::make();
    const send_right to = port.make_send();
    message m = f.make();
    kernel::plan_faults(
        {.points = kernel::fault_plan::only(kernel::fault::message_memory), .nth = 1});
    const send_result sent = transmit(m, to.name(), MACH_MSG_TYPE_COPY_SEND);
    CHECK(kernel::end_faults().caused == 1);
    CHECK(sent.code == MACH_SEND_NO_BUFFER);
    CHECK(m.rights() == 3);
    CHECK(transmit(m, to.name(), MACH_MSG_TYPE_COPY_SEND).code == MACH_MSG_SUCCESS);
    take(port).clear();
    CHECK(f.all_gone());
  }
  CHECK(names_in_space() == before);
}

// What a message with arrays carries ahead of them.
enum class cargo { nothing, copied, moved };

struct shortage {
  kernel::fault point;
  std::uint64_t nth;
  kernel::kernel_profile profile;
};

TEST_CASE("a message with arrays for which the kernel has no memory keeps what it can" *
          doctest::skip(!kernel::has_many_tasks())) {
  using enum kernel::kernel_profile;
  using enum kernel::fault;
  const std::size_t before = names_in_space();
  for (const shortage& each : {shortage{message_memory, 1, macos11},
                               {message_memory, 1, macos15},
                               {descriptor_memory, 1, macos15},
                               {array_memory, 1, macos11},
                               {array_memory, 2, macos11}}) {
    for (const cargo ahead : {cargo::nothing, cargo::copied, cargo::moved}) {
      for (const bool once : {false, true}) {
        CAPTURE(static_cast<int>(each.point));
        CAPTURE(each.nth);
        CAPTURE(static_cast<int>(each.profile));
        CAPTURE(static_cast<int>(ahead));
        CAPTURE(once);
        fixture f;
        const receive_right port = receive_right::make();
        message m(5);
        if (ahead != cargo::nothing) {
          m.reply_to(f.other.make_send());
          m.append(f.other.make_send());
          m.append(memory_region::make(100));
        }
        if (ahead == cargo::moved) {
          m.reply_to(f.other.make_send_once());
          m.append(receive_right::make());
          m.append(immovable(receive_right::make()));
        }
        std::vector<send_right> sends;
        sends.push_back(f.other.make_send());
        m.append(std::move(sends));
        std::vector<receive_right> receives;
        receives.push_back(receive_right::make());
        m.append(std::move(receives));
        const std::size_t rights = m.rights();
        kernel::set_kernel_profile(each.profile);
        kernel::plan_faults({.points = kernel::fault_plan::only(each.point), .nth = each.nth});
        auto failed = once ? try_send(port.make_send_once(), std::move(m))
                           : try_send(port.make_send(), std::move(m));
        CHECK(kernel::end_faults().caused == 1);
        kernel::set_kernel_profile(macos15);
        REQUIRE_FALSE(failed);
        // The kernel consumes what is ahead of an array that it has no memory for.
        const bool is_lost = each.point == array_memory && (once || ahead == cargo::moved);
        CHECK(failed.error().code() ==
              (is_lost ? make_error_code(errc::rights_lost) : msg_error(MACH_SEND_NO_BUFFER)));
        message left = std::move(failed.error()).message();
        CHECK(left.rights() == (is_lost ? 0 : rights));
        if (!is_lost) {
          const receive_right heir = receive_right::make();
          REQUIRE(try_send(heir.make_send(), std::move(left)));
          received arrived = take(heir);
          CHECK(arrived.rights() == rights);
          CHECK(arrived.take_send_array(rights - 2).at(0).name() == f.other.name());
          CHECK(arrived.take_receive_array(rights - 1).at(0));
          if (ahead != cargo::nothing) {
            CHECK(arrived.take_send(0).name() == f.other.name());
            CHECK(arrived.take_memory(1).size() == 100);
            CHECK(arrived.take_reply());
          }
        }
        CHECK(f.all_gone());
      }
    }
  }
  CHECK(names_in_space() == before);
}

// As after an interruption, when the kernel has given the message back with a reference of its own.
TEST_CASE("a destination that was moved is given back if the kernel has no memory for an array" *
          doctest::skip(!kernel::has_many_tasks())) {
  fixture f;
  const receive_right port = receive_right::make();
  const send_right to = port.make_send();
  REQUIRE(mach_port_mod_refs(mach_task_self(), to.name(), MACH_PORT_RIGHT_SEND, 1) == KERN_SUCCESS);
  std::vector<send_right> sends;
  sends.push_back(f.other.make_send());
  message m(5, std::move(sends));
  kernel::set_kernel_profile(kernel::kernel_profile::macos11);
  kernel::plan_faults({.points = kernel::fault_plan::only(kernel::fault::array_memory), .nth = 1});
  const send_result refused = transmit(m, to.name(), MACH_MSG_TYPE_MOVE_SEND);
  CHECK(kernel::end_faults().caused == 1);
  CHECK(refused.code == MACH_SEND_NO_BUFFER);
  CHECK(m.rights() == 1);
  CHECK(refused.returned == to.name());
  CHECK(send_references(to.name()) == 2);
  const send_result sent = transmit(m, refused.returned, MACH_MSG_TYPE_MOVE_SEND);
  kernel::set_kernel_profile(kernel::kernel_profile::macos15);
  CHECK(sent.code == MACH_MSG_SUCCESS);
  CHECK(send_references(to.name()) == 1);
  CHECK(take(port).take_send_array(0).at(0).name() == f.other.name());
}

TEST_CASE("memory that the kernel cannot take loses the message, and is no success") {
  const std::size_t before = names_in_space();
  {
    fixture f;
    const receive_right port = receive_right::make();
    message m = f.make();
    // Memory that is not there, as only adopting an address can bring.
    m.append(memory_region::adopt(reinterpret_cast<void*>(0x7000), 4096));
    auto failed = try_send(port.make_send(), std::move(m));
    REQUIRE_FALSE(failed);
    CHECK(failed.error().code() == errc::rights_lost);
    CHECK(f.all_gone());
    CHECK(without_shortage(MACH_MSG_VM_KERNEL) == MACH_MSG_VM_KERNEL);
    CHECK(without_shortage(MACH_SEND_TIMED_OUT | MACH_MSG_IPC_SPACE) == MACH_SEND_TIMED_OUT);
    CHECK(without_shortage(MACH_MSG_SUCCESS) == MACH_MSG_SUCCESS);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a reply right whose port has died is sent as none, in every version of macOS") {
  const std::size_t before = names_in_space();
  for (const kernel::kernel_profile profile :
       {kernel::kernel_profile::macos11, kernel::kernel_profile::macos15}) {
    kernel::set_kernel_profile(profile);
    kernel::set_guard_behaviour({}, kernel::guard_behaviour::record);
    const receive_right port = receive_right::make();
    for (const bool once : {false, true}) {
      CAPTURE(once);
      receive_right client = receive_right::make();
      message m(5, "the text");
      if (once) {
        m.reply_to(client.make_send_once());
      } else {
        m.reply_to(client.make_send());
      }
      client.destroy();
      REQUIRE(try_send(port.make_send(), std::move(m)));
      received r = take(port);
      CHECK(r.text() == "the text");
      CHECK_FALSE(r.take_reply());
    }
    CHECK(kernel::take_guard_exceptions({}).empty());
  }
  kernel::set_kernel_profile(kernel::kernel_profile::macos15);
  kernel::set_guard_behaviour({}, kernel::guard_behaviour::ordinary);
  CHECK(names_in_space() == before);
}

TEST_CASE(
    "class 2, consumed in part: rights_lost, the message is empty, nothing is released twice") {
  fixture f;
  const receive_right port = receive_right::make();
  const receive_right without_senders = receive_right::make();
  const send_right to = port.make_send();
  message m = f.make();
  // A name that is not a send right. Only adopting a raw name can do that.
  m.append(send_right::adopt(without_senders.name()));
  auto failed = try_send(to, std::move(m));
  REQUIRE_FALSE(failed);
  CHECK(failed.error().code() == errc::rights_lost);
  CHECK_FALSE(failed.error().message());
  CHECK(send_references(port.name()) == 1);
  CHECK(type_of(without_senders.name()) == MACH_PORT_TYPE_RECEIVE);
  // The kernel has consumed and destroyed the rights before the bad one.
  CHECK(f.all_gone());
}

TEST_CASE("class 3, given back: a full queue hands the whole message back") {
  const std::size_t before = names_in_space();
  {
    fixture f;
    const receive_right port = receive_right::make();
    fill(port);
    const send_right to = port.make_send();
    SUBCASE("after five failures the same message is sent and arrives whole") {
      message m = f.make();
      for (int i = 0; i < 5; ++i) {
        CAPTURE(i);
        auto failed = try_send(to, std::move(m));
        REQUIRE_FALSE(failed);
        CHECK(failed.error().code() == errc::queue_full);
        CHECK(send_references(to.name()) == 1);
        m = std::move(failed.error()).message();
        CHECK(m.rights() == 3);
      }
      take(port);
      REQUIRE(try_send(to, std::move(m)));
      for (int i = 1; i < MACH_PORT_QLIMIT_DEFAULT; ++i) take(port);
      received r = take(port);
      CHECK(r.id() == 5);
      CHECK(r.text() == "the text");
      CHECK(r.take_send(0).name() == f.other.name());
      CHECK(r.take_send_once(1));
      const receive_right moved = r.take_receive(2);
      CHECK((moved.status().mps_flags & MACH_PORT_STATUS_FLAG_GUARDED) != 0);
      CHECK(r.take_reply().disposition() == MACH_MSG_TYPE_MOVE_SEND_ONCE);
    }
    SUBCASE("a message handed back and destroyed releases its rights") {
      CHECK(try_send(to, f.make()).error().code() == errc::queue_full);
      CHECK(send_references(to.name()) == 1);
    }
    SUBCASE("a right that was moved in is consumed by the failure") {
      send_right last = to;
      CHECK(try_send(destination(std::move(last)), f.make()).error().code() == errc::queue_full);
      CHECK(send_references(to.name()) == 1);
    }
    SUBCASE("transmit returns the reference to the destination that the kernel gave back") {
      message m = f.make();
      const send_result result = transmit(m, to.name(), MACH_MSG_TYPE_COPY_SEND);
      CHECK(result.code == MACH_SEND_TIMED_OUT);
      CHECK(result.returned == to.name());
      CHECK(send_references(to.name()) == 2);
      mach_port_deallocate(mach_task_self(), result.returned);
      CHECK(m.rights() == 3);
    }
    CHECK(f.all_gone());
  }
  CHECK(names_in_space() == before);
}

TEST_CASE(
    "class 4, success without delivery: a message dies with its destination, all rights released") {
  const std::size_t before = names_in_space();
  {
    fixture f;
    receive_right port = receive_right::make();
    REQUIRE(try_send(port.make_send(), f.make()));
    port.destroy();
    CHECK(f.all_gone());
    // A receive right that is sent to its own port is destroyed.
    receive_right self = receive_right::make();
    const send_right to = self.make_send();
    CHECK(try_send(to, message(0, std::move(self))));
    CHECK(to.dead());
  }
  CHECK(names_in_space() == before);
}

}  // namespace kedge::mach
