#include "kedge/runtime/yield.h"

#include <doctest/doctest.h>

#include <string>

#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "mark.h"

namespace {

using kedge::loop;
using kedge::task;

task<> say(std::string& out, char c) {
  for (int i = 0; i < 3; ++i) {
    out += c;
    co_await kedge::yield();
  }
}

TEST_CASE("three tasks that yield take turns in the order of their spawning") {
  loop l;
  std::string out;
  for (const char c : {'a', 'b', 'c'}) l.spawn(say(out, c));
  while (l.size() != 0) l.poll();
  CHECK(out == "abcabcabc");
}

TEST_CASE("a yield that is cancelled ends as usual, and the next one ends the task") {
  loop l;
  std::string out;
  l.spawn([&]() -> task<> {
    co_await kedge::yield();
    out += 'y';
    kedge::mark end(out, 'c');
    co_await kedge::yield();
    end.letter = 'v';
  });
  l.spawn([&]() -> task<> {
    l.cancel();
    co_return;
  });
  while (l.size() != 0) l.poll();
  CHECK(out == "yc");
}

TEST_CASE("a loop can be destroyed while a yielding task is in its ready queue") {
  std::string out;
  {
    loop l;
    l.spawn([&]() -> task<> {
      for (;;) {
        out += 'x';
        co_await kedge::yield();
      }
    });
    l.poll();
    l.poll();
  }
  CHECK_FALSE(out.empty());
}

}  // namespace
