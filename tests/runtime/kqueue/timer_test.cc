// EVFILT_TIMER. With the real clock these tests check that timers fire, never how exactly. Exact
// times and counts are tested with a clock of the test, which Darwin does not support.

#include "test_kqueue.h"

#include <sys/time.h>

#include <atomic>
#include <limits>

#include "kedge/runtime/kqueue/extension.h"

namespace {

constexpr std::int64_t never = 1'000'000;  // seconds

std::int64_t wall_seconds() {
  timeval t{};
  gettimeofday(&t, nullptr);
  return t.tv_sec;
}

}  // namespace

TEST_CASE("a timer fires in every unit, and EV_CLEAR is implied") {
  const test_kqueue kq;
  const auto check_fires = [&](std::uint32_t unit, std::int64_t length) {
    CAPTURE(unit);
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
  check_fires(0, 1);
  check_fires(NOTE_USECONDS, 1);
  check_fires(NOTE_NSECONDS, 1);
  check_fires(NOTE_MACHTIME, 1);
  check_fires(NOTE_CRITICAL | NOTE_USECONDS, 100);
  check_fires(NOTE_BACKGROUND | NOTE_USECONDS, 1);
  check_fires(NOTE_MACH_CONTINUOUS_TIME, 1);
  check_fires(NOTE_MACH_CONTINUOUS_TIME | NOTE_USECONDS, 1);
  check_fires(NOTE_MACH_CONTINUOUS_TIME | NOTE_MACHTIME, 1);
}

TEST_CASE("EVFILT_TIMER accepts every unit with all flags that are not units") {
  const test_kqueue kq;
  constexpr std::uint32_t all =
      NOTE_LEEWAY | NOTE_CRITICAL | NOTE_BACKGROUND | NOTE_MACH_CONTINUOUS_TIME;
  for (const int unit : {0, NOTE_SECONDS, NOTE_USECONDS, NOTE_NSECONDS, NOTE_MACHTIME}) {
    CAPTURE(unit);
    const std::uint32_t how = static_cast<std::uint32_t>(unit) | all;
    CHECK(kq.apply(unit, EVFILT_TIMER, EV_ADD, how, never) == 0);
    CHECK(kq.apply(unit | 0x1000, EVFILT_TIMER, EV_ADD, how | NOTE_ABSOLUTE, 1) == 0);
  }
}

TEST_CASE("a timer event has 0 in ext[0] and the leeway in Mach ticks in ext[1]") {
  const test_kqueue kq;
  kevent64_s add = change(1, EVFILT_TIMER, EV_ADD, NOTE_MACHTIME, 0);
  add.ext[0] = 3;
  add.ext[1] = 7;
  SUBCASE("without NOTE_LEEWAY ext[1] is 0") {
    REQUIRE(kq.apply(add) == 0);
    CHECK(kq.now() == event_list{event(1, EVFILT_TIMER, EV_ADD | EV_CLEAR, 0, 1)});
  }
  SUBCASE("with NOTE_MACHTIME ext[1] is the leeway that was given") {
    add.fflags |= NOTE_LEEWAY;
    REQUIRE(kq.apply(add) == 0);
    CHECK(only(kq.now(), EVFILT_TIMER).ext[1] == 7);
    add.ext[1] = 8;
    REQUIRE(kq.apply(add) == 0);
    CHECK(only(kq.now(), EVFILT_TIMER).ext[1] == 8);
  }
#if !defined(__APPLE__)  // where a tick need not be a nanosecond
  SUBCASE("with NOTE_USECONDS ext[1] is converted to ticks") {
    add.fflags = NOTE_LEEWAY | NOTE_USECONDS;
    REQUIRE(kq.apply(add) == 0);
    CHECK(only(kq.now(), EVFILT_TIMER).ext[1] == 7000);
  }
#endif
}

TEST_CASE("a periodic timer fires again and counts the periods in data") {
  const test_kqueue kq;
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_USECONDS, 50) == 0);
  for (std::int64_t periods = 0; periods < 20;) {
    CAPTURE(periods);
    const std::int64_t passed = only(kq.next(), EVFILT_TIMER).data;
    REQUIRE(passed >= 1);
    periods += passed;
  }
  CHECK(only(kq.next(), EVFILT_TIMER).data >= 1);
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_DELETE) == 0);
  CHECK(kq.now().empty());
}

