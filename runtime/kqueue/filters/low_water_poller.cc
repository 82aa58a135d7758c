#include "kedge/runtime/kqueue/filters/low_water_poller.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <mutex>
#include <new>

#include "kedge/runtime/kqueue/descriptors/internal_fds.h"
#include "kedge/runtime/kqueue/filter_table.h"
#include "kedge/runtime/kqueue/libc/no_cancellation.h"

namespace kedge::kqueue {
namespace {

constexpr itimerspec soon{{0, 0}, {0, 10'000'000}};

}  // namespace

low_water_poller::~low_water_poller() {
  pump();
  internal_fds::close(timer_);
}

void low_water_poller::add(knote& note, place& at) noexcept {
  const std::lock_guard lock(lock_);
  if (at.note != nullptr) return;
  hold(note);
  at = {&note, first_};
  // Cannot fail: the descriptor is a timer, the time a time.
  if (first_ == nullptr) timerfd_settime(timer_, 0, &soon, nullptr);
  first_ = &at;
}

void low_water_poller::pump() noexcept {
  const no_cancellation here;
  const std::lock_guard lock(lock_);
  std::uint64_t expirations = 0;  // of no interest: reading makes the timer unreadable
  [[maybe_unused]] const ssize_t size = read(timer_, &expirations, sizeof expirations);
  while (first_ != nullptr) {
    place& at = *first_;
    first_ = at.next;
    knote& note = *at.note;
    at.note = nullptr;
    activate(note);
    release(note);
  }
}

namespace {

verdict refuse(knote&, const kevent64_s&) {
  return {ENOTSUP, false};
}

int open(queue&, void** state, int* pump_fd) noexcept {
  const int timer = internal_fds::make(
      [] { return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK); });
  if (timer < 0) return errno;
  low_water_poller* const marks = new (std::nothrow) low_water_poller(timer);
  if (marks == nullptr) {
    internal_fds::close(timer);
    return ENOMEM;
  }
  *state = marks;
  *pump_fd = timer;
  return 0;
}

void pump(void* state) noexcept {
  static_cast<low_water_poller*>(state)->pump();
}

void close(void* state) noexcept {
  delete static_cast<low_water_poller*>(state);
}

}  // namespace

constinit const filter_operations write_mark_source{
    .attach = refuse, .open = open, .pump = pump, .close = close};

}  // namespace kedge::kqueue
