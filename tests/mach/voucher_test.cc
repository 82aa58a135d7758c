// voucher: made, carried by messages, taken out of them, and released with them.
#include "kedge/mach/voucher.h"

#include <doctest/doctest.h>
#include <mach/mach.h>
#include <mach/mig_errors.h>

#include <cstddef>
#include <ostream>
#include <span>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <vector>

#include "kedge/mach/call.h"
#include "kedge/mach/error.h"
#include "kedge/mach/message.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"
#include "kedge/mach/send.h"
#include "kedge/mach/space.h"
#include "kedge/mach/try_receive.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "space_names.h"

namespace kedge::mach {
namespace {

const std::byte content[] = {std::byte{1}, std::byte{2}};

voucher make() {
  return voucher::of_user_data(content);
}

received take_with_voucher(const receive_right& port) {
  received m;
  std::size_t expected = 0;
  REQUIRE(try_receive(port.name(), expected, m, {.voucher = true}) == MACH_MSG_SUCCESS);
  return m;
}

}  // namespace

TEST_CASE("a voucher arrives with its message at a receiver that asks for it") {
  const std::size_t before = names_in_space();
  {
    const receive_right port = receive_right::make();
    const voucher v = make();
    REQUIRE(v);
    CHECK(send_references(v.name()) == 1);
    message m(1, "text");
    m.carry(v);
    CHECK(send_references(v.name()) == 2);
    REQUIRE(try_send(port.make_send(), std::move(m)));
    CHECK(send_references(v.name()) == 1);
    received arrived = take_with_voucher(port);
    CHECK(arrived.text() == "text");
    {
      const voucher taken = arrived.take_voucher();
      CHECK(taken.name() == v.name());
      CHECK_FALSE(arrived.take_voucher());
    }
    CHECK(send_references(v.name()) == 1);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a voucher that no one takes is released with its message") {
  const std::size_t before = names_in_space();
  {
    const receive_right port = receive_right::make();
    const voucher v = make();
    const auto send = [&] {
      message m(1);
      m.carry(v);
      REQUIRE(try_send(port.make_send(), std::move(m)));
    };
    SUBCASE("by a receiver that has asked") {
      send();
      take_with_voucher(port).clear();
    }
    SUBCASE("by the kernel, for a receiver that has not") {
      send();
      received m;
      std::size_t expected = 0;
      REQUIRE(try_receive(port.name(), expected, m) == MACH_MSG_SUCCESS);
      CHECK_FALSE(m.take_voucher());
    }
    SUBCASE("by the sender, with a message that is not sent") {
      message m(1);
      m.carry(v);
    }
    SUBCASE("by the sender, when another one takes its place, or none") {
      message m;
      m.carry(v);
      const voucher other = make();
      m.carry(other);
      CHECK(send_references(v.name()) == 1);
      CHECK(send_references(other.name()) == 2);
      m.carry({});
      CHECK(send_references(other.name()) == 1);
      CHECK_FALSE(m.take_voucher());
    }
    CHECK(send_references(v.name()) == 1);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("the voucher and the reply right of a message are set and taken apart from each other") {
  const receive_right port = receive_right::make(), replies = receive_right::make();
  message m(1);
  m.reply_to(replies.make_send());
  m.carry(make());
  m.reply_to(replies.make_send_once());
  CHECK(m.take_reply().disposition() == MACH_MSG_TYPE_MOVE_SEND_ONCE);
  m.reply_to(replies.make_send());
  CHECK(m.take_voucher());
  CHECK(m.take_reply());
  m.carry(make());
  m.reply_to(replies.make_send());
  REQUIRE(try_send(port.make_send(), std::move(m)));
  received arrived = take_with_voucher(port);
  CHECK(arrived.take_reply());
  CHECK(arrived.take_voucher());
}

TEST_CASE("a message that was not sent has its voucher still, and can be sent again") {
  const std::size_t before = names_in_space();
  {
    receive_right full = receive_right::make(1), heir = receive_right::make();
    const send_right to = full.make_send();
    REQUIRE(try_send(to, message(0)));
    const voucher v = make();
    message m(1, heir.make_send());
    m.carry(v);
    std::error_code wanted;
    SUBCASE("the queue is full") {
      wanted = errc::queue_full;
    }
    SUBCASE("the port has died") {
      full.destroy();
      wanted = errc::peer_died;
    }
    auto failed = try_send(to, std::move(m));
    REQUIRE_FALSE(failed);
    CHECK(failed.error().code() == wanted);
    CHECK(send_references(v.name()) == 2);
    message back = std::move(failed.error()).message();
    REQUIRE(try_send(heir.make_send(), std::move(back)));
    received arrived = take_with_voucher(heir);
    CHECK(arrived.take_voucher().name() == v.name());
    CHECK(arrived.take_send(0));
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a right that is no voucher fails the send, and the message comes back") {
  const std::size_t before = names_in_space();
  {
    const receive_right port = receive_right::make(), other = receive_right::make();
    message m(1, "kept");
    REQUIRE(mach_port_insert_right(mach_task_self(), other.name(), other.name(),
                                   MACH_MSG_TYPE_MAKE_SEND) == KERN_SUCCESS);
    m.carry(voucher::adopt(other.name()));
    const auto failed = try_send(port.make_send(), std::move(m));
    REQUIRE_FALSE(failed);
    CHECK(failed.error().code() == msg_error(MACH_SEND_INVALID_VOUCHER));
    CHECK(send_references(other.name()) == 1);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("make refuses malformed and too large recipes, and an empty one gives none") {
  const std::size_t before = names_in_space();
  const auto error_of = [](std::span<const std::byte> recipe) {
    try {
      (void)voucher::make(recipe);
    } catch (const std::system_error& e) {
      return e.code();
    }
    return std::error_code();
  };
  CHECK(error_of(content) == kern_error(KERN_INVALID_ARGUMENT));
  const std::vector<std::byte> large(MACH_VOUCHER_ATTR_MAX_RAW_RECIPE_ARRAY_SIZE + 1);
  CHECK(error_of(large) == kern_error(MIG_ARRAY_TOO_LARGE));
  CHECK_THROWS_AS((void)voucher::of_user_data(large), std::system_error);
  CHECK_FALSE(voucher::make({}));
  CHECK(voucher::of_user_data({}));
  CHECK(names_in_space() == before);
}

TEST_CASE("a request of call() carries its voucher to a service that asks") {
  const std::size_t before = names_in_space();
  {
    loop l;
    const receive_right requests = receive_right::make();
    const send_right service = requests.make_send();
    const voucher v = make();
    l.spawn([&]() -> task<> {
      received request = (co_await requests.receive().with_voucher()).value();
      const voucher taken = request.take_voucher();
      CHECK(taken.name() == v.name());
      CHECK_FALSE(reply(request, message(2)));
    });
    l.run([&]() -> task<> {
      message request(1);
      request.carry(v);
      CHECK((co_await call(service, std::move(request))).value().id() == 2);
    }());
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a voucher of another space is not carried" * doctest::skip(!kernel::has_many_tasks())) {
  const voucher v = make();
  space other;
  const scoped_space inside(other);
  message m(1);
  CHECK_THROWS_AS(m.carry(v), std::logic_error);
  CHECK_FALSE(m.take_voucher());
}

}  // namespace kedge::mach