TEST_CASE("a zero or negative interval fires at once, and once") {
  const test_kqueue kq;
  for (const std::int64_t length :
       {std::int64_t{0}, std::int64_t{-1}, std::numeric_limits<std::int64_t>::min()}) {
    CAPTURE(length);
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, 0, length) == 0);
    const event_list got = kq.now();
    REQUIRE(got.size() == 1);
    CHECK(got[0].data == 1);
    CHECK(kq.now().empty());
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_DELETE) == 0);
  }
}

TEST_CASE("NOTE_ABSOLUTE fires once at a wall-clock time") {
  const test_kqueue kq;
  SUBCASE("a past time fires at once") {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_ABSOLUTE | NOTE_SECONDS, wall_seconds() - 5) ==
            0);
    const event_list got = kq.now();
    REQUIRE(got.size() == 1);
    CHECK(got[0].data == 1);
    CHECK((got[0].flags & EV_ONESHOT) != 0);
    CHECK(kq.apply(1, EVFILT_TIMER, EV_DELETE) == ENOENT);
  }
  SUBCASE("a time in 500 microseconds") {
    timeval t{};
    gettimeofday(&t, nullptr);
    const std::int64_t soon = std::int64_t{t.tv_sec} * 1'000'000 + t.tv_usec + 500;
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_ABSOLUTE | NOTE_USECONDS, soon) == 0);
    CHECK(kq.next().size() == 1);
  }
  SUBCASE("a time in 500 microseconds, with NOTE_MACH_CONTINUOUS_TIME") {
    timeval t{};
    gettimeofday(&t, nullptr);
    const std::int64_t soon = std::int64_t{t.tv_sec} * 1'000'000 + t.tv_usec + 500;
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD,
                     NOTE_ABSOLUTE | NOTE_USECONDS | NOTE_MACH_CONTINUOUS_TIME, soon) == 0);
    CHECK(kq.next().size() == 1);
  }
  SUBCASE("with NOTE_MACHTIME tick 1 is past and the last tick never comes") {
    for (const std::uint32_t clock : {0u, std::uint32_t{NOTE_MACH_CONTINUOUS_TIME}}) {
      CAPTURE(clock);
      const std::uint32_t how = NOTE_ABSOLUTE | NOTE_MACHTIME | clock;
      REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, how, 1) == 0);
      CHECK(only(kq.now(), EVFILT_TIMER).data == 1);
      REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, how, std::numeric_limits<std::int64_t>::max()) ==
              0);
      CHECK(kq.now().empty());
      CHECK(kq.apply(1, EVFILT_TIMER, EV_DELETE) == 0);
    }
  }
  SUBCASE("a negative time is out of range in seconds, and never comes in nanoseconds") {
    CHECK(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_ABSOLUTE | NOTE_SECONDS, -1) == ERANGE);
    CHECK(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_ABSOLUTE | NOTE_NSECONDS, -1) == 0);
    CHECK(kq.now().empty());
  }
  SUBCASE("a time in 11 days has not come") {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_ABSOLUTE | NOTE_SECONDS,
                     wall_seconds() + never) == 0);
    CHECK(kq.now().empty());
    CHECK(kq.apply(1, EVFILT_TIMER, EV_DELETE) == 0);
  }
}

