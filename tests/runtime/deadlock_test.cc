#include "kedge/runtime/deadlock.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "kedge/runtime/completion.h"
#include "kedge/runtime/event.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/observer.h"
#include "kedge/runtime/process.h"
#include "kedge/runtime/shield.h"
#include "kedge/runtime/signal_set.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/time_hold.h"
#include "kedge/runtime/user_event.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/vnode.h"
#include "kedge/runtime/watch_file.h"
#include "kedge/runtime/yield.h"
#include "stream_pair.h"
#include "tests/temporary_folder.h"

namespace {

using namespace std::chrono_literals;
using kedge::deadlock;
using kedge::happening;
using kedge::loop;
using kedge::task;

// Returns the message of the deadlock of `l`, whose run() waits for `e`.
std::string message_of(loop& l, kedge::event& e) {
  try {
    static_cast<void>(l.run(e.wait()));
  } catch (const deadlock& d) {
    return d.what();
  }
  return "no deadlock";
}

// Does something whenever the loop is about to ask the kernel, and counts the reports of signals.
class at_sleep final : public kedge::observer {
 public:
  explicit at_sleep(void (*act)(int), int argument) : act_(act), argument_(argument) {}
  void at(happening what, const kedge::context*, const kedge::waiter*) noexcept override {
    if (what == happening::asleep) act_(argument_);
    if (what == happening::only_signals_left) ++reports;
  }
  int reports = 0;

