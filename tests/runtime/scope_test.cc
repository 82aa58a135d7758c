#include "kedge/runtime/scope.h"

#include <doctest/doctest.h>

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
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
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_cleanup.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/yield.h"
#include "mark.h"
#include "small_stack.h"
#include "wait_for.h"

namespace {

using namespace std::chrono_literals;
using kedge::gate;
using kedge::loop;
using kedge::mark;
using kedge::scope;
using kedge::task;
using kedge::virtual_time;
using kedge::wait_for;
using kedge::with_scope;

task<> fail(std::string what) {
  co_await kedge::yield();
  throw std::runtime_error(what);
}
std::string what_of(const std::exception_ptr& e) {
  try {
    std::rethrow_exception(e);
  } catch (const std::exception& x) {
    return x.what();
  }
}

TEST_CASE("a scope ends when its body and all its children have ended") {
  loop l;
  std::string out;
  l.run(with_scope([&](scope& s) -> task<> {
    for (int i = 0; i < 3; ++i) {
      s.spawn([&, i]() -> task<> {
        for (int k = 0; k <= i; ++k) co_await kedge::yield();
        out += static_cast<char>('0' + i);
      });
    }
    CHECK(s.size() == 3);
    out += 'b';
    co_return;
  }));
  CHECK(out == "b012");
}

TEST_CASE("a scope gives the value of its body, which may be any awaitable") {
  virtual_time time;
  loop l(time);
  CHECK(l.run(with_scope([](scope&) -> task<int> { co_return 7; })) == 7);
  l.run(with_scope([](scope& s) {
    s.spawn(kedge::yield());
    return kedge::sleep_for(1ns);
  }));
  const std::unique_ptr<int> p = l.run(
      with_scope([](scope&) -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(5); }));
  CHECK(*p == 5);
  int n = 0;
  int& r = l.run(with_scope([&](scope&) -> task<int&> { co_return n; }));
  CHECK(&r == &n);
}

TEST_CASE(
    "spawn() keeps the callable and its arguments, move-only ones too, while the child lives") {
  loop l;
  std::string out;
  l.run(with_scope([&](scope& s) -> task<> {
    s.spawn(
        [&out](std::unique_ptr<int> p, const std::string& kept, std::string& shared) -> task<> {
          co_await kedge::yield();
          out += kept + std::to_string(*p);
          shared += "!";
        },
        std::make_unique<int>(3), std::string("a string too long to be stored inline "),
        std::ref(out));
    s.spawn([p = std::make_unique<int>(4), &out]() -> task<> {
      co_await kedge::yield();
      out += std::to_string(*p);
    });
    co_return;
  }));
  CHECK(out == "a string too long to be stored inline 3!4");
}

TEST_CASE("spawn() throws the exception of its callable, and adds no child") {
  loop l;
  l.run(with_scope([](scope& s) -> task<> {
    const auto refuse = [](int) -> kedge::yield { throw std::logic_error("no"); };
    CHECK_THROWS_AS(s.spawn(refuse, 1), std::logic_error);
    CHECK(s.size() == 0);
    CHECK(s.failures().empty());
    co_return;
  }));
}

TEST_CASE("the first failure cancels the rest and is thrown at their end, the later are readable") {
  loop l;
  gate g[3];
  std::string out;
  std::vector<std::string> seen;
  bool thrown = false;
  const auto body = [&](scope& s) -> task<> {
    // Spawned first, so that of the cancelled children it has the last turn.
    s.spawn([&]() -> task<> {
      static_cast<void>(co_await kedge::attempt(g[0].wait()));
      out += 'c';
      for (const auto& f : s.failures()) seen.push_back(what_of(f));
    });
    s.spawn([&]() -> task<> {
      const auto ended = co_await kedge::attempt(g[1].wait());
      CHECK(ended.cause() == kedge::cancel_cause::failure);
      throw std::runtime_error("second");
    });
    s.spawn(fail("first"));
    co_await g[2].wait();
  };
  try {
    l.run(with_scope(body));
  } catch (const std::runtime_error& e) {
    thrown = true;
    CHECK(std::string(e.what()) == "first");
  }
  CHECK(thrown);
  CHECK(out == "c");
  CHECK(seen == std::vector<std::string>{"first", "second"});
}