TEST_CASE("EVFILT_TIMER refuses two units (EINVAL) and overflow (ERANGE)") {
  const test_kqueue kq;
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

TEST_CASE("EV_ADD of a known timer arms it again") {
  const test_kqueue kq;
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_SECONDS, never, 1) == 0);
  CHECK(kq.now().empty());
  SUBCASE("to an earlier time") {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_USECONDS, 1, 2) == 0);
    CHECK(only(kq.next(), EVFILT_TIMER).udata == 2);
  }
  SUBCASE("to a later time, which drops its event") {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, 0, -1) == 0);
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_SECONDS, never) == 0);
    CHECK(kq.now().empty());
  }
  SUBCASE("an interval cannot become NOTE_ABSOLUTE (EINVAL)") {
    CHECK(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_SECONDS | NOTE_ABSOLUTE, 1) == EINVAL);
    CHECK(kq.now().empty());
  }
  SUBCASE("two units are refused, and the timer stays as it was") {
    CHECK(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_SECONDS | NOTE_USECONDS, 1) == EINVAL);
    CHECK(kq.now().empty());
  }
}

TEST_CASE("an expired, disabled timer is reported after EV_ENABLE") {
  const test_kqueue kq;
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD | EV_DISABLE, 0, -1) == 0);
  CHECK(kq.now().empty());
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ENABLE, 0, -1) == 0);
  CHECK(kq.now().size() == 1);
}

TEST_CASE("every change arms the timer again, with its own data and unit") {
  const test_kqueue kq;
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_SECONDS, never) == 0);
  SUBCASE("EV_ENABLE") {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ENABLE, NOTE_USECONDS, 1) == 0);
    CHECK(kq.next().size() == 1);
  }
  SUBCASE("EV_DISABLE") {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_DISABLE, 0, -1) == 0);
    CHECK(kq.now().empty());
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ENABLE, NOTE_SECONDS, never) == 0);
    CHECK(kq.now().empty());
  }
  SUBCASE("onto the continuous clock and back") {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_MACH_CONTINUOUS_TIME | NOTE_USECONDS, 1) == 0);
    CHECK(kq.next().size() == 1);
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_MACH_CONTINUOUS_TIME | NOTE_SECONDS, never) ==
            0);
    CHECK(kq.now().empty());
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_USECONDS, 1) == 0);
    CHECK(kq.next().size() == 1);
  }
}

TEST_CASE("of 500 timers each fires once, except the deleted half") {
  const test_kqueue kq;
  constexpr std::uint64_t count = 500;
  for (std::uint64_t i = 0; i < count; ++i) {
    CAPTURE(i);
    const std::uint64_t ident = i * 271 % count;
    REQUIRE(kq.apply(ident, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_NSECONDS,
                     static_cast<std::int64_t>(2'000'000 + ident * 1000)) == 0);
  }
  for (std::uint64_t i = 0; i < count; i += 2) {
    CAPTURE(i);
    REQUIRE(kq.apply(i, EVFILT_TIMER, EV_DELETE) == 0);
  }
  std::vector<std::uint64_t> fired;
  while (fired.size() < count / 2) {
    for (const kevent64_s& e : kq.next()) fired.push_back(e.ident);
  }
  for (std::size_t i = 0; i < fired.size(); ++i) {
    CAPTURE(i);
    CHECK(fired[i] % 2 == 1);
  }
  std::vector<bool> seen(count);
  for (const std::uint64_t ident : fired) {
    CAPTURE(ident);
    CHECK(!seen[ident]);
    seen[ident] = true;
  }
}

#if !defined(__APPLE__)  // with a clock of the test

