// leaks_since() with the library's ports: what a test has leaked, and nothing that the library
// keeps.
#include <doctest/doctest.h>
#include <mach/mach.h>

#include <chrono>
#include <optional>
#include <ostream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kedge/mach/call.h"
#include "kedge/mach/call_blocking.h"
#include "kedge/mach/died.h"
#include "kedge/mach/kernel/snapshot.h"
#include "kedge/mach/pooled_port.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"
#include "kedge/mach/space.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/with_timeout.h"

namespace kedge::mach {
namespace {

using namespace std::chrono_literals;
using kernel::leak;
using kernel::leaks_since;
using kernel::take_snapshot;

// Darwin shows no snapshot.
const auto linux_only = doctest::skip(!kernel::has_many_tasks());

// Makes the library keep a port of each kind for the loop and its space.
void use_all_pools(loop& l) {
  const receive_right requests = receive_right::make();
  const send_right service = requests.make_send();
  l.spawn([](const receive_right& port) -> task<> {
    received request = (co_await port.receive()).value();
    CHECK_FALSE(reply(request, message(2)));
  }(requests));
  l.run([](const send_right& to) -> task<> {
    CHECK((co_await call(to, message(1))).has_value());
    CHECK_FALSE(co_await with_timeout(1ms, died(to)));
  }(service));
  (void)call_blocking(send_right(), message(1));
}

}  // namespace

TEST_CASE("ports that the library keeps are no leaks, and have a name in the snapshot" *
          linux_only) {
  std::thread([] {
    const kernel::snapshot before = take_snapshot();
    loop l;
    use_all_pools(l);
    const std::vector<leak> left = leaks_since(before, pooled_port_name);
    CHECK_MESSAGE(left.empty(), kernel::to_string(left));
    // A reply port of the loop, one of the thread, and the port of the space.
    CHECK(leaks_since(before).size() == 3);
    const std::string text = kernel::to_string(take_snapshot(), pooled_port_name);
    CHECK(text.find("(kedge: notifications)") != std::string::npos);
    CHECK(text.find("(kedge: reply port)") != std::string::npos);
    CHECK(kernel::to_string(take_snapshot()).find("kedge") == std::string::npos);
  }).join();
}

TEST_CASE("a test that leaks one right sees exactly it" * linux_only) {
  loop l;
  const receive_right port = receive_right::make();
  send_right kept = port.make_send();
  const kernel::snapshot before = take_snapshot();
  use_all_pools(l);
  mach_port_name_t leaked = MACH_PORT_NULL;
  mach_port_urefs_t references_before = 0;
  mach_port_type_t type = MACH_PORT_TYPE_NONE;
  SUBCASE("a receive right") {
    leaked = receive_right::make().release();
    type = MACH_PORT_TYPE_RECEIVE;
  }
  SUBCASE("a send-once right") {
    leaked = port.make_send_once().release();
    type = MACH_PORT_TYPE_SEND_ONCE;
  }
  SUBCASE("one reference more to a send right") {
    leaked = send_right(kept).release();
    type = MACH_PORT_TYPE_SEND_RECEIVE;
    references_before = 1;
  }
  const std::vector<leak> left = leaks_since(before, pooled_port_name);
  CAPTURE(kernel::to_string(left));
  REQUIRE(left.size() == 1);
  CHECK(left[0].right.name == leaked);
  CHECK((left[0].right.type & MACH_PORT_TYPE_ALL_RIGHTS) == type);
  CHECK(left[0].references_before == references_before);
  CHECK(kernel::to_string(left).find(references_before != 0 ? "had x1:  0x" : "task 0:  0x") !=
        std::string::npos);
  if (type == MACH_PORT_TYPE_RECEIVE) {
    mach_port_destruct(mach_task_self(), leaked, 0, 0);
  } else {
    mach_port_deallocate(mach_task_self(), leaked);
  }
  CHECK(leaks_since(before, pooled_port_name).empty());
}

TEST_CASE("a leak in another space is seen, and its end and a port's death are none" * linux_only) {
  receive_right port = receive_right::make();
  const send_right to = port.make_send();
  std::optional<space> other(std::in_place);
  const kernel::snapshot before = take_snapshot();
  {
    const scoped_space inside(*other);
    (void)receive_right::make().release();
  }
  port.destroy();  // `to` is a dead name now
  const std::vector<leak> left = leaks_since(before, pooled_port_name);
  REQUIRE(left.size() == 1);
  CHECK(left[0].owner.id != 0);
  other.reset();
  CHECK(leaks_since(before, pooled_port_name).empty());
}

}  // namespace kedge::mach
