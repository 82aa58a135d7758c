#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <type_traits>
#include <utility>

#include "gate.h"
#include "kedge/runtime/awaiting/branch.h"
#include "kedge/runtime/cancelled.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"

namespace {

using namespace std::chrono_literals;
using kedge::gate;
using kedge::loop;
using kedge::scope;
using kedge::task;

static_assert(!std::is_base_of_v<std::exception, kedge::cancelled>);

void drain(loop& l) {
  while (l.size() != 0) l.run_once();
}

struct outcome {
  bool aborted;
  std::string standard_error;
};
// Runs fn in a child process.
outcome in_child_process(const std::function<void()>& fn) {
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  const pid_t pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    std::signal(SIGABRT, SIG_DFL);
    std::set_terminate(std::abort);
    fn();
    std::_Exit(0);
  }
  ::close(ends[1]);
  outcome result{};
  std::array<char, 256> buffer{};
  ssize_t n;
  while ((n = ::read(ends[0], buffer.data(), buffer.size())) > 0) {
    result.standard_error.append(buffer.data(), static_cast<std::size_t>(n));
  }
  ::close(ends[0]);
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  result.aborted = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
  return result;
}

TEST_CASE("cancelling a scope cancels every combinator and scope below it, and nothing beside it") {
  loop l;
  gate in_task, in_scope, in_any, in_all, in_timeout, beside;
  const auto forever = [](gate& g) -> task<> { co_await g.wait(); };
  bool beside_ended = false;
  l.run(kedge::with_scope([&](scope& outer) -> task<> {
    outer.spawn([&]() -> task<> {
      co_await beside.wait();
      beside_ended = true;
    });
    const auto body = [&](scope& s) -> task<> {
      s.spawn(forever(in_task));
      s.spawn([&]() -> task<> {
        const auto inner = [&](scope& t) -> task<> {
          t.spawn(in_scope.wait());
          co_await kedge::sleep_for(1000h);
        };
        co_await kedge::with_scope(inner);
      });
      s.spawn(
          [&]() -> task<> { co_await kedge::when_any(forever(in_any), kedge::sleep_for(1000h)); });
      s.spawn([&]() -> task<> {
        co_await kedge::when_all(kedge::when_all(in_all.wait()), kedge::sleep_for(1000h));
      });
      s.spawn([&]() -> task<> {
        static_cast<void>(co_await kedge::with_timeout(1000h, forever(in_timeout)));
      });
      while (in_task.waiting == nullptr || in_scope.waiting == nullptr ||
             in_any.waiting == nullptr || in_all.waiting == nullptr ||
             in_timeout.waiting == nullptr) {
        co_await kedge::yield();
      }
      s.cancel();
    };
    co_await kedge::with_scope(body);
    const std::pair<const char*, gate*> gates[] = {{"task", &in_task},
                                                   {"scope", &in_scope},
                                                   {"any", &in_any},
                                                   {"all", &in_all},
                                                   {"timeout", &in_timeout}};
    for (const auto& [place, g] : gates) {
      CAPTURE(place);
      CHECK(g->cancelled == 1);
      CHECK(g->made == g->destroyed);
    }
    CHECK(beside.cancelled == 0);
    beside.open();
  }));
  CHECK(beside_ended);
  CHECK(l.timers().empty());
}

TEST_CASE("in a task that swallows `cancelled` every further wait throws it again") {
  loop l;
  int thrown = 0;
  l.spawn([&]() -> task<> {
    for (int i = 0; i < 900; ++i) {
      try {
        co_await kedge::sleep_for(1000h);
      } catch (const std::exception&) {
        FAIL("`cancelled` is a std::exception");
      } catch (const kedge::cancelled& c) {
        CHECK(c.cause() == kedge::cancel_cause::requested);
        ++thrown;
      }
    }
  });
  l.poll();
  l.cancel();
  drain(l);
  CHECK(thrown == 900);
}

TEST_CASE("a scope that a cancelled task opens does not start its body") {
  loop l;
  int ran = 0;
  l.spawn([&]() -> task<> {
    l.cancel();
    try {
      const auto body = [&](scope&) -> task<> {
        ++ran;
        co_return;
      };
      co_await kedge::with_scope(body);
    } catch (const kedge::cancelled&) {
      ran += 10;
    }
  });
  drain(l);
  CHECK(ran == 10);
}

TEST_CASE("a combinator whose first branch cancels its context starts no further branch") {
  loop l;
  gate g;
  bool thrown = false;
  l.run(kedge::with_scope([&](scope& s) -> task<> {
    const auto cancels = [&](scope&) {
      s.cancel();
      return kedge::sleep_for(1000h);
    };
    try {
      co_await kedge::when_any(kedge::with_scope(cancels), g.wait());
    } catch (const kedge::cancelled&) {
      thrown = true;
    }
  }));
  CHECK(thrown);
  CHECK(g.asked == 0);
}

TEST_CASE("the 1,000th `cancelled` in one task ends the program with the task's name") {
  const outcome o = in_child_process([] {
    loop l;
    l.spawn([&]() -> task<> {
      for (;;) {
        try {
          co_await kedge::sleep_for(1000h);
        } catch (const kedge::cancelled&) {
        }
      }
    });
    l.poll();
    l.cancel();
    drain(l);
  });
  CHECK(o.aborted);
  CHECK(o.standard_error.find("cancellation_test.cc:") != std::string::npos);
  CHECK(o.standard_error.find("1000") != std::string::npos);
}

TEST_CASE("a running task that destroys itself or its loop ends the program") {
  const outcome own_frame = in_child_process([] {
    struct : kedge::branch_owner {
      void branch_done(kedge::branch_base&) noexcept override {}
    } holder;
    loop l;
    std::optional<kedge::branch<kedge::operation_of<task<>>>> running;
    const auto body = [&]() -> task<> {
      running.reset();
      co_return;
    };
    running.emplace(body(), holder);
    running->set_origin("own end", std::source_location::current());
    running->bind(l, nullptr);
    running->start();
    l.poll();
  });
  CHECK(own_frame.aborted);
  CHECK(own_frame.standard_error.find("own end (") != std::string::npos);
  CHECK(own_frame.standard_error.find("cancellation_test.cc:") != std::string::npos);
  CHECK(own_frame.standard_error.find("was destroyed") != std::string::npos);

  const outcome own_loop = in_child_process([] {
    auto other = std::make_unique<loop>();
    other->spawn([&]() -> task<> {
      other.reset();
      co_return;
    });
    other->poll();
  });
  CHECK(own_loop.aborted);
}

}  // namespace
