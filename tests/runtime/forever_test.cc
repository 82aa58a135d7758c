#include "kedge/runtime/forever.h"

#include <doctest/doctest.h>

#include <ostream>
#include <sstream>
#include <string>

#include "kedge/runtime/attempt.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/yield.h"
#include "mark.h"

namespace {

using kedge::forever;
using kedge::loop;
using kedge::task;

TEST_CASE("forever ends when its task is cancelled, and needs no timer") {
  loop l;
  std::string out;
  l.spawn([&]() -> task<> {
    kedge::mark end(out, 'c');
    co_await forever();
    end.letter = 'x';
  });
  while (l.poll()) {
  }
  CHECK(l.size() == 1);
  CHECK(l.timers().empty());
  CHECK_FALSE(l.next_deadline());
  l.cancel();
  while (l.size() != 0) l.poll();
  CHECK(out == "c");
}

TEST_CASE("forever loses against any awaitable that ends") {
  loop l;
  const auto [none, turn] = l.run(kedge::when_any(forever(), kedge::yield()));
  CHECK_FALSE(none);
  CHECK(turn);
}

TEST_CASE("forever begun in a cancelled task ends it") {
  loop l;
  bool cancelled = false;
  l.spawn([&]() -> task<> {
    l.cancel();
    cancelled = (co_await kedge::attempt(forever())).cancelled();
    co_await forever();
  });
  while (l.size() != 0) l.poll();
  CHECK(cancelled);
}

TEST_CASE("dump() says that forever waits for a cancellation") {
  loop l;
  l.spawn(forever());
  l.poll();
  std::ostringstream text;
  l.dump(text);
  CHECK(text.str().find("waits for a cancellation") != std::string::npos);
}

TEST_CASE("a loop that is destroyed destroys a task that waits forever") {
  std::string out;
  {
    loop l;
    l.spawn([&]() -> task<> {
      const kedge::mark end(out, 'd');
      co_await forever();
    });
    l.poll();
  }
  CHECK(out == "d");
}

}  // namespace