 private:
  void (*act_)(int);
  int argument_;
};

TEST_CASE("run() throws the tree of tasks when nothing can wake the loop, and can go on") {
  loop l;
  kedge::event never;
  const auto waits = [&]() -> task<> { static_cast<void>(co_await never.wait()); };
  const int line = __LINE__ + 1;
  l.spawn(waits);
  const std::string text = message_of(l, never);
  CAPTURE(text);
  CHECK(text.find("kedge: deadlock: nothing is left") == 0);
  CHECK(text.find("run from ") != std::string::npos);
  CHECK(text.find("deadlock_test.cc:" + std::to_string(line) + ": waits for") != std::string::npos);
  CHECK(l.size() == 1);
  CHECK_THROWS_AS(static_cast<void>(l.try_run(never.wait())), deadlock);
  never.set();
  CHECK(l.run(never.wait()));
  l.poll();
  CHECK(l.size() == 0);
}

TEST_CASE("the report of a deadlock has the failure because of which the tasks were to end") {
  loop l;
  kedge::event never;
  const auto fails = []() -> task<> {
    co_await kedge::yield();
    throw std::runtime_error("the disk is full");
  };
  l.spawn(kedge::shield(never.wait()));  // the failure cancels it, but it goes on waiting
  l.spawn(fails);
  const std::string text = message_of(l, never);
  CAPTURE(text);
  CHECK(text.find("child from ") != std::string::npos);
  CHECK(text.find("\nA task had failed before: the disk is full\n") != std::string::npos);
  never.set();
  CHECK_THROWS_WITH_AS(l.poll(), "the disk is full", std::runtime_error);
}

TEST_CASE("a timer ends the wait of run(), after which there is a deadlock") {
  kedge::virtual_time world;
  loop l(world);
  kedge::event never;
  const auto start = world.now();
  l.spawn(kedge::sleep_for(1h));
  CHECK_THROWS_AS(static_cast<void>(l.run(never.wait())), deadlock);
  CHECK(world.now() - start == 1h);
}

TEST_CASE("a host that drives by itself is never thrown at") {
  loop l;
  kedge::event later;
  l.spawn(later.wait());
  for (int i = 0; i < 3; ++i) l.poll();
  CHECK_FALSE(l.run_once(0s));
  CHECK_FALSE(l.step());
  // Ends by a post: a wait without end.
  std::thread other([to = l.get_remote(), &later] { to.post([&] { later.set(); }); });
  while (l.size() != 0) l.run_once();
  other.join();
}

TEST_CASE("run() waits while a remote of the loop lives, and not longer") {
  loop l;
  kedge::event set, never;
  std::thread other([to = l.get_remote(), &set]() mutable { to.post([&] { set.set(); }); });
  CHECK(l.run(set.wait()));
  other.join();
  CHECK_THROWS_AS(static_cast<void>(l.run(never.wait())), deadlock);
}

TEST_CASE("run() waits for a completion that another thread gives") {
  loop l;
  kedge::completion<int> answer;
  std::thread other;
  const auto waits = [&]() -> task<int> {
    other = std::thread([to = answer.get_completer()] { to.complete(5); });
    co_return (co_await answer.wait()).value();
  };
  CHECK(l.run(waits()) == 5);
  other.join();
}

TEST_CASE("a descriptor wakes the loop only while a task awaits it") {
  loop l;
  kedge::stream_pair p(l);
  kedge::event never;
  at_sleep writer([](int fd) { CHECK(::write(fd, "x", 1) == 1); }, p.a.native_handle());
  l.set_observer(&writer);
  const auto reads = [&]() -> task<> {
    std::array<std::byte, 8> buffer;
    CHECK(co_await p.b.read_some(buffer));
  };
  l.run(reads());
  l.set_observer(nullptr);
  CHECK_THROWS_AS(static_cast<void>(l.run(never.wait())), deadlock);
}

TEST_CASE("the listener that can wake is found among many that cannot") {
  loop l;
  kedge::event never;
  constexpr int count = 20;
  std::vector<std::unique_ptr<kedge::stream_pair>> pairs;
  for (int i = 0; i < count; ++i) {
    pairs.push_back(std::make_unique<kedge::stream_pair>(l));
    CHECK(::write(pairs.back()->a.native_handle(), "x", 1) == 1);
  }
  const auto reads = [](kedge::descriptor& from) -> task<> {
    std::array<std::byte, 8> buffer;
    CHECK(co_await from.read_some(buffer));
    CHECK(co_await from.read_some(buffer));
  };
  for (const int i : {0, 7, count - 1, 3}) {
    CAPTURE(i);
    const auto& p = *pairs[static_cast<std::size_t>(i)];
    at_sleep writer([](int fd) { CHECK(::write(fd, "x", 1) == 1); }, p.a.native_handle());
    l.set_observer(&writer);
    l.run(reads(pairs[static_cast<std::size_t>(i)]->b));
    l.set_observer(nullptr);
    CHECK(::write(p.a.native_handle(), "x", 1) == 1);
  }
  CHECK_THROWS_AS(static_cast<void>(l.run(never.wait())), deadlock);
}

TEST_CASE("a source of events can wake the loop while it is awaited, and not else") {
  loop l;
  kedge::event never;
  const temporary_folder folder;
  const int fd = ::open((folder / "file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  REQUIRE(fd >= 0);
  {
    const kedge::vnode file(l, fd);
    const kedge::watch_file path(l, folder / "file");
    const kedge::user_event other(l);
    CHECK_THROWS_AS(static_cast<void>(l.run(never.wait())), deadlock);
    at_sleep writer([](int to) { CHECK(::write(to, "x", 1) == 1); }, fd);
    l.set_observer(&writer);
    CHECK(l.run(file.next()));
    CHECK(l.run(path.next()));
    l.set_observer(nullptr);
    std::thread triggering([trigger = other.get_trigger()] { CHECK(trigger()); });
    CHECK(l.run(other.next()));
    triggering.join();
    CHECK_THROWS_AS(static_cast<void>(l.run(never.wait())), deadlock);
  }
  ::close(fd);
}

TEST_CASE("run() waits for a child process while a task does, and not else") {
  loop l;
  kedge::event never;
  kedge::process p(l, {"true"});
  const auto waits = [&]() -> task<bool> { co_return (co_await p.exited()).value().success(); };
  CHECK(l.run(waits()));
  const kedge::process lives(l, {"cat"}, {.input = kedge::pipe});
  CHECK_THROWS_AS(static_cast<void>(l.run(never.wait())), deadlock);
}

TEST_CASE("awaited signals are no deadlock, and the observer learns of them once") {
  loop l;
  kedge::signal_set set(l, {SIGUSR1});
  kedge::event never;
  at_sleep raiser([](int number) { ::raise(number); }, SIGUSR1);
  l.set_observer(&raiser);
  const auto waits = [&]() -> task<> {
    for (int i = 0; i < 3; ++i) CHECK(co_await set.next());
  };
  l.run(waits());
  CHECK(raiser.reports == 1);
  // A set that no task awaits wakes no task.
  CHECK_THROWS_AS(static_cast<void>(l.run(never.wait())), deadlock);
  l.set_observer(nullptr);
}

TEST_CASE("a hold on the time is no deadlock") {
  static kedge::virtual_time world;  // a signal handler reads it
  loop l(world);
  kedge::event set;
  const kedge::signal_set not_awaited(l, {SIGUSR1});  // so that the kernel has events
  struct setter final : kedge::observer {
    explicit setter(kedge::event& e) noexcept : event_(e) {}
    void at(happening what, const kedge::context*, const kedge::waiter*) noexcept override {
      if (what != happening::asleep) return;
      if (++waits == 9) event_.set();
      ::raise(SIGUSR1);
    }
    int waits = 0;

   private:
    kedge::event& event_;
  } at_ninth_wait(set);
  l.set_observer(&at_ninth_wait);
  const auto waits = [&]() -> task<> {
    const kedge::time_hold hold(l);
    static_cast<void>(co_await set.wait());
  };
  l.run(waits());
  CHECK(at_ninth_wait.waits >= 9);
  l.set_observer(nullptr);
}

}  // namespace
