// The heap of a kqueue's timers, and the timerfd that is set to the earliest.
#include "kedge/runtime/kqueue/filters/timer_queue.h"

#include <sys/timerfd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <new>

#include "kedge/runtime/kqueue/descriptors/internal_fds.h"
#include "kedge/runtime/kqueue/nanoseconds.h"

namespace kedge::kqueue {
namespace {

bool is_earlier(knote& a, knote& b) noexcept {
  const timer& one = timer_of(a);
  const timer& other = timer_of(b);
  return one.deadline != other.deadline ? one.deadline < other.deadline : one.start < other.start;
}

}  // namespace

timer_queue* timer_queue::make(clockid_t clock, const timer_clock& source) noexcept {
  const int fd =
      internal_fds::make([clock] { return timerfd_create(clock, TFD_CLOEXEC | TFD_NONBLOCK); });
  if (fd < 0) return nullptr;
  timer_queue* const q = new (std::nothrow) timer_queue(clock, source, fd);
  if (q == nullptr) {
    internal_fds::close(fd);
    errno = ENOMEM;
  }
  return q;
}

timer_queue::~timer_queue() {
  internal_fds::close(fd_);
}

void timer_queue::add(knote& note) {
  {
    // Makes room for it also while it is not in the heap, so that start() and take() cannot fail.
    const std::lock_guard hold(lock_);
    if (heap_.capacity() == attached_) heap_.reserve(std::max<std::size_t>(16, 2 * attached_));
    ++attached_;
  }
  timer& t = timer_of(note);
  if (t.in != nullptr) t.in->remove(note);
  t = {this, 0, 0, 0, timer::not_in_heap, false};
}

void timer_queue::remove(knote& note) noexcept {
  const std::lock_guard hold(lock_);
  --attached_;
  pull(note);
  set_timerfd();
}

bool timer_queue::start(knote& note, std::uint64_t deadline, std::uint64_t interval) noexcept {
  timer& t = timer_of(note);
  const std::lock_guard hold(lock_);
  pull(note);
  t.deadline = deadline;
  t.interval = interval;
  // A period has not passed yet, or the timerfd says so.
  t.fired = interval == 0 && deadline <= now();
  if (!t.fired) push(note);
  set_timerfd();
  return t.fired;
}

void timer_queue::stop(knote& note) noexcept {
  const std::lock_guard hold(lock_);
  pull(note);
  timer_of(note).fired = false;
  set_timerfd();
}

std::uint64_t timer_queue::take(knote& note, bool again) noexcept {
  timer& t = timer_of(note);
  const std::lock_guard hold(lock_);
  if (!t.fired) return 0;
  t.fired = false;
  if (t.interval == 0) return 1;
  const std::uint64_t periods = (now() - (t.deadline - t.interval)) / t.interval;
  if (again) {
    t.deadline = sum(t.deadline, periods * t.interval);
    push(note);
  }
  return periods;
}

void timer_queue::settle() noexcept {
  const std::lock_guard hold(lock_);
  set_timerfd();
}

// Returns whether any timer was due.
bool timer_queue::pull_due(std::uint64_t time) noexcept {
  bool any = false;
  while (!heap_.empty() && timer_of(*heap_[0]).deadline <= time) {
    knote& note = *heap_[0];
    pull(note);
    timer_of(note).fired = any = true;
    activate(note);
  }
  earliest_.store(heap_.empty() ? 0 : timer_of(*heap_[0]).deadline, std::memory_order_relaxed);
  return any;
}

void timer_queue::expire() noexcept {
  const std::lock_guard hold(lock_);
  const bool any = pull_due(now());
  is_readable_ = true;
  if (!any) set_timerfd();
}

void timer_queue::expire_until(std::uint64_t time) noexcept {
  const std::uint64_t earliest = earliest_.load(std::memory_order_relaxed);
  if (earliest == 0 || earliest > time) return;
  const std::lock_guard hold(lock_);
  if (pull_due(time)) is_readable_ = true;
}

bool timer_queue::is_due() const noexcept {
  const std::uint64_t earliest = earliest_.load(std::memory_order_relaxed);
  return earliest != 0 && earliest <= now();
}

void timer_queue::place(std::size_t i, knote& note) noexcept {
  heap_[i] = &note;
  timer_of(note).place = static_cast<std::uint32_t>(i);
}

void timer_queue::sift_up(std::size_t i) noexcept {
  knote& note = *heap_[i];
  for (; i != 0 && is_earlier(note, *heap_[(i - 1) / 4]); i = (i - 1) / 4)
    place(i, *heap_[(i - 1) / 4]);
  place(i, note);
}

void timer_queue::sift_down(std::size_t i) noexcept {
  knote& note = *heap_[i];
  for (;;) {
    std::size_t least = 4 * i + 1;
    if (least >= heap_.size()) break;
    const std::size_t end = std::min(least + 4, heap_.size());
    knote* first = heap_[least];
    for (std::size_t c = least + 1; c < end; ++c) {
      if (!is_earlier(*heap_[c], *first)) continue;
      least = c;
      first = heap_[c];
    }
    if (!is_earlier(*first, note)) break;
    place(i, *first);
    i = least;
  }
  place(i, note);
}

void timer_queue::push(knote& note) noexcept {
  timer_of(note).start = ++starts_;
  heap_.push_back(&note);
  sift_up(heap_.size() - 1);
}

void timer_queue::pull(knote& note) noexcept {
  const std::uint32_t i = timer_of(note).place;
  if (i == timer::not_in_heap) return;
  timer_of(note).place = timer::not_in_heap;
  knote& last = *heap_.back();
  heap_.pop_back();
  if (&last == &note) return;
  place(i, last);
  if (i != 0) sift_up(i);
  sift_down(timer_of(last).place);
}

// Sets the timerfd to the earliest deadline. That also makes it unreadable.
void timer_queue::set_timerfd() noexcept {
  const std::uint64_t earliest = heap_.empty() ? 0 : timer_of(*heap_[0]).deadline;
  earliest_.store(earliest, std::memory_order_relaxed);
  if ((earliest == set_to_ && !is_readable_) || source_.is_replaced()) return;
  set_to_ = earliest;
  is_readable_ = false;
  itimerspec when{};
  when.it_value = timespec_of(earliest);
  timerfd_settime(fd_, TFD_TIMER_ABSTIME, &when, nullptr);
}

}  // namespace kedge::kqueue
