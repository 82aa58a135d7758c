// when_all and when_any over a std::vector.
#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "drain.h"
#include "gate.h"
#include "kedge/runtime/attempt.h"
#include "kedge/runtime/forever.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/yield.h"
#include "mark.h"

namespace {

using kedge::gate;
using kedge::loop;
using kedge::task;
using kedge::when_all;
using kedge::when_any;

task<int> after(gate& g, int n) {
  co_await g.wait();
  co_return n;
}
task<std::unique_ptr<int>> boxed(int n) {
  co_await kedge::yield();
  co_return std::make_unique<int>(n);
}
task<int> failing(gate& g) {
  co_await g.wait();
  throw std::runtime_error("x");
}
task<int> marked(gate& g, std::string& out) {
  const kedge::mark end(out, 'l');
  co_return co_await g.wait();
}
std::vector<gate::awaitable> waits(std::vector<gate>& gates) {
  std::vector<gate::awaitable> all;
  for (gate& g : gates) all.push_back(g.wait());
  return all;
}
TEST_CASE("when_all of a vector gives the values in order, whatever the order of the ends") {
  loop l;
  std::vector<gate> gates(3);
  std::vector<int> values;
  l.spawn([&]() -> task<> {
    std::vector<task<int>> tasks;
    for (int i = 0; i < 3; ++i) tasks.push_back(after(gates[static_cast<std::size_t>(i)], i));
    values = co_await when_all(std::move(tasks));
  });
  while (gates[2].waiting == nullptr) l.poll();
  for (const std::size_t i : {2U, 0U, 1U}) gates[i].open();
  drain(l);
  CHECK(values == std::vector{0, 1, 2});
}

TEST_CASE("when_all of a vector gives move-only values, references, and monostate for void") {
  loop l;
  std::vector<task<std::unique_ptr<int>>> boxes;
  for (int i = 0; i < 2; ++i) boxes.push_back(boxed(i));
  const auto values = l.run(when_all(std::move(boxes)));
  CHECK(*values.at(1) == 1);

  int target = 0;
  std::vector<task<int&>> references;
  references.push_back([](int& n) -> task<int&> { co_return n; }(target));
  CHECK(&l.run(when_all(std::move(references))).at(0).get() == &target);

  CHECK(l.run(when_all(std::vector<kedge::yield>(3))) == std::vector<std::monostate>(3));
}

TEST_CASE("when_all of an empty vector gives an empty one at once") {
  loop l;
  CHECK(l.run(when_all(std::vector<task<int>>())).empty());
}

TEST_CASE("when_any of an empty vector is refused") {
  CHECK_THROWS_AS(static_cast<void>(when_any(std::vector<kedge::forever>())),
                  std::invalid_argument);
}

TEST_CASE("the first failure in a vector cancels the others and is thrown") {
  loop l;
  gate g, open;
  open.is_open = true;
  std::string out;
  std::vector<task<int>> tasks;
  tasks.push_back(marked(g, out));
  tasks.push_back(failing(open));
  tasks.push_back(marked(g, out));
  SUBCASE("when_all") {
    CHECK_THROWS_AS(l.run(when_all(std::move(tasks))), std::runtime_error);
  }
  SUBCASE("when_any") {
    CHECK_THROWS_AS(l.run(when_any(std::move(tasks))), std::runtime_error);
  }
  CHECK(out == "ll");
  CHECK(g.made == g.destroyed);
}

TEST_CASE("a leaf that fails while it starts keeps those behind it from starting") {
  loop l;
  std::vector<gate> gates(3);
  gates[1].refuses = true;
  CHECK_THROWS_AS(l.run(when_all(waits(gates))), std::runtime_error);
  CHECK(gates[0].cancelled == 1);
  CHECK(gates[2].asked == 0);
  for (const gate& g : gates) CHECK(g.made == g.destroyed);
}

TEST_CASE("when_any of a vector has a value where the first ended, and cancels the others") {
  loop l;
  std::vector<gate> gates(3);
  std::vector<std::optional<int>> values;
  l.spawn([&]() -> task<> { values = co_await when_any(waits(gates)); });
  while (gates[2].waiting == nullptr) l.poll();
  gates[1].open();
  drain(l);
  CHECK(values == std::vector<std::optional<int>>{std::nullopt, 42, std::nullopt});
  CHECK(gates[0].cancelled == 1);
  CHECK(gates[2].cancelled == 1);
}

TEST_CASE("in a vector an awaitable that is ready at once wins, and those behind it do not start") {
  loop l;
  std::vector<gate> gates(3);
  gates[1].is_open = true;
  const auto values = l.run(when_any(waits(gates)));
  CHECK(values[1] == 42);
  CHECK(gates[0].cancelled == 1);
  CHECK(gates[2].asked == 0);
}

TEST_CASE("a cancellation from outside cancels all of a vector, and ends the caller") {
  for (const bool all : {false, true}) {
    CAPTURE(all);
    loop l;
    std::vector<gate> gates(3);
    std::string out;
    l.spawn([&]() -> task<> {
      kedge::mark end(out, 'c');
      if (all) {
        co_await when_all(waits(gates));
      } else {
        co_await when_any(waits(gates));
      }
      end.letter = 'x';
    });
    l.poll();
    l.cancel();
    drain(l);
    CHECK(out == "c");
    for (const gate& g : gates) CHECK(g.cancelled == 1);
  }
}

TEST_CASE("a loop destroyed at any stage of a when_any of a vector destroys each operation once") {
  for (int drives = 0; drives < 5; ++drives) {
    CAPTURE(drives);
    std::vector<gate> gates(3);
    {
      loop l;
      l.spawn(when_any(waits(gates)));
      for (int i = 0; i < drives; ++i) {
        l.poll();
        if (i == 2) gates[1].open();
      }
    }
    for (const gate& g : gates) {
      CHECK(g.made == g.destroyed);
      CHECK(g.waiting == nullptr);
    }
  }
}

}  // namespace
