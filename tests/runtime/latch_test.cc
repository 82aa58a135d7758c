#include "kedge/runtime/latch.h"

#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <ostream>
#include <system_error>
#include <utility>

#include "drain.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"

namespace {

using kedge::latch;
using kedge::loop;
using kedge::settle;
using kedge::task;

TEST_CASE("a latch lets all tasks go when nothing is left to count") {
  latch counted(3);
  loop l;
  int gone = 0;
  const auto wait = [&]() -> task<> {
    if (co_await counted.wait()) ++gone;
  };
  l.spawn(wait);
  l.spawn(wait);
  settle(l);
  counted.count_down(2);
  settle(l);
  CHECK(gone == 0);
  CHECK(counted.left() == 1);
  counted.count_down();
  settle(l);
  CHECK(gone == 2);
  l.run(wait());
  CHECK(gone == 3);
  latch zero(0);
  CHECK(l.run(zero.wait()));
}

TEST_CASE("a latch that is counted below zero throws ERANGE, and counts nothing") {
  latch counted(2);
  try {
    counted.count_down(3);
    FAIL("counted");
  } catch (const std::system_error& e) {
    CHECK(e.code() == std::errc::result_out_of_range);
  }
  CHECK(counted.left() == 2);
}

TEST_CASE("a latch that is destroyed gives errc::closed to those that wait") {
  auto counted = std::make_unique<latch>(1);
  loop l;
  int closed = 0;
  l.spawn([&]() -> task<> {
    const auto r = co_await counted->wait();
    closed += !r && r.error() == kedge::errc::closed;
  });
  settle(l);
  counted.reset();
  settle(l);
  CHECK(closed == 1);
}

}  // namespace