TEST_CASE("the failure of the body cancels the children") {
  loop l;
  gate g;
  std::string out;
  CHECK_THROWS_AS(l.run(with_scope([&](scope& s) -> task<int> {
    s.spawn(wait_for(g, out, 'c'));
    co_await kedge::yield();
    throw std::logic_error("body");
  })),
                  std::logic_error);
  CHECK(out == "c");
}

TEST_CASE("cancel() ends body and children, and a scope without a value ends normally") {
  loop l;
  gate g;
  std::string out;
  l.run([](gate& at, std::string& o) -> task<> {
    const auto body = [&](scope& s) -> task<> {
      s.spawn(wait_for(at, o, 'c'));
      co_await kedge::yield();
      CHECK_FALSE(s.cancelled());
      s.cancel();
      CHECK(s.cancelled());
      const mark body_end(o, 'b');
      co_await kedge::yield();
      o += 'x';
    };
    co_await with_scope(body);
    co_await kedge::yield();  // outside of the scope nothing is cancelled
    o += 'e';
  }(g, out));
  CHECK(out == "cbe");
}

TEST_CASE("with_scope throws errc::cancelled if its own cancel() ended a body before its value") {
  loop l;
  gate g;
  const auto code_of = [&](auto body) {
    try {
      static_cast<void>(l.run(with_scope(body)));
    } catch (const std::system_error& e) {
      return e.code();
    }
    return std::error_code();
  };
  CHECK(code_of([](scope& s) -> task<int> {
          s.cancel();
          co_await kedge::yield();
          co_return 1;
        }) == kedge::errc::cancelled);
  CHECK(code_of([&](scope& s) {
          s.spawn([](scope& in) -> task<> {
            in.cancel();
            co_return;
          }(s));
          return g.wait();
        }) == kedge::errc::cancelled);
  CHECK(g.cancelled == 1);
  // The exception is like any other: an attempt reports it as a failure.
  l.run([]() -> task<> {
    const auto ended = co_await kedge::attempt(with_scope([](scope& s) -> task<int> {
      s.cancel();
      co_await kedge::yield();
      co_return 1;
    }));
    CHECK(ended.failed());
  }());
  CHECK(l.run(with_scope([](scope& s) -> task<int> {
    s.cancel();
    co_return 1;
  })) == 1);
}

TEST_CASE("a scope cancelled from outside ends its awaiter, unless body and children had ended") {
  loop l;
  gate g, h;
  std::string out;
  l.spawn([&]() -> task<> {
    mark end(out, 'C');
    co_await with_scope([&](scope& s) -> task<> {
      s.spawn(wait_for(g, out, 'c'));
      co_await h.wait();
    });
    end.letter = 'V';
  });
  while (g.waiting == nullptr || h.waiting == nullptr) l.poll();
  SUBCASE("body and child wait") {
    l.cancel();
    while (l.size() != 0) l.poll();
    CHECK(out == "cC");
  }
  SUBCASE("the body has ended, the child waits") {
    h.open();
    l.poll();
    l.cancel();
    while (l.size() != 0) l.poll();
    CHECK(out == "cC");
  }
  SUBCASE("both are ready with their values") {
    g.open();
    h.open();
    l.cancel();
    while (l.size() != 0) l.poll();
    CHECK(out == "vV");
  }
}

TEST_CASE("a body's value that was there before a cancellation from outside is delivered") {
  loop l;
  gate g, late;
  late.answer = gate::cancelling::ends_late;
  std::string out;
  int value = 0;
  l.spawn([&]() -> task<> {
    value = co_await with_scope([&](scope& s) -> task<int> {
      s.spawn(wait_for(g, out, 'c'));
      s.spawn(wait_for(late, out, 'c'));
      while (late.waiting == nullptr) co_await kedge::yield();
      s.cancel();
      co_return 7;
    });
    out += 'v';
    co_await kedge::yield();
    out += 'x';
  });
  while (late.cancelled == 0) l.poll();
  while (l.poll()) {
  }
  CHECK(out == "c");
  l.cancel();
  late.open();
  while (l.size() != 0) l.poll();
  CHECK(value == 7);
  CHECK(out == "ccv");
}

