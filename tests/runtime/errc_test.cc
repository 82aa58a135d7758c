#include "kedge/runtime/errc.h"

#include <doctest/doctest.h>

#include <ostream>
#include <set>
#include <string>
#include <system_error>

namespace {

using kedge::errc;

TEST_CASE("an error code equals its own enumerator and no other category's code of that value") {
  const std::error_code code = errc::end_of_file;
  CHECK(code == errc::end_of_file);
  CHECK(code != errc::closed);
  CHECK(code.category() == kedge::kedge_category());
  CHECK(std::string(code.category().name()) == "kedge");
  CHECK(std::error_code(code.value(), std::generic_category()) != code);
}

TEST_CASE("every code has a message of its own") {
  std::set<std::string> messages;
  for (const errc e : {errc::end_of_file, errc::timed_out, errc::closed, errc::already_awaited,
                       errc::loop_gone, errc::cancelled, errc::forked, errc::abandoned}) {
    messages.insert(make_error_code(e).message());
  }
  CHECK(messages.size() == 8);
  CHECK(kedge::kedge_category().message(99) == "unknown error 99");
}

TEST_CASE("errc::timed_out equals std::errc::timed_out, the other codes do not") {
  CHECK(make_error_code(errc::timed_out) == std::errc::timed_out);
  CHECK(make_error_code(errc::closed) != std::errc::timed_out);
}

}  // namespace
