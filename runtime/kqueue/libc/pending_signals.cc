#include "kedge/runtime/kqueue/libc/pending_signals.h"

#include <pthread.h>
#include <sys/auxv.h>
#include <time.h>

#include <atomic>
#include <bit>
#include <cerrno>
#include <optional>

#include "kedge/runtime/base/one_thread.h"
#include "kedge/runtime/kqueue/filters/signal_watch.h"
#include "kedge/runtime/kqueue/libc/own_process.h"
#include "kedge/runtime/kqueue/libc/thread_status.h"

namespace kedge::kqueue {
namespace {

constexpr int generation_bits = 0xffff;

// Returns si_errno of a signal that is counted, but for its generation. A signal that was counted
// before exec is not ours, so the rest is random. It is not 0, which Linux stores.
int mark() noexcept {
  static constinit std::atomic<int> value{0};
  int present = value.load(std::memory_order_relaxed);
  if (present != 0) return present;
  const auto* const random = reinterpret_cast<const unsigned char*>(getauxval(AT_RANDOM));
  present = 0x4b00'0000;
  if (random != nullptr) present |= random[0] << 16;
  value.store(present, std::memory_order_relaxed);
  return present;
}

constexpr unsigned standard_count = 32;  // 1 to 31

// One signal that was moved last, under the lock.
struct moved_signal {
  siginfo_t info{};         // as it came
  pid_t holder = 0;         // the thread that it is pending for. 0: none, or the process
  unsigned generation = 0;  // of the copy that is up to date
};

moved_signal moved[standard_count];
constinit std::atomic<std::uint64_t> held{0};      // those with a holder
constinit std::atomic<std::uint64_t> watched{0};   // those that kqueues watch
constinit std::atomic<std::uint64_t> in_place{0};  // those that are pending and counted in place
constinit std::atomic<std::uint32_t> takers[standard_count]{};  // signal_takers
// How many copies are pending that are out of date, or more.
constinit std::atomic<std::uint32_t> old_copies{0};

// Signals that were sent to this thread, are pending, and are counted.
[[gnu::tls_model("initial-exec")]] constinit thread_local std::uint64_t own_in_place = 0;

// The lock. A thread that waits for it does not block all signals, because the holder of the lock
// could not know then what the thread blocks.
constinit std::atomic<int> is_locked{0};

class scoped_lock {
 public:
  scoped_lock() noexcept {
    const std::uint64_t all = ~std::uint64_t{0};
    for (;;) {
      is_locked.wait(1);
      blocked_ = exchange_mask(&all);
      if (is_locked.exchange(1) == 0) return;
      exchange_mask(&blocked_);
    }
  }
  scoped_lock(const scoped_lock&) = delete;
  scoped_lock& operator=(const scoped_lock&) = delete;
  ~scoped_lock() {
    is_locked.store(0);
    is_locked.notify_all();
    exchange_mask(&blocked_);
    errno = error_;
  }

  // The thread's mask from before.
  std::uint64_t blocked() const noexcept { return blocked_; }