TEST_CASE("the children of a cancelled scope begin, and end at their first wait") {
  loop l;
  gate g;
  g.is_open = true;
  std::string out;
  l.run(with_scope([&](scope& s) -> task<> {
    const auto child = [&](char c) -> task<> {
      out += c;
      co_await g.wait();
      out += 'x';
    };
    s.spawn(child, 'a');
    s.cancel();
    s.spawn(child, 'b');
    s.spawn(g.wait());
    CHECK(s.size() == 2);  // the leaf has ended
    while (true) co_await kedge::yield();
  }));
  CHECK(out == "ab");
  CHECK(g.asked == 0);
  CHECK(g.made == g.destroyed);
}

TEST_CASE("a leaf that is the body of a scope cancelled by its closure does not start") {
  loop l;
  gate g;
  CHECK_THROWS_AS(l.run(with_scope([&](scope& s) {
    s.cancel();
    return g.wait();
  })),
                  std::system_error);
  CHECK(g.asked == 0);
}

TEST_CASE("spawn() into a scope that has ended throws, and adds no child") {
  loop l;
  const auto spawn_late = [&](auto body) {
    scope* ended = nullptr;
    bool thrown = false;
    l.run([](auto b, scope*& s, bool& t) -> task<> {
      // The when_any keeps the ended scope until it ends itself.
      const auto inner = [&](scope& own) {
        s = &own;
        return b();
      };
      const auto late = [&]() -> task<> {
        for (int i = 0; i < 10; ++i) co_await kedge::yield();
        try {
          s->spawn(kedge::yield());
        } catch (const std::logic_error&) {
          t = true;
        }
        CHECK(s->size() == 0);
      };
      co_await kedge::when_all(with_scope(std::ref(inner)), late());
    }(body, ended, thrown));
    CHECK(thrown);
  };
  gate open;
  open.is_open = true;
  spawn_late([]() -> task<> { co_return; });
  spawn_late([&] { return open.wait(); });
}

TEST_CASE("a scope that fails as the one around it is cancelled throws, and swallows nothing") {
  loop l;
  std::string caught, out;
  l.run(with_scope([&](scope& outer) -> task<> {
    outer.spawn([&]() -> task<> {
      try {
        co_await with_scope([&](scope& inner) -> task<> {
          inner.spawn([&]() -> task<> {
            co_await kedge::yield();
            outer.cancel();
            throw std::runtime_error("inner");
          });
          co_await kedge::sleep_for(1000h);
        });
      } catch (const std::runtime_error& e) {
        caught = e.what();
      }
      const mark end(out, 'c');
      co_await kedge::sleep_for(1000h);  // ends: the cancellation still holds
    });
    co_await kedge::sleep_for(1000h);
  }));
  CHECK(caught == "inner");
  CHECK(out == "c");
}

TEST_CASE("a clean-up that fails in a scope which is cancelled from outside is not lost") {
  loop l;
  gate g;
  l.spawn(with_scope([&](scope& s) -> task<> {
    s.spawn([&]() -> task<> {
      const auto clean = []() -> task<> {
        co_await kedge::yield();
        throw std::runtime_error("clean-up");
      };
      co_await kedge::with_cleanup(g.wait(), clean, 1h);
    });
    co_await kedge::sleep_for(1000h);
  }));
  while (g.waiting == nullptr) l.poll();
  l.cancel();
  CHECK_THROWS_WITH_AS(kedge::drain(l), "clean-up", std::runtime_error);
}

// Spawns into a scope when it is destroyed; appends 's', or 'l' if the scope has ended.
class spawns_at_end {
 public:
  spawns_at_end(scope& s, gate& g, std::string& out) noexcept : s_(&s), g_(g), out_(out) {}
  spawns_at_end(spawns_at_end&& other) noexcept
      : s_(std::exchange(other.s_, nullptr)), g_(other.g_), out_(other.out_) {}
  spawns_at_end& operator=(spawns_at_end&&) = delete;
  ~spawns_at_end() {
    if (s_ == nullptr) return;
    try {
      s_->spawn(wait_for, std::ref(g_), std::ref(out_), 'c');
      out_ += 's';
    } catch (const std::logic_error&) {
      out_ += 'l';
    }
  }

