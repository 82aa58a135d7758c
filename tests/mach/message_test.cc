// message and received: contents arrive as they were appended, and the last owner of a right
// releases it.
#include "kedge/mach/message.h"

#include <doctest/doctest.h>
#include <mach/mach.h>
#include <mach/notify.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <ostream>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "kedge/mach/error.h"
#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/received.h"
#include "kedge/mach/send.h"
#include "kedge/mach/try_receive.h"
#include "space_names.h"
#include "take_message.h"

namespace kedge::mach {
namespace {

received through(const receive_right& port, message&& m) {
  REQUIRE(try_send(port.make_send(), std::move(m)));
  return take(port);
}

// Sends the words as they are, as a hostile sender could.
void send_raw(const receive_right& port, std::vector<std::uint32_t> words) {
  mach_msg_header_t header{};
  header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND_ONCE, 0u);
  header.msgh_remote_port = port.name();
  std::vector<std::uint32_t> all(sizeof header / 4);
  std::memcpy(all.data(), &header, sizeof header);
  all.insert(all.end(), words.begin(), words.end());
  REQUIRE(mach_msg(reinterpret_cast<mach_msg_header_t*>(all.data()), MACH_SEND_MSG,
                   static_cast<mach_msg_size_t>(all.size() * 4), 0, MACH_PORT_NULL, 0,
                   MACH_PORT_NULL) == MACH_MSG_SUCCESS);
}

struct pair {
  std::uint32_t first;
  std::uint64_t second;
};

}  // namespace

TEST_CASE("bytes arrive in the order in which they were appended, padded to a multiple of four") {
  const receive_right port = receive_right::make();
  const std::array<std::byte, 3> raw{std::byte{1}, std::byte{2}, std::byte{3}};
  message m(7, std::uint32_t{42}, "abc", raw, std::string("xyz"));
  m.append(std::uint16_t{9});
  CHECK(m.id() == 7);
  CHECK(m.bytes().size() == 4 + 3 + 3 + 3 + 2);
  const received r = through(port, std::move(m));
  CHECK_FALSE(m);
  CHECK(r.id() == 7);
  CHECK(r.rights() == 0);
  CHECK(r.bytes().size() == 16);
  CHECK(r.read<std::uint32_t>() == 42);
  CHECK(std::memcmp(r.bytes().data() + 4, "abc\1\2\3xyz", 9) == 0);
  CHECK(r.read<std::uint16_t>(13) == 9);
}

TEST_CASE("text() drops up to three zeros at the end, and no more") {
  const receive_right port = receive_right::make();
  for (const std::string text : {"", "a", "ab", "abc", "abcd", "abcde"}) {
    CAPTURE(text);
    CHECK(through(port, message(0, text)).text() == text);
  }
  CHECK(through(port, message(0, std::string_view("\0\0\0\0\0\0\0\0", 8))).text().size() == 5);
}

TEST_CASE("read() beyond the end of the message gives nullopt, at any offset") {
  const receive_right port = receive_right::make();
  const received r = through(port, message(0, raw(pair{1, 2})));
  CHECK(r.read<pair>()->second == 2);
  CHECK_FALSE(r.read<pair>(1));
  CHECK_FALSE(r.read<std::uint32_t>(sizeof(pair) - 3));
  CHECK_FALSE(r.read<std::uint32_t>(~std::size_t{0}));
  CHECK(r.read<std::uint32_t>(sizeof(pair) - 4));
  const received empty = through(port, message(0));
  CHECK(empty.bytes().empty());
  CHECK_FALSE(empty.read<char>());
  CHECK(empty.text().empty());
  const received none;
  CHECK_FALSE(none);
  CHECK(none.bytes().empty());
  CHECK(none.id() == 0);
}

