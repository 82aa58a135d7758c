#include "kedge/runtime/kqueue/libc/pending_signals.h"

#include <sys/auxv.h>
#include <time.h>

#include <atomic>
#include <bit>
#include <mutex>
#include <new>
#include <optional>

#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/base/one_thread.h"
#include "kedge/runtime/kqueue/filters/signal_watch.h"
#include "kedge/runtime/kqueue/libc/own_process.h"
#include "kedge/runtime/kqueue/libc/thread_status.h"

namespace kedge::kqueue {
namespace {

// Returns si_errno of a signal that is counted, but for the lower 8 bits, which are its generation.
// A signal that was counted before exec is not ours, so the rest is random. It is not 0, which
// Linux stores.
int mark() noexcept {
  static constinit std::atomic<int> value{0};
  int present = value.load(std::memory_order_relaxed);
  if (present != 0) return present;
  const auto* const random = reinterpret_cast<const unsigned char*>(getauxval(AT_RANDOM));
  present = 0x4b71'5300;
  if (random != nullptr) present ^= random[0] << 8 | random[1] << 16;
  value.store(present, std::memory_order_relaxed);
  return present;
}

constexpr int generation_bits = 0xff;

constexpr unsigned standard_count = 32;  // 1 to 31

// One signal that was counted last, under the lock.
struct counted_signal {
  siginfo_t info{};                   // as it came
  pid_t holder = 0;                   // the thread that it is pending for. 0: none, or the process
  unsigned generation = 0;            // of the copy that is up to date
  std::uint64_t uncertain_since = 0;  // for may_move()
};

counted_signal counted[standard_count];
constinit base::mutex lock;
constinit std::atomic<std::uint64_t> held{0};     // those with a holder
constinit std::atomic<std::uint64_t> watched{0};  // those that kqueues watch
// Those that were left in the process's pending set, uncounted, because another thread was about to
// take them.
constinit std::atomic<std::uint64_t> skipped{0};
constinit std::atomic<std::uint32_t> takers[standard_count]{};
// How many copies are pending that are out of date. Too many, if a thread has ended with one.
constinit std::atomic<std::uint32_t> old_copies{0};

class scoped_lock {
 public:
  scoped_lock() noexcept { lock.lock(); }
  scoped_lock(const scoped_lock&) = delete;
  scoped_lock& operator=(const scoped_lock&) = delete;
  ~scoped_lock() { lock.unlock(); }

  // The thread's mask from before.
  std::uint64_t blocked() const noexcept { return signals_.before(); }

