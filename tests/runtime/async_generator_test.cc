#include "kedge/runtime/async_generator.h"

#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <ostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "drain.h"
#include "gate.h"
#include "kedge/runtime/attempt.h"
#include "kedge/runtime/forever.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"
#include "mark.h"

namespace {

using namespace std::chrono_literals;
using kedge::async_generator;
using kedge::errc;
using kedge::gate;
using kedge::loop;
using kedge::task;
using kedge::virtual_time;

async_generator<int> count_to(int n) {
  for (int i = 1; i <= n; ++i) {
    if (i % 2 == 0) co_await kedge::yield();
    co_yield i;
  }
}
// Gives 1, waits at the gate, gives 2. Appends 'g' at its end.
async_generator<int> around(gate& g, std::string& out) {
  const kedge::mark end(out, 'g');
  co_yield 1;
  co_await g.wait();
  co_yield 2;
}
async_generator<std::string> failing() {
  co_yield "a";
  throw std::runtime_error("x");
}

TEST_CASE("next() gives the values in order, then nothing, again and again") {
  loop l;
  std::vector<int> values;
  l.run([](std::vector<int>& out) -> task<> {
    auto numbers = count_to(3);
    while (auto n = co_await numbers.next()) out.push_back(*n);
    CHECK_FALSE(co_await numbers.next());
    auto none = count_to(0);
    CHECK_FALSE(co_await none.next());
  }(values));
  CHECK(values == std::vector{1, 2, 3});
}

TEST_CASE("a generator gives move-only values, and copies of lvalues") {
  loop l;
  l.run([]() -> task<> {
    auto boxes = []() -> async_generator<std::unique_ptr<int>> {
      auto box = std::make_unique<int>(1);
      co_yield std::move(box);
    }();
    const auto box = co_await boxes.next();
    CHECK(**box == 1);
    auto texts = []() -> async_generator<std::string> {
      const std::string text = "kedge";
      co_yield text;
      co_yield text;
    }();
    CHECK(co_await texts.next() == "kedge");
    CHECK(co_await texts.next() == "kedge");
  }());
}

TEST_CASE("for_each calls a function or awaits a task for each value, and destroys the generator") {
  loop l;
  gate g;
  g.is_open = true;
  std::string out;
  l.run([](gate& at, std::string& o) -> task<> {
    co_await kedge::for_each(around(at, o), [&o](int n) { o += std::to_string(n); });
    o += ' ';
    auto numbers = count_to(3);
    const auto print = [&o](int n) -> task<> {
      co_await kedge::yield();
      o += std::to_string(n);
    };
    co_await kedge::for_each(numbers, print);
    CHECK_FALSE(co_await numbers.next());
  }(g, out));
  CHECK(out == "12g 123");
}

TEST_CASE("for_each throws what the function throws, and destroys the generator where it stands") {
  loop l;
  gate g;
  std::string out;
  CHECK_THROWS_AS(
      l.run(kedge::for_each(around(g, out), [](int) { throw std::runtime_error("x"); })),
      std::runtime_error);
  CHECK(out == "g");
}

TEST_CASE("an exception that leaves a generator is thrown by next() once, and is its end") {
  loop l;
  l.run([]() -> task<> {
    auto texts = failing();
    CHECK(co_await texts.next() == "a");
    bool thrown = false;
    try {
      co_await texts.next();
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    CHECK(thrown);
    CHECK_FALSE(co_await texts.next());

    auto others = failing();
    co_await others.next();
    CHECK((co_await kedge::attempt(others.next())).failed());
    CHECK_FALSE(co_await others.next());
  }());
}

TEST_CASE("dropping a generator runs its destructors, whether it has begun or not") {
  loop l;
  gate g;
  std::string out;
  l.run([](gate& at, std::string& o) -> task<> {
    {
      auto numbers = around(at, o);
      co_await numbers.next();
    }
    CHECK(o == "g");
    static_cast<void>(around(at, o));
    auto numbers = around(at, o);
    co_await numbers.next();
    numbers = around(at, o);
    CHECK(o == "gg");
    auto moved = std::move(numbers);
    CHECK(co_await moved.next() == 1);
  }(g, out));
  CHECK(out == "ggg");
}

TEST_CASE("a next() that times out ends the generator, and later ones give its end") {
  virtual_time time;
  loop l(time);
  gate g;
  std::string out;
  l.spawn([&]() -> task<> {
    auto numbers = around(g, out);
    const auto first = co_await kedge::with_timeout(1h, numbers.next());
    CHECK(first.value() == 1);
    const auto late = co_await kedge::with_timeout(1ns, numbers.next());
    CHECK(late.error() == errc::timed_out);
    CHECK(out == "g");
    CHECK_FALSE(co_await numbers.next());
  });
  CHECK(time.run() == 0);
  CHECK(g.cancelled == 1);
}

TEST_CASE("a cancelled caller and its generator are destroyed, the generator first") {
  loop l;
  gate g;
  std::string out;
  l.spawn([&]() -> task<> {
    auto numbers = around(g, out);
    const kedge::mark end(out, 'c');
    co_await numbers.next();
    co_await numbers.next();
    out += 'x';
  });
  while (g.waiting == nullptr) l.poll();
  l.cancel();
  drain(l);
  CHECK(out == "gc");
}

TEST_CASE("in a cancelled task a generator goes on to its first wait") {
  loop l;
  gate g;
  std::string out;
  l.spawn([&]() -> task<> {
    l.cancel();
    auto numbers = around(g, out);
    out += std::to_string((co_await numbers.next()).value());
    CHECK((co_await kedge::attempt(numbers.next())).cancelled());
    out += 'a';
    CHECK_FALSE(co_await numbers.next());
  });
  drain(l);
  CHECK(out == "1ga");
  CHECK(g.asked == 0);
}

TEST_CASE("a generator runs in the context of whoever asks: another task, another loop") {
  loop first;
  loop second;
  gate g;
  std::string out;
  auto numbers = around(g, out);
  const auto ask = [&]() -> task<int> { co_return (co_await numbers.next()).value_or(0); };
  CHECK(first.run(ask()) == 1);
  second.spawn([&]() -> task<> { out += std::to_string(co_await ask()); });
  while (g.waiting == nullptr) second.poll();
  g.open();
  drain(second);
  CHECK(out == "2");
}

TEST_CASE("a second next() at the same time is refused") {
  loop l;
  gate g;
  std::string out;
  auto numbers = around(g, out);
  const auto take = [&]() -> task<> {
    while (auto n = co_await numbers.next()) out += std::to_string(*n);
  };
  l.spawn(take);
  while (g.waiting == nullptr) l.poll();
  std::error_code code;
  l.spawn([&]() -> task<> {
    try {
      co_await numbers.next();
    } catch (const std::system_error& e) {
      code = e.code();
    }
  });
  l.poll();
  CHECK(code == errc::already_awaited);
  g.open();
  drain(l);
  CHECK(out == "12g");
}

TEST_CASE("a generator that is dropped during a next() ends with it; one before gives its end") {
  loop l;
  gate g;
  std::string out;
  std::optional<async_generator<int>> numbers(around(g, out));
  l.spawn([&]() -> task<> {
    co_await numbers->next();
    auto last = numbers->next();
    out += std::to_string((co_await std::move(last)).value());
  });
  while (g.waiting == nullptr) l.poll();
  auto later = numbers->next();
  numbers.reset();
  CHECK(out.empty());
  g.open();
  drain(l);
  CHECK(out == "2g");
  CHECK_FALSE(l.run(std::move(later)));
}

TEST_CASE("a value whose caller was cancelled before it took it is given by the next next()") {
  loop l;
  for (int turns = 0; turns < 80; ++turns) {
    auto all = count_to(1000);
    int expected = 0;
    l.spawn([&]() -> task<> {
      while (auto n = co_await all.next()) CHECK(*n == ++expected);
    });
    for (int i = 0; i < turns; ++i) l.step();
    l.cancel();
    drain(l);
    // Either the generator was destroyed in a wait, or it stands at a co_yield.
    l.spawn([&]() -> task<> {
      if (auto n = co_await all.next()) CHECK(*n == expected + 1);
    });
    drain(l);
  }
}

TEST_CASE("a generator of 100,000 values that never waits does not deepen the stack") {
  loop l;
  const auto sum = [&]() -> task<long> {
    long total = 0;
    auto numbers = []() -> async_generator<int> {
      for (int i = 0; i < 100'000; ++i) co_yield 1;
    }();
    while (auto n = co_await numbers.next()) total += *n;
    co_return total;
  };
  CHECK(l.run(sum()) == 100'000);
}

TEST_CASE("dump() shows the wait of a generator in its caller") {
  loop l;
  gate g;
  std::string out;
  l.spawn([&]() -> task<> { co_await kedge::for_each(around(g, out), [](int) {}); });
  while (g.waiting == nullptr) l.poll();
  std::ostringstream text;
  l.dump(text);
  CHECK(text.str().find("waits for a gate, at ") != std::string::npos);
  CHECK(text.str().find("in the next value of a generator, at ") != std::string::npos);
  l.cancel();
  drain(l);
}

TEST_CASE("a loop destroyed at any stage of a next() destroys the generator once") {
  for (int drives = 1; drives < 5; ++drives) {
    for (const bool in_branch : {false, true}) {
      CAPTURE(drives);
      CAPTURE(in_branch);
      gate g;
      std::string out;
      {
        auto numbers = around(g, out);
        loop l;
        l.spawn([&]() -> task<> {
          co_await numbers.next();
          if (in_branch) {
            co_await kedge::when_any(numbers.next(), kedge::forever());
          } else {
            co_await numbers.next();
          }
        });
        for (int i = 0; i < drives; ++i) {
          l.poll();
          if (i == 2) g.open();
        }
      }
      CHECK(out == "g");
      CHECK(g.made == g.destroyed);
    }
  }
}

}  // namespace