 private:
  const int error_ = errno;
  std::uint64_t blocked_ = 0;
};

// Calls visit(signal) for each bit.
template <class Visit>
void each_signal(std::uint64_t signals, Visit visit) noexcept {
  for (; signals != 0; signals &= signals - 1)
    visit(static_cast<unsigned>(std::countr_zero(signals)) + 1);
}

// Its destructor runs at the end of a thread that has been a holder. Not a thread_local object: a
// signal handler must not be the first to use one, and this one is used in destructors too.
constinit std::atomic<bool> has_end_key{false};
pthread_key_t end_key;

pid_t this_thread() noexcept {
  return static_cast<pid_t>(syscall(SYS_gettid));
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
  moved[signal].holder = thread;
  thread != 0 ? held.fetch_or(signal_bit(signal)) : held.fetch_and(~signal_bit(signal));
  if (thread != 0 && has_end_key.load()) pthread_setspecific(end_key, &moved);
}

siginfo_t next_copy(moved_signal& c) noexcept {
  c.generation = (c.generation + 1) & generation_bits;
  siginfo_t copy = c.info;
  copy.si_errno = mark() | static_cast<int>(c.generation);
  return copy;
}

// Makes the signal pending for this thread.
void put_back(unsigned signal, pid_t self) noexcept {
  set_holder(signal, self);
  const siginfo_t copy = next_copy(moved[signal]);
  syscall(SYS_rt_tgsigqueueinfo, real_pid(), self, signal, &copy);
}

// Makes the signal pending for the process.
void give_back(unsigned signal) noexcept {
  set_holder(signal, 0);
  in_place.fetch_or(signal_bit(signal));
  siginfo_t copy = next_copy(moved[signal]);
  if (syscall(SYS_rt_sigqueueinfo, real_pid(), signal, &copy) == 0) return;
  copy.si_code = SI_QUEUE;  // Linux lets only the main thread pretend more
  syscall(SYS_rt_sigqueueinfo, real_pid(), signal, &copy);
}

// Returns whether the copy of a held signal is still pending for its holder. It is not if the
// program has taken it by a call that this library does not see.
bool is_still_held(unsigned signal) noexcept {
  const std::optional<thread_status> status = status_of(moved[signal].holder);
  if (status) return (status->pending & signal_bit(signal)) != 0;
  return !status_of(this_thread());  // without /proc: probably
}

bool is_marked(const siginfo_t& info) noexcept {
  return (info.si_errno & ~generation_bits) == mark();
}

// A signal without our mark was received: returns whether it was counted in place. pthread_kill()
// and raise() send it to a thread.
bool ends_in_place(const siginfo_t& info) noexcept {
  const std::uint64_t only = signal_bit(static_cast<unsigned>(info.si_signo));
  if (info.si_code == SI_TKILL && !base::one_thread()) {
    const bool was = (own_in_place & only) != 0;
    own_in_place &= ~only;
    return was;
  }
  return (in_place.load() & only) != 0 && (in_place.fetch_and(~only) & only) != 0;
}

signal_state state_of(siginfo_t& info) noexcept {
  if (!is_marked(info)) return signal_state::fresh;
  const moved_signal& c = moved[static_cast<unsigned>(info.si_signo)];
  if ((info.si_errno & generation_bits) != static_cast<int>(c.generation)) {
    if (old_copies.load() != 0) old_copies.fetch_sub(1);
    return signal_state::out_of_date;
  }
  info = c.info;
  return signal_state::counted;
}

// At the end of a thread: gives the signals that it holds back to the process.
void at_thread_end(void*) noexcept {
  const scoped_lock hold;
  const pid_t self = this_thread();
  const std::optional<thread_status> status = status_of(self);
  std::uint64_t own = held.load();
  if (status) own |= status->pending & standard_signals;
  each_signal(own, [&](unsigned signal) {
    siginfo_t info;
    const bool is_holder = moved[signal].holder == self;
    if (is_holder) set_holder(signal, 0);
    if (status ? (status->pending & signal_bit(signal)) == 0 : !is_holder) return;
    if (!take(signal, info)) return;
    const signal_state state = state_of(info);
    if (!is_holder || state == signal_state::out_of_date) return;
    if (state == signal_state::fresh && !ends_in_place(info)) signal_delivered(signal);
    moved[signal].info = info;
    give_back(signal);
  });
}

// Counts one that stays in the process's pending set. Returns whether it was not counted before.
bool count_in_place(unsigned signal) noexcept {
  const std::uint64_t only = signal_bit(signal);
  if ((in_place.fetch_or(only) & only) != 0) return false;
  // It may have been received just now. If the bit is still set, the receiver has not seen the bit
  // and has counted the signal. Otherwise the receiver has cleared it and has not.
  if ((pending_now() & only) == 0 && (in_place.fetch_and(~only) & only) != 0) return false;
  signal_delivered(signal);
  return true;
}

// The same for one that was sent to this thread.
bool count_own_in_place(unsigned signal) noexcept {
  if ((own_in_place & signal_bit(signal)) != 0) return false;
  own_in_place |= signal_bit(signal);
  signal_delivered(signal);
  return true;
}

// Returns whether the signal, which this thread blocks, may be moved to it.
bool may_move(unsigned signal, pid_t self) noexcept {
  if (base::one_thread()) return true;
  return takers[signal].load() == 0 && others_block(signal_bit(signal), self);
}

// A function of the C library, or of this library, may block all signals in another thread for
// microseconds, and so does a thread that begins or ends; for longer if the thread is preempted.
// Looks again for 10 ms at most, because a signal that is counted in place keeps the next one from
// being counted.
bool may_move_soon(unsigned signal, pid_t self) noexcept {
  for (int left = (in_place.load() & signal_bit(signal)) != 0 ? 0 : 100;; --left) {
    if (may_move(signal, self)) return true;
    if (left == 0 || takers[signal].load() != 0) return false;
    const timespec a_moment{0, 100'000};
    syscall(SYS_nanosleep, &a_moment, nullptr);
  }
}

// Counts a signal that may be moved, and moves it to this thread. Returns whether there was one.
bool move(unsigned signal, pid_t self) noexcept {
  moved_signal& m = moved[signal];
  const std::uint64_t only = signal_bit(signal);
  bool found = false;
  constexpr int most = 8;  // two, unless a sender is fast
  siginfo_t first{};
  siginfo_t info;
  for (int i = 0; i < most && take(signal, info); ++i) {
    const signal_state state = state_of(info);
    if (state == signal_state::out_of_date) continue;
    if (!found) first = info;  // signals merge into the oldest
    found = true;
    if (state == signal_state::counted && m.holder != 0) continue;
    const bool was_in_place = (in_place.fetch_and(~only) & only) != 0;
    if (state == signal_state::fresh && !was_in_place) signal_delivered(signal);
  }
  if (!found) {
    if (m.holder == self) set_holder(signal, 0);
    return false;
  }
  // One that another thread holds is pending already.
  if (m.holder != 0 && m.holder != self && is_still_held(signal)) return true;
  m.info = first;
  set_holder(signal, self);
  // A thread that wants the signal since the first look at it looks at `held` after it is in
  // `takers`, or after it has changed its mask.
  if (may_move(signal, self)) {
    put_back(signal, self);
  } else {
    give_back(signal);
  }
  return true;
}

// Makes room for a copy: one that is pending for this thread already would keep it from being
// queued. Returns false if it was sent to this thread, which finds it first.
bool drop_own(unsigned signal, pid_t self) noexcept {
  const std::optional<thread_status> status = status_of(self);
  siginfo_t info;
  if (!status || (status->pending & signal_bit(signal)) == 0 || !take(signal, info)) return true;
  const siginfo_t as_it_came = info;
  if (state_of(info) == signal_state::out_of_date) return true;
  syscall(SYS_rt_tgsigqueueinfo, real_pid(), self, signal, &as_it_came);
  return false;
}

// Fetches those of `signals` that other threads hold.
void fetch(std::uint64_t signals) noexcept {
  if ((held.load() & signals) == 0 || !own_process::is_current()) return;
  const scoped_lock hold;
  const pid_t self = this_thread();
  each_signal(held.load() & signals, [self](unsigned signal) {
    if (moved[signal].holder == self) return;
    if (!is_still_held(signal)) return set_holder(signal, 0);
    if (!drop_own(signal, self)) return;
    old_copies.fetch_add(1);
    put_back(signal, self);
  });
}

// In a program with one thread. It need not tell apart what is pending for the thread and for the
// process, but for a signal that it has moved. Without the status it moves none.
bool count_of_one_thread(std::uint64_t pending, int process_status, pid_t self) noexcept {
  bool any = false;
  const std::optional<thread_status> status = status_from(process_status);
  each_signal(pending, [&](unsigned signal) {
    const bool is_holder = moved[signal].holder == self;
    if (!status) {
      if (!is_holder) any |= count_in_place(signal);
    } else if (!is_holder || (status->pending_of_process & signal_bit(signal)) != 0) {
      any |= move(signal, self);
    }
  });
  return any;
}

bool count_of_threads(std::uint64_t pending, pid_t self) noexcept {
  bool any = false;
  const std::optional<thread_status> status = status_of(self);
  if (status) own_in_place &= status->pending;
  each_signal(pending, [&](unsigned signal) {
    const std::uint64_t only = signal_bit(signal);
    const bool is_holder = moved[signal].holder == self;
    const bool is_own = status && (status->pending & only) != 0 && !is_holder;
    if (is_own) any |= count_own_in_place(signal);
    if (status ? (status->pending_of_process & only) == 0 : is_holder) return;
    any |= status && !is_own && may_move_soon(signal, self) ? move(signal, self)
                                                            : count_in_place(signal);
  });
  return any;
}

}  // namespace

bool count_new(std::uint64_t signals, int process_status) noexcept {
  signals &= standard_signals;
  if ((pending_now() & signals) == 0) return false;
  drop_old_copies();
  const scoped_lock hold;
  // One that this thread does not block is about to be delivered.
  const std::uint64_t pending = pending_now() & signals & hold.blocked();
  if (pending == 0) return false;
  const pid_t self = this_thread();
  return base::one_thread() ? count_of_one_thread(pending, process_status, self)
                            : count_of_threads(pending, self);
}

signal_state examine(siginfo_t& info) noexcept {
  const auto signal = static_cast<unsigned>(info.si_signo);
  if (signal == 0 || signal >= standard_count) return signal_state::fresh;
  if (!is_marked(info)) return ends_in_place(info) ? signal_state::counted : signal_state::fresh;
  const scoped_lock hold;
  const signal_state state = state_of(info);
  if (state != signal_state::counted) return state;
  if (moved[signal].holder == 0) in_place.fetch_and(~signal_bit(signal));  // it was given back
  set_holder(signal, 0);
  return state;
}

void discard_pending(unsigned signal) noexcept {
  if (signal >= standard_count || (watched.load() & signal_bit(signal)) == 0) return;
  const scoped_lock hold;
  siginfo_t info;
  while (take(signal, info)) {
    if (state_of(info) == signal_state::fresh && !ends_in_place(info)) signal_delivered(signal);
  }
  next_copy(moved[signal]);
  set_holder(signal, 0);
  in_place.fetch_and(~signal_bit(signal));
}

std::optional<siginfo_t> take_pending(unsigned signal) noexcept {
  if (signal >= standard_count) return std::nullopt;
  const scoped_lock hold;
  std::optional<siginfo_t> found;
  moved_signal& m = moved[signal];
  if (m.holder != 0 && is_still_held(signal)) found = m.info;
  siginfo_t info;
  while (take(signal, info)) {
    if (state_of(info) != signal_state::out_of_date && !found) found = info;
  }
  next_copy(m);
  set_holder(signal, 0);
  in_place.fetch_and(~signal_bit(signal));
  return found;
}

void make_pending(unsigned signal, const siginfo_t& info) noexcept {
  const scoped_lock hold;
  moved[signal].info = info;
  put_back(signal, this_thread());
}

void drop_old_copies() noexcept {
  if (old_copies.load() == 0 || !own_process::is_current()) return;
  if ((pending_now() & standard_signals) == 0) return;
  const scoped_lock hold;
  const pid_t self = this_thread();
  const std::optional<thread_status> status = status_of(self);
  if (!status) return;
  each_signal(status->pending & standard_signals & ~own_in_place, [self](unsigned signal) {
    if (moved[signal].holder != self) drop_own(signal, self);
  });
}

void set_watched(unsigned signal, bool is_watched) noexcept {
  const std::uint64_t only = signal_bit(signal) & standard_signals;
  if (!is_watched) {
    watched.fetch_and(~only);
    in_place.fetch_and(~only);
    return;
  }
  watched.fetch_or(only);
  if (!has_end_key.load() && pthread_key_create(&end_key, at_thread_end) == 0)
    has_end_key.store(true);
}

void after_mask_change() noexcept {
  if (held.load() != 0) before_mask_change(exchange_mask(nullptr));
}

void before_mask_change(std::uint64_t blocked) noexcept {
  fetch(~blocked);
}

void add_held_signals(sigset_t& pending) noexcept {
  if (held.load() == 0 || !own_process::is_current()) return;
  const scoped_lock hold;
  each_signal(held.load(), [&pending](unsigned signal) {
    if (sigismember(&pending, static_cast<int>(signal)) == 0 && is_still_held(signal))
      sigaddset(&pending, static_cast<int>(signal));
  });
}

// With one thread the kernel does it all. A signal may be held that is not watched any more.
signal_taker::signal_taker(std::uint64_t signals) noexcept
    : signals_(signals & (watched.load() | held.load())) {
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
  each_signal(signals_, [](unsigned signal) {
    // It is 0 already in the child that a handler has forked.
    std::uint32_t present = takers[signal].load();
    while (present != 0 && !takers[signal].compare_exchange_weak(present, present - 1)) {
    }
  });
}

void forget_pending_in_child() noexcept {
  is_locked.store(0);
  held.store(0);
  in_place.store(0);
  own_in_place = 0;
  old_copies.store(0);
  watched.store(0);
  for (unsigned signal = 1; signal < standard_count; ++signal) {
    moved[signal].holder = 0;
    takers[signal].store(0);
  }
}

}  // namespace kedge::kqueue