 private:
  const all_signals_blocked signals_;
};

// Calls visit(signal) for each bit.
template <class Visit>
void each_signal(std::uint64_t signals, Visit visit) noexcept {
  for (; signals != 0; signals &= signals - 1)
    visit(static_cast<unsigned>(std::countr_zero(signals)) + 1);
}

pid_t this_thread() noexcept {
  return static_cast<pid_t>(syscall(SYS_gettid));
}

// Returns the signals that are pending for the process or this thread.
std::uint64_t pending_now() noexcept {
  std::uint64_t pending = 0;
  syscall(SYS_rt_sigpending, &pending, sizeof pending);
  return pending;
}

// Takes a pending signal, for this thread before one for the process. Returns false if there is
// none.
bool take(unsigned signal, siginfo_t& info) noexcept {
  const std::uint64_t only = signal_bit(signal);
  const timespec at_once{};
  return syscall(SYS_rt_sigtimedwait, &only, &info, &at_once, sizeof only) ==
         static_cast<long>(signal);
}

// The rest of this part requires the lock.

void set_holder(unsigned signal, pid_t thread) noexcept {
  counted[signal].holder = thread;
  thread != 0 ? held.fetch_or(signal_bit(signal)) : held.fetch_and(~signal_bit(signal));
}

siginfo_t next_copy(counted_signal& c) noexcept {
  c.generation = (c.generation + 1) & 0xff;
  siginfo_t copy = c.info;
  copy.si_errno = mark() | static_cast<int>(c.generation);
  return copy;
}

// Makes the signal pending for this thread.
void put_back(unsigned signal, pid_t self) noexcept {
  set_holder(signal, self);
  const siginfo_t copy = next_copy(counted[signal]);
  syscall(SYS_rt_tgsigqueueinfo, getpid(), self, signal, &copy);
}

// Makes the signal pending for the process.
void give_back(unsigned signal) noexcept {
  set_holder(signal, 0);
  siginfo_t copy = next_copy(counted[signal]);
  if (syscall(SYS_rt_sigqueueinfo, getpid(), signal, &copy) == 0) return;
  copy.si_code = SI_QUEUE;  // Linux lets only the main thread pretend more
  syscall(SYS_rt_sigqueueinfo, getpid(), signal, &copy);
}

// Returns whether the copy of a held signal is still pending for its holder. It is not if the
// program has taken it by a call that this library does not see.
bool is_still_held(unsigned signal) noexcept {
  const std::optional<thread_status> status = status_of(counted[signal].holder);
  if (status) return (status->pending & signal_bit(signal)) != 0;
  return !status_of(this_thread());  // without /proc: probably
}

bool is_marked(const siginfo_t& info) noexcept {
  return (info.si_errno & ~generation_bits) == mark();
}

signal_state state_of(siginfo_t& info) noexcept {
  if (!is_marked(info)) return signal_state::fresh;
  const counted_signal& c = counted[static_cast<unsigned>(info.si_signo)];
  if ((info.si_errno & generation_bits) != static_cast<int>(c.generation)) {
    if (old_copies.load() != 0) old_copies.fetch_sub(1);
    return signal_state::out_of_date;
  }
  info = c.info;
  return signal_state::counted;
}

// Gives the signals that a thread holds back when it ends.
struct holder_end {
  bool is_armed = false;
  ~holder_end() {
    if (!is_armed) return;
    const scoped_lock hold;
    const pid_t self = this_thread();
    each_signal(held.load(), [self](unsigned signal) {
      siginfo_t info;
      if (counted[signal].holder != self) return;
      set_holder(signal, 0);
      if (take(signal, info) && state_of(info) == signal_state::counted) give_back(signal);
    });
  }
};
thread_local holder_end at_thread_end;

// A thread that moves signals to itself.
struct mover {
  pid_t self;
  std::uint64_t again = 0;  // signals that it has to look at again, soon
};

// Some thread blocks all signals. A function of the C library does so for microseconds. Returns
// false if it takes too long to be one.
bool is_brief(counted_signal& c) noexcept {
  constexpr std::uint64_t brief = 10'000'000;  // ns
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  const std::uint64_t now =
      static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(t.tv_nsec);
  if (c.uncertain_since == 0) c.uncertain_since = now;
  return now - c.uncertain_since < brief;
}

// Returns whether the signal may be moved to this thread. If not, the thread that may take it, or
// that leaves it, counts it or calls signal_skipped().
bool may_move(unsigned signal, mover& by) noexcept {
  if (base::one_thread()) return true;
  const std::uint64_t only = signal_bit(signal);
  skipped.fetch_or(only);
  if (takers[signal].load() != 0) return false;
  const reception others = reception_of(only, by.self);
  counted_signal& c = counted[signal];
  if (others == reception::uncertain && is_brief(c)) {
    by.again |= only;
    return false;
  }
  c.uncertain_since = 0;
  if (others == reception::possible) return false;
  skipped.fetch_and(~only);
  return true;
}

// Counts a pending signal and puts it back. Returns how often it was pending without being counted.
unsigned move(unsigned signal, mover& by) noexcept {
  if (!may_move(signal, by)) return 0;
  const pid_t self = by.self;
  counted_signal& c = counted[signal];
  unsigned fresh = 0;
  bool found = false;
  constexpr int most = 8;  // two, unless a sender is fast
  siginfo_t first{};
  siginfo_t info;
  for (int i = 0; i < most && take(signal, info); ++i) {
    const signal_state state = state_of(info);
    if (state == signal_state::out_of_date) continue;
    if (state == signal_state::fresh) ++fresh;
    if (!found) first = info;  // signals merge into the oldest
    found = true;
  }
  if (!found) {
    if (c.holder == self) set_holder(signal, 0);
    return 0;
  }
  // One that another thread holds is pending already.
  if (c.holder != 0 && c.holder != self && is_still_held(signal)) return fresh;
  c.info = first;
  set_holder(signal, self);
  // A thread that wants the signal since may_move() looks at `held` after it is in `takers`, or
  // after it has changed its mask.
  if (may_move(signal, by)) {
    put_back(signal, self);
  } else {
    give_back(signal);
    by.again |= signal_bit(signal);  // not at once, so that the other thread finds it
  }
  return fresh;
}

bool count_new(std::uint64_t signals, mover& by) noexcept {
  const scoped_lock hold;
  // One that this thread does not block is about to be delivered.
  std::uint64_t pending = pending_now() & signals & hold.blocked();
  std::uint64_t own = 0;  // held by this thread: there may be another one for the process
  each_signal(held.load() & pending, [&](unsigned signal) {
    if (counted[signal].holder == by.self) own |= signal_bit(signal);
  });
  if (own != 0) {
    const std::optional<thread_status> status = status_of(by.self);
    if (status) own &= ~status->pending_of_process;
    pending &= ~own;
  }
  bool any = false;
  each_signal(pending, [&](unsigned signal) {
    for (unsigned left = move(signal, by); left != 0; --left) {
      signal_delivered(signal);
      any = true;
    }
  });
  return any;
}

// Makes room for a copy: one that is pending for this thread already would keep it from being
// queued.
void drop_own(unsigned signal, pid_t self) noexcept {
  const std::optional<thread_status> status = status_of(self);
  siginfo_t info;
  if (!status || (status->pending & signal_bit(signal)) == 0 || !take(signal, info)) return;
  if (state_of(info) == signal_state::fresh) signal_delivered(signal);  // merges
}

// Fetches those of `signals` that other threads hold.
void fetch(std::uint64_t signals) noexcept {
  if ((held.load() & signals) == 0 || !own_process::is_current()) return;
  const scoped_lock hold;
  const pid_t self = this_thread();
  each_signal(held.load() & signals, [self](unsigned signal) {
    if (counted[signal].holder == self) return;
    if (!is_still_held(signal)) return set_holder(signal, 0);
    old_copies.fetch_add(1);
    drop_own(signal, self);
    put_back(signal, self);
  });
}

// Has kqueues look at signals that were skipped.
void report_skipped(std::uint64_t signals) noexcept {
  const std::uint64_t left = skipped.load() & signals;
  if (left == 0 || !own_process::is_current()) return;
  skipped.fetch_and(~left);
  signal_skipped(left);
}

}  // namespace

bool count_new(std::uint64_t signals) noexcept {
  if ((pending_now() & signals & standard_signals) == 0) return false;
  if (!base::one_thread()) at_thread_end.is_armed = true;
  mover by{this_thread()};
  const bool any = count_new(signals & standard_signals, by);
  if (by.again != 0) {
    // Without the lock, which the other thread may be waiting for.
    const timespec a_moment{0, 50'000};
    syscall(SYS_nanosleep, &a_moment, nullptr);
    signal_skipped(by.again);
  }
  return any;
}

signal_state examine(siginfo_t& info) noexcept {
  const auto signal = static_cast<unsigned>(info.si_signo);
  if (signal == 0 || signal >= standard_count) return signal_state::fresh;
  if (!is_marked(info)) {
    // It was skipped for the thread that has it now.
    if ((skipped.load(std::memory_order_relaxed) & signal_bit(signal)) != 0)
      skipped.fetch_and(~signal_bit(signal));
    return signal_state::fresh;
  }
  const scoped_lock hold;
  const signal_state state = state_of(info);
  if (state == signal_state::counted) set_holder(signal, 0);
  return state;
}

void discard_pending(unsigned signal) noexcept {
  if (signal >= standard_count || (watched.load() & signal_bit(signal)) == 0) return;
  const scoped_lock hold;
  siginfo_t info;
  while (take(signal, info)) {
    if (state_of(info) == signal_state::fresh) signal_delivered(signal);
  }
  if (counted[signal].holder != 0 && is_still_held(signal)) old_copies.fetch_add(1);
  next_copy(counted[signal]);
  set_holder(signal, 0);
}

void drop_old_copies() noexcept {
  if (old_copies.load() == 0 || !own_process::is_current()) return;
  if ((pending_now() & standard_signals) == 0) return;
  const scoped_lock hold;
  const pid_t self = this_thread();
  const std::optional<thread_status> status = status_of(self);
  if (!status) return;
  each_signal(status->pending & standard_signals, [self](unsigned signal) {
    siginfo_t info;
    if (counted[signal].holder == self || !take(signal, info)) return;
    const siginfo_t as_it_came = info;
    if (state_of(info) != signal_state::out_of_date)
      syscall(SYS_rt_tgsigqueueinfo, getpid(), self, signal, &as_it_came);
  });
}

void set_watched(unsigned signal, bool is_watched) noexcept {
  const std::uint64_t only = signal_bit(signal) & standard_signals;
  is_watched ? watched.fetch_or(only) : watched.fetch_and(~only);
}

void after_mask_change() noexcept {
  if ((held.load() | skipped.load()) != 0) before_mask_change(exchange_mask(nullptr));
}

void before_mask_change(std::uint64_t blocked) noexcept {
  fetch(~blocked);
  report_skipped(~std::uint64_t{0});
}

void add_held_signals(sigset_t& pending) noexcept {
  if (held.load() == 0 || !own_process::is_current()) return;
  const scoped_lock hold;
  each_signal(held.load(), [&pending](unsigned signal) {
    if (sigismember(&pending, static_cast<int>(signal)) == 0 && is_still_held(signal))
      sigaddset(&pending, static_cast<int>(signal));
  });
}

// With one thread the kernel does it all.
signal_taker::signal_taker(std::uint64_t signals) noexcept : signals_(signals & watched.load()) {
  if (signals_ == 0) return;
  if (base::one_thread() || !own_process::is_current()) {
    signals_ = 0;
    return;
  }
  drop_old_copies();
  each_signal(signals_, [](unsigned signal) { takers[signal].fetch_add(1); });
  fetch(signals_);
}

void signal_taker::end() noexcept {
  each_signal(signals_, [](unsigned signal) { takers[signal].fetch_sub(1); });
  report_skipped(signals_);
}

void forget_pending_in_child() noexcept {
  new (&lock) base::mutex;
  held.store(0);
  skipped.store(0);
  old_copies.store(0);
  watched.store(0);
  for (unsigned signal = 1; signal < standard_count; ++signal) {
    counted[signal].holder = 0;
    takers[signal].store(0);
  }
}

}  // namespace kedge::kqueue
