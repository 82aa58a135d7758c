// reactor: the turn: when the kernel is asked, what is delivered, how many coroutines run.
#include "kedge/runtime/reactor/reactor.h"

#include <sys/event.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <system_error>

#include "kedge/runtime/kqueue/extension.h"
#include "kedge/runtime/reactor/mailbox.h"
#include "kedge/runtime/reactor/registration_table.h"

namespace kedge {
namespace {

// Operations per resumption. Also bounds the stack where the compiler does not turn symmetric
// transfer into a tail call (g++ 12 below -O2 and under sanitizers): the stack then grows by at
// most this many frames.
constexpr int budget_per_resumption = 64;
// Resumptions per turn, and turns until the kernel is asked although tasks are ready.
constexpr unsigned resumptions_per_turn = 64;
constexpr unsigned turns_per_kernel_call = 64;
// The most events that one call takes, and the most changes that one call submits.
constexpr int events_per_call = 128;

constexpr std::uint64_t host_timer_ident = 0;

thread_local reactor* current_reactor = nullptr;

timespec to_timespec(clock::duration d) noexcept {
  // kevent refuses more than INT32_MAX seconds. A wait that ends early does no harm.
  constexpr std::int64_t longest = 1'000'000'000;
  const std::int64_t ns = std::max<std::int64_t>(d.count(), 0);
  timespec t{};
  t.tv_sec = static_cast<time_t>(std::min(ns / 1'000'000'000, longest));
  t.tv_nsec = static_cast<long>(ns % 1'000'000'000);
  return t;
}

kevent64_s own_event(std::int16_t filter, std::uint64_t ident, std::uint16_t flags,
                     std::uint32_t fflags = 0, std::int64_t data = 0) noexcept {
  kevent64_s e{};
  e.ident = ident;
  e.filter = filter;
  e.flags = flags;
  e.fflags = fflags;
  e.data = data;
  e.udata = wake_up_udata;
  return e;
}

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::system_category(), what);
}

}  // namespace

reactor::reactor() : kq_(::kqueue()) {
  if (kq_ < 0) fail("kqueue");
  try {
    // Opts out of features that cost and that the reactor does not use. No effect on Darwin.
    kqueue::opt_out(kq_, kqueue::no_data | kqueue::not_pollable);
    kqueue::opt_in(kq_, kqueue::oob_marks);
    registrations_ = std::make_shared<registration_table>();
    mailbox_ = std::make_shared<remote::mailbox>(kq_);
    events_ = std::make_unique<kevent64_s[]>(events_per_call);
    const kevent64_s wake_up = own_event(EVFILT_USER, wake_up_ident, EV_ADD | EV_CLEAR);
    if (kevent64(kq_, &wake_up, 1, nullptr, 0, 0, nullptr) != 0) fail("kevent64");
  } catch (...) {
    ::close(kq_);
    throw;
  }
}

reactor::~reactor() {
  mailbox_->close();
  registrations_->close();
  ::close(kq_);
}

void reactor::destroy_attachments() noexcept {
  while (!attachments_.empty()) attachments_.pop_back();
}

reactor* reactor::current() noexcept {
  return current_reactor;
}

reactor::driving::driving(reactor& r) : reactor_(r), outer_(current_reactor) {
  if (r.driven_) throw std::logic_error("kedge::loop: driven from within its own drive");
  r.driven_ = true;
  current_reactor = &r;
  if (r.hook_ != nullptr) r.hook_->enter();
  if (r.remote_handed_out_) r.mailbox_->wake_up();
}

reactor::driving::~driving() {
  if (reactor_.hook_ != nullptr) reactor_.hook_->leave();
  current_reactor = outer_;
  reactor_.driven_ = false;
}

bool reactor::run_once(clock::duration max_wait) {
  bool ran;
  {
    const driving scope(*this);
    ran = turn(max_wait);
    submit_changes();
  }
  submit_for_host();
  return ran;
}

std::optional<clock::time_point> reactor::next_deadline() const noexcept {
  if (!ready_.empty()) return clock::now();
  if (!timers_.empty()) return timers_.earliest();
  return std::nullopt;
}

int reactor::native_handle() {
  if (!polled_by_host_) {
    kqueue::opt_in(kq_, kqueue::not_pollable);
    polled_by_host_ = true;
    submit_for_host();
  }
  return kq_;
}

remote reactor::get_remote() {
  if (!remote_handed_out_) {
    remote_handed_out_ = true;
    if (driven_) mailbox_->wake_up();
  }
  return remote(mailbox_);
}

bool reactor::turn(clock::duration max_wait) {
  const bool came = collect(ready_.empty() ? max_wait : clock::duration::zero());
  return run_ready() || came;
}

// Runs the ready waiters, those that become ready on the way included, up to the turn's limit.
bool reactor::run_ready() noexcept {
  bool ran = false;
  for (unsigned left = resumptions_per_turn; left != 0 && !ready_.empty(); --left) {
    budget_ = budget_per_resumption;
    ready_.pop_front().proceed().resume();
    ran = true;
    if (budget_ <= 0 && turns_until_kernel_ != 0 && --turns_until_kernel_ == 0) break;
  }
  return ran;
}

// Takes and delivers events, posts and due timers. Returns false if there were none.
bool reactor::collect(clock::duration max_wait) {
  if (turns_until_kernel_ != 0 && registrations_->changes().empty()) {
    --turns_until_kernel_;
    woken_ = false;
    if (!ready_.empty() || (take_active() && !woken_)) return true;
  }
  turns_until_kernel_ = turns_per_kernel_call;
  bool any = remote_handed_out_ && mailbox_->run_posted();
  if (any || !ready_.empty()) max_wait = clock::duration::zero();
  max_wait = until_deadline(max_wait);
  const bool slept = remote_handed_out_ && max_wait > clock::duration::zero();
  if (slept && !mailbox_->fall_asleep()) max_wait = clock::duration::zero();
  const int count = ask_kernel(max_wait);
  deliver(count);  // before posted work runs, which may submit changes into the same array
  if (slept) {
    mailbox_->wake_up();
    any |= mailbox_->run_posted();
  }
  if (!timers_.empty()) {
    const std::size_t armed = timers_.size();
    timers_.expire(clock::now());
    any |= timers_.size() != armed;
  }
  return any || count > 0;
}

clock::duration reactor::until_deadline(clock::duration max_wait) const noexcept {
  if (timers_.empty() || max_wait <= clock::duration::zero()) return max_wait;
  return std::min(clock::until(timers_.earliest()), max_wait);
}

// Takes events that are active in user space, without a system call. Messages within one loop
// arrive this way.
bool reactor::take_active() {
  const int count = kqueue_.take_active(events_.get(), events_per_call);
  deliver(count);
  return count > 0;
}

// Submits the changes and takes events, in one call unless there are more than 128 changes.
int reactor::ask_kernel(clock::duration max_wait) {
  const std::vector<kevent64_s>& changes = registrations_->changes();
  while (changes.size() > static_cast<std::size_t>(events_per_call)) submit_changes();
  const timespec limit = to_timespec(max_wait);
  const timespec* const until = max_wait == clock::duration::max() ? nullptr : &limit;
  const int count = kqueue_.kevent64(changes.data(), static_cast<int>(changes.size()),
                                     events_.get(), events_per_call, 0, until);
  // There is room for an error record per change, so all changes have been handled, even on EINTR.
  if (count < 0 && errno != EINTR && errno != ETIMEDOUT) fail("kevent64");
  registrations_->submitted(changes.size());
  return std::max(count, 0);
}

void reactor::submit_changes() {
  const std::vector<kevent64_s>& changes = registrations_->changes();
  while (!changes.empty()) {
    const auto part = std::min<std::size_t>(changes.size(), events_per_call);
    const int count = kevent64(kq_, changes.data(), static_cast<int>(part), events_.get(),
                               events_per_call, KEVENT_FLAG_ERROR_EVENTS, nullptr);
    if (count < 0 && errno != EINTR) fail("kevent64");
    registrations_->submitted(part);
    deliver(count);
  }
}

void reactor::deliver(int count) noexcept {
  for (int i = 0; i < count; ++i) {
    const kevent64_s& event = events_[static_cast<std::size_t>(i)];
    if (event.udata != wake_up_udata) {
      registrations_->deliver(event);
    } else if (event.filter == EVFILT_TIMER) {
      host_timer_.reset();  // has fired: arm it again, even for the same deadline
    } else {
      woken_ = true;  // perhaps by a post
    }
  }
}

void reactor::submit_for_host() {
  bool wake = !ready_.empty() || !registrations_->changes().empty();
  if (remote_handed_out_ && !mailbox_->fall_asleep()) wake = true;
  if (!polled_by_host_) return;
  const auto earliest =
      timers_.empty() ? std::nullopt : std::optional<clock::time_point>(timers_.earliest());
  if (earliest && earliest != host_timer_) {
    const kevent64_s timer =
        own_event(EVFILT_TIMER, host_timer_ident, EV_ADD | EV_ONESHOT,
                  NOTE_NSECONDS | NOTE_CRITICAL, clock::until(*earliest).count());
    if (kevent64(kq_, &timer, 1, nullptr, 0, 0, nullptr) != 0) fail("kevent64");
  }
  host_timer_ = earliest;
  if (wake) wake_host();
}

// Makes a host that polls the kqueue drive next. The call cannot fail: the event is registered.
void reactor::wake_host() noexcept {
  const kevent64_s trigger = own_event(EVFILT_USER, wake_up_ident, 0, NOTE_TRIGGER);
  kevent64(kq_, &trigger, 1, nullptr, 0, 0, nullptr);
}

void reactor::announce_started() {
  if (!driven_) submit_for_host();
}

}  // namespace kedge
