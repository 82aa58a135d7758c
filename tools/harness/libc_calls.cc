// The clocks, the sleeps and exit() of the C library. In a process they are the world's. Elsewhere
// they are the C library's own.
//
// They are defined here, so that a program that links the harness has them. They are not there on
// Darwin, which has no worlds.
#if !defined(__APPLE__)

#include <errno.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>

#include "kedge/tools/harness/libc_call.h"
#include "kedge/tools/harness/world_state.h"

extern "C" {
[[gnu::weak]] decltype(::clock_gettime) __interceptor_clock_gettime;
[[gnu::weak]] decltype(::gettimeofday) __interceptor_gettimeofday;
[[gnu::weak]] decltype(::time) __interceptor_time;
[[gnu::weak]] decltype(::nanosleep) __interceptor_nanosleep;
[[gnu::weak]] decltype(::clock_nanosleep) __interceptor_clock_nanosleep;
[[gnu::weak]] decltype(::sleep) __interceptor_sleep;
[[gnu::weak]] decltype(::usleep) __interceptor_usleep;
[[gnu::weak]] decltype(::exit) __interceptor_exit;
[[gnu::weak]] decltype(::_exit) __interceptor__exit;
}

namespace {

using kedge::harness::caller;
using kedge::harness::next_of;
using kedge::harness::running_process;
using kedge::harness::world_state;

constexpr std::uint64_t second = 1'000'000'000u;

bool is_wall(clockid_t clock) noexcept {
  return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI;
}

std::uint64_t time_of(const running_process& p, clockid_t clock) noexcept {
  const std::uint64_t now = p.of.time;
  return is_wall(clock) ? now - world_state::first_time + world_state::first_wall_time : now;
}

std::uint64_t nanoseconds_of(const timespec& t) noexcept {
  return static_cast<std::uint64_t>(t.tv_sec) * second + static_cast<std::uint64_t>(t.tv_nsec);
}

bool is_valid(const timespec& t) noexcept {
  return t.tv_sec >= 0 && t.tv_nsec >= 0 && static_cast<std::uint64_t>(t.tv_nsec) < second;
}

void sleep_for(running_process& p, std::uint64_t length) noexcept {
  p.of.sleep_until(p.of.time + length);
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* now) noexcept {
  if (const running_process* const p = caller()) {
    const std::uint64_t t = time_of(*p, clock);
    now->tv_sec = static_cast<time_t>(t / second);
    now->tv_nsec = static_cast<long>(t % second);
    return 0;
  }
  static auto* const next = next_of("clock_gettime", &__interceptor_clock_gettime);
  return next(clock, now);
}

int gettimeofday(timeval* __restrict now, void* __restrict zone) noexcept {
  if (const running_process* const p = caller()) {
    const std::uint64_t t = time_of(*p, CLOCK_REALTIME);
    now->tv_sec = static_cast<time_t>(t / second);
    now->tv_usec = static_cast<suseconds_t>(t % second / 1000);
    return 0;
  }
  static auto* const next = next_of("gettimeofday", &__interceptor_gettimeofday);
  return next(now, zone);
}

time_t time(time_t* now) noexcept {
  if (const running_process* const p = caller()) {
    const auto t = static_cast<time_t>(time_of(*p, CLOCK_REALTIME) / second);
    if (now != nullptr) *now = t;
    return t;
  }
  static auto* const next = next_of("time", &__interceptor_time);
  return next(now);
}

int nanosleep(const timespec* length, timespec* rest) {
  if (running_process* const p = caller()) {
    if (!is_valid(*length)) {
      errno = EINVAL;
      return -1;
    }
    sleep_for(*p, nanoseconds_of(*length));
    return 0;
  }
  static auto* const next = next_of("nanosleep", &__interceptor_nanosleep);
  return next(length, rest);
}

int clock_nanosleep(clockid_t clock, int flags, const timespec* time, timespec* rest) {
  if (running_process* const p = caller()) {
    if (!is_valid(*time)) return EINVAL;
    const std::uint64_t t = nanoseconds_of(*time);
    const std::uint64_t now = time_of(*p, clock);
    if ((flags & TIMER_ABSTIME) == 0) {
      sleep_for(*p, t);
    } else if (t > now) {
      sleep_for(*p, t - now);
    }
    return 0;
  }
  static auto* const next = next_of("clock_nanosleep", &__interceptor_clock_nanosleep);
  return next(clock, flags, time, rest);
}

unsigned sleep(unsigned seconds) {
  if (running_process* const p = caller()) {
    sleep_for(*p, seconds * second);
    return 0;
  }
  static auto* const next = next_of("sleep", &__interceptor_sleep);
  return next(seconds);
}

int usleep(useconds_t microseconds) {
  if (running_process* const p = caller()) {
    sleep_for(*p, std::uint64_t{microseconds} * 1000);
    return 0;
  }
  static auto* const next = next_of("usleep", &__interceptor_usleep);
  return next(microseconds);
}

void exit(int status) noexcept {
  if (running_process* const p = caller()) p->of.end_running(status);
  static auto* const next = next_of("exit", &__interceptor_exit);
  next(status);
  abort();
}

void _exit(int status) {
  if (running_process* const p = caller()) p->of.end_running(status);
  static auto* const next = next_of("_exit", &__interceptor__exit);
  next(status);
  abort();
}

}  // extern "C"

#endif
