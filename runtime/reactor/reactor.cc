// reactor: the turn: when the kernel is asked, what is delivered, how many coroutines run.
#include "kedge/runtime/reactor/reactor.h"

#include <sys/event.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <new>
#include <stdexcept>
#include <system_error>

#include "kedge/runtime/awaiting/frame.h"
#include "kedge/runtime/base/process_state.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/kqueue/extension.h"
#include "kedge/runtime/reactor/mailbox.h"
#include "kedge/runtime/reactor/registration_table.h"
#include "kedge/runtime/reactor/stall_probe.h"

namespace kedge {
namespace {

// Operations per resumption. Also bounds the stack where the compiler does not turn symmetric
// transfer into a tail call (g++ 12 below -O2 and under sanitizers): the stack then grows by at
// most this many frames.
constexpr int budget_per_resumption = 64;
// Resumptions per turn, and turns until the kernel is asked although tasks are ready.
constexpr int resumptions_per_turn = 64;
// What a resumption that uses up its budget counts as: four of them end a turn. A coroutine whose
// operations never wait would else keep timers and posts waiting for 4,096 operations.
constexpr int resumptions_per_budget = 16;
constexpr unsigned turns_per_kernel_call = 64;
// The most events that one call takes, and the most changes that one call submits.
constexpr int events_per_call = 128;

constexpr std::uint64_t host_timer_ident = 0;
constexpr int standard_fds = 3;

// Its address is that by which a thread is known: no two threads have it.
constinit thread_local char of_this_thread = 0;

const base::process_state reactor_of_process([] { return reactor::address_of_current(); },
                                             sizeof(reactor*));
const base::process_state hook_of_process([] { return drive_hook::address_of_current(); },
                                          sizeof(drive_hook*));

const void* this_thread() noexcept {
  return &of_this_thread;
}

// Set when the thread ends. exit() ends the calling thread's objects before it destroys static
// ones, so within exit() it is set.
constinit thread_local bool thread_ends = false;

// The latest left_behind. Only so that a leak checker finds it.
constinit std::atomic<const void*> kept_for_tasks{nullptr};

void watch_end_of_thread() noexcept {
  struct watch {
    watch() noexcept = default;
    watch(const watch&) = delete;
    watch& operator=(const watch&) = delete;
    ~watch() { thread_ends = true; }
  };
  thread_local const watch instance;
  static_cast<void>(instance);
}

// Requires that d is positive.
timespec to_timespec(clock::duration d) noexcept {
  // kevent refuses more than INT32_MAX seconds. A wait that ends early does no harm.
  constexpr std::int64_t longest = 1'000'000'000;
  const std::int64_t ns = d.count();
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

// Makes a kqueue whose fd is not that of a standard stream, which programs and their children use
// without asking.
int make_kqueue() noexcept {
  int low[standard_fds];
  int count = 0;
  int kq = ::kqueue();
  while (kq >= 0 && kq < standard_fds) {
    low[count++] = kq;
    kq = ::kqueue();
  }
  const int error = errno;
  while (count > 0) ::close(low[--count]);
  errno = error;
  return kq;
}

}  // namespace

// --- Life ----------------------------------------------------------------------------------------

reactor::reactor(time_source* time) : kq_(make_kqueue()) {
  if (kq_ < 0) fail("kqueue");
  try {
    open(time);
  } catch (...) {
    if (time_ != nullptr) time_->remove_loop(*this);
    ::close(kq_);
    throw;
  }
}

void reactor::open(time_source* time) {
  // Opts out of features that cost and that the reactor does not use. No effect on Darwin.
  kqueue::opt_out(kq_, kqueue::no_data | kqueue::not_pollable);
  kqueue::opt_in(kq_, kqueue::oob_marks);
  if (time != nullptr) {
    time->add_loop(*this, kq_);
    time_ = time;
  }
  registrations_ = std::make_shared<registration_table>(*this);
  mailbox_ = std::make_shared<remote::mailbox>(kq_);
  events_ = std::make_unique<kevent64_s[]>(2 * events_per_call);
  const kevent64_s wake_up = own_event(EVFILT_USER, wake_up_ident, EV_ADD | EV_CLEAR);
  if (kevent64(kq_, &wake_up, 1, nullptr, 0, 0, nullptr) != 0) fail("kevent64");
}

// What the tasks of a loop that is left alone may refer to: it is not destroyed.
struct reactor::left_behind {
  std::vector<attached> attachments;
  std::shared_ptr<registration_table> registrations;
  std::shared_ptr<remote::mailbox> mailbox;
};

reactor::~reactor() {
  if (driven()) {
    kept_for_tasks.store(new (std::nothrow) left_behind{
        std::move(attachments_), std::move(registrations_), std::move(mailbox_)});
    return;
  }
  const hooked scope(*this);
  if (time_ != nullptr) time_->remove_loop(*this);  // first: dropped work may drive other loops
  // A thread whose post is refused may end its registration itself, since the table is closed then.
  registrations_->close();
  mailbox_->close();
  if (!forked()) ::close(kq_);
}

bool reactor::left_alone() const noexcept {
  const void* const driver = driver_.load(std::memory_order_relaxed);
  if (driver == nullptr) return false;
  if (driver == this_thread() ? thread_ends : forked()) return true;
  std::fprintf(stderr, "kedge: a loop was destroyed by %s while it was being driven\n",
               driver == this_thread() ? "its own task" : "another thread");
  std::terminate();
}

void reactor::destroy_attachments() noexcept {
  while (!attachments_.empty()) attachments_.pop_back();
}

// --- Drives --------------------------------------------------------------------------------------

bool reactor::in_own_thread() const noexcept {
  const void* const owner = owner_.load(std::memory_order_relaxed);
  return owner == nullptr || owner == this_thread();
}

void reactor::throw_forked() {
  throw std::system_error(errc::forked, "kedge::loop");
}

// Makes the calling thread the one that drives.
void reactor::claim() {
  throw_if_forked();
  const void* driver = nullptr;
  if (!driver_.compare_exchange_strong(driver, this_thread(), std::memory_order_acquire)) {
    throw std::logic_error(driver == this_thread()
                               ? "kedge::loop: driven from within its own drive"
                               : "kedge::loop: another thread is driving it; use get_remote()");
  }
}

reactor::driving::driving(reactor& r) : reactor_(r), outer_(nullptr) {
  r.claim();
  enter();
  r.mailbox_->wake_up();
}

void reactor::driving::enter() noexcept {
  watch_end_of_thread();
  reactor_.driver_.store(this_thread(), std::memory_order_relaxed);
  reactor_.owner_.store(this_thread(), std::memory_order_relaxed);
  outer_ = std::exchange(current_, &reactor_);
  check_allocations_for(&reactor_);
  if (reactor_.hook_ != nullptr) reactor_.hook_->enter();
}

reactor::driving::~driving() {
  if (reactor_.hook_ != nullptr) reactor_.hook_->leave();
  if (reactor_.probe_ != nullptr) reactor_.probe_->idle();
  current_ = outer_;
  check_allocations_for(outer_);
  reactor_.driver_.store(nullptr, std::memory_order_release);
}

void reactor::hooked::enter() const noexcept {
  check_allocations_for(reactor_);
  if (reactor_->hook_ != nullptr) reactor_->hook_->enter();
}

void reactor::hooked::leave() const noexcept {
  if (reactor_->hook_ != nullptr) reactor_->hook_->leave();
  check_allocations_for(current_);
}

// Makes the calling thread's allocations ask the observer of `r`; null: none.
void reactor::check_allocations_for(const reactor* r) noexcept {
  allocation_check::set_observer(r != nullptr ? r->observer_ : nullptr);
}

observer* reactor::set_observer(observer* o) noexcept {
  observer* const before = std::exchange(observer_, o);
  if (before == nullptr) running_ = nullptr;
  tells_of_ready_ = o != nullptr || polled_by_host_;
  is_watched_ = o != nullptr || probe_ != nullptr;
  if (current_ == this) check_allocations_for(this);
  return before;
}

// No effect within another drive of the loop, which is why this one has failed.
void reactor::after_failed_drive() {
  if (driven()) return;
  const hooked scope(*this);
  submit_changes();
  submit_for_host();
}

// The same as run_one(), with reports. After a turn that resumes no coroutine `w` may be gone.
void reactor::run_observed() {
  waiter& w = choose();
  context& c = w.owner_context();
  if (probe_ != nullptr) probe_->resume(w);
  budget_ = budget_per_resumption;
  running_ = nullptr;
  std::coroutine_handle<> next = w.proceed();
  if (observer_ == nullptr || next == std::noop_coroutine()) return next.resume();
  observer_->at(happening::completed, &c, &w);
  if (running_ == nullptr) running_ = &c;  // else w was a composite, and has entered a coroutine
  if (observer_ != nullptr) observer_->at(happening::resumed, running_, nullptr);
  next.resume();
  tell_of_suspension();
}

void reactor::tell_of_entry(const context& c) noexcept {
  const bool runs = running_ != nullptr;
  if (runs) tell_of_suspension();
  running_ = &c;
  if (runs && observer_ != nullptr) observer_->at(happening::resumed, &c, nullptr);
}

void reactor::tell_of_suspension() noexcept {
  if (observer_ == nullptr || running_ == nullptr) return;
  if (running_->suspended_on() == nullptr) return;
  observer_->at(happening::suspended, running_, running_->suspended_on());
}

// Takes the waiter that the observer chooses out of the ready queue.
waiter& reactor::choose() {
  if (observer_ == nullptr) return ready_.pop_front();
  const std::size_t count = ready_.size();
  const std::size_t chosen = observer_->choose(count);
  if (chosen >= count) throw std::out_of_range("kedge: the observer chose no ready task");
  return ready_.pop(chosen);
}

void reactor::tell_of_ready(waiter& w) noexcept {
  if (observer_ != nullptr) observer_->at(happening::ready, &w.owner_context(), &w);
  if (polled_by_host_ && !driven()) wake_host();
}

// The loop asks the kernel, or goes on after that.
void reactor::tell_of_turn(happening what) noexcept {
  if (observer_ != nullptr) observer_->at(what, nullptr, nullptr);
  if (probe_ == nullptr) return;
  what == happening::asleep ? probe_->idle() : probe_->begin();
}

loop_counters reactor::counters() const noexcept {
  loop_counters all = counters_;
  all.timers = timers_.expired();
  all.posts = mailbox_->posts();
  if (probe_ != nullptr) all.longest_turn = probe_->longest_turn();
  return all;
}

// --- Events --------------------------------------------------------------------------------------

void reactor::deliver(int count) noexcept {
  if (count <= 0) return;
  counters_.events += static_cast<unsigned>(count);
  const kevent64_s* event = events_.get();
  const kevent64_s* const end = event + count;
  do {
    if (event->udata != wake_up_udata) [[likely]] {
      registrations_->deliver(*event);
    } else if (event->filter == EVFILT_TIMER) {
      host_timer_ = clock::time_point::max();  // has fired, and is disabled
    }
  } while (++event != end);
}

void reactor::anticipate(std::int16_t filter, std::uint64_t ident) noexcept {
  assert(in_own_thread() && "kedge: events are delivered on the loop's thread");
  if (!polled_by_host_) registrations_->anticipate(filter, ident);
}

void reactor::submit_changes() {
  assert(in_own_thread() && "kedge: changes are submitted on the loop's thread");
  if (forked()) return;
  while (registrations_->pending() != 0) submit_some();
}

void reactor::submit_some() {
  kevent64_s* const changes = events_.get() + events_per_call;
  const std::size_t submitted = registrations_->write_changes(changes, events_per_call);
  const int count = kevent64(kq_, changes, static_cast<int>(submitted), events_.get(),
                             events_per_call, KEVENT_FLAG_ERROR_EVENTS, nullptr);
  if (count < 0 && errno != EINTR) fail("kevent64");
  registrations_->submitted(submitted);
  deliver(count);
}

bool reactor::take_active() {
  const int count = kqueue_.take_active(events_.get(), events_per_call);
  deliver(count);
  return count > 0;
}

// Submits the changes and takes events, in one call unless there are more than 128 changes.
int reactor::ask_kernel(clock::duration max_wait) {
  while (registrations_->pending() > events_per_call) submit_some();
  kevent64_s* const changes = events_.get() + events_per_call;
  const std::size_t submitted =
      registrations_->pending() == 0 ? 0 : registrations_->write_changes(changes, events_per_call);
  timespec limit;
  const timespec* until = nullptr;
  unsigned flags = 0;
  if (max_wait <= clock::duration::zero()) {
    flags = KEVENT_FLAG_IMMEDIATE;  // costs the kqueue less than a time-out of zero
  } else if (max_wait != clock::duration::max()) {
    limit = to_timespec(max_wait);
    until = &limit;
  }
  const int count = kqueue_.kevent64(changes, static_cast<int>(submitted), events_.get(),
                                     events_per_call, flags, until);
  // There is room for an error record per change, so all changes have been handled, even on EINTR.
  if (count < 0 && errno != EINTR && errno != ETIMEDOUT) fail("kevent64");
  if (submitted != 0) registrations_->submitted(submitted);
  ++counters_.waits;
  return std::max(count, 0);
}

// Asks the kernel, and waits for at most max_wait if nothing is ready. `time` is now if there are
// timers. Returns false if nothing came.
bool reactor::ask(clock::duration max_wait, clock::time_point time) {
  if (is_watched_) [[unlikely]]
    tell_of_turn(happening::asleep);
  if (!ready_.empty()) max_wait = clock::duration::zero();
  if (!timers_.empty()) max_wait = std::min(clock::between(time, timers_.earliest()), max_wait);
  if (max_wait == clock::duration::max() && !registrations_->is_still_waking()) find_deadlock();
  const bool sleeps = max_wait > clock::duration::zero();
  if (sleeps && !mailbox_->fall_asleep()) max_wait = clock::duration::zero();
  const int count = ask_kernel(max_wait);
  if (is_watched_) [[unlikely]]
    tell_of_turn(happening::awake);
  turns_until_kernel_ = turns_per_kernel_call;
  asked_.reset();
  deliver(count);  // before posted work runs, which may submit changes into the same array
  if (!sleeps) return timers_.expire(time) || count > 0;
  mailbox_->wake_up();
  const bool posted = mailbox_->run_posted();
  const bool expired = !timers_.empty() && timers_.expire(now());
  return expired || posted || count > 0;
}

// --- Turns ---------------------------------------------------------------------------------------

// Returns whether posted work has run.
bool reactor::begin_turn() {
  throw_if_forked();
  assert(in_own_thread() && "kedge: a loop is driven by one thread");
  ++counters_.turns;
  if (probe_ != nullptr) [[unlikely]]
    probe_->begin();
  return mailbox_->run_posted();
}

// Takes what has come since the last turn. Returns false if nothing had.
bool reactor::collect(clock::duration max_wait) {
  bool came = begin_turn();
  // While nothing is ready and no timer is armed, no time is of interest.
  const bool timeless = ready_.empty() && timers_.empty() && !kqueue_.has_active();
  const clock::time_point time = timeless ? clock::time_point() : now();
  // Events come before timers: what arrived before a deadline, while a task kept the loop busy, is
  // not reported as late.
  if (timeless || must_ask(time)) {
    if (ask(came ? clock::duration::zero() : max_wait, time)) came = true;
  } else if (timers_.expire(time)) {
    came = true;
  }
  return came;
}

// Returns whether the turn has to ask the kernel. Where only events that are active in user space
// would do, takes those instead: messages within one loop arrive this way.
bool reactor::must_ask(clock::time_point time) {
  if (turns_until_kernel_ == 0) return true;
  if (!asked_) asked_ = time;
  if (time - *asked_ >= kernel_interval_) return true;
  --turns_until_kernel_;
  return ready_.empty() && !(kqueue_.has_active() && take_active());
}

// Runs the ready waiters, those that become ready on the way included, up to the turn's limit.
bool reactor::run_ready() {
  if (ready_.empty()) return false;
  int left = resumptions_per_turn;
  do {
    if (is_watched_) [[unlikely]] {
      run_observed();
    } else {
      run_one(ready_.pop_front());
    }
    if (forked()) [[unlikely]] {
      --left;
      break;  // the next turn throws
    }
    if (budget_ <= 0) [[unlikely]] {
      left -= resumptions_per_budget - 1;
      counters_.resumptions -= resumptions_per_budget - 1;
    }
  } while (--left > 0 && !ready_.empty());
  counters_.resumptions += static_cast<unsigned>(resumptions_per_turn - left);
  return true;
}

inline void reactor::run_one(waiter& w) noexcept {
  budget_ = budget_per_resumption;
  if (w.resumes_directly()) {
    w.owner_context().run();
    w.awaiting_coroutine().resume();
  } else {
    w.proceed().resume();
  }
}

bool reactor::run_once(clock::duration max_wait) {
  return drive([this, max_wait] {
    turns_until_kernel_ = 0;
    return turn(max_wait);
  });
}

bool reactor::turn(clock::duration max_wait) {
  const bool came = collect(max_wait);
  return run_ready() || came;
}

// While tasks are ready, this turn is like any other: no jump is near.
bool reactor::turn_in_virtual_time(bool asks_kernel) {
  if (!ready_.empty()) return turn(clock::duration::zero());
  const bool posted = begin_turn();
  const clock::time_point time = now();
  const bool asks = asks_kernel && (polled_by_host_ || !registrations_->is_empty());
  const bool came = asks ? ask(clock::duration::zero(), time) : timers_.expire(time);
  return run_ready() || came || posted;
}

void reactor::begin_wait_for_handle() {
  native_handle();
  submit_changes();
  submit_for_host();
  if (is_watched_) tell_of_turn(happening::asleep);
}

void reactor::end_wait_for_handle() noexcept {
  if (is_watched_) tell_of_turn(happening::awake);
  mailbox_->wake_up();
}

bool reactor::single_step() {
  return drive([this] {
    if (ready_.empty() || steps_until_turn_ == 0) {
      collect(clock::duration::zero());
      steps_until_turn_ = resumptions_per_turn;
    }
    if (ready_.empty()) return false;
    --steps_until_turn_;
    ++counters_.resumptions;
    run_observed();
    return true;
  });
}

// --- A host that polls the kqueue ----------------------------------------------------------------

std::optional<clock::time_point> reactor::next_deadline() const noexcept {
  if (!ready_.empty()) return now();
  if (!timers_.empty()) return timers_.earliest();
  return std::nullopt;
}

int reactor::native_handle() {
  throw_if_forked();
  if (!polled_by_host_) {
    kqueue::opt_in(kq_, kqueue::not_pollable);
    // The timer is made here and kept: a drive in a process without free descriptors could not.
    set_host_timer(clock::time_point::max());
    polled_by_host_ = tells_of_ready_ = true;
    announce_started();
  }
  return kq_;
}

remote reactor::get_remote() {
  return remote(mailbox_);
}

void reactor::submit_for_host() {
  if (forked()) return;
  bool wake = !ready_.empty() || registrations_->pending() != 0;
  if (!mailbox_->fall_asleep()) wake = true;
  if (!polled_by_host_) return;
  const auto earliest = timers_.empty() ? clock::time_point::max() : timers_.earliest();
  if (earliest != host_timer_) {
    if (earliest <= now()) {
      wake = true;
    } else {
      set_host_timer(earliest);
    }
  }
  if (wake) wake_host();
}

// Sets the kernel timer that wakes a polling host. It is disabled when it has fired, and max() is
// too far away to be reached. A timer that has been made can be set without memory or descriptors.
void reactor::set_host_timer(clock::time_point deadline) {
  const kevent64_s timer =
      own_event(EVFILT_TIMER, host_timer_ident, EV_ADD | EV_ENABLE | EV_DISPATCH,
                NOTE_NSECONDS | NOTE_CRITICAL, clock::between(now(), deadline).count());
  if (kevent64(kq_, &timer, 1, nullptr, 0, 0, nullptr) != 0) fail("kevent64");
  host_timer_ = deadline;
}

// Makes a host that polls the kqueue drive next. The call cannot fail: the event is registered.
void reactor::wake_host() noexcept {
  if (forked()) return;
  const kevent64_s trigger = own_event(EVFILT_USER, wake_up_ident, 0, NOTE_TRIGGER);
  kevent64(kq_, &trigger, 1, nullptr, 0, 0, nullptr);
}

void reactor::announce_started() {
  if (!driven()) submit_for_host();
}

}  // namespace kedge
