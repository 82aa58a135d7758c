#include "kedge/runtime/named.h"

#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <source_location>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "drain.h"
#include "gate.h"
#include "in_child_process.h"
#include "kedge/runtime/attempt.h"
#include "kedge/runtime/channel.h"
#include "kedge/runtime/forever.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/observer.h"
#include "kedge/runtime/reactor/stall_probe.h"
#include "kedge/runtime/select.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/stall_watch.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/this_task.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"

namespace {

using namespace std::chrono_literals;
using kedge::gate;
using kedge::loop;
using kedge::named;
using kedge::task;
namespace this_task = kedge::this_task;

// The dump, without what stands behind "from", "at" and in front of the first letter of a line.
std::string outline_of(loop& l) {
  std::ostringstream out;
  l.dump(out);
  std::string text, line;
  for (std::istringstream in(out.str()); std::getline(in, line);) {
    for (const char* const place : {" from ", ", at "}) {
      const std::size_t at = line.find(place);
      if (at == std::string::npos) continue;
      const std::size_t end = line.find(": ", at);
      line.erase(at, end == std::string::npos ? end : end - at);
    }
    text += line + '\n';
  }
  return text;
}

task<std::string> own_name() {
  co_return std::string((co_await this_task::state()).name);
}
task<> wait_at(gate& g) {
  co_await g.wait();
}

TEST_CASE("a dump gives the name of a child, that has a context or none") {
  gate g;
  loop l;
  l.spawn(named("reader 7", wait_at), std::ref(g));
  l.spawn(named("a task", wait_at(g)));
  l.spawn(named("a wait", kedge::forever()));
  l.spawn(named("by a call", [] { return kedge::forever(); }));
  l.spawn(wait_at, std::ref(g));
  const std::string waits = ": ready, after a task\n";
  CHECK(outline_of(l) == "child \"reader 7\"" + waits + "child \"a task\"" + waits + "child" +
                             waits + "child \"by a call\": waits for a cancellation\n" +
                             "child \"a wait\": waits for a cancellation\n");
}

TEST_CASE("a dump gives the names of bodies, branches, and of what run() runs or a task awaits") {
  loop l;
  std::string text;
  const auto looks = [&]() -> task<> {
    text = outline_of(l);
    co_return;
  };
  auto body = named("the body", [&](kedge::scope&) -> task<> {
    co_await kedge::when_all(kedge::forever(), named("second", kedge::sleep_for(1000h)),
                             named("third", kedge::with_timeout(1000h, kedge::forever())));
  });
  l.spawn(kedge::with_scope(body));
  kedge::settle(l);
  l.run(named("the root", [](auto f) -> task<> { co_await named("the look", f()); }(looks)));
  const auto has = [&](std::string_view part) { return text.find(part) != std::string::npos; };
  CAPTURE(text);
  CHECK(has("body of with_scope \"the body\": waits for all of 3"));
  CHECK(has("branch of when_all \"third\": waits for "));
  CHECK(has("run \"the root\": waits for \"the look\""));
  CHECK(has("\n  task \"the look\": running\n"));
}

TEST_CASE("state() gives the name of the task, and in a branch that of the task around it") {
  loop l;
  CHECK(l.run(own_name()) == "run");
  CHECK(l.run(named("a root", own_name())) == "a root");
  std::vector<std::string> names;
  const auto note = [&]() -> task<> { names.push_back(co_await own_name()); };
  l.spawn(named("a child", [&]() -> task<> {
    co_await note();
    co_await named("an inner task", note());
    co_await note();
    co_await kedge::when_all(note(), named("a branch", note()));
    const auto body = [&](kedge::scope& s) -> task<> {
      s.spawn(note);
      co_await note();
    };
    co_await kedge::with_scope(body);
  }));
  kedge::drain(l);
  CHECK(names == std::vector<std::string>{"a child", "an inner task", "a child", "a child",
                                          "a branch", "a child", "child"});
}

TEST_CASE("an awaitable with a name gives its value, and throws its failure") {
  const auto runs = []() -> task<> {
    const auto give = [](int n) -> task<int> {
      co_await kedge::yield();
      co_return n;
    };
    const auto fail = []() -> task<> {
      co_await kedge::yield();
      throw std::runtime_error("x");
    };
    CHECK(co_await named("gives", give(3)) == 3);
    auto moved = co_await named(
        "moves", []() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(4); }());
    CHECK(*moved == 4);
    int n = 5;
    int& same = co_await named("refers", [](int& r) -> task<int&> { co_return r; }(n));
    CHECK(&same == &n);
    co_await named("ends at once", kedge::sleep_for(0s));
    bool failed = false;
    try {
      co_await named("fails", fail());
    } catch (const std::runtime_error&) {
      failed = true;
    }
    CHECK(failed);
    CHECK((co_await kedge::attempt(named("fails", fail()))).failed());
    const auto r = co_await kedge::with_timeout(0s, named("late", kedge::forever()));
    CHECK(r.error() == kedge::errc::timed_out);
    co_await named("holds a name that needs an allocation", kedge::yield());
  };
  loop l;
  l.run(runs());
}

