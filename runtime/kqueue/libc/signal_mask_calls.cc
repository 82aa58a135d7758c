// Defines the C library's calls that accept, unblock or list pending signals: sigwait, sigwaitinfo,
// sigtimedwait, pthread_sigmask, sigprocmask, sigpending, sigsuspend, pselect, ppoll, epoll_pwait
// and epoll_pwait2. A signal that a kqueue has counted may be pending for another thread
// (pending_signals.h), and one that a call accepts may have to be counted. They behave as the C
// library's, and are as safe in a signal handler.
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <time.h>

#include <cerrno>
#include <cstddef>
#include <limits>
#include <optional>

#include "kedge/runtime/base/parker.h"
#include "kedge/runtime/kqueue/filters/signal_watch.h"
#include "kedge/runtime/kqueue/libc/next_definition.h"
#include "kedge/runtime/kqueue/libc/own_process.h"
#include "kedge/runtime/kqueue/libc/pending_signals.h"
#include "kedge/runtime/kqueue/libc/signal_mask.h"

extern "C" {
[[gnu::weak]] decltype(sigwaitinfo) __interceptor_sigwaitinfo;
[[gnu::weak]] decltype(sigtimedwait) __interceptor_sigtimedwait;
[[gnu::weak]] decltype(pthread_sigmask) __interceptor_pthread_sigmask;
[[gnu::weak]] decltype(sigprocmask) __interceptor_sigprocmask;
[[gnu::weak]] decltype(sigpending) __interceptor_sigpending;
[[gnu::weak]] decltype(sigsuspend) __interceptor_sigsuspend;
[[gnu::weak]] decltype(pselect) __interceptor_pselect;
[[gnu::weak]] decltype(ppoll) __interceptor_ppoll;
// ppoll() of a program that is compiled with _FORTIFY_SOURCE.
int __ppoll_chk(pollfd* fds, nfds_t count, const timespec* time_out, const sigset_t* mask,
                std::size_t size);
[[gnu::weak]] decltype(__ppoll_chk) __interceptor___ppoll_chk;
[[gnu::weak]] decltype(epoll_pwait) __interceptor_epoll_pwait;
[[gnu::weak]] decltype(epoll_pwait2) __interceptor_epoll_pwait2;
}

namespace kedge::kqueue {
namespace {

// Looked up by a constructor: dlsym() is not allowed in a signal handler.
constinit next_definition next_sigwaitinfo("sigwaitinfo", &__interceptor_sigwaitinfo);
constinit next_definition next_sigtimedwait("sigtimedwait", &__interceptor_sigtimedwait);
constinit next_definition next_pthread_sigmask("pthread_sigmask", &__interceptor_pthread_sigmask);
constinit next_definition next_sigprocmask("sigprocmask", &__interceptor_sigprocmask);
constinit next_definition next_sigpending("sigpending", &__interceptor_sigpending);
constinit next_definition next_sigsuspend("sigsuspend", &__interceptor_sigsuspend);
constinit next_definition next_pselect("pselect", &__interceptor_pselect);
constinit next_definition next_ppoll("ppoll", &__interceptor_ppoll);
constinit next_definition next_ppoll_chk("__ppoll_chk", &__interceptor___ppoll_chk);
constinit next_definition next_epoll_pwait("epoll_pwait", &__interceptor_epoll_pwait);
constinit next_definition next_epoll_pwait2("epoll_pwait2", &__interceptor_epoll_pwait2);

[[gnu::constructor]] void look_up() noexcept {
  next_sigwaitinfo.find();
  next_sigtimedwait.find();
  next_pthread_sigmask.find();
  next_sigprocmask.find();
  next_sigpending.find();
  next_sigsuspend.find();
  next_pselect.find();
  next_ppoll.find();
  next_ppoll_chk.find();
  next_epoll_pwait.find();
  next_epoll_pwait2.find();
}

// Returns how long it is until then, by CLOCK_MONOTONIC. 0: it is over.
timespec time_left(const timespec& until) noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  timespec left{until.tv_sec - now.tv_sec, until.tv_nsec - now.tv_nsec};
  constexpr long second = 1'000'000'000;  // ns
  if (left.tv_nsec < 0) left = {left.tv_sec - 1, left.tv_nsec + second};
  if (left.tv_nsec >= second) left = {left.tv_sec + 1, left.tv_nsec - second};
  return left.tv_sec < 0 ? timespec{} : left;
}

// Runs `wait`, which accepts one of the signals into a siginfo and returns it, or a result that is
// not a signal. Counts a signal that is not counted. Not noexcept: a cancellation point.
template <class Wait>
int accept(const sigset_t& set, siginfo_t* info, Wait wait) {
  const signal_taker taker(bits_of(set));
  for (;;) {
    siginfo_t accepted{};
    const int signal = wait(accepted);
    if (signal <= 0) return signal;
    if (own_process::is_current()) {
      const signal_state state = examine(accepted);
      if (state == signal_state::out_of_date) continue;
      if (state == signal_state::fresh) signal_accepted(static_cast<unsigned>(signal));
    }
    if (info != nullptr) *info = accepted;
    return signal;
  }
}

// Ends the run of a process that a scheduler runs: the call would wait for what is outside.
void stop_if_scheduled(const char* call) noexcept {
  if (base::parker* const scheduler = base::parker::of_thread()) scheduler->stop_outside(call);
}

// Likewise for a call that `ask` makes without a wait, if that finds nothing. Requires that the
// call may wait. Returns what `ask` does, or no value if no scheduler runs the process.
template <class Ask>
std::optional<int> ask_if_scheduled(const char* call, bool may_wait, Ask ask) {
  if (!may_wait || base::parker::of_thread() == nullptr) [[likely]]
    return std::nullopt;
  const int found = ask();
  if (found == 0) stop_if_scheduled(call);
  return found;
}

bool may_wait(const timespec* time_out) noexcept {
  return time_out == nullptr || time_out->tv_sec != 0 || time_out->tv_nsec != 0;
}

constexpr timespec no_time{};

}  // namespace
}  // namespace kedge::kqueue