namespace {

// A kqueue with a clock of the test.
struct clocked_kqueue : test_kqueue {
  std::atomic<std::uint64_t> time{1'000'000'000};

  clocked_kqueue() {
    REQUIRE(kedge::kqueue::use_clock(
        fd(),
        [](void* clocked) noexcept -> std::uint64_t {
          return static_cast<clocked_kqueue*>(clocked)->time;
        },
        this));
  }
  // Advances the clock.
  void pass(std::uint64_t ns) { time += ns; }
};

}  // namespace

TEST_CASE("a periodic timer on either clock counts the periods since its last event") {
  clocked_kqueue kq;
  const std::uint32_t how = NOTE_NSECONDS;
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, how, 100) == 0);
  REQUIRE(kq.apply(2, EVFILT_TIMER, EV_ADD, how | NOTE_MACH_CONTINUOUS_TIME, 200) == 0);
  kq.pass(100);
  event_list got = kq.now();
  REQUIRE(got.size() == 1);
  CHECK(got[0].ident == 1);
  CHECK(got[0].data == 1);
  kq.pass(350);
  got = kq.now();
  REQUIRE(got.size() == 2);
  for (const kevent64_s& e : got) {
    CAPTURE(e);
    CHECK(e.data == (e.ident == 1 ? 3 : 2));
  }
  CHECK(kq.now().empty());
}

TEST_CASE("arming a timer again drops the periods that were not reported") {
  clocked_kqueue kq;
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_NSECONDS, 100) == 0);
  kq.pass(350);
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_NSECONDS, 100) == 0);
  CHECK(kq.now().empty());
  kq.pass(100);
  CHECK(only(kq.now(), EVFILT_TIMER).data == 1);
}

TEST_CASE("EV_ENABLE of a timer with EV_DISPATCH drops the periods that ended before it") {
  clocked_kqueue kq;
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD | EV_DISPATCH, NOTE_NSECONDS, 100) == 0);
  kq.pass(100);
  CHECK(only(kq.now(), EVFILT_TIMER).data == 1);
  kq.pass(200);
  CHECK(kq.now().empty());
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ENABLE, NOTE_NSECONDS, 100) == 0);
  CHECK(kq.now().empty());
  kq.pass(100);
  CHECK(only(kq.now(), EVFILT_TIMER).data == 1);
}

TEST_CASE("an EV_ONESHOT timer counts the periods that passed before its event was taken") {
  clocked_kqueue kq;
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_NSECONDS, 100) == 0);
  kq.pass(350);
  CHECK(only(kq.now(), EVFILT_TIMER).data == 3);
  CHECK(kq.apply(1, EVFILT_TIMER, EV_DELETE) == ENOENT);
}

TEST_CASE("an interval that ends after the last nanosecond of the clock never ends") {
  clocked_kqueue kq;
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_NSECONDS,
                   std::numeric_limits<std::int64_t>::max()) == 0);
  kq.pass(std::uint64_t{1} << 62);
  CHECK(kq.now().empty());
}

TEST_CASE("100,000 timers each fire once, in the order of their deadlines") {
  clocked_kqueue kq;
  constexpr std::uint64_t count = 100'000;
  // Armed in a scattered order. Every third is deleted, every fifth is armed again to expire last.
  for (std::uint64_t i = 0; i < count; ++i) {
    CAPTURE(i);
    const std::uint64_t ident = i * 7919 % count;
    REQUIRE(kq.apply(ident, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_NSECONDS,
                     static_cast<std::int64_t>(ident + 1)) == 0);
  }
  std::uint64_t expected = count;
  for (std::uint64_t ident = 0; ident < count; ++ident) {
    CAPTURE(ident);
    if (ident % 3 == 0) {
      REQUIRE(kq.apply(ident, EVFILT_TIMER, EV_DELETE) == 0);
      --expected;
    } else if (ident % 5 == 0) {
      REQUIRE(kq.apply(ident, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_NSECONDS,
                       static_cast<std::int64_t>(count + ident)) == 0);
    }
  }
  kq.pass(2 * count);
  std::uint64_t last = 0;
  std::uint64_t seen = 0;
  bool in_order = true;
  for (event_list got = kq.now(1000); !got.empty(); got = kq.now(1000)) {
    for (const kevent64_s& e : got) {
      const std::uint64_t deadline = e.ident % 5 == 0 ? count + e.ident : e.ident + 1;
      in_order = in_order && deadline > last && e.ident % 3 != 0;
      last = deadline;
      ++seen;
    }
  }
  CHECK(in_order);
  CHECK(seen == expected);
}

#endif
