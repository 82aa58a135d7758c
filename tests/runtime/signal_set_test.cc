#include "kedge/runtime/signal_set.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <optional>
#include <ostream>
#include <system_error>
#include <vector>

#include "drain.h"
#include "in_child_process.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/reactor/registration.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"

namespace {

using namespace std::chrono_literals;
using kedge::drain;
using kedge::errc;
using kedge::loop;
using kedge::result;
using kedge::signal_event;
using kedge::signal_set;
using kedge::status_of_child;
using kedge::task;
using kedge::virtual_time;

volatile std::sig_atomic_t handled = 0;
void count_it(int) {
  handled = handled + 1;
}

// The signal's present handler.
auto disposition(int number) {
  struct sigaction now{};
  ::sigaction(number, nullptr, &now);
  return now.sa_handler;
}
task<> next_once(signal_set& s, std::optional<result<signal_event>>& out) {
  out = co_await s.next();
}

TEST_CASE("a signal ends a wait, and without one is kept for the next wait") {
  loop l;
  signal_set s(l, {SIGUSR1, SIGUSR2});
  std::optional<result<signal_event>> got;
  l.spawn(next_once(s, got));
  l.poll();
  CHECK_FALSE(got);
  ::kill(::getpid(), SIGUSR1);
  drain(l);
  CHECK(got->value().number == SIGUSR1);
  CHECK(got->value().count == 1);

  std::raise(SIGUSR2);
  const signal_event later = l.run(s.next()).value();
  CHECK(later.number == SIGUSR2);
}

TEST_CASE("deliveries are counted, and several signals are reported in the order of the list") {
  loop l;
  signal_set s(l, {SIGUSR2, SIGUSR1});
  for (int i = 0; i < 3; ++i) std::raise(SIGUSR1);
  std::raise(SIGUSR2);
  const signal_event first = l.run(s.next()).value();
  const signal_event second = l.run(s.next()).value();
  CHECK(first.number == SIGUSR2);
  CHECK(first.count == 1);
  CHECK(second.number == SIGUSR1);
  CHECK(second.count == 3);
  std::optional<result<signal_event>> none;
  l.spawn(next_once(s, none));
  l.poll();
  l.poll();
  CHECK_FALSE(none);
}

TEST_CASE("three sets with a signal, on one loop and on another, each receive it") {
  loop l, m;
  signal_set a(l, {SIGUSR1}), b(l, {SIGUSR1}), c(m, {SIGUSR1});
  std::raise(SIGUSR1);
  CHECK(l.run(a.next()).value().count == 1);
  CHECK(l.run(b.next()).value().count == 1);
  CHECK(m.run(c.next()).value().count == 1);
}

TEST_CASE("the last set of a signal restores the former disposition") {
  loop l;
  std::signal(SIGUSR1, count_it);
  std::signal(SIGUSR2, SIG_IGN);
  std::signal(SIGCHLD, SIG_DFL);
  {
    auto a = std::make_unique<signal_set>(l, std::initializer_list<int>{SIGUSR1, SIGUSR2, SIGCHLD});
    const signal_set b(l, {SIGUSR1});
    std::raise(SIGUSR1);
    CHECK(handled == 0);
    a.reset();
    std::raise(SIGUSR1);
    CHECK(handled == 0);
    CHECK((disposition(SIGUSR2) == SIG_IGN));  // as before the set
  }
  CHECK((disposition(SIGUSR1) == count_it));
  CHECK((disposition(SIGUSR2) == SIG_IGN));
  CHECK((disposition(SIGCHLD) == SIG_DFL));
  std::raise(SIGUSR1);
  CHECK(handled == 1);
  for (const int number : {SIGUSR1, SIGUSR2}) std::signal(number, SIG_DFL);
  {
    const signal_set c(l, {SIGUSR1});
  }
  CHECK((disposition(SIGUSR1) == SIG_DFL));
}

TEST_CASE("a handler that is installed while a set lives stays when the set is gone") {
  loop l;
  handled = 0;
  for (const bool another_follows : {false, true}) {
    CAPTURE(another_follows);
    {
      const signal_set s(l, {SIGUSR1});
      std::signal(SIGUSR1, count_it);
    }
    CHECK((disposition(SIGUSR1) == count_it));
    if (another_follows) {
      const signal_set s(l, {SIGUSR1});
      CHECK((disposition(SIGUSR1) != count_it));
    }
    CHECK((disposition(SIGUSR1) == count_it));
    std::raise(SIGUSR1);
  }
  CHECK(handled == 2);
  std::signal(SIGUSR1, SIG_DFL);
}

TEST_CASE("a signal that is named twice is counted once") {
  loop l;
  signal_set s(l, {SIGUSR1, SIGUSR1});
  std::raise(SIGUSR1);
  CHECK(l.run(s.next()).value().count == 1);
  std::optional<result<signal_event>> none;
  l.spawn(next_once(s, none));
  kedge::settle(l);
  CHECK_FALSE(none);
}

TEST_CASE("a program that is started while a set lives ends by the set's signals") {
  loop l;
  const signal_set s(l, {SIGTERM});
  const int status = status_of_child([] {
    ::execl("/bin/sh", "sh", "-c", "kill -TERM $$; exit 3", static_cast<char*>(nullptr));
    return 4;
  });
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGTERM);
}