TEST_CASE("a message that outgrows the first buffers arrives whole") {
  const receive_right port = receive_right::make();
  std::string text;
  for (int i = 0; i < 10'000; ++i) text += std::to_string(i);
  message m(1);
  for (const char c : text) m.append(std::string_view(&c, 1));
  CHECK(through(port, std::move(m)).text() == text);
  CHECK(through(port, message(1, text, port.make_send())).text() == text);
}

TEST_CASE("rights of every kind arrive, and each can be taken out once, as its own kind") {
  const std::size_t before = names_in_space();
  {
    const receive_right port = receive_right::make();
    const receive_right other = receive_right::make();
    receive_right moved = receive_right::make();
    const send_right copied = other.make_send();
    message m(0, "between");
    m.append(copied);
    m.append(other.make_send_once());
    m.append(std::move(moved));
    m.append(copied);
    CHECK(m.rights() == 4);
    CHECK_FALSE(moved);
    CHECK(send_references(other.name()) == 3);
    received r = through(port, std::move(m));
    CHECK(r.rights() == 4);
    CHECK(r.text() == "between");

    CHECK_FALSE(r.take_send_once(0));  // of another kind: it stays in the message
    CHECK_FALSE(r.take_receive(0));
    const send_right s = r.take_send(0);
    CHECK(s.name() == other.name());
    CHECK_FALSE(r.take_send(0));  // taken out before
    const send_once_right once = r.take_send_once(1);
    CHECK(type_of(once.name()) == MACH_PORT_TYPE_SEND_ONCE);
    const receive_right back = r.take_receive(2);
    CHECK(type_of(back.name()) == MACH_PORT_TYPE_RECEIVE);
    CHECK((back.status().mps_flags & MACH_PORT_STATUS_FLAG_STRICT_GUARD) != 0);
    CHECK_FALSE(r.take_send(4));
    CHECK(send_references(other.name()) == 1);
    r.clear();  // releases the right of descriptor 3
    CHECK(send_references(other.name()) == 1);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("rights that are not taken out are released once, with the message") {
  const std::size_t before = names_in_space();
  receive_right port = receive_right::make();
  const receive_right other = receive_right::make();
  const auto make = [&] {
    message m(0, other.make_send(), other.make_send_once(), receive_right::make(),
              other.make_send());
    m.reply_to(other.make_send_once());
    return m;
  };
  const auto all_gone = [&] {
    // The notification of a destroyed send-once right counts in mps_sorights until it is received.
    while (other.status().mps_msgcount != 0) CHECK(take(other).id() == MACH_NOTIFY_SEND_ONCE);
    return send_references(other.name()) == 0 && other.status().mps_sorights == 0;
  };
  SUBCASE("a message that is never sent") {
    {
      const message m = make();
    }
  }
  SUBCASE("a message that is assigned over") {
    message m = make();
    m = message(1);
    CHECK(m.rights() == 0);
  }
  SUBCASE("a message whose port dies before it is received") {
    REQUIRE(try_send(port.make_send(), make()));
    port.destroy();
  }
  SUBCASE("a received message") {
    through(port, make());
  }
  SUBCASE("a received message that is assigned over") {
    received r = through(port, make());
    CHECK(send_references(other.name()) == 1);
    r = received();
  }
  SUBCASE("a received message that is moved, after one right was taken out") {
    received r = through(port, make());
    received s = std::move(r);
    CHECK_FALSE(r);
    CHECK(s.rights() == 4);
    const send_right kept = s.take_send(0);
    s.clear();
    CHECK(send_references(other.name()) == 1);
  }
  CHECK(all_gone());
  port.destroy();
  CHECK(names_in_space() == before + 1);  // other
}

TEST_CASE("the reply right set last arrives with its disposition, and the one before is released") {
  const receive_right port = receive_right::make();
  const receive_right replies = receive_right::make();
  message m(1);
  m.reply_to(replies.make_send_once());
  m.reply_to(replies.make_send());  // replaces the first
  CHECK(take(replies).id() == MACH_NOTIFY_SEND_ONCE);
  received r = through(port, std::move(m));
  reply_right reply = r.take_reply();
  CHECK(reply.disposition() == MACH_MSG_TYPE_MOVE_SEND);
  CHECK_FALSE(r.take_reply());
  REQUIRE(try_send(destination(std::move(reply)), message(2, "yes")));
  CHECK_FALSE(reply);
  CHECK(take(replies).text() == "yes");
  CHECK(send_references(replies.name()) == 0);
}

TEST_CASE("sending to the empty reply right of a one-way message gives empty_right") {
  const receive_right port = receive_right::make();
  reply_right none = through(port, message(1)).take_reply();
  CHECK_FALSE(none);
  const auto sent = try_send(std::move(none), message(2));
  REQUIRE_FALSE(sent);
  CHECK(sent.error().code() == errc::empty_right);
}

TEST_CASE("a right whose port has died arrives as an empty right") {
  const std::size_t before = names_in_space();
  {
    const receive_right port = receive_right::make();
    receive_right mortal = receive_right::make();
    message m(0, mortal.make_send());
    mortal.destroy();
    received r = through(port, std::move(m));
    CHECK(r.rights() == 1);
    CHECK_FALSE(r.take_send(0));
  }
  CHECK(names_in_space() == before);
}

TEST_CASE(
    "sequence() counts the port's messages, and from_kernel() is true for notifications only") {
  const receive_right port = receive_right::make();
  const received first = through(port, message(1));
  const received second = through(port, message(1));
  CHECK(second.sequence() == first.sequence() + 1);
  CHECK_FALSE(first.from_kernel());
  CHECK(std::memcmp(&first.sender(), &second.sender(), sizeof(audit_token_t)) == 0);
  {
    const send_once_right dropped = port.make_send_once();
  }
  const received notification = take(port);
  CHECK(notification.id() == MACH_NOTIFY_SEND_ONCE);
  CHECK(notification.from_kernel());
  CHECK_FALSE(received().from_kernel());
}

TEST_CASE("each element of the trailer is the kernel's word, and some come on demand") {
  const receive_right port = receive_right::make(16), other = receive_right::make();
  const send_right to = port.make_send();
  const auto receive = [&](const wanted_message& wanted) {
    REQUIRE(try_send(to, message(1)));
    received m;
    std::size_t expected = 0;
    REQUIRE(try_receive(port.name(), expected, m, wanted) == MACH_MSG_SUCCESS);
    return m;
  };
  const received usual = receive({});
  received all = receive({.trailer = trailer_elements::all});
  for (const received* m : {&usual, static_cast<const received*>(&all)}) {
    const bool is_all = m == &all;
    CAPTURE(is_all);
    CHECK(m->sequence() == (is_all ? 1 : 0));
    CHECK(m->sender_ids().val[0] == ::getuid());
    CHECK(m->sender_ids().val[1] == ::getgid());
    CHECK(m->sender().val[5] == static_cast<unsigned>(::getpid()));
    mach_port_context_t context = 0;
    REQUIRE(mach_port_get_context(mach_task_self(), port.name(), &context) == KERN_SUCCESS);
    // The kernel does not show the context of a port with a strict guard. The trailer has it.
    CHECK(context == 0);
    CHECK(m->context() != 0);
    CHECK(m->arrived_on(port));
    CHECK_FALSE(m->arrived_on(other));
    CHECK(m->filter_id().has_value() == is_all);
    CHECK(m->label().has_value() == is_all);
  }
  CHECK(all.filter_id() == MACH_MSG_FILTER_POLICY_ALLOW);
  CHECK(all.label() == mach_port_name_t{MACH_PORT_NULL});
  all.clear();
  CHECK_FALSE(all.filter_id());
  CHECK_FALSE(received().label());
}

TEST_CASE("a received message that was moved from or cleared answers as an empty one") {
  const receive_right port = receive_right::make();
  const auto is_empty = [](received& r) {
    const audit_token_t sender = r.sender(), none = received().sender();
    CHECK_FALSE(r);
    CHECK(r.rights() == 0);
    CHECK(r.descriptors().empty());
    CHECK(r.bytes().empty());
    CHECK(r.sequence() == 0);
    CHECK_FALSE(r.from_kernel());
    CHECK(std::memcmp(&sender, &none, sizeof sender) == 0);
    CHECK_FALSE(r.take_send(0));
  };
  const auto notification = [&] {
    static_cast<void>(port.make_send_once());
    return take(port);
  };
  static_cast<void>(through(port, message(1)));
  received moved = through(port, message(1, "abc", port.make_send()));
  received to = std::move(moved);
  is_empty(moved);
  moved = std::move(to);
  is_empty(to);
  moved.clear();
  is_empty(moved);
  moved = notification();
  CHECK(moved.from_kernel());
  to = std::move(moved);
  CHECK(to.from_kernel());
  is_empty(moved);
  to.clear();
  is_empty(to);
}

TEST_CASE(
    "a message without a trailer is not from the kernel, and its size is clamped to the buffer") {
  received_buffer b(sizeof(mach_msg_header_t));
  b.header() = {};
  b.header().msgh_size = 4000;  // more than the buffer has
  const received r(std::move(b));
  CHECK(r.bytes().empty());
  CHECK_FALSE(r.from_kernel());
}

TEST_CASE("a message that claims more descriptors than fit is read only up to its size") {
  const std::size_t before = names_in_space();
  for (const std::uint32_t claimed : {1u, 2u, 0xffffffffu}) {
    CAPTURE(claimed);
    received_buffer b(sizeof(mach_msg_base_t) + 20);
    std::memset(b.data(), 0, b.size());
    b.header().msgh_bits = MACH_MSGH_BITS_COMPLEX;
    b.header().msgh_size = static_cast<mach_msg_size_t>(b.size());
    std::memcpy(b.data() + sizeof(mach_msg_header_t), &claimed, sizeof claimed);
    received r(std::move(b));
    CHECK(r.rights() == 1);  // 20 bytes: one descriptor of 12, and 8 more
    CHECK(r.bytes().size() == 8);
    CHECK_FALSE(r.take_send(0));
    CHECK_FALSE(r.take_send(1));
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a message whose append throws releases the rights that were moved in") {
  const std::size_t before = names_in_space();
  {
    const receive_right port = receive_right::make();
    const std::string_view endless("", std::size_t{1} << 60);
    CHECK_THROWS([&] {
      message m(1, port.make_send_once());
      m.append(endless);
    }());
    CHECK(port.status().mps_sorights == 1);  // the right of the queued notification
    CHECK(port.status().mps_msgcount == 1);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a simple message with arbitrary bytes has no rights and no reply right") {
  const receive_right port = receive_right::make();
  send_raw(port, {0xffffffff, 0xffffffff});
  received r = take(port);
  CHECK(r.rights() == 0);
  CHECK(r.bytes().size() == 8);
  CHECK_FALSE(r.take_reply());
}

TEST_CASE("arrived_on() is true only for the right whose port had the message") {
  const receive_right a = receive_right::make(), b = receive_right::make();
  const received r = through(a, message(1));
  CHECK(r.arrived_on(a));
  CHECK_FALSE(r.arrived_on(b));
  CHECK_FALSE(r.arrived_on(receive_right()));
}

TEST_CASE("append refuses what the kernel would not let pass, before it copies anything") {
  const receive_right port = receive_right::make();
  SUBCASE("bytes beyond 48 MiB less a trailer") {
    // Nothing reads these bytes.
    static std::byte byte{};
    for (const std::size_t size :
         {message::max_size, std::size_t{5} << 30, ~std::size_t{0} / 4, ~std::size_t{0} / 2}) {
      CAPTURE(size);
      const std::span<const std::byte> huge(&byte, size);
      message m(1, "kept");
      CHECK_THROWS_AS(m.append(huge), std::length_error);
      CHECK_THROWS_AS(m.append(counted(huge)), std::length_error);
      CHECK_THROWS_AS(message(1, huge, huge, huge, huge, huge), std::length_error);
      CHECK(through(port, std::move(m)).text() == "kept");
    }
  }
  SUBCASE("the largest message passes, and not a word more") {
    std::vector<std::byte> bytes(message::max_size - sizeof(mach_msg_header_t));
    message m(1);
    m.append(bytes);
    CHECK_THROWS_AS(m.append(std::uint32_t{1}), std::length_error);
    CHECK_THROWS_AS(m.append(port.make_send()), std::length_error);
    REQUIRE(try_send(port.make_send(), std::move(m)));
    CHECK(send_references(port.name()) == 0);
  }
}

TEST_CASE(
    "the 16,384th right of a message is refused and stays the caller's, alone or in an array") {
  const std::size_t before = names_in_space();
  for (const kernel::kernel_profile profile :
       {kernel::kernel_profile::macos11, kernel::kernel_profile::macos15}) {
    kernel::set_kernel_profile(profile);
    const receive_right port = receive_right::make(), other = receive_right::make();
    const send_right to = other.make_send();
    message m(1);
    std::vector<send_right> array(10'000, to);
    m.append(std::move(array));
    CHECK(array.empty());
    for (int i = 0; i < 6'383; ++i) m.append(to);
    send_right more = to;
    CHECK_THROWS_AS(m.append(std::move(more)), std::length_error);
    CHECK(more);
    std::vector<send_right> two(2, to);
    CHECK_THROWS_AS(m.append(std::move(two)), std::length_error);
    CHECK(two.size() == 2);
    CHECK(m.rights() == 6'384);
    REQUIRE(try_send(port.make_send(), std::move(m)));
    CHECK(send_references(to.name()) == 1);
  }
  kernel::set_kernel_profile(kernel::kernel_profile::macos15);
  CHECK(names_in_space() == before);
}

TEST_CASE("what counted() sends comes out as long as it went in, wherever it stands") {
  const receive_right port = receive_right::make();
  const std::array<std::byte, 5> five{std::byte{1}, std::byte{0}, std::byte{0}, std::byte{0},
                                      std::byte{0}};
  const received r =
      through(port, message(1, std::uint64_t{7}, counted("hello"), counted(five), counted(""), true,
                            std::string_view("xyz"), counted("end")));
  message_reader parts = r.reader();
  CHECK(parts.read<std::uint64_t>() == 7u);
  CHECK(parts.text() == "hello");
  const auto bytes = parts.counted();
  REQUIRE(bytes);
  CHECK(std::vector(bytes->begin(), bytes->end()) == std::vector(five.begin(), five.end()));
  CHECK(parts.text() == "");
  CHECK(parts.read<bool>() == true);
  CHECK(parts.bytes(3)->size() == 3);
  CHECK(parts.text() == "end");
  CHECK(parts);
  CHECK(parts.rest().empty());
  CHECK_FALSE(parts.read<char>());
  CHECK_FALSE(parts);
}

TEST_CASE("a reader stays inside the message, and fails for good at the first thing missing") {
  const receive_right port = receive_right::make();
  for (const std::uint32_t claimed : {9u, 10u, 0x7fffffffu, 0xfffffffcu, 0xffffffffu}) {
    CAPTURE(claimed);
    const received r = through(port, message(1, claimed, std::uint64_t{1}));
    message_reader parts = r.reader();
    CHECK_FALSE(parts.counted());
    CHECK_FALSE(parts.read<char>());
    CHECK(parts.rest().empty());
  }
  const received numbers = through(port, message(1, std::uint32_t{1}, std::uint32_t{2}, 'x'));
  message_reader parts = numbers.reader();
  const auto both = parts.span<std::uint32_t>(2);
  REQUIRE(both);
  CHECK((*both)[1] == 2);
  CHECK(parts.read<char>() == 'x');
  CHECK_FALSE(parts.span<std::uint16_t>(1));  // not aligned
  CHECK(parts);
  std::array<char, 3> padding{'a', 'b', 'c'};
  CHECK(parts.copy_to(std::span(padding)));
  CHECK(padding[2] == 0);
  CHECK_FALSE(parts.copy_to(std::span(padding)));
  message_reader again = numbers.reader();
  CHECK_FALSE(again.span<std::uint32_t>(~std::size_t{0} / 2));
  CHECK_FALSE(again);
  const received two = through(port, message(1, std::uint32_t{2}));
  CHECK_FALSE(two.read<bool>());  // neither false nor true
  const received none;
  CHECK_FALSE(none.reader().read<char>());
}

TEST_CASE("memory, arrays and immovable rights arrive, each as it was appended") {
  const std::size_t before = names_in_space();
  {
    const receive_right port = receive_right::make(), other = receive_right::make();
    const send_right to = other.make_send();
    memory_region memory = memory_region::make(3 << 20);
    CHECK(memory.bytes()[0] == std::byte{0});
    memory.bytes()[(3 << 20) - 1] = std::byte{9};
    std::vector<send_once_right> onces;
    onces.push_back(other.make_send_once());
    onces.push_back({});
    std::vector<receive_right> receives;
    receives.push_back(receive_right::make());
    message m(4, "between");
    m.append(memory.copy());
    m.append(std::move(memory));
    CHECK_FALSE(memory);
    m.append(std::vector<send_right>(3, to));
    m.append(std::move(onces));
    m.append(to);
    m.append(std::move(receives));
    m.append(immovable(receive_right::make()));
    m.append(memory_region());
    m.append(std::vector<send_right>());
    CHECK(m.rights() == 9);
    CHECK(m.bytes().size() == 7);
    SUBCASE("at the receiver") {
      received r = through(port, std::move(m));
      CHECK(r.text() == "between");
      REQUIRE(r.rights() == 9);
      for (const std::size_t i : {0u, 1u}) {
        const memory_region got = r.take_memory(i);
        REQUIRE(got.size() == 3 << 20);
        CHECK(got.bytes()[(3 << 20) - 1] == std::byte{9});
      }
      CHECK(r.take_send_array(2).size() == 3);
      CHECK(r.take_send_once_array(3).size() == 2);
      CHECK(r.take_send(4).name() == to.name());
      CHECK(r.take_receive_array(5).size() == 1);
      CHECK_FALSE(r.take_memory(7));
      CHECK(r.take_send_array(8).empty());
    }
    SUBCASE("in a message that is dropped by its receiver") {
      through(port, std::move(m));
    }
    SUBCASE("in a message that is never sent") {
      m.clear();
    }
    SUBCASE("in a message that a full queue has given back three times") {
      while (try_send(port.make_send(), message(0))) {
      }
      const send_right again = port.make_send();
      for (int i = 0; i < 3; ++i) {
        auto failed = try_send(again, std::move(m));
        REQUIRE_FALSE(failed);
        REQUIRE(failed.error().code() == errc::queue_full);
        m = std::move(failed.error()).message();
      }
      CHECK(m.rights() == 9);
      CHECK(m.take_memory(1).bytes()[(3 << 20) - 1] == std::byte{9});
      CHECK(m.take_send_array(2).size() == 3);
      CHECK(m.take_receive(6));
      while (take(port).id() != 0 || port.status().mps_msgcount != 0) {
      }
      REQUIRE(try_send(again, std::move(m)));
      received r = take(port);
      CHECK(r.text() == "between");
      CHECK(r.take_memory(0).size() == 3 << 20);
      CHECK_FALSE(r.take_memory(1));
      CHECK(r.take_receive_array(5).size() == 1);
    }
    CHECK(send_references(to.name()) == 1);
    while (other.status().mps_msgcount != 0) take(other);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a reply right can be passed on, as reply right and as a right, of either kind") {
  const std::size_t before = names_in_space();
  {
    const receive_right port = receive_right::make(), client = receive_right::make();
    const auto request = [&](auto right) {
      message m(1);
      m.reply_to(std::move(right));
      return through(port, std::move(m)).take_reply();
    };
    message m(2);
    m.append(request(client.make_send()));
    m.append(request(client.make_send_once()));
    m.reply_to(request(client.make_send_once()));
    CHECK(m.take_reply().disposition() == MACH_MSG_TYPE_MOVE_SEND_ONCE);
    CHECK_FALSE(m.take_reply());
    CHECK(take(client).id() == MACH_NOTIFY_SEND_ONCE);
    m.reply_to(request(client.make_send()));
    received r = through(port, std::move(m));
    CHECK(r.take_send(0));
    REQUIRE(try_send(destination(r.take_send_once(1)), message(7)));
    CHECK(take(client).id() == 7);
    CHECK(r.take_reply().disposition() == MACH_MSG_TYPE_MOVE_SEND);
  }
  CHECK(names_in_space() == before);
}

}  // namespace kedge::mach
