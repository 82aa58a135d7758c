// Seeds in batches: what becomes of crashes, hangs, failed checks and bad input.
#include <doctest/doctest.h>
#include <mach/mach.h>

#include <cstdlib>
#include <stdexcept>
#include <string>

#include "has.h"
#include "kedge/tools/harness/doctest.h"
#include "kedge/tools/harness/explore.h"
#include "kedge/tools/harness/world.h"

namespace {

namespace harness = kedge::harness;
using harness::world;

// A variable of the environment, until the end of the scope.
class setting {
 public:
  setting(const char* name, const char* value) : name_(name) { ::setenv(name, value, 1); }
  setting(const setting&) = delete;
  setting& operator=(const setting&) = delete;
  ~setting() { ::unsetenv(name_); }

 private:
  const char* name_;
};

std::string failure_of(const std::function<void(world&)>& test,
                       harness::exploration_options o = {}) {
  try {
    harness::explore(test, o);
  } catch (const harness::failure& f) {
    return f.what();
  }
  return {};
}

#if defined(__SANITIZE_ADDRESS__)
#define KEDGE_TEST_IS_CHECKED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define KEDGE_TEST_IS_CHECKED 1
#endif
#endif

[[gnu::noinline]] void give_up() {
  std::abort();
}

TEST_CASE("a process that crashes fails its seed, and the least such seed is reported") {
  for (const char* jobs : {"1", "4"}) {
    CAPTURE(jobs);
    const setting j("KEDGE_JOBS", jobs);
    const std::string report = failure_of([](world& w) {
      w.start("wild", [seed = w.seed()] {
        mach_port_t port = MACH_PORT_NULL;
        mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &port);
        mach_port_mod_refs(mach_task_self(), port, MACH_PORT_RIGHT_RECEIVE, -1);
        if (seed == 33 || seed == 90) give_up();
        return 0;
      });
      w.calm();
    });
    CHECK(has(report, "CRASH: signal 6 (Aborted)"));
    CHECK(has(report, "in \"wild\" behind call 1"));
    CHECK(has(report, "\n  seed 33 of 1..200\n"));
    CHECK(has(report, "wild       runs, give_up()"));
  }
}

#if !defined(KEDGE_TEST_IS_CHECKED)
TEST_CASE("a process that runs out of stack fails its seed") {
  const std::string report = failure_of([](world& w) {
    w.start("deep", [] {
      struct recursion {
        static int run(int depth) {
          volatile char room[4096] = {};
          return depth == 0 ? room[0] : run(depth - 1) + room[1];
        }
      };
      return recursion::run(1'000'000);
    });
    w.calm();
  });
  CHECK(has(report, "CRASH: signal 11 (Segmentation fault)"));
  CHECK(has(report, "\n  seed 1 of 1..200\n"));
}
#endif

TEST_CASE("the end of the machine's process fails the seed") {
  const std::string report = failure_of([](world& w) {
    if (w.seed() == 5) ::_exit(3);
  });
  CHECK(has(report, "CRASH: the machine's process has ended with status 3"));
  CHECK(has(report, "\n  seed 5\n"));
}

TEST_CASE("a process that never comes back from its computation hangs, and is named") {
  const setting limit("KEDGE_HANG_SECONDS", "1");
  const std::string report = failure_of(
      [](world& w) {
        w.start("spinner", [] {
          for (volatile bool goes_on = true; goes_on;) continue;
          return 0;
        });
        w.calm();
      },
      {.seeds = 1});
  CHECK(has(report, "HANG: no end of this seed within 1 s"));
  CHECK(has(report, "in \"spinner\" behind call 0"));
}

TEST_CASE("a failed CHECK fails its seed, with the report") {
  const std::string report = failure_of([](world& w) {
    auto& p = w.start("p", [] { return 4; });
    w.calm();
    // Fails in the child process only, for this test.
    CHECK((p.status() == 4 && w.seed() != 7));
  });
  CHECK(has(report, "FAILED a failed CHECK fails its seed, with the report: CHECK FAILED: "));
  CHECK(has(report, "exploration_test.cc:"));
  CHECK(has(report, "\n  seed 7 of 1..200\n"));
  CHECK(has(report, "p ends with 4"));
}

TEST_CASE("expect() fails its seed, in a process too") {
  const std::string report = failure_of([](world& w) {
    w.start("p", [seed = w.seed()] {
      harness::expect(seed < 3, "the seed is small");
      return 0;
    });
    w.calm();
  });
  CHECK(has(report, "EXPECTED: the seed is small, exploration_test.cc:"));
  CHECK(has(report, "\n  seed 3 of 1..200\n"));
}

TEST_CASE("the report has the command that repeats the seed") {
  const auto test = [](world& w) { harness::expect(w.seed() != 2, "it is not 2"); };
  CHECK(has(failure_of(test), "\nagain:  KEDGE_SEED=2 "));
  CHECK(has(failure_of(test), " -tc='the report has the command that repeats the seed'\n"));
  const setting command("KEDGE_AGAIN", "tools/dev harness run lock_test");
  CHECK(has(failure_of(test), "\nagain:  tools/dev harness run lock_test --seed 2 -- -tc='the "));
}

TEST_CASE("sometimes() is true if one seed of any batch has seen it") {
  const setting jobs("KEDGE_JOBS", "3");
  CHECK(failure_of([](world& w) { w.sometimes("it is 150", w.seed() == 150); }) == "");
  CHECK(has(failure_of([](world& w) { w.sometimes("it is 0", w.seed() == 0); }),
            "NEVER SEEN in 200 runs: it is 0 ("));
}

TEST_CASE("two runs of a seed that differ are a failure") {
  int runs = 0;
  const auto test = [&](world& w) {
    const int run = ++runs;
    w.start("p", [run] {
      mach_port_t port = MACH_PORT_NULL;
      for (int i = 0; i < run; ++i) {
        mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &port);
        mach_port_mod_refs(mach_task_self(), port, MACH_PORT_RIGHT_RECEIVE, -1);
      }
      return 0;
    });
    w.calm();
  };
  CHECK(failure_of(test, {.seeds = 2}) == "");
  CHECK(has(failure_of(test, {.seeds = 2, .twice = true}),
            "NOT REPRODUCIBLE: two runs of seed 1 differ"));
}

TEST_CASE("seeds and jobs that make no sense are refused") {
  const auto run = [] { harness::explore([](world&) {}); };
  {
    const setting bad("KEDGE_SEED", "7x");
    CHECK_THROWS_WITH_AS(run(), "kedge::harness: KEDGE_SEED has \"7x\" where a number belongs",
                         std::invalid_argument);
  }
  {
    const setting bad("KEDGE_SEEDS", "9..3");
    CHECK_THROWS_WITH_AS(run(), "kedge::harness: KEDGE_SEEDS has no seeds: 9..3",
                         std::invalid_argument);
  }
  {
    const setting bad("KEDGE_SEEDS", "0");
    CHECK_THROWS_AS(run(), std::invalid_argument);
  }
  {
    const setting bad("KEDGE_JOBS", "many");
    CHECK_THROWS_AS(run(), std::invalid_argument);
  }
  CHECK_THROWS_AS(harness::explore([](world&) {}, {.seeds = 0}), std::invalid_argument);
}

}  // namespace