 private:
  scope* s_;
  gate& g_;
  std::string& out_;
};

TEST_CASE("the destructor of what a child was given may spawn") {
  gate g;
  std::string out;
  const auto ends = [](const spawns_at_end&) -> task<> { co_return; };
  const auto stays = [](const spawns_at_end&) -> task<> { co_await kedge::sleep_for(1000h); };
  SUBCASE("into a full scope that goes on") {
    g.is_open = true;
    loop l;
    l.run(with_scope([&](scope& s) -> task<> {
      s.set_limit(1);
      s.spawn(ends, spawns_at_end(s, g, out));
      s.spawn(kedge::yield());
      for (int i = 0; i < 5; ++i) co_await kedge::yield();
    }));
    CHECK(out == "sv");
  }
  SUBCASE("not into a scope that has ended with the child") {
    loop l;
    l.run(with_scope([&](scope& s) -> task<> {
      s.spawn(ends, spawns_at_end(s, g, out));
      co_return;
    }));
    CHECK(out == "l");
  }
  SUBCASE("into a scope that is destroyed, where nothing starts") {
    {
      loop l;
      l.spawn(with_scope([&](scope& s) -> task<> {
        s.set_limit(1);
        s.spawn(stays, spawns_at_end(s, g, out));
        s.spawn(stays, spawns_at_end(s, g, out));  // kept
        s.spawn(kedge::background(stays), spawns_at_end(s, g, out));
        co_await kedge::sleep_for(1000h);
      }));
      kedge::settle(l);
    }
    CHECK(out == "sss");
  }
}

TEST_CASE("a failure stays readable until the scope ends, after the failed child's turn") {
  loop l;
  std::string seen;
  CHECK_THROWS_AS(l.run(with_scope([&](scope& s) -> task<> {
    s.spawn(fail("one"));
    while (s.failures().empty()) {
      static_cast<void>(co_await kedge::attempt(kedge::yield()));
    }
    CHECK(s.failures().size() == 1);
    for (int i = 0; i < 5; ++i) static_cast<void>(co_await kedge::attempt(kedge::yield()));
    for (const auto& f : s.failures()) seen += what_of(f);
  })),
                  std::runtime_error);
  CHECK(seen == "one");
}

TEST_CASE("with_scope(body, failures) leaves all failures to its caller, the one thrown first") {
  loop l;
  gate g;
  std::vector<std::exception_ptr> failures(3);
  const auto run = [&](auto body) {
    std::string thrown;
    try {
      l.run(with_scope(body, failures));
    } catch (const std::exception& e) {
      thrown = e.what();
    }
    std::vector<std::string> all;
    for (const auto& f : failures) all.push_back(what_of(f));
    CHECK((all.empty() ? "" : all.front()) == thrown);
    return all;
  };
  const auto fails_late = [](std::string what) -> task<> {
    static_cast<void>(co_await kedge::attempt(kedge::sleep_for(1000h)));
    throw std::runtime_error(what);
  };
  SUBCASE("of the body and of children") {
    CHECK(run([&](scope& s) -> task<> {
            s.spawn(fails_late, "third");
            s.spawn(fail("first"));
            co_await fails_late("second");  // the body is cancelled before its children
          }) == std::vector<std::string>{"first", "second", "third"});
  }
  SUBCASE("none: the list is emptied") {
    CHECK(run([&](scope& s) {
            s.spawn(kedge::yield());
            return kedge::yield();
          }).empty());
  }
  SUBCASE("of a leaf, and of the closure itself") {
    g.is_open = g.fails = true;
    try {
      l.run(with_scope(
          [&](scope& s) -> kedge::yield {
            s.spawn(g.wait());
            throw std::logic_error("closure");
          },
          failures));
    } catch (const std::logic_error&) {
    }
    REQUIRE(failures.size() == 2);
    CHECK(what_of(failures[0]) == "failed");
    CHECK(what_of(failures[1]) == "closure");
  }
}

