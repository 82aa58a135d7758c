// Typed requests and replies: layouts, bytes, refusals and calls.
#include "kedge/mach/interface.h"

#include <doctest/doctest.h>
#include <mach/mach.h>
#include <mach/mig_errors.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"
#include "kedge/mach/typed_call.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "space_names.h"
#include "take_message.h"

namespace kedge::mach {
namespace {

struct count_letters {
  static constexpr mach_msg_id_t id = 5000;
  text<1024> word;
  struct reply {
    std::uint64_t letters;
  };
};

task<> answer(const receive_right& port, int count) {
  for (int i = 0; i < count; ++i) {
    received m = (co_await port.receive()).value();
    auto request = decode<count_letters>(m);
    if (!request) {
      CHECK_FALSE(mach::reply(m, encode_error(m.id(), request.error())));
      continue;
    }
    CHECK_FALSE(mach::reply(m, encode_reply<count_letters>({request->word.size()})));
  }
}

}  // namespace

TEST_CASE("a typed call gets its typed reply") {
  loop l;
  const receive_right port = receive_right::make();
  const send_right service = port.make_send();
  l.spawn(answer(port, 1));
  l.run([&]() -> task<> {
    const auto counted = co_await call<count_letters>(service, "kedge");
    REQUIRE(counted);
    CHECK(counted->letters == 5);
  }());
}

}  // namespace kedge::mach
