// Services by name: check_in, look_up, register_service and parts of the name space.
#include "kedge/mach/service_names.h"

#include <doctest/doctest.h>

#include <string>
#include <system_error>
#include <utility>

#include "kedge/mach/error.h"
#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/message.h"
#include "kedge/mach/send.h"
#include "kedge/mach/space.h"
#include "take_message.h"

namespace kedge::mach {
namespace {

TEST_CASE("look_up finds what check_in has named, and a message arrives") {
  const receive_right port = check_in("org.kedge.names.first").value();
  const send_right to = look_up("org.kedge.names.first").value();
  REQUIRE(try_send(to, message(7)));
  CHECK(take(port).id() == 7);
}

TEST_CASE("look_up of a name that nobody has fails with unknown_service, and names it") {
  const auto found = look_up("org.kedge.names.nobody");
  REQUIRE(!found);
  CHECK(found.error().code() == errc::unknown_service);
  CHECK(found.error().text() ==
        "kedge::mach::look_up org.kedge.names.nobody: no service has this name");
  try {
    static_cast<void>(look_up("org.kedge.names.nobody").value());
    FAIL("value() of a failure returned");
  } catch (const std::system_error& e) {
    CHECK(e.code() == errc::unknown_service);
    CHECK(std::string(e.what()).find("org.kedge.names.nobody") != std::string::npos);
  }
}

TEST_CASE("a name is free again when its port has died") {
  receive_right port = check_in("org.kedge.names.again").value();
  CHECK(check_in("org.kedge.names.again").error().code() == errc::name_in_use);
  CHECK(register_service("org.kedge.names.again").error().code() == errc::name_in_use);
  port.destroy();
  CHECK(look_up("org.kedge.names.again").error().code() == errc::unknown_service);
  port = register_service("org.kedge.names.again").value();
  CHECK(look_up("org.kedge.names.again"));
}

TEST_CASE("another task finds the service, and cannot take its name" *
          doctest::skip(!kernel::has_many_tasks())) {
  const receive_right port = register_service("org.kedge.names.tasks").value();
  space peer;
  const scoped_space inside(peer);
  REQUIRE(try_send(look_up("org.kedge.names.tasks").value(), message(8)));
  CHECK(check_in("org.kedge.names.tasks").error().code() == errc::not_privileged);
}

TEST_CASE("names within a prefix do not meet those outside") {
  const service_names all("org.kedge.names");
  const service_names part = all.within("part");
  CHECK(part.whole("letters") == "org.kedge.names.part.letters");
  const receive_right outer = all.check_in("letters").value();
  const receive_right inner = part.register_service("letters").value();
  REQUIRE(try_send(look_up("org.kedge.names.part.letters").value(), message(1)));
  REQUIRE(try_send(all.look_up("letters").value(), message(2)));
  CHECK(take(inner).id() == 1);
  CHECK(take(outer).id() == 2);
}

TEST_CASE("a name that the name server would cut off is refused, and none is made") {
  const std::string longest(127, 'x');
  const receive_right port = check_in(longest).value();
  CHECK(check_in(longest + "y").error().code() == std::errc::invalid_argument);
  CHECK(look_up(longest + "y").error().code() == std::errc::invalid_argument);
  CHECK(register_service(longest + "y").error().code() == std::errc::invalid_argument);
  CHECK(look_up("").error().code() == std::errc::invalid_argument);
  CHECK(look_up(std::string_view("a\0b", 3)).error().code() == std::errc::invalid_argument);
}

}  // namespace
}  // namespace kedge::mach
