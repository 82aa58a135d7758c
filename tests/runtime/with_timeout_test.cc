#include "kedge/runtime/with_timeout.h"

#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "drain.h"
#include "gate.h"
#include "kedge/runtime/attempt.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/yield.h"
#include "mark.h"

namespace {

using namespace std::chrono_literals;
using kedge::errc;
using kedge::gate;
using kedge::loop;
using kedge::mark;
using kedge::result;
using kedge::task;
using kedge::virtual_time;
using kedge::with_timeout;

task<int> after(gate& g, int n) {
  co_await g.wait();
  co_return n;
}
// Stores the deadline of the context that awaits it.
class deadline_of {
 public:
  class operation {
   public:
    explicit operation(std::vector<kedge::clock::time_point>& seen) noexcept : seen_(seen) {}
    operation(const operation&) = delete;
    operation& operator=(const operation&) = delete;
    bool await_ready() const noexcept { return false; }
    bool await_suspend(kedge::waiter& w) {
      seen_.push_back(w.owner_context().deadline());
      return false;
    }
    bool await_cancel(kedge::cancel_cause) noexcept { return true; }
    void await_resume() noexcept {}
    void describe(kedge::description& line) const noexcept { line.print("nothing"); }

   private:
    std::vector<kedge::clock::time_point>& seen_;
  };
  explicit deadline_of(std::vector<kedge::clock::time_point>& seen) noexcept : seen_(&seen) {}
  operation operator co_await() && noexcept { return operation(*seen_); }

 private:
  std::vector<kedge::clock::time_point>* seen_;
};
// Awaits x in a task, so that the task which x limits starts before its deadline is compared.
template <class A>
task<kedge::awaited_t<A>> inside(A x) {
  co_return co_await std::move(x);
}
TEST_CASE("an awaitable that ends in time gives its value and leaves no timer") {
  loop l;
  gate g;
  g.is_open = true;
  CHECK(l.run(with_timeout(1000h, g.wait())).value() == 42);
  CHECK(l.run(with_timeout(1000h, after(g, 3))).value() == 3);
  CHECK(l.run(with_timeout(1000h, kedge::yield())).has_value());
  const auto p = l.run(with_timeout(
      1000h, []() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(3); }()));
  CHECK(**p == 3);
  CHECK(l.timers().empty());
}

TEST_CASE(
    "when the deadline passes the awaitable is cancelled and awaited, and the error is timed_out") {
  virtual_time time;
  loop l(time);
  gate g, h;
  CHECK(l.run(with_timeout(1us, g.wait())).error() == errc::timed_out);
  CHECK(g.cancelled == 1);
  std::string out;
  const auto r = l.run(inside(with_timeout(1us, [](gate& at, std::string& o) -> task<int> {
    mark end(o, 'c');
    const int n = co_await at.wait();
    end.letter = 'v';
    co_return n;
  }(h, out))));
  CHECK(r.error() == errc::timed_out);
  CHECK(out == "c");
}

TEST_CASE("a value that arrives after the deadline wins over the time-out") {
  virtual_time time;
  loop l(time);
  gate g;
  g.answer = kedge::gate::cancelling::completes;
  CHECK(l.run(with_timeout(1us, g.wait())).value() == 42);
  gate h;
  const auto r = l.run(inside(with_timeout(1us, [](gate& at) -> task<int> {
    const auto ended = co_await kedge::attempt(at.wait());
    CHECK(ended.cause() == kedge::cancel_cause::deadline);
    co_return 9;
  }(h))));
  CHECK(r.value() == 9);
}

TEST_CASE("with a deadline in the past the awaitable still starts, and a value at once wins") {
  virtual_time time;
  loop l(time);
  gate g, h;
  g.is_open = true;
  CHECK(l.run(with_timeout(-1h, g.wait())).value() == 42);
  CHECK(l.run(with_timeout(0ns, h.wait())).error() == errc::timed_out);
  CHECK(l.run(with_timeout(kedge::clock::duration::min(), after(h, 1))).error() == errc::timed_out);
  CHECK(l.run(with_timeout(kedge::clock::duration::max(), after(g, 1))).value() == 1);
}

