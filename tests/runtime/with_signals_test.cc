#include "kedge/runtime/with_signals.h"

#include <doctest/doctest.h>

#include <csignal>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <system_error>

#include "drain.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/yield.h"

namespace {

using namespace std::chrono_literals;
using kedge::loop;
using kedge::task;

auto disposition(int number) {
  struct sigaction now{};
  ::sigaction(number, nullptr, &now);
  return now.sa_handler;
}

task<int> give(int code) {
  co_await kedge::yield();
  co_return code;
}

// Says in its destructor that the frame it lives in is gone.
class said_at_end {
 public:
  explicit said_at_end(bool& said) : said_(said) {}
  said_at_end(const said_at_end&) = delete;
  said_at_end& operator=(const said_at_end&) = delete;
  ~said_at_end() { said_ = true; }

 private:
  bool& said_;
};

TEST_CASE("with_signals() gives the exit code of its body, and 0 of a body without a value") {
  loop l;
  CHECK(l.run(kedge::with_signals({SIGUSR1, SIGUSR2}, give(3))) == 3);
  CHECK(l.run(kedge::with_signals({SIGUSR1}, kedge::yield())) == 0);
  CHECK((disposition(SIGUSR1) == SIG_DFL));
}

TEST_CASE("a signal ends the body of with_signals() and gives 128 and its number") {
  for (const int number : {SIGUSR1, SIGUSR2}) {
    CAPTURE(number);
    loop l;
    bool unwound = false;
    std::optional<int> code;
    const auto body = [](bool& gone) -> task<int> {
      const said_at_end guard(gone);
      co_await kedge::sleep_for(24h);
      co_return 0;
    };
    l.spawn([&]() -> task<> {
      code = co_await kedge::with_signals({SIGUSR1, SIGUSR2}, body(unwound));
    });
    kedge::settle(l);
    CHECK_FALSE(unwound);
    std::raise(number);
    kedge::drain(l);
    CHECK(unwound);
    CHECK(code == 128 + number);
    CHECK((disposition(number) == SIG_DFL));
  }
}

TEST_CASE(
    "with_signals() throws what its body throws, and EINVAL for a signal that does not exist") {
  loop l;
  const auto fail = []() -> task<> {
    co_await kedge::yield();
    throw std::runtime_error("no");
  };
  CHECK_THROWS_AS(l.run(kedge::with_signals({SIGUSR1}, fail())), std::runtime_error);
  CHECK((disposition(SIGUSR1) == SIG_DFL));
  CHECK_THROWS_AS(l.run(kedge::with_signals({SIGUSR1, 1000}, give(3))), std::system_error);
  CHECK((disposition(SIGUSR1) == SIG_DFL));
}

}  // namespace
