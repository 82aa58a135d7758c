// The error categories, and check().
#include "kedge/mach/error.h"

#include <doctest/doctest.h>

#include <ostream>
#include <string>
#include <system_error>

namespace kedge::mach {

TEST_CASE("kern_error and msg_error keep the kernel's numbers, in two different categories") {
  CHECK(kern_error(KERN_INVALID_RIGHT).value() == KERN_INVALID_RIGHT);
  CHECK(msg_error(MACH_SEND_TIMED_OUT).value() == MACH_SEND_TIMED_OUT);
  CHECK(kern_error(KERN_INVALID_RIGHT) != msg_error(KERN_INVALID_RIGHT));
  CHECK(std::string(kern_error(1).category().name()) == "mach.kern");
  CHECK(std::string(msg_error(1).category().name()) == "mach.msg");
  CHECK_FALSE(msg_error(MACH_SEND_TIMED_OUT).message().empty());
  CHECK_FALSE(kern_error(KERN_SUCCESS));
}

TEST_CASE("every errc has the category kedge.mach and a message of its own") {
  for (const errc e : {errc::peer_died, errc::no_reply, errc::queue_full, errc::rights_lost}) {
    const std::error_code code = e;
    CAPTURE(code.value());
    CHECK(code == e);
    CHECK(std::string(code.category().name()) == "kedge.mach");
    CHECK(code.message().find("unknown") == std::string::npos);
  }
  CHECK(std::error_code(99, mach_category()).message() == "unknown error 99");
}

TEST_CASE("check throws any code but KERN_SUCCESS, with the name of the call") {
  check(KERN_SUCCESS, "mach_port_guard");
  try {
    check(KERN_INVALID_NAME, "mach_port_guard");
    FAIL("did not throw");
  } catch (const std::system_error& e) {
    CHECK(e.code() == kern_error(KERN_INVALID_NAME));
    CHECK(std::string(e.what()).find("mach_port_guard") != std::string::npos);
  }
}

}  // namespace kedge::mach
