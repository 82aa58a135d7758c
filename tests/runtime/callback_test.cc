#include "kedge/runtime/callback.h"
#include "drain.h"

#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "kedge/runtime/attempt.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"
#include "mark.h"

namespace {

using namespace std::chrono_literals;
using kedge::callback;
using kedge::callback_handler;
using kedge::errc;
using kedge::loop;
using kedge::task;
using kedge::virtual_time;

// A C library: calls back once, with the pointer that it was given.
struct c_client {
  void (*call)(void*, int) = nullptr;
  void* context = nullptr;

  void ask(void (*c)(void*, int), void* p) {
    call = c;
    context = p;
  }
  void answer(int n) { std::exchange(call, nullptr)(context, n); }
};
auto asking(c_client& client) {
  return [&client](callback_handler<int> done) {
    client.ask([](void* p, int n) { callback_handler<int>::adopt(p)(n); },
               std::move(done).release());
  };
}
// Keeps the handler.
auto keeping(std::optional<callback_handler<int>>& kept) {
  return [&kept](callback_handler<int> done) { kept = std::move(done); };
}
TEST_CASE("a callback of a C library ends the wait with its value, at the task's turn") {
  loop l;
  c_client client;
  int answer = 0;
  l.spawn([&]() -> task<> { answer = co_await callback<int>(asking(client)); });
  l.poll();
  client.answer(42);
  CHECK(answer == 0);
  drain(l);
  CHECK(answer == 42);
}

TEST_CASE("a handler that is called by start() ends the wait at once") {
  loop l;
  CHECK(l.run(callback<int>([](callback_handler<int> done) { done(3); })) == 3);
  l.run(callback<void>([](callback_handler<void> done) { done(); }));
  CHECK(*l.run(callback<std::unique_ptr<int>>([](callback_handler<std::unique_ptr<int>> done) {
    done(std::make_unique<int>(4));
  })) == 4);
}

TEST_CASE("the first call of the handler counts, and later ones have no effect") {
  loop l;
  std::optional<callback_handler<int>> kept;
  int value = 0;
  l.spawn([&]() -> task<> { value = co_await callback<int>(keeping(kept)); });
  l.poll();
  const auto copy = *kept;
  copy(1);
  (*kept)(2);
  drain(l);
  CHECK(value == 1);
  (*kept)(3);
}

TEST_CASE("a cancelled wait for a callback ends, and a call after it has no effect") {
  loop l;
  std::optional<callback_handler<int>> kept;
  std::string out;
  l.spawn([&]() -> task<> {
    kedge::mark end(out, 'c');
    co_await callback<int>(keeping(kept));
    end.letter = 'x';
  });
  l.poll();
  l.cancel();
  drain(l);
  CHECK(out == "c");
  REQUIRE(kept);
  (*kept)(1);
}

TEST_CASE("cancel() takes the registration back, and may call the handler") {
  for (const bool calls : {false, true}) {
    CAPTURE(calls);
    virtual_time time;
    loop l(time);
    std::optional<callback_handler<int>> kept;
    int cancels = 0;
    const auto cancel = [&] {
      ++cancels;
      if (calls) (*kept)(-1);
      kept.reset();
    };
    l.spawn([&]() -> task<> {
      const auto r = co_await kedge::with_timeout(1ns, callback<int>(keeping(kept), cancel));
      CHECK(r.error() == errc::timed_out);
    });
    CHECK(time.run() == 0);
    CHECK(cancels == 1);
  }
}

TEST_CASE(
    "a result that arrives before the cancelled task's turn stands, and cancel() is not called") {
  loop l;
  std::optional<callback_handler<int>> kept;
  bool called = false;
  int value = 0;
  const auto cancel = [&] { called = true; };
  l.spawn([&]() -> task<> { value = co_await callback<int>(keeping(kept), cancel); });
  l.poll();
  SUBCASE("before the cancellation") {
    (*kept)(5);
    l.cancel();
  }
  SUBCASE("after the cancellation") {
    l.cancel();
    (*kept)(5);
  }
  drain(l);
  CHECK(value == 5);
  CHECK_FALSE(called);
}

TEST_CASE("an exception of start() is thrown, and a handler that it kept has no effect") {
  loop l;
  std::optional<callback_handler<int>> kept;
  const auto start = [&](callback_handler<int> done) {
    kept = std::move(done);
    throw std::runtime_error("no");
  };
  CHECK_THROWS_AS(l.run(callback<int>(start)), std::runtime_error);
  (*kept)(1);
}

TEST_CASE("a handler that is destroyed without a call fails the wait") {
  loop l;
  std::optional<callback_handler<int>> kept;
  std::error_code code;
  const auto wait = [&](auto start) -> task<> {
    try {
      co_await callback<int>(start);
    } catch (const std::system_error& e) {
      code = e.code();
    }
  };
  SUBCASE("within start()") {
    l.spawn(wait([](const callback_handler<int>&) {}));
    l.poll();
  }
  SUBCASE("later") {
    l.spawn(wait(keeping(kept)));
    l.poll();
    CHECK_FALSE(code);
    kept.reset();
  }
  SUBCASE("in a branch") {
    l.spawn([&]() -> task<> {
      const auto end = co_await kedge::attempt(callback<int>(keeping(kept)));
      CHECK(end.failed());
      code = errc::closed;
    });
    l.poll();
    kept.reset();
  }
  drain(l);
  CHECK(code == errc::closed);
}

TEST_CASE("start() is not called in a cancelled task") {
  loop l;
  bool called = false;
  const auto start = [&](const callback_handler<int>&) { called = true; };
  l.spawn([&]() -> task<> {
    l.cancel();
    co_await callback<int>(start);
  });
  drain(l);
  CHECK_FALSE(called);
}

TEST_CASE("a loop destroyed during the wait cancels the registration") {
  for (const bool has_result : {false, true}) {
    CAPTURE(has_result);
    std::optional<callback_handler<int>> kept;
    int cancels = 0;
    const auto cancel = [&] {
      ++cancels;
      (*kept)(-1);
    };
    {
      loop l;
      l.spawn([&]() -> task<> { co_await callback<int>(keeping(kept), cancel); });
      l.poll();
      if (has_result) (*kept)(1);
    }
    CHECK(cancels == !has_result);
    (*kept)(2);
  }
}

TEST_CASE("a callback whose start() cancels the task ends as cancelled") {
  for (const bool can_cancel : {false, true}) {
    CAPTURE(can_cancel);
    kedge::loop l;
    std::optional<kedge::callback_handler<int>> kept;
    int cancels = 0;
    bool went_on = false;
    l.spawn([&]() -> kedge::task<> {
      const auto start = [&](kedge::callback_handler<int> done) {
        kept = std::move(done);
        l.cancel();
      };
      const auto cancel = [&] { ++cancels; };
      if (can_cancel) {
        co_await kedge::callback<int>(start, cancel);
      } else {
        co_await kedge::callback<int>(start);
      }
      went_on = true;
    });
    kedge::drain(l);
    CHECK_FALSE(went_on);
    CHECK(cancels == (can_cancel ? 1 : 0));
    (*kept)(1);  // too late
  }
}

TEST_CASE("a callback whose start() cancels the task and gives a value keeps the value") {
  kedge::loop l;
  int given = 0;
  l.spawn([&]() -> kedge::task<> {
    const auto start = [&](const kedge::callback_handler<int>& done) {
      l.cancel();
      done(7);
    };
    given = co_await kedge::callback<int>(start);
  });
  kedge::drain(l);
  CHECK(given == 7);
}

}  // namespace
