// EVFILT_TIMER. Against the real clock: that timers fire, never how exactly. How exactly is tested
// with a clock of the test's own, which Darwin does not offer.

#include "kqueue_of_test.h"

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
  fires(NOTE_MACH_CONTINUOUS_TIME, 1);
  fires(NOTE_MACH_CONTINUOUS_TIME | NOTE_USECONDS, 1);
  fires(NOTE_MACH_CONTINUOUS_TIME | NOTE_MACHTIME, 1);
}

TEST_CASE("what may not be combined is only units: all else may") {
  const kqueue_of_test kq;
  constexpr std::uint32_t all =
      NOTE_LEEWAY | NOTE_CRITICAL | NOTE_BACKGROUND | NOTE_MACH_CONTINUOUS_TIME;
  for (const int unit : {0, NOTE_SECONDS, NOTE_USECONDS, NOTE_NSECONDS, NOTE_MACHTIME}) {
    const std::uint32_t how = static_cast<std::uint32_t>(unit) | all;
    CHECK(kq.apply(unit, EVFILT_TIMER, EV_ADD, how, never) == 0);
    CHECK(kq.apply(unit | 0x1000, EVFILT_TIMER, EV_ADD, how | NOTE_ABSOLUTE, 1) == 0);
  }
}

TEST_CASE("an event has no ext[0], and the leeway in Mach's ticks in ext[1]") {
  const kqueue_of_test kq;
  kevent64_s add = change(1, EVFILT_TIMER, EV_ADD, NOTE_MACHTIME, 0);
  add.ext[0] = 3;
  add.ext[1] = 7;
  SUBCASE("which is 0 without NOTE_LEEWAY") {
    REQUIRE(kq.apply(add) == 0);
    const event_list got = kq.now();
    REQUIRE(got.size() == 1);
    CHECK(got[0].ext[0] == 0);
    CHECK(got[0].ext[1] == 0);
  }
  SUBCASE("which is what was given with NOTE_MACHTIME") {
    add.fflags |= NOTE_LEEWAY;
    REQUIRE(kq.apply(add) == 0);
    CHECK(only(kq.now(), EVFILT_TIMER).ext[1] == 7);
    add.ext[1] = 8;
    REQUIRE(kq.apply(add) == 0);
    CHECK(only(kq.now(), EVFILT_TIMER).ext[1] == 8);
  }
#if !defined(__APPLE__)  // where a tick need not be a nanosecond
  SUBCASE("which is converted from the timer's unit") {
    add.fflags = NOTE_LEEWAY | NOTE_USECONDS;
    REQUIRE(kq.apply(add) == 0);
    CHECK(only(kq.now(), EVFILT_TIMER).ext[1] == 7000);
  }
#endif
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
  SUBCASE("near future, through sleep") {
    timeval t{};
    gettimeofday(&t, nullptr);
    const std::int64_t soon = std::int64_t{t.tv_sec} * 1'000'000 + t.tv_usec + 500;
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD,
                     NOTE_ABSOLUTE | NOTE_USECONDS | NOTE_MACH_CONTINUOUS_TIME, soon) == 0);
    CHECK(kq.next().size() == 1);
  }
  SUBCASE("in Mach's time, which began when the machine did") {
    for (const std::uint32_t clock : {0u, std::uint32_t{NOTE_MACH_CONTINUOUS_TIME}}) {
      const std::uint32_t how = NOTE_ABSOLUTE | NOTE_MACHTIME | clock;
      REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, how, 1) == 0);
      CHECK(only(kq.now(), EVFILT_TIMER).data == 1);
      REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, how, std::numeric_limits<std::int64_t>::max()) ==
              0);
      CHECK(kq.now().empty());
      CHECK(kq.apply(1, EVFILT_TIMER, EV_DELETE) == 0);
    }
  }
  SUBCASE("a negative one is beyond all time") {
    CHECK(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_ABSOLUTE | NOTE_SECONDS, -1) == ERANGE);
    CHECK(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_ABSOLUTE | NOTE_NSECONDS, -1) == 0);
    CHECK(kq.now().empty());
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