TEST_CASE("a set's signals restart the calls that they interrupt") {
  loop l;
  const signal_set s(l, {SIGUSR1, SIGCHLD});
  for (const int number : {SIGUSR1, SIGCHLD}) {
    CAPTURE(number);
    struct sigaction now{};
    REQUIRE(::sigaction(number, nullptr, &now) == 0);
    CHECK((now.sa_flags & SA_RESTART) != 0);
  }
}

TEST_CASE("in a forked child the set is gone with its loop, and restores the disposition") {
  std::signal(SIGUSR1, SIG_IGN);
  loop l;
  auto s = std::make_unique<signal_set>(l, std::initializer_list<int>{SIGUSR1});
  const int status = status_of_child([&] {
    loop own;
    if (own.run(s->next()).error() != errc::loop_gone) return 1;
    s.reset();
    if (disposition(SIGUSR1) != SIG_IGN) return 2;
    signal_set fresh(own, {SIGUSR1});
    std::raise(SIGUSR1);
    return own.run(fresh.next()).value().count == 1 ? 0 : 3;
  });
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  // The parent's set has not changed.
  std::raise(SIGUSR1);
  CHECK(l.run(s->next()).value().count == 1);
  s.reset();
  std::signal(SIGUSR1, SIG_DFL);
}

TEST_CASE(
    "a set with a signal that does not exist or cannot be caught throws EINVAL, changing nothing") {
  loop l;
  std::signal(SIGUSR1, SIG_DFL);
  for (const int bad : {SIGKILL, SIGSTOP, 0, -1, 1000}) {
    CAPTURE(bad);
    try {
      const signal_set s(l, {SIGUSR1, bad});
      FAIL("made");
    } catch (const std::system_error& e) {
      CHECK(e.code() == std::errc::invalid_argument);
    }
    CHECK((disposition(SIGUSR1) == SIG_DFL));
  }
}

TEST_CASE("a set reports SIGCHLD, and the child's status can still be waited for") {
  loop l;
  signal_set s(l, {SIGCHLD});
  const pid_t pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid == 0) ::_exit(3);
  CHECK(l.run(s.next()).value().number == SIGCHLD);
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  CHECK(WEXITSTATUS(status) == 3);
}

