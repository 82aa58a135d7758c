// How a cancellation ends chains of coroutines, scopes and combinators.
#include "kedge/runtime/cancelled.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <type_traits>
#include <utility>

#include "drain.h"
#include "gate.h"
#include "in_child_process.h"
#include "kedge/runtime/attempt.h"
#include "kedge/runtime/awaiting/branch.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"
#include "mark.h"

namespace {

using namespace std::chrono_literals;
using kedge::gate;
using kedge::loop;
using kedge::mark;
using kedge::scope;
using kedge::task;

static_assert(!std::is_base_of_v<std::exception, kedge::cancelled>);

void spend_budget(loop& l) {
  while (l.spend_budget()) {
  }
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

TEST_CASE("cancelling a chain destroys it innermost first at its turn, and runs no catch block") {
  loop l;
  gate g;
  std::string out;
  l.spawn([&]() -> task<> {
    const mark outer(out, 'o');
    try {
      co_await [](gate& at, std::string& o) -> task<> {
        const mark inner(o, 'i');
        co_await at.wait();
        o += 'x';
      }(g, out);
      out += 'x';
    } catch (...) {
      out += 'c';
    }
    out += 'x';
  });
  l.poll();
  l.cancel();
  CHECK(g.cancelled == 1);
  CHECK(out.empty());
  drain(l);
  CHECK(out == "io");
  CHECK(g.made == g.destroyed);
  CHECK(g.resumed == 0);
}

TEST_CASE("a running task that is cancelled goes on to its next wait, which never begins") {
  loop l;
  gate g;
  std::string out;
  l.spawn([&]() -> task<> {
    const mark end(out, 'e');
    l.cancel();
    out += 'a';
    co_await g.wait();
    out += 'x';
  });
  drain(l);
  CHECK(out == "ae");
  CHECK(g.asked == 0);
  CHECK(g.made == g.destroyed);
}

TEST_CASE("a combinator of leaves in a cancelled context ends its chain, with budget or without") {
  for (const bool spent : {false, true}) {
    CAPTURE(spent);
    loop l;
    gate g;
    std::string out;
    l.spawn([&]() -> task<> {
      const mark outer(out, 'o');
      co_await [](loop& own, gate& at, std::string& o, bool no_budget) -> task<> {
        const mark inner(o, 'i');
        own.cancel();
        if (no_budget) spend_budget(own);
        co_await kedge::when_any(at.wait(), at.wait());
        o += 'x';
      }(l, g, out, spent);
      out += 'x';
    });
    drain(l);
    CHECK(out == "io");
    CHECK(g.asked == 0);
    CHECK(g.made == g.destroyed);
  }
}

TEST_CASE("what is handed to a task in a cancelled context is destroyed at the task's first wait") {
  loop l;
  gate g;
  std::string out;
  l.spawn([&]() -> task<> {
    l.cancel();
    co_await [](mark, gate& at, std::string& o) -> task<> {
      o += 'b';
      co_await at.wait();
      o += 'x';
    }(mark(out, 'm'), g, out);
    out += 'x';
  });
  drain(l);
  CHECK(out == "bm");
  CHECK(g.asked == 0);
}

TEST_CASE("in a cancelled context scopes and combinators begin, and end at their first wait") {
  loop l;
  gate g;
  std::string out;
  const auto begin = [&](char c) -> task<> {
    out += c;
    co_await g.wait();
    out += 'x';
  };
  const auto body = [&](scope& s) -> task<> {
    out += 'b';
    s.spawn(begin, 'c');
    co_await g.wait();
    out += 'x';
  };
  const std::pair<const char*, std::function<task<>()>> composites[] = {
      {"bc", [&]() -> task<> { co_await kedge::with_scope(std::ref(body)); }},
      {"pq", [&]() -> task<> { co_await kedge::when_all(begin('p'), g.wait(), begin('q')); }},
      {"pq", [&]() -> task<> { co_await kedge::when_any(begin('p'), g.wait(), begin('q')); }},
      {"t", [&]() -> task<> { static_cast<void>(co_await kedge::with_timeout(1h, begin('t'))); }},
      {"bc",
       [&]() -> task<> { co_await kedge::when_any(kedge::with_scope(std::ref(body)), g.wait()); }},
      {"t",
       [&]() -> task<> {
         co_await kedge::when_all(kedge::with_timeout(1h, begin('t')), g.wait());
       }},
  };
  for (const auto& [began, composite] : composites) {
    for (const bool spent : {false, true}) {
      CAPTURE(began);
      CAPTURE(spent);  // whether the composite waits for budget first
      out.clear();
      l.spawn([&]() -> task<> {
        l.cancel();
        if (spent) spend_budget(l);
        co_await composite();
        out += 'x';
      });
      drain(l);
      CHECK(out == began);
      CHECK(g.asked == 0);
      CHECK(g.made == g.destroyed);
      CHECK(l.timers().empty());
    }
  }
}

// Cancels a scope while it is asked whether it is ready, then waits for ever.
class cancels_first {
 public:
  class operation {
   public:
    explicit operation(scope& s) noexcept : scope_(s) {}
    operation(const operation&) = delete;
    operation& operator=(const operation&) = delete;
    bool await_ready() noexcept {
      scope_.cancel();
      return false;
    }
    bool await_suspend(kedge::waiter&) noexcept { return true; }
    bool await_cancel(kedge::cancel_cause) noexcept { return true; }
    void await_resume() noexcept {}
    void describe(kedge::description& line) const noexcept { line.print("nothing"); }

   private:
    scope& scope_;
  };
  explicit cancels_first(scope& s) noexcept : scope_(&s) {}
  operation operator co_await() && noexcept { return operation(*scope_); }

 private:
  scope* scope_;
};

TEST_CASE("a combinator whose first branch cancels its context starts no further branch") {
  loop l;
  gate g;
  std::string out;
  l.run(kedge::with_scope([&](scope& s) -> task<> {
    mark end(out, 'c');
    co_await kedge::when_all(cancels_first(s), g.wait());
    end.letter = 'v';
  }));
  CHECK(out == "c");
  CHECK(g.asked == 0);
}

TEST_CASE("a composite that is cancelled before its first turn ends at its first wait") {
  loop l;
  gate g, ready;
  ready.is_open = true;
  const auto body = [&](scope&) -> task<> { co_await g.wait(); };
  SUBCASE("as the loser of a when_any") {
    l.run([](gate& now, auto& b) -> task<> {
      const auto [lost, won] = co_await kedge::when_any(kedge::with_scope(std::ref(b)), now.wait());
      CHECK_FALSE(lost);
      CHECK(won);
    }(ready, body));
  }
  SUBCASE("as a child of the loop") {
    l.spawn(kedge::with_scope(std::ref(body)));
    l.spawn(kedge::with_timeout(1000h, g.wait()));
    l.spawn(kedge::attempt(g.wait()));
    l.cancel();
    drain(l);
  }
  SUBCASE("as a child of a scope") {
    l.run(kedge::with_scope([&](scope& s) -> task<> {
      s.spawn(kedge::with_scope(std::ref(body)));
      s.spawn(kedge::with_timeout(1000h, g.wait()));
      s.cancel();
      co_return;
    }));
  }
  CHECK(g.asked == 0);
  CHECK(g.made == g.destroyed);
  CHECK(l.timers().empty());
}

TEST_CASE("destructors of a cancelled chain may spawn, cancel and wake") {
  loop l;
  gate own, other, late;
  std::string out;
  struct busy {
    busy(loop& in, scope& s, gate& opened, gate& waited, std::string& o) noexcept
        : l(in), here(s), opens(opened), waits(waited), said(o) {}
    busy(const busy&) = delete;
    busy& operator=(const busy&) = delete;
    ~busy() {
      here.cancel();
      opens.open();
      const auto child = [](gate& at, std::string& o) -> task<> {
        mark end(o, 'c');
        o += 's';
        co_await at.wait();
        end.letter = 'v';
      };
      here.spawn(child, std::ref(waits), std::ref(said));
      l.spawn(child, std::ref(opens), std::ref(said));
    }
    loop& l;
    scope& here;
    gate& opens;
    gate& waits;
    std::string& said;
  };
  l.spawn([&]() -> task<> {
    mark end(out, 'w');
    co_await other.wait();
    end.letter = 'o';
  });
  l.run(kedge::with_scope([&](scope& s) -> task<> {
    s.spawn([&]() -> task<> {
      const busy at_end(l, s, other, late, out);
      co_await own.wait();
    });
    while (own.waiting == nullptr) co_await kedge::yield();
    s.cancel();
  }));
  drain(l);
  // The child of the scope begins and is cancelled. The loop's tasks have their values.
  CHECK(std::count(out.begin(), out.end(), 's') == 2);
  CHECK(std::count(out.begin(), out.end(), 'c') == 1);
  CHECK(std::count(out.begin(), out.end(), 'v') == 1);
  CHECK(std::count(out.begin(), out.end(), 'o') == 1);
  CHECK(out.size() == 5);
  CHECK(late.asked == 0);
  CHECK(own.made == own.destroyed);
}

// Spawns a child into the loop when it is destroyed, which does the same, `left` times.
class spawner {
 public:
  spawner(loop& l, int left, std::string& out) noexcept : loop_(&l), left_(left), out_(&out) {}
  spawner(spawner&& other) noexcept
      : loop_(std::exchange(other.loop_, nullptr)), left_(other.left_), out_(other.out_) {}
  spawner& operator=(spawner&&) = delete;
  ~spawner() {
    if (loop_ == nullptr) return;
    *out_ += static_cast<char>('0' + left_);
    if (left_ == 0) return;
    loop_->spawn([](spawner) -> task<> { co_return; }, spawner(*loop_, left_ - 1, *out_));
  }

 private:
  loop* loop_;
  int left_;
  std::string* out_;
};

TEST_CASE("destructors of a destroyed loop's tasks may spawn again and again") {
  gate g;
  std::string out;
  SUBCASE("of a child that waits") {
    loop l;
    l.spawn([](gate& at, spawner) -> task<> { co_await at.wait(); }, std::ref(g),
            spawner(l, 5, out));
    l.poll();
    CHECK(g.waiting != nullptr);
  }
  SUBCASE("of a child that has ended and is to be deleted") {
    loop l;
    g.is_open = true;
    l.spawn([&](const spawner&) { return g.wait(); }, spawner(l, 5, out));
    CHECK(l.size() == 0);
  }
  SUBCASE("of a child that has failed") {
    loop l;
    g.is_open = g.fails = true;
    l.spawn([&](const spawner&) { return g.wait(); }, spawner(l, 5, out));
    CHECK(l.size() == 0);
  }
  CHECK(out == "543210");
  CHECK(g.made == g.destroyed);
}

TEST_CASE("a running task that destroys itself or its loop ends the program") {
  const kedge::program_end own_frame = kedge::in_child_process([] {
    struct : kedge::branch_owner {
      kedge::waiter* branch_done(kedge::branch_base&) noexcept override { return nullptr; }
      const char* branch_name() const noexcept override { return "test"; }
    } holder;
    loop l;
    kedge::context root(nullptr);
    root.enter_root(l);
    std::optional<kedge::branch<kedge::operation_of<task<>>>> running;
    const auto body = [&]() -> task<> {
      running.reset();
      co_return;
    };
    running.emplace(body(), holder);
    running->set_place(std::source_location::current());
    running->start(root);
    l.poll();
  });
  CHECK(own_frame.aborted());
  CHECK(own_frame.says("test ("));
  CHECK(own_frame.says("cancellation_test.cc:"));
  CHECK(own_frame.says("was destroyed"));

  const kedge::program_end own_loop = kedge::in_child_process([] {
    auto other = std::make_unique<loop>();
    other->spawn([&]() -> task<> {
      other.reset();
      co_return;
    });
    other->poll();
  });
  CHECK(own_loop.aborted());
}

}  // namespace