using namespace kedge::kqueue;

extern "C" int sigwaitinfo(const sigset_t* set, siginfo_t* info) {
  stop_if_scheduled("sigwaitinfo");
  return accept(*set, info, [set](siginfo_t& into) { return next_sigwaitinfo(set, &into); });
}

extern "C" int sigtimedwait(const sigset_t* set, siginfo_t* info, const timespec* time_out) {
  if (may_wait(time_out)) stop_if_scheduled("sigtimedwait");
  // The call may be made more than once, but waits for the time-out once.
  bool is_first = true;
  timespec until{};
  clock_gettime(CLOCK_MONOTONIC, &until);
  if (time_out != nullptr && __builtin_add_overflow(until.tv_sec, time_out->tv_sec, &until.tv_sec))
    until.tv_sec = std::numeric_limits<time_t>::max();
  if (time_out != nullptr) until.tv_nsec += time_out->tv_nsec;
  return accept(*set, info, [&](siginfo_t& into) {
    if (is_first || time_out == nullptr) {
      is_first = false;
      return next_sigtimedwait(set, &into, time_out);
    }
    const timespec left = time_left(until);
    return next_sigtimedwait(set, &into, &left);
  });
}

extern "C" int sigwait(const sigset_t* set, int* signal) {
  stop_if_scheduled("sigwait");
  const int error = errno;
  int accepted = -1;
  do {
    accepted =
        accept(*set, nullptr, [set](siginfo_t& into) { return next_sigwaitinfo(set, &into); });
  } while (accepted < 0 && errno == EINTR);
  const int result = accepted < 0 ? errno : 0;
  if (result == 0) *signal = accepted;
  errno = error;
  return result;
}

extern "C" int pthread_sigmask(int how, const sigset_t* set, sigset_t* before) noexcept {
  if (set != nullptr) drop_old_copies();
  const int error = next_pthread_sigmask(how, set, before);
  if (error == 0 && set != nullptr) after_mask_change();
  return error;
}

extern "C" int sigprocmask(int how, const sigset_t* set, sigset_t* before) noexcept {
  if (set != nullptr) drop_old_copies();
  const int result = next_sigprocmask(how, set, before);
  if (result == 0 && set != nullptr) after_mask_change();
  return result;
}

extern "C" int sigpending(sigset_t* set) noexcept {
  drop_old_copies();
  const int result = next_sigpending(set);
  if (result == 0) add_held_signals(*set);
  return result;
}

// The rest are cancellation points, so they are not noexcept.

extern "C" int sigsuspend(const sigset_t* mask) {
  stop_if_scheduled("sigsuspend");
  const signal_taker taker = signal_taker::by_mask(mask);
  return next_sigsuspend(mask);
}

extern "C" int pselect(int count, fd_set* readable, fd_set* writable, fd_set* exceptional,
                       const timespec* time_out, const sigset_t* mask) {
  if (may_wait(time_out)) stop_if_scheduled("pselect");
  const signal_taker taker = signal_taker::by_mask(mask);
  return next_pselect(count, readable, writable, exceptional, time_out, mask);
}

extern "C" int ppoll(pollfd* fds, nfds_t count, const timespec* time_out, const sigset_t* mask) {
  const auto ask = [=] { return next_ppoll(fds, count, &no_time, mask); };
  if (const auto found = ask_if_scheduled("ppoll", may_wait(time_out), ask)) return *found;
  const signal_taker taker = signal_taker::by_mask(mask);
  return next_ppoll(fds, count, time_out, mask);
}

extern "C" int __ppoll_chk(pollfd* fds, nfds_t count, const timespec* time_out,
                           const sigset_t* mask, std::size_t size) {
  const signal_taker taker = signal_taker::by_mask(mask);
  return next_ppoll_chk(fds, count, time_out, mask, size);
}

extern "C" int epoll_pwait(int epoll, epoll_event* events, int room, int time_out,
                           const sigset_t* mask) {
  const signal_taker taker = signal_taker::by_mask(mask);
  return next_epoll_pwait(epoll, events, room, time_out, mask);
}

extern "C" int epoll_pwait2(int epoll, epoll_event* events, int room, const timespec* time_out,
                            const sigset_t* mask) {
  const signal_taker taker = signal_taker::by_mask(mask);
  return next_epoll_pwait2(epoll, events, room, time_out, mask);
}
