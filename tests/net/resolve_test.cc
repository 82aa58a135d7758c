// resolve(): literals, the names that every system has, and cancellation.
#include "kedge/net/resolve.h"

#include <doctest/doctest.h>
#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <ostream>
#include <string>

#include "kedge/net/errc.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/yield.h"
#include "run_in.h"

namespace kedge::net {
namespace {

TEST_CASE("an address is its own name, and no thread is asked") {
  loop l;
  run_in(l, [&]() -> task<> {
    for (const char* host : {"127.0.0.1", "::1", "[::1]"}) {
      // A wait would let the other branch win.
      auto [found, later] = co_await when_any(resolve(host, 80), yield());
      REQUIRE(found.has_value());
      REQUIRE(found->has_value());
      CHECK((*found)->size() == 1);
      CHECK((*found)->front().port() == 80);
      CHECK((*found)->front().is_loopback());
    }
    CHECK((co_await resolve("127.0.0.1", "443")).value().front().port() == 443);
    CHECK((co_await resolve("[::1]", "443")).value().front().port() == 443);
  });
}

TEST_CASE("localhost is a loopback address") {
  loop l;
  run_in(l, [&]() -> task<> {
    const auto found = co_await resolve("localhost", 80);
    REQUIRE(found);
    REQUIRE(!found->empty());
    for (const address& each : *found) {
      CHECK(each.is_loopback());
      CHECK(each.port() == 80);
    }
    const auto by_number = co_await resolve("localhost", "443");
    REQUIRE(by_number);
    CHECK(by_number->front().port() == 443);
  });
}

TEST_CASE("what does not resolve has getaddrinfo's error, or says what is wrong") {
  loop l;
  run_in(l, [&]() -> task<> {
    const auto no_name = co_await resolve("no such name", 80);
    REQUIRE(!no_name);
    CHECK(no_name.error().category() == resolve_category());
    CHECK(no_name.error().message() == ::gai_strerror(no_name.error().value()));
    const auto no_service = co_await resolve("127.0.0.1", "no such service");
    REQUIRE(!no_service);
    CHECK(no_service.error().category() == resolve_category());
    CHECK((co_await resolve("[localhost]", 80)).error() == errc::bad_brackets);
    CHECK((co_await resolve("[127.0.0.1]", 80)).error() == errc::bad_brackets);
    CHECK((co_await resolve("[localhost]", "http")).error() == errc::bad_brackets);
    CHECK((co_await resolve("", 80)).error() == errc::empty_address);
    CHECK((co_await resolve("[]", 80)).error() == errc::empty_address);
    CHECK((co_await resolve("fe80::1%no-such-one", 80)).error() == errc::bad_zone);
    CHECK((co_await resolve("", "http")).error() == errc::empty_address);
    CHECK((co_await resolve(std::string("a\0b", 3), 80)).error() == errc::empty_address);
    CHECK((co_await resolve("127.0.0.1", "65536")).error() == errc::bad_port);
    CHECK((co_await resolve("127.0.0.1", "")).error() == errc::no_port);
  });
}

TEST_CASE("a cancelled resolve ends at once, and the loop may end before the thread") {
  loop l;
  run_in(l, [&]() -> task<> {
    auto [found, yielded] = co_await when_any(resolve("no.such.name.invalid", 80), yield());
    CHECK(yielded.has_value());
  });
}

}  // namespace
}  // namespace kedge::net