TEST_CASE("with_timeout of a result<T> gives a result<T> with the time-out among its errors") {
  virtual_time time;
  loop l(time);
  const auto closed = []() -> task<result<int>> { co_return kedge::unexpected(errc::closed); };
  static_assert(std::is_same_v<decltype(l.run(with_timeout(1h, closed()))), result<int>>);
  CHECK(l.run(with_timeout(1h, closed())).error() == errc::closed);
  const auto forever = []() -> task<result<void>> {
    co_await kedge::sleep_for(1000h);
    co_return {};
  };
  CHECK(l.run(with_timeout(1us, forever())).error() == errc::timed_out);
}

// An error that no std::error_code makes: the operation's own await_expired() does.
struct returned {
  int item;
  kedge::errc why;
};
class send_item {
 public:
  class operation {
   public:
    explicit operation(int item) noexcept : item_(item) {}
    operation(const operation&) = delete;
    operation& operator=(const operation&) = delete;
    bool await_ready() const noexcept { return false; }
    bool await_suspend(kedge::waiter&) noexcept { return true; }
    bool await_cancel(kedge::cancel_cause) noexcept { return true; }
    returned await_expired(errc why) && noexcept { return {item_, why}; }
    result<void, returned> await_resume() { return {}; }
    void describe(kedge::description& line) const noexcept { line.print("room"); }

   private:
    int item_;
  };
  explicit send_item(int item) noexcept : item_(item) {}
  operation operator co_await() && noexcept { return operation(item_); }

 private:
  int item_;
};
// An error that a std::error_code makes, with something else.
struct named_error {
  named_error(std::error_code c) : code(c) {}
  std::error_code code;
  std::string name = "by the code";
};

TEST_CASE("the time-out of a result<T, E> is made by await_expired(), else from the error_code") {
  virtual_time time;
  loop l(time);
  const auto handed_back = l.run(with_timeout(1ns, send_item(5)));
  static_assert(std::is_same_v<decltype(handed_back), const result<void, returned>>);
  REQUIRE_FALSE(handed_back.has_value());
  CHECK(handed_back.error().item == 5);
  CHECK(handed_back.error().why == errc::timed_out);
  const auto forever = []() -> task<result<int, named_error>> {
    co_await kedge::sleep_for(1000h);
    co_return 1;
  };
  const auto named = l.run(with_timeout(1ns, forever()));
  static_assert(std::is_same_v<decltype(named), const result<int, named_error>>);
  REQUIRE_FALSE(named.has_value());
  CHECK(named.error().code == errc::timed_out);
  CHECK(named.error().name == "by the code");
}

TEST_CASE(
    "with_deadline ends its awaitable at a time of the loop, and a time that has passed at once") {
  loop l;
  gate g, open;
  open.is_open = true;
  const auto now = kedge::clock::now();
  CHECK(l.run(kedge::with_deadline(now, g.wait())).error() == errc::timed_out);
  CHECK(l.run(kedge::with_deadline(now - 1h, after(g, 1))).error() == errc::timed_out);
  CHECK(l.run(kedge::with_deadline(now - 1h, open.wait())).value() == 42);
  CHECK(l.run(kedge::with_deadline(now + 1000h, after(open, 3))).value() == 3);
  CHECK(l.run(kedge::with_deadline(kedge::clock::time_point::max(), open.wait())).value() == 42);
  CHECK(g.made == g.destroyed);
  CHECK(l.timers().empty());
}

