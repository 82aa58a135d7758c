// The ledger: which rights the program owns, and where it has got them.
#include "kedge/mach/ledger.h"

#include <doctest/doctest.h>
#include <mach/mach.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "kedge/mach/call.h"
#include "kedge/mach/died.h"
#include "kedge/mach/port_set.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"
#include "kedge/mach/send.h"
#include "kedge/mach/space.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/with_timeout.h"
#include "take_message.h"
#include "tests/runtime/in_child_process.h"

namespace kedge::mach {
namespace {

// Builds of the library with NDEBUG keep no ledger.
const auto kept = doctest::skip(!ledger::is_kept());

}  // namespace

TEST_CASE("every right that an object owns is an entry, with the line that made it" * kept) {
  ledger::expect_empty();
  std::vector<unsigned> lines;
  {
    const auto note = [&](unsigned line) { lines.push_back(line); };
    note(__LINE__ + 1);
    const receive_right port = receive_right::make();
    note(__LINE__ + 1);
    const send_right to = port.make_send();
    const send_right again = to;
    note(__LINE__ + 1);
    const send_once_right once = port.make_send_once();
    note(__LINE__ + 1);
    const port_set set = port_set::make();
    const std::vector<ledger::entry> all = ledger::entries();
    REQUIRE(all.size() == 4);
    const ledger::kind kinds[] = {ledger::kind::receive, ledger::kind::send,
                                  ledger::kind::send_once, ledger::kind::port_set};
    const mach_port_name_t names[] = {port.name(), to.name(), once.name(), set.name()};
    for (std::size_t i = 0; i < all.size(); ++i) {
      CAPTURE(i);
      CHECK(all[i].what == kinds[i]);
      CHECK(all[i].name == names[i]);
      CHECK(all[i].where.line() == lines[i]);
      CHECK(std::string(all[i].where.file_name()).find("ledger_test.cc") != std::string::npos);
      CHECK(all[i].objects == (i == 1 ? 2 : 1));
    }
    std::string message;
    try {
      ledger::expect_empty();
    } catch (const std::logic_error& e) {
      message = e.what();
    }
    CAPTURE(message);
    CHECK(message.find("send right 0x") != std::string::npos);
    CHECK(message.find("(2 objects)") != std::string::npos);
    CHECK(message.find("ledger_test.cc:" + std::to_string(lines[3])) != std::string::npos);
  }
  ledger::expect_empty();
}

TEST_CASE("a right that has arrived is an entry, and has the line that took it out" * kept) {
  const receive_right port = receive_right::make(), offered = receive_right::make();
  REQUIRE(try_send(port.make_send(), message(1, offered.make_send(), offered.make_send_once())));
  CHECK(ledger::entries().size() == 2);
  received m = take(port);
  REQUIRE(ledger::entries().size() == 3);
  CHECK(ledger::to_string().find("in a received message") != std::string::npos);
  const unsigned line = __LINE__ + 1;
  const send_right taken = m.take_send(0);
  REQUIRE(ledger::entries().size() == 3);
  CHECK(ledger::entries()[2].where.line() == line);
  m.clear();
  CHECK(ledger::entries().size() == 3);
  mach_port_name_t released = MACH_PORT_NULL;
  {
    send_right last = taken;
    released = std::move(last).release();
  }
  CHECK(ledger::entries().size() == 3);
  mach_port_deallocate(mach_task_self(), released);
}

TEST_CASE("an empty or dead element of an array of send rights is no entry" * kept) {
  {
    const receive_right port = receive_right::make();
    receive_right dying = receive_right::make();
    std::vector<send_right> rights(3);
    rights[0] = port.make_send();
    rights[1] = dying.make_send();
    REQUIRE(try_send(port.make_send(), message(1, std::move(rights))));
    dying.destroy();
    received m = take(port);
    const std::vector<send_right> arrived = m.take_send_array(0);
    CHECK(arrived.size() == 3);
  }
  ledger::expect_empty();
}

TEST_CASE("a right that died on its way is no entry, alone or in an array" * kept) {
  const receive_right port = receive_right::make();
  message m(1, receive_right::make().make_send());
  std::vector<send_right> array;
  array.push_back(receive_right::make().make_send());
  m.append(std::move(array));
  REQUIRE(try_send(port.make_send(), std::move(m)));
  received arrived = take(port);
  CHECK_FALSE(arrived.take_send(0));
  CHECK(arrived.take_send_array(1).size() == 1);
  CHECK(ledger::entries().size() == 1);  // the port
}

TEST_CASE("what the library keeps for itself is no entry" * kept) {
  loop l;
  {
    const receive_right requests = receive_right::make();
    l.spawn([](const receive_right& port) -> task<> {
      received request = (co_await port.receive()).value();
      reply(request, message(2));
    }(requests));
    l.run([](const receive_right& port) -> task<> {
      const send_right to = port.make_send();
      CHECK((co_await call(to, message(1))).has_value());
      CHECK_FALSE(co_await with_timeout(std::chrono::milliseconds(1), died(to)));
    }(requests));
  }
  ledger::expect_empty();
}

TEST_CASE("a space that ends tells what is left in it" * kept) {
  const program_end end = in_child_process([] {
    std::optional<receive_right> left;
    {
      space other;
      const scoped_space inside(other);
      left = receive_right::make();
    }
    left.reset();
  });
  CHECK(end.status == 0);
  CHECK(end.says("a space ends with a right, 0x"));
  CHECK(end.says("ledger_test.cc:"));
}

TEST_CASE("a forked child has an empty ledger" * kept) {
  const receive_right port = receive_right::make();
  const program_end end = in_child_process([] { ledger::expect_empty(); });
  CHECK(end.status == 0);
}

}  // namespace kedge::mach