TEST_CASE("a set reports SIGCHLD where it was ignored before, and the child is not reaped") {
  std::signal(SIGCHLD, SIG_IGN);
  {
    loop l;
    signal_set s(l, {SIGCHLD});
    const pid_t pid = ::fork();
    REQUIRE(pid >= 0);
    if (pid == 0) ::_exit(3);
    CHECK(l.run(s.next()).value().number == SIGCHLD);
    int status = 0;
    CHECK(::waitpid(pid, &status, 0) == pid);
    CHECK(WEXITSTATUS(status) == 3);
  }
  CHECK((disposition(SIGCHLD) == SIG_IGN));
  std::signal(SIGCHLD, SIG_DFL);
}

TEST_CASE("an awaitable that was made before its set was destroyed ends with errc::closed") {
  loop l;
  auto s = std::make_unique<signal_set>(l, std::initializer_list<int>{SIGUSR1});
  auto before = s->next();
  s.reset();
  CHECK(l.run(std::move(before)).error() == errc::closed);
}

TEST_CASE("a second task that waits on a set gets already_awaited") {
  loop l;
  signal_set s(l, {SIGUSR1});
  std::optional<result<signal_event>> first, second;
  l.spawn(next_once(s, first));
  l.spawn(next_once(s, second));
  l.poll();
  REQUIRE(second);
  CHECK(second->error() == errc::already_awaited);
  std::raise(SIGUSR1);
  drain(l);
  CHECK(first->value().number == SIGUSR1);
}

TEST_CASE("a set destroyed during a wait ends it with errc::closed") {
  for (const bool spent : {false, true}) {
    CAPTURE(spent);
    loop l;
    auto s = std::make_unique<signal_set>(l, std::initializer_list<int>{SIGUSR1});
    std::optional<result<signal_event>> got;
    l.spawn([&]() -> task<> {
      if (spent) {
        while (l.spend_budget()) {
        }
      }
      got = co_await s->next();
    });
    l.spawn([&]() -> task<> {
      s.reset();
      co_return;
    });
    drain(l);
    REQUIRE(got);
    CHECK(got->error() == errc::closed);
  }
}

TEST_CASE(
    "a set destroyed between a signal's arrival and the waiter's turn ends the wait as closed") {
  loop l;
  signal_set twin(l, {SIGUSR1});
  auto s = std::make_unique<signal_set>(l, std::initializer_list<int>{SIGUSR1});
  std::optional<result<signal_event>> got;
  l.spawn(next_once(*s, got));
  l.poll();
  bool arrived = false;
  // Has its turn before the waiter, which the event's delivery queues behind it.
  l.spawn([&]() -> task<> {
    arrived = twin.next().operator co_await().await_ready();
    s.reset();
    co_return;
  });
  // With a change to submit, the next turn asks the kernel although a task is ready.
  const kedge::registration pending(l, kedge::sharing::exclusive, EVFILT_USER, 1);
  std::raise(SIGUSR1);
  l.poll();
  CHECK(arrived);
  drain(l);
  REQUIRE(got);
  CHECK(got->error() == errc::closed);
}

TEST_CASE("a signal after three cancelled waits is reported by the next one") {
  static virtual_time time;  // a signal handler reads it
  loop l(time);
  signal_set s(l, {SIGUSR1});
  for (int i = 0; i < 3; ++i) {
    CAPTURE(i);
    CHECK(l.run(kedge::with_timeout(1us, s.next())).error() == errc::timed_out);
  }
  std::raise(SIGUSR1);
  CHECK(l.run(s.next()).value().count == 1);
}

TEST_CASE("a set that outlives its loop reports loop_gone and restores the disposition") {
  auto l = std::make_unique<loop>();
  auto s = std::make_unique<signal_set>(*l, std::initializer_list<int>{SIGUSR1});
  l->spawn(s->next());
  l->poll();
  l.reset();
  loop other;
  CHECK(other.run(s->next()).error() == errc::loop_gone);
  s.reset();
  CHECK((disposition(SIGUSR1) == SIG_DFL));
}

}  // namespace
