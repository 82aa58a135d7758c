#include <doctest/doctest.h>

#include <sstream>
#include <string>

#include "gate.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"
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
  CHECK(has(text, line_of(spawned)));      // the origin
  CHECK(has(text, "a gate"));              // the operation
  CHECK(has(text, line_of(spawned + 1)));  // the place of the wait
  CHECK(has(text, " s to pass"));
  CHECK(has(text, "fd " + std::to_string(p.a.native_handle()) + " to be readable"));
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
  g.is_open = true;
  l.poll();
  CHECK(has(text, "a scope of"));
  CHECK(has(text, "a gate"));
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
