// Children beside other threads: the thread that reaps what a loop leaves behind, forks and waits
// of others, and a thousand children at random.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "child_checks.h"
#include "drain.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/private_pipe.h"
#include "kedge/runtime/process.h"
#include "kedge/runtime/run.h"
#include "kedge/runtime/with_timeout.h"

namespace {

using namespace std::chrono_literals;
using kedge::await_no_child;
using kedge::command;
using kedge::exit_status;
using kedge::has_no_child;
using kedge::loop;
using kedge::process;
using kedge::result;
using kedge::task;

// Forks a child for each tick(), in a thread, and waits for it by its number.
class foreign_waits {
 public:
  foreign_waits() : thread_([this] { work(); }) {}
  foreign_waits(const foreign_waits&) = delete;
  foreign_waits& operator=(const foreign_waits&) = delete;
  ~foreign_waits() { stop(); }

  void tick() { add(1); }
  // Ends the thread. Returns how many children had the status that they exit with.
  int stop() {
    if (thread_.joinable()) {
      add(last_tick);
      thread_.join();
    }
    return right_;
  }

 private:
  static constexpr int last_tick = 1'000'000;

  void add(int ticks) {
    ticks_ += ticks;
    ticks_.notify_one();
  }
  void work() {
    for (int done = 0;; ++done) {
      ticks_.wait(done);
      if (ticks_ - last_tick == done) return;
      const int code = done % 100;
      const pid_t pid = ::fork();
      if (pid == 0) _exit(code);
      int status = 0;
      if (::waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == code) ++right_;
    }
  }

  std::atomic<int> ticks_{0};
  std::atomic<int> right_{0};
  std::thread thread_;  // last: it uses the others
};

TEST_CASE("children that a loop leaves behind are reaped by a thread, without a wait of the loop") {
  std::optional<process> outlives;
  {
    loop l;
    for (int i = 0; i < 20; ++i) {
      const process dropped(l, {"cat"}, {.input = kedge::pipe});
    }
    outlives.emplace(l, command("cat"), kedge::process_options{.input = kedge::pipe});
    CHECK(kedge::is_child(outlives->pid()));
  }
  CHECK(outlives->signal(0));
  outlives.reset();
  await_no_child();
}

#if defined(PTRACE_SEIZE)
TEST_CASE("a child that cannot be reaped keeps no other one that a loop has left behind") {
  std::optional<kedge::tracer> holds;
  pid_t held, other;
  {
    loop l;
    const process first(l, {"cat"}, {.input = kedge::pipe});
    const process second(l, {"cat"}, {.input = kedge::pipe});
    held = first.pid();
    other = second.pid();
    holds.emplace(held);
  }
  while (kedge::is_child(other)) std::this_thread::yield();
  CHECK(kedge::is_child(held) == holds->is_allowed());
  holds.reset();
  await_no_child();
}
#endif

TEST_CASE("loops of several threads leave children behind at the same time") {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([] {
      for (int k = 0; k < 10; ++k) {
        loop l;
        const process dropped(l, {"cat"}, {.input = kedge::pipe});
      }
    });
  }
  for (std::thread& t : threads) t.join();
  await_no_child();
}

TEST_CASE("the child of a fork by another thread has no end of a private pipe") {
  std::optional<kedge::private_pipe> pipe(std::in_place);
  const int reading = pipe->reading();
  pid_t others = -1;
  std::thread([&] {
    others = ::fork();
    if (others == 0)
      for (;;) ::pause();  // executes nothing
  }).join();
  const pid_t own = ::fork();
  char byte = 'x';
  if (own == 0) _exit(::write(pipe->writing(), &byte, 1) == 1 ? 0 : 1);
  int status = -1;
  REQUIRE(::waitpid(own, &status, 0) == own);
  CHECK(status == 0);
  CHECK(::close(pipe->release_writing()) == 0);
  CHECK(::read(reading, &byte, 1) == 1);
  CHECK(::read(reading, &byte, 1) == 0);  // the end, though the other child lives
  REQUIRE(::kill(others, SIGKILL) == 0);
  REQUIRE(::waitpid(others, &status, 0) == others);
}

// --- A thousand children -------------------------------------------------------------------------