TEST_CASE("select() takes from a wait with a name as from one without") {
  const auto runs = []() -> task<> {
    kedge::channel<int> items(1);
    CHECK(items.try_send(6));
    const auto first =
        co_await kedge::select(named("an item", items.receive()), kedge::sleep_for(1000h));
    REQUIRE(first.index() == 0);
    CHECK(std::get<0>(first).value() == 6);
    const auto second = co_await kedge::select(named("an item", items.receive()),
                                               named("soon", kedge::sleep_for(0s)));
    CHECK(second.index() == 1);
  };
  loop l;
  l.run(runs());
}

TEST_CASE("a child with a name that fails ends its scope as any other") {
  loop l;
  const auto body = [](kedge::scope& s) -> task<> {
    s.spawn(named("fails", []() -> task<> {
      co_await kedge::yield();
      throw std::runtime_error("of a child");
    }));
    co_await kedge::forever();
  };
  CHECK_THROWS_WITH(l.run(kedge::with_scope(body)), "of a child");
}

TEST_CASE("a task that was cancelled under a name has its destructors run, and goes no further") {
  gate g;
  std::optional<loop> made(std::in_place);
  loop& l = *made;
  bool went_on = false, cleaned = false;
  struct cleans {
    explicit cleans(bool& flag) noexcept : flag_(flag) {}
    cleans(const cleans&) = delete;
    cleans& operator=(const cleans&) = delete;
    ~cleans() { flag_ = true; }
    bool& flag_;
  };
  const auto waits = [&]() -> task<> {
    const cleans at_end(cleaned);
    co_await g.wait();
    went_on = true;
  };
  const auto awaits = [&]() -> task<> {
    co_await named("waits", waits());
    went_on = true;
  };
  SUBCASE("a child that is cancelled") {
    l.spawn(named("waits", waits));
    kedge::settle(l);
    l.cancel();
    kedge::drain(l);
  }
  SUBCASE("a child that is destroyed with its loop") {
    l.spawn(named("waits", waits));
    kedge::settle(l);
    made.reset();
  }
  SUBCASE("an awaited task that is cancelled") {
    l.spawn(awaits);
    kedge::settle(l);
    l.cancel();
    kedge::drain(l);
  }
  SUBCASE("an awaited task that is destroyed with its loop") {
    l.spawn(awaits);
    kedge::settle(l);
    made.reset();
  }
  CHECK(cleaned);
  CHECK_FALSE(went_on);
}

TEST_CASE("an observer can ask a context for its name") {
  struct names : kedge::observer {
    void at(kedge::happening what, const kedge::context* c,
            const kedge::waiter*) noexcept override {
      if (what == kedge::happening::ended && c->name() != nullptr) ended += c->name();
    }
    std::string ended;
  };
  loop l;
  names n;
  l.set_observer(&n);
  l.spawn(named("one", kedge::yield()));
  l.spawn(named("two", []() -> task<> { co_await named("three", kedge::yield()); }));
  kedge::drain(l);
  l.set_observer(nullptr);
  CHECK(n.ended == "threetwo");
}

TEST_CASE("a stall is reported with the name of the task, which is cut off to 31 bytes") {
  loop l;
  kedge::stall_probe probe;
  l.set_probe(&probe);
  std::vector<std::string> names;
  const auto stalls = [&]() -> task<> {
    co_await kedge::yield();
    static_cast<void>(probe.sample(1ms, {}));
    const auto found = probe.sample(1ms, kedge::clock::time_point(1s));
    REQUIRE(found);
    names.emplace_back(found->name.data());
  };
  l.run(named("short", stalls()));
  l.run(stalls());
  l.run(named(std::string(100, 'x'), stalls()));
  l.run([](auto& f) -> task<> {
    const auto in_scope = [&](kedge::scope&) { return f(); };
    co_await named("around a body", kedge::with_scope(in_scope));
  }(stalls));
  l.set_probe(nullptr);
  CHECK(names == std::vector<std::string>{"short", "", std::string(31, 'x'), "around a body"});
}

TEST_CASE("a watch prints the name of the task that stalls") {
  const auto end = kedge::in_child_process([] {
    kedge::stall s;
    s.task = std::source_location::current();
    const std::string_view name = "reader 7";
    name.copy(s.name.data(), name.size());
    s.duration = 120ms;
    kedge::stall_watch::print(s);
  });
  CHECK(end.says("kedge: a task \"reader 7\" has kept its loop busy for 120 ms: from "));
}

TEST_CASE("a program that is ended because of a task says its name") {
  const auto end = kedge::in_child_process([] {
    loop l;
    l.spawn(named("stubborn", [&l]() -> task<> {
      l.cancel();
      for (;;) static_cast<void>(co_await kedge::attempt(kedge::yield()));
    }));
    kedge::drain(l);
  });
  CHECK(end.aborted());
  CHECK(end.says("kedge: child \"stubborn\" ("));
}

}  // namespace