TEST_CASE("a task below nested deadlines knows the nearest one, also within scopes") {
  loop l;
  const auto near = kedge::clock::now() + 1000h;
  const auto far = near + 1h;
  std::vector<kedge::clock::time_point> seen;
  // Gives the deadline of the context that awaits it.
  const auto look = [&]() -> task<> { co_await deadline_of(seen); };
  l.run([](auto& f, auto n, auto d) -> task<> {
    co_await f();
    static_cast<void>(co_await kedge::with_deadline(n, kedge::with_deadline(d, f())));
    static_cast<void>(co_await kedge::with_deadline(d, kedge::with_deadline(n, f())));
    const auto body = [&](kedge::scope& s) {
      s.spawn(f());
      return f();
    };
    static_cast<void>(co_await kedge::with_deadline(d, kedge::with_scope(std::ref(body))));
  }(look, near, far));
  const auto never = kedge::clock::time_point::max();
  CHECK(seen == std::vector{never, near, near, far, far});
}

TEST_CASE("a time-out of a composite that ends at once does not resume its awaiter again") {
  virtual_time time;
  loop l(time);
  gate open;
  open.is_open = true;
  int turns = 0;
  l.run([](gate& at, int& n) -> task<> {
    const auto body = [&](kedge::scope&) { return at.wait(); };
    const auto add = [](int a, auto) { return a; };
    // The first time-out lives until the end of the full expression.
    n += add((co_await with_timeout(1000h, kedge::with_scope(std::ref(body)))).value(),
             (co_await kedge::attempt(kedge::sleep_for(1ms))));
    const auto [a, b] = co_await kedge::when_all(
        with_timeout(1000h, kedge::with_scope(std::ref(body))), kedge::sleep_for(1ms));
    n += a.value();
  }(open, turns));
  CHECK(turns == 84);
  CHECK(l.timers().empty());
}

TEST_CASE("a time-out that begins in a cancelled context does not count as timed out") {
  virtual_time time;
  loop l(time);
  gate g;
  std::string out;
  l.spawn([&]() -> task<> {
    mark end(out, 'c');
    l.cancel();
    const auto r = co_await with_timeout(0ns, [](loop& own, gate& at) -> task<> {
      own.timers().expire(kedge::clock::time_point::max());
      co_await at.wait();
    }(l, g));
    end.letter = r ? 'v' : 't';
  });
  drain(l);
  CHECK(out == "c");
  CHECK(g.asked == 0);
}

TEST_CASE("an exception of the awaitable is thrown, before and after the deadline") {
  virtual_time time;
  loop l(time);
  gate g;
  g.refuses = true;
  CHECK_THROWS_AS(static_cast<void>(l.run(with_timeout(1h, g.wait()))), std::runtime_error);
  CHECK(l.timers().empty());
  const auto fails_late = []() -> task<> {
    static_cast<void>(co_await kedge::attempt(kedge::sleep_for(1000h)));
    throw std::runtime_error("late");
  };
  CHECK_THROWS_AS(static_cast<void>(l.run(inside(with_timeout(1us, fails_late())))),
                  std::runtime_error);
}

TEST_CASE("a cancellation from outside passes through with its cause, and leaves no timer") {
  loop l;
  gate g;
  std::string out;
  l.spawn([&]() -> task<> {
    const mark end(out, 'c');
    const auto r = co_await kedge::attempt(with_timeout(1000h, after(g, 1)));
    CHECK(r.cancelled());
    CHECK(r.cause() == kedge::cancel_cause::requested);
    out += 'a';
    static_cast<void>(co_await with_timeout(1000h, after(g, 1)));
    out += 'x';
  });
  while (g.waiting == nullptr) l.poll();
  l.cancel();
  drain(l);
  CHECK(out == "ac");
  CHECK(l.timers().empty());
}