enum class life {
  exits,             // by itself, with a code
  is_signalled,      // by itself
  cannot_start,      // its program is not there
  forks,             // leaves a process behind in its group, and is dropped
  is_dropped,        // while it runs
  is_terminated,     // by SIGTERM
  ignores_sigterm,   // so that it takes a SIGKILL
  is_run,            // by run()
  is_run_and_ended,  // by a run() that is cancelled
  count,
};

// What became of the children of one kind.
struct tally {
  int started = 0;
  int as_expected = 0;
};

class thousand {
 public:
  thousand(loop& l, foreign_waits& beside, std::uint32_t seed)
      : loop_(l), beside_(beside), random_(seed) {}

  // One child after the other.
  task<> live(int count) {
    for (int i = 0; i < count; ++i) {
      const auto kind = static_cast<life>(random_() % static_cast<unsigned>(life::count));
      tally& t = tallies[static_cast<std::size_t>(kind)];
      ++t.started;
      if (i % 10 == 0) beside_.tick();
      const bool is_right = co_await pass(kind, static_cast<int>(random_() % 100));
      t.as_expected += is_right;
    }
  }

  std::array<tally, static_cast<std::size_t>(life::count)> tallies{};

 private:
  task<bool> pass(life kind, int number) {
    const std::string text = std::to_string(number);
    switch (kind) {
      case life::exits: {
        process p(loop_, {"sh", "-c", "exit " + text});
        const auto end = co_await p.exited();
        co_return end.value().code() == number;
      }
      case life::is_signalled: {
        process p(loop_, {"sh", "-c", "kill -USR1 $$"});
        const auto end = co_await p.exited();
        co_return end.value().signal() == SIGUSR1;
      }
      case life::cannot_start:
        try {
          const process p(loop_, {"/no/such/program"});
          co_return false;
        } catch (const std::system_error& e) {
          co_return e.code() == std::errc::no_such_file_or_directory;
        }
      case life::forks: {
        process p = start("sleep 1000 & echo; wait");
        co_return co_await is_ready(p);
      }
      case life::is_dropped: {
        const process p(loop_, {"cat"}, {.input = kedge::pipe});
        co_return true;
      }
      case life::is_terminated: {
        process p = start("echo; exec sleep 1000");
        if (!co_await is_ready(p)) co_return false;
        const auto end = co_await p.terminate(1h);
        co_return end.value().signal() == SIGTERM;
      }
      case life::ignores_sigterm: {
        process p = start("trap '' TERM; echo; exec sleep 1000");
        if (!co_await is_ready(p)) co_return false;
        const auto end = co_await p.terminate(0s);
        co_return end.value().signal() == SIGKILL;
      }
      case life::is_run: {
        const auto end = co_await kedge::run({"echo", text});
        co_return end.value().output == text + "\n" && end.value().status.success();
      }
      default: {
        const auto end = co_await kedge::with_timeout(0s, kedge::run({"sleep", "1000"}));
        co_return end.error() == kedge::errc::timed_out;
      }
    }
  }

  process start(const char* script) {
    return {loop_, {"sh", "-c", script}, {.output = kedge::pipe, .new_group = true}};
  }
  static task<bool> is_ready(process& p) {
    std::array<std::byte, 8> buffer{};
    const auto n = co_await p.output().read_some(buffer);
    co_return n.value() == 1;
  }

  loop& loop_;
  foreign_waits& beside_;
  std::mt19937 random_;
};

TEST_CASE("a thousand children that exit, fork, are killed and ignore SIGTERM are all accounted") {
  const auto seed = std::random_device()();
  INFO("seed ", seed);
  foreign_waits beside;
  {
    loop l;
    thousand all(l, beside, seed);
    for (int i = 0; i < 20; ++i) l.spawn(all.live(50));
    kedge::drain(l);
    int started = 0;
    for (std::size_t i = 0; i < all.tallies.size(); ++i) {
      CAPTURE(i);
      CHECK(all.tallies[i].started == all.tallies[i].as_expected);
      started += all.tallies[i].started;
    }
    CHECK(started == 1000);
  }
  CHECK(beside.stop() == 100);
  await_no_child();
}

}  // namespace
