#include "kedge/runtime/errc.h"

#include <doctest/doctest.h>

#include <ostream>
#include <set>
#include <string>
#include <system_error>

namespace {

using kedge::errc;

TEST_CASE("a code compares with its enumerator only") {
  const std::error_code code = errc::end_of_file;
  CHECK(code == errc::end_of_file);
  CHECK(code != errc::closed);
  CHECK(code.category() == kedge::kedge_category());
  CHECK(std::string(code.category().name()) == "kedge");
  CHECK(std::error_code(code.value(), std::generic_category()) != code);
}

TEST_CASE("every code has a message of its own") {
  std::set<std::string> messages;
  for (const errc e :
       {errc::end_of_file, errc::timed_out, errc::closed, errc::already_awaited, errc::loop_gone}) {
    messages.insert(make_error_code(e).message());
  }
  CHECK(messages.size() == 5);
  CHECK(kedge::kedge_category().message(99) == "unknown error 99");
}

TEST_CASE("a time-out is one for those who know only the standard's conditions") {
  CHECK(make_error_code(errc::timed_out) == std::errc::timed_out);
  CHECK(make_error_code(errc::closed) != std::errc::timed_out);
}

}  // namespace