TEST_CASE(
    "of a cancellation from outside and a deadline, the one that came first decides the outcome") {
  virtual_time time;
  loop l(time);
  gate g;
  g.answer = kedge::gate::cancelling::ends_late;
  std::string out;
  l.spawn([&]() -> task<> {
    mark end(out, 'c');
    const auto r = co_await with_timeout(1us, g.wait());
    end.letter = r ? 'v' : 't';
  });
  SUBCASE("cancelled from outside, then the deadline passes: cancelled") {
    // Cancelled in the same turn as it begins, before the timer can expire.
    l.spawn([&]() -> task<> {
      l.cancel();
      co_return;
    });
    l.poll();
    time.run_for(1us);
    CHECK(l.timers().empty());
    g.open();
    drain(l);
    CHECK(out == "c");
  }
  SUBCASE("the deadline passes, then cancelled from outside: timed out") {
    time.run_for(1us);
    CHECK(g.cancelled == 1);
    l.cancel();
    g.open();
    drain(l);
    CHECK(out == "t");
  }
}

TEST_CASE("of nested time-outs the one whose deadline passed reports it") {
  virtual_time time;
  loop l(time);
  gate g;
  const auto outer_first = l.run(with_timeout(1us, with_timeout(1000h, g.wait())));
  CHECK(outer_first.error() == errc::timed_out);
  const auto inner_first = l.run(with_timeout(1000h, [](gate& at) -> task<std::string> {
    const auto r = co_await with_timeout(1us, at.wait());
    co_return r ? "value" : "inner timed out";
  }(g)));
  CHECK(inner_first.value() == "inner timed out");
  bool inner_went_on = false;
  const auto outer_of_task = l.run(inside(with_timeout(1us, [](gate& at, bool& on) -> task<> {
    static_cast<void>(co_await with_timeout(1000h, at.wait()));
    on = true;
  }(g, inner_went_on))));
  CHECK(outer_of_task.error() == errc::timed_out);
  CHECK_FALSE(inner_went_on);
  CHECK(l.timers().empty());
}

TEST_CASE("a time-out cancels all branches of a combinator and all children of a scope") {
  virtual_time time;
  loop l(time);
  gate g, h;
  CHECK(l.run(with_timeout(1us, kedge::when_all(g.wait(), h.wait()))).error() == errc::timed_out);
  CHECK(l.run(with_timeout(1us, kedge::with_scope([&](kedge::scope& s) -> task<> {
                             s.spawn(g.wait());
                             co_await h.wait();
                           })))
            .error() == errc::timed_out);
  CHECK(g.made == g.destroyed);
  CHECK(h.made == h.destroyed);
}

TEST_CASE("a loop that is destroyed at any stage of a time-out destroys its operations") {
  for (int drives = 0; drives < 5; ++drives) {
    for (const bool open : {false, true}) {
      CAPTURE(drives);
      CAPTURE(open);
      gate g, h;
      {
        virtual_time time;
        loop l(time);
        l.spawn(with_timeout(1000h, after(g, 1)));
        l.spawn(with_timeout(1us, h.wait()));
        for (int i = 0; i < drives; ++i) {
          l.poll();
          time.advance(1us);
          if (i == 1 && open) g.open();
        }
      }
      CHECK(g.made == g.destroyed);
      CHECK(h.made == h.destroyed);
    }
  }
}

TEST_CASE("a deadline over a block keeps its captures, and gives the value of the block") {
  loop l;
  const std::string text = "kedge, in more letters than a short string has";
  const auto block = [text]() -> task<std::string> {
    co_await kedge::yield();
    co_return text;
  };
  CHECK(l.run(kedge::with_timeout(1h, block)).value() == text);
  CHECK(l.run(kedge::with_deadline(kedge::clock::after(1h), block)).value() == text);
}

TEST_CASE("of nested deadlines over blocks the nearest wins, and each reports only its own") {
  loop l;
  const auto now = kedge::clock::now();
  std::string out;
  l.run(kedge::with_deadline(now + 1h, [&]() -> task<> {
     const auto inner = co_await kedge::with_deadline(now, [&]() -> task<> {
       const auto innermost = co_await kedge::with_timeout(2h, [&]() -> task<> {
         co_await kedge::sleep_for(3h);
         out += 'x';
       });
       out += innermost ? 'v' : 'x';
     });
     out += !inner && inner.error() == errc::timed_out ? 't' : 'x';
   })).value();
  CHECK(out == "t");
}

}  // namespace
