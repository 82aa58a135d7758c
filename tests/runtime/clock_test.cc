#include "kedge/runtime/reactor/clock.h"

#include <doctest/doctest.h>

#include <chrono>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string_view>

#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/virtual_time.h"

namespace {

using namespace std::chrono_literals;
using kedge::clock;
using kedge::saturate;
using duration = clock::duration;
using time_point = clock::time_point;

TEST_CASE("saturate() gives nanoseconds, rounded up, or an end of the durations") {
  using std::chrono::duration_cast;
  using quarter_nanoseconds = std::chrono::duration<std::int64_t, std::ratio<1, 4'000'000'000>>;
  using thirds = std::chrono::duration<int, std::ratio<1, 3>>;
  using years = std::chrono::years;
  constexpr double infinity = std::numeric_limits<double>::infinity();
  struct row {
    std::string_view what;
    duration given;
    duration expected;
  };
  const row rows[] = {
      {"1.5s", saturate(1.5s), 1'500ms},
      {"-1.5s", saturate(-1.5s), -1'500ms},
      {"a half nanosecond", saturate(std::chrono::duration<double, std::nano>(.5)), 1ns},
      {"minus a half nanosecond", saturate(std::chrono::duration<double, std::nano>(-.5)), 0ns},
      {"five quarters", saturate(quarter_nanoseconds(5)), 2ns},
      {"minus five quarters", saturate(quarter_nanoseconds(-5)), -1ns},
      {"the most quarters", saturate(quarter_nanoseconds::max()), duration(1ll << 61)},
      {"a third", saturate(thirds(1)), 333'333'334ns},
      {"292 years", saturate(years(292)), duration_cast<duration>(years(292))},
      {"300 years", saturate(years(300)), duration::max()},
      {"-300 years", saturate(years(-300)), duration::min()},
      {"hours::max()", saturate(std::chrono::hours::max()), duration::max()},
      {"seconds::max()", saturate(std::chrono::seconds::max()), duration::max()},
      {"seconds::min()", saturate(std::chrono::seconds::min()), duration::min()},
      {"unsigned", saturate(std::chrono::duration<std::uint64_t, std::nano>(~0ull)),
       duration::max()},
      {"infinity", saturate(std::chrono::duration<double>(infinity)), duration::max()},
      {"-infinity", saturate(std::chrono::duration<double>(-infinity)), duration::min()},
      {"float", saturate(std::chrono::duration<float>(1e30f)), duration::max()},
  };
  for (const row& r : rows) {
    CAPTURE(r.what);
    CHECK(r.given.count() == r.expected.count());
  }
}

TEST_CASE("a duration that is not a number is refused") {
  const std::chrono::duration<double> nan(std::numeric_limits<double>::quiet_NaN());
  kedge::loop l;
  CHECK_THROWS_AS(static_cast<void>(saturate(nan)), std::invalid_argument);
  CHECK_THROWS_AS(static_cast<void>(kedge::sleep_for(nan)), std::invalid_argument);
  CHECK_THROWS_AS(static_cast<void>(l.run_once(nan)), std::invalid_argument);
}

TEST_CASE("sums and differences of times saturate") {
  CHECK(clock::sum(time_point(5ns), 3ns) == time_point(8ns));
  CHECK(clock::sum(time_point(5ns), duration::max()) == time_point::max());
  CHECK(clock::sum(time_point(-5ns), duration::min()) == time_point::min());
  CHECK(clock::sum(time_point::max(), -1ns) == time_point::max() - 1ns);
  CHECK(clock::between(time_point(5ns), time_point(8ns)) == 3ns);
  CHECK(clock::between(time_point(8ns), time_point(5ns)) == 0ns);
  CHECK(clock::between(time_point::min(), time_point::max()) == duration::max());
  CHECK(clock::between(time_point(1ns), time_point::max()) == duration::max() - 1ns);
}

TEST_CASE("sleeps of all types of durations end at their time, and endless ones never") {
  kedge::virtual_time time;
  kedge::loop l(time);
  l.spawn(kedge::sleep_for(1.5s));
  l.spawn(kedge::sleep_for(std::chrono::duration<float>(1.f)));
  l.spawn(kedge::sleep_for(std::chrono::hours::max()));
  l.spawn(kedge::sleep_for(std::chrono::seconds::max()));
  l.spawn(kedge::sleep_for(std::chrono::years(300)));
  l.poll();
  CHECK(l.size() == 5);
  time.advance(1s);
  l.poll();
  CHECK(l.size() == 4);
  time.advance(500ms - 1ns);
  l.poll();
  CHECK(l.size() == 4);
  time.advance(1ns);
  l.poll();
  CHECK(l.size() == 3);
  time.advance(std::chrono::hours(1'000'000));
  l.poll();
  CHECK(l.size() == 3);
}

TEST_CASE("round_up() gives a multiple of the largest power of two within the slack") {
  const auto rounded = [](clock::rep t, clock::rep slack) {
    return clock::round_up(clock::time_point(clock::duration(t)), clock::duration(slack))
        .time_since_epoch()
        .count();
  };
  CHECK(rounded(1000, 16) == 1008);
  CHECK(rounded(1000, 31) == 1008);
  CHECK(rounded(1008, 31) == 1008);
  CHECK(rounded(1000, 1) == 1000);
  CHECK(rounded(1000, 0) == 1000);
  CHECK(rounded(1000, -5) == 1000);
  CHECK(rounded(-1000, 16) == -992);
  const clock::rep most = std::numeric_limits<clock::rep>::max();
  CHECK(rounded(most - 1, 1024) == most);
  CHECK(rounded(1, most) == clock::rep{1} << 62);
}

}  // namespace
