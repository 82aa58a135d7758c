// The forms of co_await with temporaries that are safe under g++ 12. Every object is recorded, so
// that one that is destroyed twice, or never, fails the test.
#include <doctest/doctest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

#include "gate.h"
#include "kedge/runtime/awaiting/closure.h"
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

// Records every live object by its address, and counts objects that are made or destroyed twice.
struct tracked {
  static inline std::set<const tracked*> live;
  static inline int wrong = 0;
  tracked() { wrong += !live.insert(this).second; }
  tracked(const tracked&) : tracked() {}
  tracked(tracked&&) noexcept : tracked() {}
  tracked& operator=(const tracked&) = default;
  ~tracked() { wrong += live.erase(this) != 1; }
};

// An awaitable with a member that is not trivially destructible, as mach's leaves have.
class loaded_yield {
 public:
  loaded_yield() noexcept {}
  class operation {
   public:
    explicit operation(tracked&& t) noexcept : load_(std::move(t)) {}
    operation(const operation&) = delete;
    operation& operator=(const operation&) = delete;
    ~operation() = default;
    bool await_ready() const noexcept { return false; }
    bool await_suspend(kedge::waiter& w) noexcept {
      wake(w);
      return true;
    }
    bool await_cancel(kedge::cancel_cause) noexcept { return false; }
    tracked await_resume() { return load_; }
    void describe(kedge::description& line) const noexcept { line.print("a load"); }

   private:
    tracked load_;
  };
  operation operator co_await() && noexcept { return operation(std::move(load_)); }

 private:
  tracked load_;
};

task<tracked> give(tracked t) {
  co_await kedge::yield();
  co_return t;
}
task<tracked> take_string(std::string s, tracked t) {
  CHECK(s.size() == 40);
  co_return t;
}

// Runs the task, and checks that each object was destroyed exactly once.
void balanced(task<> t) {
  tracked::wrong = 0;
  {
    loop l;
    l.run(std::move(t));
  }
  CHECK(tracked::wrong == 0);
  CHECK(tracked::live.empty());
}

TEST_CASE("the arguments of a task that is a temporary are destroyed exactly once") {
  balanced([]() -> task<> {
    co_await give(tracked());
    const tracked t = co_await take_string(std::string(40, 'x'), tracked());
    co_await give(t);
  }());
}

TEST_CASE("leaf awaitables with a member to destroy, named or temporary, destroy it exactly once") {
  balanced([]() -> task<> {
    co_await loaded_yield();
    const tracked t = co_await loaded_yield();
    loaded_yield named;
    co_await std::move(named);
  }());
}

TEST_CASE("combinators of temporaries destroy each of them exactly once") {
  balanced([]() -> task<> {
    co_await kedge::when_all(give(tracked()), loaded_yield(),
                             take_string(std::string(40, 'y'), tracked()));
    co_await kedge::when_any(loaded_yield(), give(tracked()), kedge::sleep_for(1000h));
    static_cast<void>(co_await kedge::with_timeout(1000h, give(tracked())));
    static_cast<void>(co_await kedge::with_timeout(
        1000h, kedge::when_all(loaded_yield(), kedge::when_any(give(tracked()), loaded_yield()))));
  }());
}

TEST_CASE("a named closure with captures to destroy may be used by several co_awaits") {
  balanced([]() -> task<> {
    const tracked t;
    const auto body = [t, text = std::string(40, 'z')](scope& s) -> task<> {
      s.spawn([t]() -> task<> { co_await kedge::yield(); });
      s.spawn(give, t);
      s.spawn(loaded_yield());
      CHECK(text.size() == 40);
      co_await kedge::yield();
    };
    co_await kedge::with_scope(body);
    static_cast<void>(co_await kedge::with_timeout(1000h, kedge::with_scope(body)));
    co_await kedge::when_any(kedge::with_scope(body), give(t));
  }());
}

TEST_CASE("a closure that cannot be copied is passed by std::ref") {
  balanced([]() -> task<> {
    const auto body = [p = std::make_unique<tracked>()](scope& s) -> task<> {
      s.spawn(give, *p);
      co_await kedge::yield();
    };
    co_await kedge::with_scope(std::ref(body));
  }());
}

TEST_CASE("a temporary closure whose captures need no destructor works") {
  balanced([]() -> task<> {
    tracked t;
    int n = 0;
    co_await kedge::with_scope([&](scope& s) -> task<> {
      s.spawn(give, t);
      ++n;
      co_return;
    });
    CHECK(n == 1);
  }());
}

TEST_CASE("a co_await that throws destroys its temporaries exactly once") {
  balanced([]() -> task<> {
    gate refuses;
    refuses.refuses = true;
    for (int i = 0; i < 2; ++i) {
      try {
        co_await kedge::when_all(give(tracked()), refuses.wait(), loaded_yield());
        FAIL("did not throw");
      } catch (const std::runtime_error&) {
      }
    }
    const tracked t;
    const auto body = [t](scope& s) -> task<> {
      s.spawn(give, t);
      co_await kedge::yield();
      throw std::runtime_error("body");
    };
    try {
      co_await kedge::with_scope(body);
      FAIL("did not throw");
    } catch (const std::runtime_error&) {
    }
  }());
}

TEST_CASE(
    "a coroutine destroyed while suspended in a co_await destroys its temporaries exactly once") {
  tracked::wrong = 0;
  for (int drives = 0; drives < 4; ++drives) {
    CAPTURE(drives);
    loop l;
    l.spawn([]() -> task<> {
      const tracked t;
      const auto body = [t](scope& s) -> task<> {
        s.spawn(give, t);
        co_await kedge::sleep_for(1000h);
      };
      co_await kedge::when_all(give(tracked()), kedge::with_scope(body), loaded_yield());
    });
    for (int i = 0; i < drives; ++i) l.poll();
  }
  CHECK(tracked::wrong == 0);
  CHECK(tracked::live.empty());
}

// KEDGE_CHECK_CLOSURE refuses the failing form, with_scope([t](scope&) ...) as a temporary of
// co_await, at compile time where the compiler has the fault. It tests this property.
TEST_CASE(
    "KEDGE_CHECK_CLOSURE distinguishes closures by whether their captures need a destructor") {
  const tracked t;
  const auto loaded = [t] {};
  const auto plain = [&t] { static_cast<void>(t); };
  static_assert(!std::is_trivially_destructible_v<decltype(loaded)>);
  static_assert(std::is_trivially_destructible_v<decltype(plain)>);
  loaded();
  plain();
}

}  // namespace