TEST_CASE("every change sets it anew, with its own data and unit") {
  const kqueue_of_test kq;
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_SECONDS, never) == 0);
  SUBCASE("enabling too") {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ENABLE, NOTE_USECONDS, 1) == 0);
    CHECK(kq.next().size() == 1);
  }
  SUBCASE("disabling too") {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_DISABLE, 0, -1) == 0);
    CHECK(kq.now().empty());
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ENABLE, NOTE_SECONDS, never) == 0);
    CHECK(kq.now().empty());
  }
  SUBCASE("onto the other clock and back") {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_MACH_CONTINUOUS_TIME | NOTE_USECONDS, 1) == 0);
    CHECK(kq.next().size() == 1);
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_MACH_CONTINUOUS_TIME | NOTE_SECONDS, never) ==
            0);
    CHECK(kq.now().empty());
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_USECONDS, 1) == 0);
    CHECK(kq.next().size() == 1);
  }
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

#if !defined(__APPLE__)  // with a clock of the test's own

namespace {

std::atomic<std::uint64_t> time_of_test{1'000'000'000};
std::uint64_t read_time() noexcept {
  return time_of_test;
}
void pass(std::uint64_t ns) {
  time_of_test += ns;
}

struct clock_of_test {
  clock_of_test() { REQUIRE(kedge::kqueue::use_clock(&read_time)); }
  ~clock_of_test() { kedge::kqueue::use_clock(nullptr); }
};

}  // namespace

TEST_CASE("a periodic timer on either clock: the count is of periods since the last event") {
  const clock_of_test clock;
  const kqueue_of_test kq;
  const std::uint32_t how = NOTE_NSECONDS;
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, how, 100) == 0);
  REQUIRE(kq.apply(2, EVFILT_TIMER, EV_ADD, how | NOTE_MACH_CONTINUOUS_TIME, 200) == 0);
  pass(100);
  event_list got = kq.now();
  REQUIRE(got.size() == 1);
  CHECK(got[0].ident == 1);
  CHECK(got[0].data == 1);
  pass(350);
  got = kq.now();
  REQUIRE(got.size() == 2);
  for (const kevent64_s& e : got) CHECK(e.data == (e.ident == 1 ? 3 : 2));
  CHECK(kq.now().empty());
}

TEST_CASE("setting it anew forgets the periods that nobody has heard of") {
  const clock_of_test clock;
  const kqueue_of_test kq;
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_NSECONDS, 100) == 0);
  pass(350);
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_NSECONDS, 100) == 0);
  CHECK(kq.now().empty());
  pass(100);
  CHECK(only(kq.now(), EVFILT_TIMER).data == 1);
}

TEST_CASE("EV_DISPATCH: a period that ends before it is enabled is forgotten by enabling") {
  const clock_of_test clock;
  const kqueue_of_test kq;
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD | EV_DISPATCH, NOTE_NSECONDS, 100) == 0);
  pass(100);
  CHECK(only(kq.now(), EVFILT_TIMER).data == 1);
  pass(200);
  CHECK(kq.now().empty());
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ENABLE, NOTE_NSECONDS, 100) == 0);
  CHECK(kq.now().empty());
  pass(100);
  CHECK(only(kq.now(), EVFILT_TIMER).data == 1);
}

TEST_CASE("one shot counts the periods that passed before it was heard of") {
  const clock_of_test clock;
  const kqueue_of_test kq;
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_NSECONDS, 100) == 0);
  pass(350);
  CHECK(only(kq.now(), EVFILT_TIMER).data == 3);
  CHECK(kq.apply(1, EVFILT_TIMER, EV_DELETE) == ENOENT);
}

TEST_CASE("an interval that ends beyond all time never does") {
  const clock_of_test clock;
  const kqueue_of_test kq;
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_NSECONDS,
                   std::numeric_limits<std::int64_t>::max()) == 0);
  pass(std::uint64_t{1} << 62);
  CHECK(kq.now().empty());
}

TEST_CASE("of a hundred thousand each fires once, in the order of deadlines") {
  const clock_of_test clock;
  const kqueue_of_test kq;
  constexpr std::uint64_t count = 100'000;
  // Set in an order of their own; every third is deleted, every fifth is set anew to come last.
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t ident = i * 7919 % count;
    REQUIRE(kq.apply(ident, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_NSECONDS,
                     static_cast<std::int64_t>(ident + 1)) == 0);
  }
  std::uint64_t expected = count;
  for (std::uint64_t ident = 0; ident < count; ++ident) {
    if (ident % 3 == 0) {
      REQUIRE(kq.apply(ident, EVFILT_TIMER, EV_DELETE) == 0);
      --expected;
    } else if (ident % 5 == 0) {
      REQUIRE(kq.apply(ident, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_NSECONDS,
                       static_cast<std::int64_t>(count + ident)) == 0);
    }
  }
  pass(2 * count);
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
