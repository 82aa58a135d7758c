// One program of every combinator, interrupted at each of its turns, in each way.
#include <doctest/doctest.h>

#include <array>
#include <functional>
#include <ostream>
#include <stdexcept>
#include <utility>

#include "gate.h"
#include "kedge/runtime/attempt.h"
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

// Counts its live objects.
class counted {
 public:
  explicit counted(int& live) noexcept : live_(&live) { ++*live_; }
  counted(const counted& other) noexcept : live_(other.live_) { ++*live_; }
  counted& operator=(const counted&) = delete;
  ~counted() { --*live_; }

 private:
  int* live_;
};

struct program {
  loop* l = nullptr;
  std::array<gate, 8> gates{};
  int live = 0;
  bool ended = false;
  kedge::scope* outer = nullptr;

  // Waits for the gate, then some turns more.
  task<int> wait_for(std::size_t n, counted) {
    const counted local(live);
    const int value = co_await gates[n].wait();
    for (int i = 0; i < 3; ++i) co_await kedge::yield();
    co_return value;
  }
  task<int> wait_for(std::size_t n) { return wait_for(n, counted(live)); }

  task<> race() {
    static_cast<void>(
        co_await kedge::when_any(wait_for(0), gates[1].wait(), kedge::sleep_for(1000h)));
    static_cast<void>(co_await kedge::attempt(kedge::when_all(gates[2].wait(), wait_for(3))));
  }
  task<> nested() {
    const counted local(live);
    const auto body = [this, kept = counted(live)](scope& s) -> task<int> {
      s.spawn([this](counted) { return wait_for(4); }, counted(live));
      s.spawn(kedge::with_timeout(1000h, gates[5].wait()));
      s.spawn(kedge::when_any(kedge::with_scope([](scope&) { return kedge::sleep_for(1000h); }),
                              kedge::yield()));
      co_await kedge::yield();
      co_return 1;
    };
    static_cast<void>(co_await kedge::with_timeout(1000h, kedge::with_scope(std::ref(body))));
    const auto cancelled = [this](scope& s) -> task<> {
      s.spawn([this] { return wait_for(6); });
      co_await kedge::yield();
      s.cancel();
    };
    co_await kedge::with_scope(std::ref(cancelled));
    static_cast<void>(co_await kedge::with_timeout(0ns, wait_for(6)));
  }
  task<> main() {
    const auto body = [this](scope& s) -> task<> {
      outer = &s;
      s.spawn([this] { return race(); });
      s.spawn([this] { return nested(); });
      s.spawn(gates[7].wait());
      for (gate& g : gates) {
        for (int i = 0; i < 4; ++i) co_await kedge::yield();
        if (&g != &gates[6]) g.open();
      }
    };
    co_await kedge::with_scope(std::ref(body));
    outer = nullptr;
    ended = true;
  }
};

// How to interrupt the program.
enum class by { nothing, cancelling, cancelling_the_scope, failing, destroying };

task<> interrupt(program& p, int turns, by how) {
  for (int i = 0; i < turns && !p.ended; ++i) {
    p.l->timers().expire(kedge::clock::now());  // the time-out that is due at once
    co_await kedge::yield();
  }
  if (how == by::cancelling) p.l->cancel();
  if (how == by::cancelling_the_scope && p.outer != nullptr) p.outer->cancel();
  if (how == by::failing) throw std::runtime_error("interrupted");
}

// Returns whether the program ended by itself.
bool run(int turns, by how) {
  program p;
  {
    loop l;
    p.l = &l;
    l.spawn([&] { return p.main(); });
    try {
      if (how == by::destroying) {
        l.run(interrupt(p, turns, how));
      } else {
        l.spawn([&] { return interrupt(p, turns, how); });
        while (l.size() != 0) l.run_once();
        CHECK(how != by::failing);
      }
    } catch (const std::runtime_error&) {
      CHECK(how == by::failing);
    }
    if (how != by::destroying) {
      CHECK(l.timers().empty());
      CHECK(p.live == 0);
    }
  }
  CHECK(p.live == 0);
  for (const gate& g : p.gates) {
    CHECK(g.made == g.destroyed);
    CHECK(g.waiting == nullptr);
  }
  return p.ended;
}

TEST_CASE("a program that is interrupted at any turn leaves no operation, timer or object behind") {
  constexpr int longer_than_the_program = 80;
  CHECK(run(0, by::nothing));
  for (const by how : {by::cancelling, by::cancelling_the_scope, by::failing, by::destroying}) {
    CAPTURE(static_cast<int>(how));
    bool ended = false;
    for (int turns = 0; turns <= longer_than_the_program; ++turns) {
      CAPTURE(turns);
      ended = run(turns, how);
    }
    CHECK(ended);
  }
}

}  // namespace
