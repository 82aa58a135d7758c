// EVFILT_TIMER against the real clock: that timers fire, never how exactly.

#include "kqueue_of_test.h"

#include <sys/time.h>

#include <limits>

namespace {

constexpr std::int64_t never = 1'000'000;  // seconds

std::int64_t wall_seconds() {
  timeval t{};
  gettimeofday(&t, nullptr);
  return t.tv_sec;
}

}  // namespace

TEST_CASE("a timer fires in every unit; EV_CLEAR is implied") {
  const kqueue_of_test kq;
  const auto fires = [&](std::uint32_t unit, std::int64_t length) {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, unit, length, 9) == 0);
    const event_list got = kq.next();
    REQUIRE(got.size() == 1);
    CHECK(got[0].ident == 1);
    CHECK(got[0].flags == (EV_ADD | EV_ONESHOT | EV_CLEAR));
    CHECK(got[0].fflags == 0);
    CHECK(got[0].data >= 1);
    CHECK(got[0].udata == 9);
    CHECK(kq.apply(1, EVFILT_TIMER, EV_DELETE) == ENOENT);
  };
  fires(0, 1);
  fires(NOTE_USECONDS, 1);
  fires(NOTE_NSECONDS, 1);
  fires(NOTE_MACHTIME, 1);
  fires(NOTE_CRITICAL | NOTE_USECONDS, 100);
  fires(NOTE_BACKGROUND | NOTE_USECONDS, 1);
}

TEST_CASE("a periodic one fires again and counts what was missed") {
  const kqueue_of_test kq;
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_USECONDS, 50) == 0);
  std::int64_t periods = 0;
  int deliveries = 0;
  while (periods < 20) {
    periods += only(kq.next(), EVFILT_TIMER).data;
    ++deliveries;
  }
  CHECK(deliveries >= 1);
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_DELETE) == 0);
  CHECK(kq.now().empty());
}

TEST_CASE("zero and negative intervals fire once, at once") {
  const kqueue_of_test kq;
  for (const std::int64_t length :
       {std::int64_t{0}, std::int64_t{-1}, std::numeric_limits<std::int64_t>::min()}) {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, 0, length) == 0);
    const event_list got = kq.now();
    REQUIRE(got.size() == 1);
    CHECK(got[0].data == 1);
    CHECK(kq.now().empty());
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_DELETE) == 0);
  }
}

TEST_CASE("NOTE_ABSOLUTE is wall time, and once") {
  const kqueue_of_test kq;
  SUBCASE("past") {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_ABSOLUTE | NOTE_SECONDS, wall_seconds() - 5) ==
            0);
    const event_list got = kq.now();
    REQUIRE(got.size() == 1);
    CHECK(got[0].data == 1);
    CHECK((got[0].flags & EV_ONESHOT) != 0);
    CHECK(kq.apply(1, EVFILT_TIMER, EV_DELETE) == ENOENT);
  }
  SUBCASE("near future") {
    timeval t{};
    gettimeofday(&t, nullptr);
    const std::int64_t soon = std::int64_t{t.tv_sec} * 1'000'000 + t.tv_usec + 500;
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_ABSOLUTE | NOTE_USECONDS, soon) == 0);
    CHECK(kq.next().size() == 1);
  }
  SUBCASE("far future") {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_ABSOLUTE | NOTE_SECONDS,
                     wall_seconds() + never) == 0);
    CHECK(kq.now().empty());
    CHECK(kq.apply(1, EVFILT_TIMER, EV_DELETE) == 0);
  }
}

TEST_CASE("bad timers") {
  const kqueue_of_test kq;
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  CHECK(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_SECONDS | NOTE_USECONDS, 1) == EINVAL);
  CHECK(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_NSECONDS | NOTE_MACHTIME, 1) == EINVAL);
  CHECK(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_SECONDS, most) == ERANGE);
  CHECK(kq.apply(1, EVFILT_TIMER, EV_ADD, 0, most) == ERANGE);
  CHECK(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_ABSOLUTE | NOTE_SECONDS, most) == ERANGE);
  kevent64_s leeway = change(1, EVFILT_TIMER, EV_ADD, NOTE_LEEWAY | NOTE_SECONDS, 1);
  leeway.ext[1] = ~std::uint64_t{0};
  CHECK(kq.apply(leeway) == ERANGE);
  CHECK(kq.apply(1, EVFILT_TIMER, EV_DELETE) == ENOENT);
  CHECK(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_NSECONDS, most) == 0);
  CHECK(kq.now().empty());
}

TEST_CASE("a change sets the timer anew") {
  const kqueue_of_test kq;
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_SECONDS, never, 1) == 0);
  CHECK(kq.now().empty());
  SUBCASE("to an earlier time") {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_USECONDS, 1, 2) == 0);
    CHECK(only(kq.next(), EVFILT_TIMER).udata == 2);
  }
  SUBCASE("to a later time, though it has fired") {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, 0, -1) == 0);
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_SECONDS, never) == 0);
    CHECK(kq.now().empty());
  }
  SUBCASE("but not between interval and NOTE_ABSOLUTE") {
    CHECK(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_SECONDS | NOTE_ABSOLUTE, 1) == EINVAL);
    CHECK(kq.now().empty());
  }
  SUBCASE("not by a bad one") {
    CHECK(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_SECONDS | NOTE_USECONDS, 1) == EINVAL);
    CHECK(kq.now().empty());
  }
}

TEST_CASE("a disabled timer is reported when it is enabled") {
  const kqueue_of_test kq;
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD | EV_DISABLE, 0, -1) == 0);
  CHECK(kq.now().empty());
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ENABLE, 0, -1) == 0);
  CHECK(kq.now().size() == 1);
}

TEST_CASE("of many timers each fires once, and none that was deleted") {
  const kqueue_of_test kq;
  constexpr std::uint64_t count = 500;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t ident = i * 271 % count;
    REQUIRE(kq.apply(ident, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_NSECONDS,
                     static_cast<std::int64_t>(2'000'000 + ident * 1000)) == 0);
  }
  for (std::uint64_t i = 0; i < count; i += 2) REQUIRE(kq.apply(i, EVFILT_TIMER, EV_DELETE) == 0);
  std::vector<std::uint64_t> fired;
  while (fired.size() < count / 2) {
    for (const kevent64_s& e : kq.next()) fired.push_back(e.ident);
  }
  for (std::size_t i = 0; i < fired.size(); ++i) CHECK(fired[i] % 2 == 1);
  std::vector<bool> seen(count);
  for (const std::uint64_t ident : fired) {
    CHECK(!seen[ident]);
    seen[ident] = true;
  }
}
