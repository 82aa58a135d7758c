#include "kedge/kqueue/write_marks.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <mutex>
#include <new>

#include "kedge/kqueue/filter_table.h"
#include "kedge/kqueue/no_cancellation.h"
#include "kedge/kqueue/own_descriptors.h"

namespace kedge::kqueue {
namespace {

constexpr itimerspec soon{{0, 0}, {0, 10'000'000}};

}  // namespace

write_marks::~write_marks() {
  pump();
  own_descriptors::close(timer_);
}

void write_marks::add(knote& note, place& at) noexcept {
  const std::lock_guard lock(lock_);
  if (at.note != nullptr) return;
  hold(note);
  at = {&note, first_};
  // Cannot fail: the descriptor is a timer, the time a time.
  if (first_ == nullptr) timerfd_settime(timer_, 0, &soon, nullptr);
  first_ = &at;
}

void write_marks::pump() noexcept {
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
  const int timer = own_descriptors::make(
      [] { return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK); });
  if (timer < 0) return errno;
  write_marks* const marks = new (std::nothrow) write_marks(timer);
  if (marks == nullptr) {
    own_descriptors::close(timer);
    return ENOMEM;
  }
  *state = marks;
  *pump_fd = timer;
  return 0;
}

void pump(void* state) noexcept {
  static_cast<write_marks*>(state)->pump();
}

void close(void* state) noexcept {
  delete static_cast<write_marks*>(state);
}

}  // namespace

constinit const filter_operations write_mark_source{
    .attach = refuse, .open = open, .pump = pump, .close = close};

}  // namespace kedge::kqueue