TEST_CASE("with_scope(body, failures) in a branch fills the list before the branch reports") {
  loop l;
  std::vector<std::exception_ptr> failures;
  bool seen = false;
  const auto body = [](scope& s) -> task<> {
    s.spawn(fail("x"));
    co_await kedge::sleep_for(1000h);
  };
  const auto observe = [&]() -> task<> {
    const auto end = co_await kedge::attempt(with_scope(body, failures));
    seen = end.failed() && failures.size() == 1;
  };
  l.run(observe());
  CHECK(seen);
}

TEST_CASE("a scope runs 100,000 children to completion") {
  loop l;
  int ended = 0;
  l.run(with_scope([&](scope& s) -> task<> {
    for (int i = 0; i < 100'000; ++i) {
      s.spawn(
          [](int& n) -> task<> {
            co_await kedge::yield();
            ++n;
          },
          std::ref(ended));
    }
    co_return;
  }));
  CHECK(ended == 100'000);
}

TEST_CASE("one failing child cancels 10,000 others that sleep") {
  loop l;
  CHECK_THROWS_AS(l.run(with_scope([&](scope& s) -> task<> {
    for (int i = 0; i < 10'000; ++i) s.spawn(kedge::sleep_for(1000h));
    s.spawn(fail("x"));
    co_await kedge::sleep_for(1000h);
  })),
                  std::runtime_error);
  CHECK(l.timers().empty());
}

TEST_CASE(
    "a failure passes from an inner scope to its awaiter, and no further if that catches it") {
  loop l;
  gate g;
  std::string out;
  l.run([](gate& at, std::string& o) -> task<> {
    const auto outer = [&](scope& s) -> task<> {
      s.spawn(wait_for(at, o, 'c'));
      const auto inner = [&](scope& t) -> task<> {
        t.spawn(fail("inner"));
        co_await kedge::sleep_for(1000h);
      };
      try {
        co_await with_scope(inner);
      } catch (const std::runtime_error&) {
        o += 'i';
      }
      at.open();
    };
    co_await with_scope(outer);
  }(g, out));
  CHECK(out == "iv");
}

TEST_CASE("a child may spawn into its own scope") {
  loop l;
  int ran = 0;
  l.run(with_scope([&](scope& s) -> task<> {
    struct chain {
      static task<> next(scope& in, int left, int& n) {
        ++n;
        if (left != 0) in.spawn(next, std::ref(in), left - 1, std::ref(n));
        co_return;
      }
    };
    s.spawn(chain::next(s, 1000, ran));
    co_return;
  }));
  CHECK(ran == 1001);
}

TEST_CASE("a scope waits for a child that is spawned from outside after the body has ended") {
  kedge::loop loop;
  kedge::scope* inner = nullptr;
  std::vector<int> order;
  loop.run([](kedge::scope*& in, std::vector<int>& said) -> kedge::task<> {
    co_await kedge::with_scope([&](kedge::scope& outer) -> kedge::task<> {
      outer.spawn([&]() -> kedge::task<> {
        co_await kedge::with_scope([&](kedge::scope& s) -> kedge::task<> {
          in = &s;
          co_return;
        });
        said.push_back(2);
      });
      // Has its turn after the end of the body and before with_scope ends.
      outer.spawn([&]() -> kedge::task<> {
        while (in == nullptr) co_await kedge::yield();
        in->spawn([&]() -> kedge::task<> {
          said.push_back(1);
          co_return;
        });
      });
      co_return;
    });
  }(inner, order));
  CHECK(order == std::vector<int>{1, 2});
}

TEST_CASE("a suspended scope destroys its children, the latest first, its body, and its closure") {
  std::string out;
  gate g;
  {
    loop l;
    const auto body = [&, closure = std::make_shared<mark>(out, 'C')](scope& s) -> task<> {
      const mark local(out, 'b');
      for (const char c : {'1', '2', '3'}) {
        s.spawn([](gate& at, mark) -> task<> { co_await at.wait(); }, std::ref(g), mark(out, c));
      }
      co_await kedge::sleep_for(1000h);
    };
    l.spawn(with_scope(body));
    l.poll();
    l.poll();
  }
  CHECK(out == "321bC");
  CHECK(g.made == g.destroyed);
}

TEST_CASE("a destructor in a suspended scope that is destroyed may cancel the scopes around it") {
  struct canceller {
    canceller(scope& o, scope& i) : outer(&o), inner(&i) {}
    canceller(const canceller&) = delete;
    canceller& operator=(const canceller&) = delete;
    ~canceller() {
      inner->cancel();
      outer->cancel();
    }
    scope* outer;
    scope* inner;
  };
  std::string out;
  gate g;
  {
    loop l;
    const auto outer = [&](scope& above) -> task<> {
      const auto child = [&]() -> task<> {
        const mark local(out, '2');
        const auto inner = [&](scope& here) -> task<> {
          const mark local_too(out, '1');
          co_await with_scope([&](scope&) -> task<> {
            const canceller both(above, here);
            const mark innermost(out, '0');
            co_await g.wait();
          });
        };
        co_await with_scope(inner);
      };
      above.spawn(child);
      co_await kedge::sleep_for(1000h);
    };
    l.spawn([&]() -> task<> {
      const mark root(out, '3');
      co_await with_scope(outer);
    });
    while (g.waiting == nullptr) l.poll();
  }
  CHECK(out == "0123");
  CHECK(g.made == g.destroyed);
}

TEST_CASE("a closure that throws after it has spawned leaves no child behind") {
  loop l;
  gate g;
  std::string out;
  int ran = 0;
  l.run([](gate& at, int& n, std::string& o) -> task<> {
    const auto plain = [&](scope& s) -> kedge::yield {
      s.spawn([&]() -> task<> {
        ++n;
        co_return;
      });
      throw std::logic_error("no");
    };
    bool thrown = false;
    try {
      co_await with_scope(plain);
    } catch (const std::logic_error&) {
      thrown = true;
    }
    CHECK(thrown);
    // As a branch beside another one, which keeps it alive for longer.
    thrown = false;
    try {
      co_await kedge::when_any(with_scope(plain), wait_for(at, o, 'c'));
    } catch (const std::logic_error&) {
      thrown = true;
    }
    CHECK(thrown);
    for (int i = 0; i < 10; ++i) co_await kedge::yield();
  }(g, ran, out));
  CHECK(ran == 0);
}

task<> nest_bodies(int n, gate& g) {
  if (n == 0) {
    co_await g.wait();
  } else {
    const auto body = [&, n](scope&) { return nest_bodies(n - 1, g); };
    co_await with_scope(body);
  }
}
task<> nest_children(int n, gate& g) {
  if (n == 0) {
    co_await g.wait();
  } else {
    const auto body = [&, n](scope& s) -> task<> {
      s.spawn(nest_children, n - 1, std::ref(g));
      co_await kedge::sleep_for(1000h);
    };
    co_await with_scope(body);
  }
}

constexpr int deep_scopes = kedge::deep / 10;

struct nesting {
  const char* name;
  task<> (*nest)(int n, gate& g);
};
constexpr nesting nestings[] = {{"bodies", nest_bodies}, {"children", nest_children}};

TEST_CASE("deeply nested scopes end without recursion") {
  kedge::on_small_stack([] {
    loop l;
    gate g;
    g.is_open = true;
    l.run(nest_bodies(deep_scopes, g));
    CHECK(g.resumed == 1);
  });
}

TEST_CASE("deeply nested scopes are destroyed without recursion") {
  for (const nesting& each : nestings) {
    CAPTURE(each.name);
    kedge::on_small_stack([&each] {
      gate g;
      {
        loop l;
        l.spawn(each.nest(deep_scopes, g));
        while (g.waiting == nullptr) l.poll();
      }
      CHECK(g.made == g.destroyed);
    });
  }
}

TEST_CASE("deeply nested scopes are cancelled without recursion") {
  for (const nesting& each : nestings) {
    CAPTURE(each.name);
    kedge::on_small_stack([&each] {
      gate g;
      loop l;
      l.spawn(each.nest(deep_scopes, g));
      while (g.waiting == nullptr) l.poll();
      l.cancel();
      CHECK(g.cancelled == 1);
      while (l.size() != 0) l.poll();
      CHECK(l.timers().empty());
    });
  }
}

}  // namespace
