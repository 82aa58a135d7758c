#include "kedge/runtime/dump_on.h"

#include <doctest/doctest.h>
#include <signal.h>

#include <chrono>
#include <ostream>
#include <sstream>
#include <string>
#include <system_error>

#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/with_timeout.h"

namespace {

using namespace std::chrono_literals;
using kedge::loop;
using kedge::task;

TEST_CASE("dump_on() prints the tasks and their deadlines at each delivery of its signal") {
  std::ostringstream out;
  loop l;
  const auto waits = []() -> task<> {
    static_cast<void>(co_await kedge::with_timeout(1000h, kedge::sleep_for(2000h)));
  };
  const int line = __LINE__ + 1;
  l.spawn(waits);
  l.spawn(kedge::dump_on(SIGUSR1, out));
  l.poll();
  for (int i = 0; i < 2; ++i) {
    CAPTURE(i);
    out.str("");
    ::raise(SIGUSR1);
    while (out.str().empty()) l.run_once();
    const std::string text = out.str();
    CAPTURE(text);
    CHECK(text.find("dump_on_test.cc:" + std::to_string(line)) != std::string::npos);
    CHECK(text.find(" s to pass, for ") != std::string::npos);
    CHECK(text.find(" s at most") != std::string::npos);
  }
  l.cancel();
  while (l.size() != 0) l.run_once();
}

TEST_CASE("dump_on() refuses a signal that cannot be caught") {
  std::ostringstream out;
  loop l;
  CHECK_THROWS_AS(l.run(kedge::dump_on(SIGKILL, out)), std::system_error);
}

TEST_CASE("dump_on() ends with its loop, and gives the signal back") {
  std::ostringstream out;
  struct sigaction before{};
  struct sigaction after{};
  ::sigaction(kedge::info_signal, nullptr, &before);
  {
    loop l;
    l.spawn(kedge::dump_on(kedge::info_signal, out));
    l.poll();
    ::sigaction(kedge::info_signal, nullptr, &after);
    const bool is_taken = after.sa_handler != before.sa_handler;
    CHECK(is_taken);
  }
  ::sigaction(kedge::info_signal, nullptr, &after);
  const bool is_given_back = after.sa_handler == before.sa_handler;
  CHECK(is_given_back);
}

}  // namespace
