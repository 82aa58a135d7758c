// Polls the WRITE knotes that wait for their low-water mark, by a periodic timerfd.
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
  internal_fds::close(timerfd_);
}

void low_water_poller::add(knote& note, place& at) noexcept {
  const std::lock_guard lock(lock_);
  if (at.link.is_linked()) return;
  hold(note);
  at.note = &note;
  // Cannot fail: the descriptor is a timerfd, and the time is valid.
  if (places_.empty()) timerfd_settime(timerfd_, 0, &soon, nullptr);
  places_.push_back(at);
}

void low_water_poller::pump() noexcept {
  const no_cancellation guard;
  const std::lock_guard lock(lock_);
  std::uint64_t expirations = 0;  // unused: reading makes the timerfd unreadable
  [[maybe_unused]] const ssize_t size = read(timerfd_, &expirations, sizeof expirations);
  while (place* const at = places_.pop_back()) {
    knote& note = *at->note;
    activate(note);
    release(note);
  }
}

namespace {

verdict refuse(knote&, const kevent64_s&) {
  return {ENOTSUP, false};
}

int open(queue&, void** state, int* pump_fd) noexcept {
  const int timerfd = internal_fds::make(
      [] { return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK); });
  if (timerfd < 0) return errno;
  low_water_poller* const poller = new (std::nothrow) low_water_poller(timerfd);
  if (poller == nullptr) {
    internal_fds::close(timerfd);
    return ENOMEM;
  }
  *state = poller;
  *pump_fd = timerfd;
  return 0;
}

void pump(void* state) noexcept {
  static_cast<low_water_poller*>(state)->pump();
}

void close(void* state) noexcept {
  delete static_cast<low_water_poller*>(state);
}

}  // namespace

constinit const filter_operations low_water_filter{
    .attach = refuse, .open = open, .pump = pump, .close = close};

}  // namespace kedge::kqueue
