#include "kedge/runtime/result.h"

#include <doctest/doctest.h>

#include <exception>
#include <memory>
#include <ostream>
#include <source_location>
#include <string>
#include <system_error>
#include <utility>

#include "kedge/runtime/errc.h"

namespace {

using kedge::errc;
using kedge::result;
using kedge::unexpected;

result<int> half(int n) {
  if (n % 2 != 0) return unexpected(errc::closed);
  return n / 2;
}

TEST_CASE("a result holds a value or an error") {
  const result<int> good = half(8);
  CHECK(good.has_value());
  CHECK(static_cast<bool>(good));
  CHECK(*good == 4);
  CHECK(good.value() == 4);

  result<int> bad = half(7);
  CHECK_FALSE(bad.has_value());
  CHECK(bad.error() == errc::closed);
  CHECK(bad.error() != errc::timed_out);
}

TEST_CASE("value() of a failure throws its error code as std::system_error") {
  try {
    static_cast<void>(half(7).value());
    FAIL("did not throw");
  } catch (const std::system_error& e) {
    CHECK(e.code() == errc::closed);
  }
}

// Returns what() of the std::system_error or std::logic_error that `fn` throws.
template <class Fn>
std::string thrown(Fn fn) {
  try {
    fn();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "nothing thrown";
}
std::string here(std::source_location place = std::source_location::current()) {
  return "result_test.cc:" + std::to_string(place.line());
}
bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("value() names the operation, its object, the place of the call and the reason") {
  const result<int> read = unexpected(errc::closed, kedge::failed_operation{"read_some fd", 5});
  const std::string text = thrown([&] { static_cast<void>(read.value()); }), line = here();
  CHECK(text.starts_with("read_some fd 5, at "));
  CHECK(contains(text, line));
  CHECK(text.ends_with(": " + make_error_code(errc::closed).message()));
  // The operation is copied and moved with the failure.
  result<int> copy = read;
  const result<int> moved = std::move(copy);
  CHECK(thrown([&] { static_cast<void>(moved.value()); }).starts_with("read_some fd 5, at "));

  // So it is where failure() passes it on, also for another type of value.
  const result<double> passed_on = read.failure();
  CHECK(thrown([&] { static_cast<void>(passed_on.value()); }).starts_with("read_some fd 5, at "));
  const result<void> wait = unexpected(errc::timed_out, kedge::failed_operation{"with_timeout"});
  CHECK(thrown([&] { wait.value(); }).starts_with("with_timeout, at "));
}

TEST_CASE("value() names the place alone where a failure knows no operation") {
  result<int> bad = unexpected(errc::timed_out);
  const std::string text = thrown([&] { static_cast<void>(bad.value()); }), line = here();
  CHECK(text.ends_with(line + ": timed out"));
  const result<int, std::string> without_code = unexpected(std::string("no"));
  const std::string logic = thrown([&] { static_cast<void>(without_code.value()); }), at = here();
  CHECK(logic.starts_with("kedge::result: value() of a failure, at "));
  CHECK(logic.ends_with(at));
}

// The failed operation costs two words.
static_assert(sizeof(result<std::size_t>) <= 5 * sizeof(void*));
static_assert(sizeof(result<void>) <= 5 * sizeof(void*));

TEST_CASE("a void result is a success by default, and throws its error") {
  result<void> good;
  CHECK(good);
  good.value();
  result<void> bad = unexpected(std::make_error_code(std::errc::io_error));
  CHECK_FALSE(bad);
  CHECK_THROWS_AS(bad.value(), std::system_error);
  CHECK(bad.error() == std::errc::io_error);
}

TEST_CASE("a result of a reference refers to its object and copies nothing") {
  std::string text = "kedge";
  result<std::string&> r = text;
  CHECK(&*r == &text);
  CHECK(&r.value() == &text);
  CHECK(r->size() == 5);
  static_assert(std::is_same_v<decltype(std::move(r).value()), std::string&>);
}

TEST_CASE("a move-only value is moved out of an rvalue result only") {
  result<std::unique_ptr<int>> r = std::make_unique<int>(7);
  CHECK(*r.value() == 7);
  const std::unique_ptr<int> out = std::move(r).value();
  CHECK(*out == 7);
  CHECK(*r == nullptr);
  result<std::unique_ptr<int>> again = std::make_unique<int>(8);
  CHECK(**std::move(again) == 8);
}

TEST_CASE("value_or() gives the value of a success and its argument for a failure") {
  CHECK(half(8).value_or(1) == 4);
  CHECK(half(7).value_or(1) == 1);
  const result<int> kept = half(7);
  CHECK(kept.value_or(2) == 2);
}

struct parcel {
  int code_value;
  std::unique_ptr<std::string> back;
  std::error_code code() const { return {code_value, std::generic_category()}; }
};

TEST_CASE("an error type hands its object back, and value() throws its code()") {
  result<int, parcel> r = unexpected(parcel{EPIPE, std::make_unique<std::string>("letter")});
  REQUIRE_FALSE(r);
  try {
    static_cast<void>(r.value());
    FAIL("did not throw");
  } catch (const std::system_error& e) {
    CHECK(e.code() == std::errc::broken_pipe);
  }
  CHECK(*std::move(r).error().back == "letter");
}

TEST_CASE("value() of a failure whose error has no code throws std::logic_error") {
  result<int, std::string> r = unexpected(std::string("no"));
  CHECK(r.error() == "no");
  CHECK_THROWS_AS(static_cast<void>(r.value()), std::logic_error);
}

TEST_CASE("a result distinguishes a value and an error of the same type") {
  result<std::error_code> good = std::error_code(errc::closed);
  CHECK(good.has_value());
  result<std::error_code> bad = unexpected(errc::closed);
  CHECK_FALSE(bad.has_value());
}

TEST_CASE("a result is made and assigned from any value that makes its T, and moves its content") {
  result<std::string> r = "literal";
  result<std::string> moved = std::move(r);
  CHECK(*moved == "literal");
  moved = unexpected(errc::timed_out);
  CHECK(moved.error() == errc::timed_out);
  moved = std::string("again");
  CHECK(*moved == "again");
}

}  // namespace
