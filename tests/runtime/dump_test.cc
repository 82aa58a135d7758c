#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <ostream>
#include <sstream>
#include <streambuf>
#include <string>

#include "drain.h"
#include "gate.h"
#include "kedge/runtime/event.h"
#include "kedge/runtime/forever.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_cleanup.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"
#include "small_stack.h"
#include "stream_pair.h"

namespace {

using namespace std::chrono_literals;
using kedge::gate;
using kedge::loop;
using kedge::task;

std::string dump_of(loop& l) {
  std::ostringstream out;
  l.dump(out);
  return out.str();
}
bool has(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return true;
  MESSAGE("no \"" << part << "\" in:\n" << text);
  return false;
}
std::string line_of(int line) {
  return "dump_test.cc:" + std::to_string(line);
}

// Shortens file names to their last part.
std::string without_folders(std::string text) {
  const std::string name = "dump_test.cc";
  for (std::size_t at = 0; (at = text.find(name, at)) != std::string::npos;) {
    const std::size_t begin = text.rfind(' ', at) + 1;
    text.erase(begin, at - begin);
    at = begin + name.size();
  }
  return text;
}

TEST_CASE("the dump of an empty loop is empty") {
  loop l;
  CHECK(dump_of(l).empty());
}

TEST_CASE("the dump of a task names its origin, its operation and the place of the wait") {
  gate g;
  loop l;
  kedge::stream_pair p(l);
  const int spawned = __LINE__ + 1;
  l.spawn([&]() -> task<> { co_await g.wait(); });
  l.spawn(kedge::sleep_for(1000h));
  l.spawn([&]() -> task<> { static_cast<void>(co_await p.a.readable()); });
  l.poll();
  const std::string text = dump_of(l);
  const std::string short_text = without_folders(text);
  CHECK(has(short_text, "child from " + line_of(spawned) + ": waits for a gate, at " +
                            line_of(spawned) + "\n"));
  CHECK(has(text, " s to pass"));
  CHECK(has(text, "fd " + std::to_string(p.a.native_handle()) + " to be readable"));
}

TEST_CASE("the dump of a cancelled task that ends later says why it is cancelled") {
  kedge::event last;
  loop l;
  const auto clean_up = [&] { return last.wait(); };
  const auto endless = [&]() -> task<> {
    co_await kedge::with_cleanup(kedge::forever(), clean_up, 1h);
  };
  const auto cut_off = [&]() -> task<> {
    static_cast<void>(co_await kedge::with_timeout(0s, endless()));
  };
  const auto superseded = [&]() -> task<> {
    static_cast<void>(co_await kedge::when_any(kedge::yield(), endless()));
  };
  const auto failing = [&]() -> task<> {
    co_await kedge::yield();
    throw 1;
  };
  const auto beside_failure = [&]() -> task<> {
    static_cast<void>(co_await kedge::when_all(failing(), endless()));
  };
  l.spawn(cut_off);
  l.spawn(superseded);
  l.spawn(beside_failure);
  settle(l);
  const std::string text = dump_of(l);
  CHECK(has(text, "branch of with_timeout (cancelled: deadline): waits for"));
  CHECK(has(text, "branch of when_any (cancelled: superseded): waits for"));
  CHECK(has(text, "branch of when_all (cancelled: failure): waits for"));
  CHECK(text.find("requested") == std::string::npos);
  l.cancel();
  CHECK(has(dump_of(l), " (cancelled: requested): waits for"));
  last.set();
  CHECK_THROWS_AS(drain(l), int);
}

TEST_CASE("the dump of a chain has a line for each coroutine, with the place at which it waits") {
  gate g;
  loop l;
  const int first = __LINE__ + 1;
  const auto inner = [](gate& at) -> task<> { co_await at.wait(); };
  const auto middle = [&](gate& at) -> task<> { co_await inner(at); };
  const auto outer = [&](gate& at) -> task<> { co_await middle(at); };
  l.spawn(outer, std::ref(g));
  l.poll();
  CHECK(without_folders(dump_of(l)) == "child from " + line_of(first + 3) +
                                           ": waits for a gate, at " + line_of(first) +
                                           "\n  in a task, at " + line_of(first + 1) +
                                           "\n  in a task, at " + line_of(first + 2) + "\n");
}

TEST_CASE("the dump shows running children, leaf children and the combinators of branches") {
  gate g, h, leaf;
  loop l;
  std::string text;
  const auto waits = [](gate& at) -> task<> { co_await at.wait(); };
  const int first = __LINE__ + 1;
  l.spawn([&]() -> task<> {
    co_await kedge::with_scope([&](kedge::scope& s) -> task<> {
      s.spawn(leaf.wait());
      s.spawn([&]() -> task<> {
        while (h.waiting == nullptr) co_await kedge::yield();
        text = dump_of(l);
        for (gate* each : {&g, &h, &leaf}) each->open();
      });
      co_await kedge::when_all(waits(h), kedge::with_timeout(1000h, waits(g)));
    });
  });
  while (l.size() != 0) l.poll();
  text = without_folders(text);
  CHECK(has(text, "child from " + line_of(first) + ": waits for a scope of 2 children"));
  CHECK(has(text, " body of with_scope: waits for all of 2, at "));
  CHECK(has(text, "  branch of when_all: waits for a gate, at "));
  CHECK(has(text, "  branch of with_timeout: waits for a gate, at "));
  CHECK(has(text, "  child from " + line_of(first + 3) + ": running\n"));
  CHECK(has(text, "dump_test.cc:"));
  CHECK(has(text, ": waits for a gate\n"));
}

TEST_CASE("a task that is spawned by a callable with arguments has the place of its spawn") {
  loop l;
  const auto forever = [](int, int, int, int) -> task<> { co_await kedge::sleep_for(1000h); };
  const int first = __LINE__ + 1;
  l.spawn([&] { return forever(1, 2, 3, 4); });
  l.spawn([&](int a) { return forever(a, 2, 3, 4); }, 1);
  l.spawn([&](int a, int b) { return forever(a, b, 3, 4); }, 1, 2);
  l.spawn([&](int a, int b, int c) { return forever(a, b, c, 4); }, 1, 2, 3);
  l.spawn(forever, 1, 2, 3, 4);
  const std::string text = dump_of(l);
  for (int line = first; line < first + 5; ++line) {
    CAPTURE(line);
    CHECK(has(text, line_of(line)));
  }
}

TEST_CASE("a dump of 100,000 nested scopes does not recurse") {
  struct nest {
    static task<> bodies(int n, gate& g) {
      if (n == 0) {
        co_await g.wait();
      } else {
        const auto body = [&, n](kedge::scope&) { return bodies(n - 1, g); };
        co_await kedge::with_scope(body);
      }
    }
    static task<> children(int n, gate& g) {
      if (n == 0) {
        co_await g.wait();
      } else {
        const auto body = [&, n](kedge::scope& s) -> task<> {
          s.spawn(children, n - 1, std::ref(g));
          co_await kedge::sleep_for(1000h);
        };
        co_await kedge::with_scope(body);
      }
    }
  };
  // Counts lines and discards them: the indentation of so many levels is long.
  struct line_counter : std::streambuf {
    int overflow(int c) override {
      lines += c == '\n';
      return c;
    }
    std::streamsize xsputn(const char* text, std::streamsize n) override {
      lines += static_cast<int>(std::count(text, text + n, '\n'));
      return n;
    }
    int lines = 0;
  };
  static constexpr int deep_scopes = kedge::deep / 10;
  for (const bool in_children : {false, true}) {
    CAPTURE(in_children);
    kedge::on_small_stack([in_children] {
      gate g;
      loop l;
      l.spawn(in_children ? nest::children : nest::bodies, deep_scopes, std::ref(g));
      while (g.waiting == nullptr) l.poll();
      line_counter counter;
      std::ostream out(&counter);
      l.dump(out);
      CHECK(counter.lines > deep_scopes);
    });
  }
}

TEST_CASE("a destructor may dump the loop while its chain, or the loop, is destroyed") {
  struct dumps {
    dumps(loop& in, std::string& o) noexcept : l(in), out(o) {}
    dumps(const dumps&) = delete;
    dumps& operator=(const dumps&) = delete;
    ~dumps() { out = dump_of(l); }
    loop& l;
    std::string& out;
  };
  std::string text;
  gate g;
  {
    loop l;
    l.spawn([&]() -> task<> {
      const dumps at_end(l, text);
      co_await kedge::with_scope([&](kedge::scope& s) -> task<> {
        s.spawn(g.wait());
        co_await kedge::sleep_for(1000h);
      });
    });
    l.poll();
    SUBCASE("the chain is cancelled") {
      l.cancel();
      while (l.size() != 0) l.poll();
    }
    SUBCASE("the loop is destroyed") {}
  }
  CHECK(has(text, "child from "));
  CHECK(has(text, "running"));
}

TEST_CASE("a scope's closure may dump the loop before it returns the body") {
  gate g;
  loop l;
  std::string text;
  const auto body = [&](kedge::scope& s) {
    s.spawn(g.wait());
    text = dump_of(l);
    return kedge::yield();
  };
  l.spawn(kedge::with_scope(body));
  l.poll();
  CHECK(has(text, "a scope of 1 children"));
  CHECK(has(text, "a scope whose body is being made"));
}

TEST_CASE("the dump indents the branches of combinators and scopes below them") {
  gate g, h;
  loop l;
  std::string text;
  l.spawn([&]() -> task<> {
    co_await kedge::when_any(kedge::with_timeout(1000h, g.wait()),
                             kedge::with_scope([&](kedge::scope& s) -> task<> {
                               s.spawn(h.wait());
                               s.spawn(kedge::yield());
                               text = dump_of(l);
                               co_await kedge::sleep_for(1000h);
                             }));
  });
  l.poll();
  CHECK(has(text, "ready"));
  text = dump_of(l);
  CHECK(has(text, "any of 2"));
  CHECK(has(text, "\n  "));
  CHECK(has(text, "\n    "));
  CHECK(has(text, "a scope of"));
  CHECK(has(text, " s at most"));
}

TEST_CASE("the dump names the task that run() runs, and one that has not started") {
  loop l;
  std::string text;
  l.spawn([]() -> task<> { co_return; });
  CHECK(has(dump_of(l), "ready"));
  l.run([](loop& own, std::string& out) -> task<> {
    out = dump_of(own);
    co_return;
  }(l, text));
  CHECK(has(text, "run from"));
  CHECK(has(text, "dump_test.cc:"));
  CHECK(has(text, "running"));
}

}  // namespace
