#include "kedge/runtime/channel.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "drain.h"
#include "kedge/runtime/event.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"

namespace {

using namespace std::chrono_literals;
using kedge::channel;
using kedge::errc;
using kedge::loop;
using kedge::settle;
using kedge::task;

using item = std::unique_ptr<int>;

item make(int n) {
  return std::make_unique<int>(n);
}

task<> send(channel<item>& c, int n) {
  CHECK(co_await c.send(make(n)));
}
task<> receive(channel<item>& c, std::vector<int>& out) {
  const auto got = co_await c.receive();
  REQUIRE(got);
  out.push_back(**got);
}
task<> receive_all(channel<item>& c, std::vector<int>& out) {
  while (const auto got = co_await c.receive()) out.push_back(**got);
}
task<> send_range(channel<item>& c, int from, int to) {
  for (int n = from; n < to; ++n) co_await send(c, n);
}

std::vector<int> range(int from, int to) {
  std::vector<int> all;
  for (int n = from; n < to; ++n) all.push_back(n);
  return all;
}

TEST_CASE("a channel carries items in their order, at every capacity") {
  for (const std::size_t capacity : {0u, 1u, 2u, 3u, 64u}) {
    CAPTURE(capacity);
    channel<item> c(capacity);
    CHECK(c.capacity() == capacity);
    loop l;
    std::vector<int> out;
    SUBCASE("the sender begins") {
      l.spawn(send_range, std::ref(c), 0, 200);
      settle(l);
      CHECK(c.size() == capacity);
      l.spawn(receive_all, std::ref(c), std::ref(out));
    }
    SUBCASE("the receiver begins") {
      l.spawn(receive_all, std::ref(c), std::ref(out));
      settle(l);
      l.spawn(send_range, std::ref(c), 0, 200);
    }
    settle(l);
    CHECK(out == range(0, 200));
    CHECK(l.size() == 1);
    c.close();
    settle(l);
    CHECK(l.size() == 0);
  }
}

TEST_CASE("many senders and receivers pass each item on exactly once, at every capacity") {
  for (const std::size_t capacity : {0u, 1u, 5u}) {
    CAPTURE(capacity);
    channel<item> c(capacity);
    loop l;
    std::vector<int> out;
    for (int i = 0; i < 3; ++i) l.spawn(receive_all, std::ref(c), std::ref(out));
    for (int i = 0; i < 4; ++i) l.spawn(send_range, std::ref(c), 100 * i, 100 * i + 100);
    settle(l);
    std::sort(out.begin(), out.end());
    CHECK(out == range(0, 400));
    c.close();
    settle(l);
    CHECK(l.size() == 0);
  }
}

TEST_CASE("receivers get items in the order in which they began to wait") {
  channel<item> c(4);
  loop l;
  std::vector<int> first, second;
  l.spawn(receive, std::ref(c), std::ref(first));
  l.spawn(receive, std::ref(c), std::ref(second));
  settle(l);
  CHECK(c.try_send(make(1)));
  CHECK(c.try_send(make(2)));
  // They have been handed over, though no task has run.
  CHECK(c.try_receive().error() == std::errc::resource_unavailable_try_again);
  settle(l);
  CHECK(first == std::vector{1});
  CHECK(second == std::vector{2});
}

TEST_CASE("a send waits while the channel is full, a rendezvous until a task receives") {
  for (const std::size_t capacity : {0u, 1u}) {
    CAPTURE(capacity);
    channel<item> c(capacity);
    loop l;
    bool sent = false;
    l.spawn([&]() -> task<> {
      for (std::size_t i = 0; i < capacity + 1; ++i) co_await send(c, static_cast<int>(i));
      sent = true;
    });
    settle(l);
    CHECK_FALSE(sent);
    CHECK(c.try_send(make(9)).error().code() == std::errc::resource_unavailable_try_again);
    const auto got = c.try_receive();
    REQUIRE(got);
    CHECK(**got == 0);
    settle(l);
    CHECK(sent);
  }
}

TEST_CASE("a rendezvous sends without a wait to a task that receives") {
  channel<item> c(0);
  loop l;
  std::vector<int> out;
  CHECK_FALSE(c.try_send(make(0)));
  l.spawn(receive, std::ref(c), std::ref(out));
  settle(l);
  CHECK(c.try_send(make(1)));
  CHECK_FALSE(c.try_send(make(2)));  // the only receiver has been handed one
  settle(l);
  CHECK(out == std::vector{1});
}

TEST_CASE("an item of a task that is destroyed before its turn stays at the front") {
  for (const std::size_t capacity : {0u, 1u, 3u}) {
    CAPTURE(capacity);
    channel<item> c(capacity);
    loop l;
    std::vector<int> out;
    {
      loop other;
      other.spawn(receive, std::ref(c), std::ref(out));
      settle(other);
      l.spawn(send_range, std::ref(c), 0, 5);
      settle(l);
      SUBCASE("for a later receiver") {}
      SUBCASE("for the receiver that waits next") {
        l.spawn(receive, std::ref(c), std::ref(out));
        settle(l);
      }
    }
    l.spawn(receive_all, std::ref(c), std::ref(out));
    settle(l);
    CHECK(out == range(0, 5));
    l.cancel();
    settle(l);
  }
}

TEST_CASE("an item that a branch has received, and whose value is dropped, is not lost") {
  channel<item> c(1);
  loop l;
  const auto fails = []() -> task<> {
    co_await kedge::yield();
    throw 1;
  };
  CHECK(c.try_send(make(1)));
  CHECK_THROWS_AS(l.run(kedge::when_all(c.receive(), fails())), int);
  const auto got = c.try_receive();
  REQUIRE(got);
  CHECK(**got == 1);
}

TEST_CASE("a channel that is closed can be drained, and then gives the reason") {
  channel<item> c(3);
  loop l;
  CHECK(c.try_send(make(1)));
  CHECK(c.try_send(make(2)));
  CHECK_FALSE(c.is_closed());
  c.close(std::make_error_code(std::errc::broken_pipe));
  c.close(errc::end_of_file);  // no effect
  CHECK(c.is_closed());
  std::vector<int> out;
  l.run(receive(c, out));
  CHECK(**c.try_receive() == 2);
  CHECK(out == std::vector{1});
  CHECK(c.try_receive().error() == std::errc::broken_pipe);
  const auto end = l.run(c.receive());
  REQUIRE_FALSE(end);
  CHECK(end.error() == std::errc::broken_pipe);
  CHECK_THROWS_WITH(static_cast<void>(end.value()), doctest::Contains("channel::receive, at"));
}

TEST_CASE("closing gives those that wait the reason, and senders their items back") {
  for (const std::size_t capacity : {0u, 1u}) {
    CAPTURE(capacity);
    channel<item> full(capacity), empty(capacity);
    loop l;
    std::error_code of_receive;
    std::optional<kedge::unsent<item>> back;
    l.spawn([&]() -> task<> { of_receive = (co_await empty.receive()).error(); });
    l.spawn([&]() -> task<> {
      for (std::size_t i = 0; i < capacity; ++i) co_await send(full, 0);
      back = (co_await full.send(make(7))).error();
    });
    settle(l);
    full.close(errc::end_of_file);
    empty.close(errc::end_of_file);
    settle(l);
    CHECK(of_receive == errc::end_of_file);
    REQUIRE(back);
    CHECK(back->code() == errc::end_of_file);
    CHECK(*back->item == 7);
    CHECK(full.size() == capacity);
  }
}

TEST_CASE("a send on a closed channel gives the item back") {
  channel<item> c(1);
  loop l;
  c.close();
  auto waited = l.run(c.send(make(1)));
  REQUIRE_FALSE(waited);
  CHECK(waited.error().code() == errc::closed);
  CHECK(*waited.error().item == 1);
  auto tried = c.try_send(make(2));
  REQUIRE_FALSE(tried);
  CHECK(tried.error().code() == errc::closed);
  CHECK(*tried.error().item == 2);
  CHECK_THROWS_AS(tried.value(), std::system_error);
}

TEST_CASE("a send that times out gives the item back") {
  kedge::virtual_time time;
  channel<item> c(0);
  loop l(time);
  bool done = false;
  l.spawn([&]() -> task<> {
    const auto r = co_await kedge::with_timeout(1s, c.send(make(3)));
    REQUIRE_FALSE(r);
    CHECK(r.error().code() == errc::timed_out);
    CHECK(*r.error().item == 3);
    done = true;
  });
  settle(l);
  time.advance(1s);
  settle(l);
  CHECK(done);
  CHECK_FALSE(c.try_receive());
}

TEST_CASE("a channel that is destroyed gives errc::closed, and what it had handed over") {
  for (const std::size_t capacity : {0u, 2u}) {
    CAPTURE(capacity);
    auto c = std::make_unique<channel<item>>(capacity);
    loop l;
    std::vector<int> out;
    l.spawn(receive, std::ref(*c), std::ref(out));
    settle(l);
    CHECK(c->try_send(make(1)));
    if (capacity != 0) CHECK(c->try_send(make(2)));
    auto receives = c->receive();
    auto sends = c->send(make(3));
    c.reset();
    CHECK(out.empty());
    settle(l);
    CHECK(out == std::vector{1});
    CHECK(l.run(std::move(receives)).error() == errc::closed);
    auto back = l.run(std::move(sends));
    REQUIRE_FALSE(back);
    CHECK(back.error().code() == errc::closed);
    CHECK(*back.error().item == 3);
  }
}

TEST_CASE("a channel that is destroyed ends the waits on both sides with errc::closed") {
  auto c = std::make_unique<channel<item>>(0);
  auto d = std::make_unique<channel<item>>(0);
  loop l;
  int closed = 0;
  l.spawn([&]() -> task<> {
    const auto r = co_await c->receive();
    closed += !r && r.error() == errc::closed;
  });
  l.spawn([&]() -> task<> {
    const auto r = co_await d->send(make(1));
    closed += !r && r.error().code() == errc::closed && *r.error().item == 1;
  });
  settle(l);
  c.reset();
  d.reset();
  settle(l);
  CHECK(closed == 2);
}

TEST_CASE("a channel may be dropped with items, and refuses a reason that is none") {
  channel<item> c(2);
  CHECK(c.try_send(make(1)));
  try {
    c.close(std::error_code());
    FAIL("closed");
  } catch (const std::system_error& e) {
    CHECK(e.code() == std::errc::invalid_argument);
  }
  CHECK_FALSE(c.is_closed());
}

}  // namespace
