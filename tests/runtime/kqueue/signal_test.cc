// EVFILT_SIGNAL: counts, masks, wakeups and EINTR.

#include "test_kqueue.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include <atomic>
#include <thread>

namespace {

std::atomic<int> handled{0};
void count(int) {
  ++handled;
}

// A disposition of a signal. The destructor restores the one from before.
class scoped_disposition {
 public:
  scoped_disposition(int signal, void (*handler)(int), int flags = 0) : signal_(signal) {
    struct sigaction action{};
    action.sa_handler = handler;
    action.sa_flags = flags;
    REQUIRE(sigaction(signal, &action, &before_) == 0);
  }
  scoped_disposition(const scoped_disposition&) = delete;
  scoped_disposition& operator=(const scoped_disposition&) = delete;
  ~scoped_disposition() { sigaction(signal_, &before_, nullptr); }

 private:
  int signal_;
  struct sigaction before_{};
};

// A knote of EVFILT_SIGNAL. end() or the destructor deletes it.
class signal_watch {
 public:
  signal_watch(const test_kqueue& kq, int signal, unsigned flags = 0) : kq_(kq), signal_(signal) {
    REQUIRE(kq.apply(signal, EVFILT_SIGNAL, EV_ADD | flags, 0, 123, 4) == 0);
  }
  signal_watch(const signal_watch&) = delete;
  signal_watch& operator=(const signal_watch&) = delete;
  ~signal_watch() { end(); }
  void end() {
    if (!ended_) CHECK(kq_.apply(signal_, EVFILT_SIGNAL, EV_DELETE) == 0);
    ended_ = true;
  }

 private:
  const test_kqueue& kq_;
  int signal_;
  bool ended_ = false;
};

// Blocks a signal in the calling thread and those that it starts. end() or the destructor unblocks
// it.
class scoped_signal_block {
 public:
  explicit scoped_signal_block(int signal) {
    sigemptyset(&only_);
    sigaddset(&only_, signal);
    REQUIRE(pthread_sigmask(SIG_BLOCK, &only_, nullptr) == 0);
  }
  scoped_signal_block(const scoped_signal_block&) = delete;
  scoped_signal_block& operator=(const scoped_signal_block&) = delete;
  ~scoped_signal_block() { end(); }
  void end() const { pthread_sigmask(SIG_UNBLOCK, &only_, nullptr); }
  int wait() const {
    int signal = 0;
    REQUIRE(sigwait(&only_, &signal) == 0);
    return signal;
  }

 private:
  sigset_t only_{};
};

bool is_pending(int signal) {
  sigset_t now;
  REQUIRE(sigpending(&now) == 0);
  return sigismember(&now, signal) == 1;
}

bool is_ignored(int signal) {
  struct sigaction action{};
  REQUIRE(sigaction(signal, nullptr, &action) == 0);
  return action.sa_handler == SIG_IGN;
}

// A kqueue that is used before main and before the constructors of the library: the count that it
// reported of one signal.
std::int64_t counted_before_main = -1;
[[gnu::constructor(101)]] void watch_before_main() {
  const int kq = kqueue();
  kevent64_s event = change(std::uint64_t{SIGUSR2}, EVFILT_SIGNAL, EV_ADD);
  kevent64(kq, &event, 1, nullptr, 0, 0, nullptr);
  void (*const before)(int) = signal(SIGUSR2, SIG_IGN);
  kill(getpid(), SIGUSR2);
  const timespec zero{0, 0};
  if (kevent64(kq, nullptr, 0, &event, 1, 0, &zero) == 1) counted_before_main = event.data;
  signal(SIGUSR2, before);
  close(kq);
}

}  // namespace

TEST_CASE("an ignored signal is reported with its count since the last event, as by EV_CLEAR") {
  const scoped_disposition ignore(SIGUSR1, SIG_IGN);
  const test_kqueue kq;
  const signal_watch watch(kq, SIGUSR1);
  CHECK(kq.now().empty());
  for (int i = 0; i < 3; ++i) kill(getpid(), SIGUSR1);
  CHECK(kq.next() == event_list{event(SIGUSR1, EVFILT_SIGNAL, EV_ADD | EV_CLEAR, 0, 3, 4)});
  CHECK(kq.now().empty());
  kill(getpid(), SIGUSR1);
  CHECK(only(kq.next(), EVFILT_SIGNAL).data == 1);
}

TEST_CASE("a signal that is sent before main is reported") {
  CHECK(counted_before_main == 1);
}

TEST_CASE("the handler of the program runs too, during the watch and after it") {
  const scoped_disposition own(SIGUSR1, count);
  handled = 0;
  const test_kqueue kq;
  signal_watch watch(kq, SIGUSR1);
  kill(getpid(), SIGUSR1);
  kill(getpid(), SIGUSR1);
  CHECK(handled == 2);
  CHECK(only(kq.next(), EVFILT_SIGNAL).data == 2);
  watch.end();
  kill(getpid(), SIGUSR1);
  CHECK(handled == 3);
  CHECK(kq.now().empty());
}

TEST_CASE("SIGCHLD is reported though its default is to be ignored") {
  const test_kqueue kq;
  const signal_watch watch(kq, SIGCHLD);
  const pid_t child = fork();
  if (child == 0) _exit(0);
  REQUIRE(child > 0);
  CHECK(only(kq.next(), EVFILT_SIGNAL).data == 1);
  CHECK(waitpid(child, nullptr, 0) == child);
}

TEST_CASE("a watched SIGTERM still ends the process by default") {
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGTERM, SIG_DFL);
    const int kq = ::kqueue();
    const kevent64_s add = change(SIGTERM, EVFILT_SIGNAL, EV_ADD);
    kevent64(kq, &add, 1, nullptr, 0, 0, nullptr);
    kill(getpid(), SIGTERM);
    _exit(1);
  }
  REQUIRE(child > 0);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGTERM);
}

TEST_CASE("each kqueue counts for itself, and each signal") {
  const scoped_disposition ignore_one(SIGUSR1, SIG_IGN);
  const scoped_disposition ignore_two(SIGUSR2, SIG_IGN);
  const test_kqueue a;
  const test_kqueue b;
  signal_watch a_one(a, SIGUSR1);
  const signal_watch a_two(a, SIGUSR2);
  const signal_watch b_one(b, SIGUSR1);
  kill(getpid(), SIGUSR1);
  kill(getpid(), SIGUSR2);
  kill(getpid(), SIGUSR2);
  const event_list got = a.next();
  REQUIRE(got.size() == 2);
  for (const kevent64_s& e : got) {
    CAPTURE(e);
    CHECK(e.data == (e.ident == SIGUSR1 ? 1 : 2));
  }
  CHECK(only(b.next(), EVFILT_SIGNAL).data == 1);
  a_one.end();
  kill(getpid(), SIGUSR1);
  CHECK(only(b.next(), EVFILT_SIGNAL).data == 1);
  CHECK(a.now().empty());
}

TEST_CASE("a knote does not count signals from before EV_ADD, though another knote does") {
  const scoped_disposition ignore(SIGUSR1, SIG_IGN);
  const test_kqueue kq;
  const signal_watch watch(kq, SIGUSR1);
  kill(getpid(), SIGUSR1);
  const unsigned flags = EV_ADD | EV_UDATA_SPECIFIC;
  REQUIRE(kq.apply(SIGUSR1, EVFILT_SIGNAL, flags, 0, 0, 5) == 0);
  event_list got = kq.next();
  REQUIRE(got.size() == 1);
  CHECK(got[0].udata == 4);
  CHECK(got[0].data == 1);
  kill(getpid(), SIGUSR1);
  got = kq.next();
  REQUIRE(got.size() == 2);
  CHECK(got[0].data == 1);
  CHECK(got[1].data == 1);
}

TEST_CASE("a disabled knote goes on counting, and reports after EV_ENABLE") {
  const scoped_disposition ignore(SIGUSR1, SIG_IGN);
  const test_kqueue kq;
  const signal_watch watch(kq, SIGUSR1, EV_DISABLE);
  kill(getpid(), SIGUSR1);
  CHECK(kq.now().empty());
  kill(getpid(), SIGUSR1);
  CHECK(kq.now().empty());
  REQUIRE(kq.apply(SIGUSR1, EVFILT_SIGNAL, EV_ENABLE) == 0);
  CHECK(only(kq.now(), EVFILT_SIGNAL).data == 2);
}

TEST_CASE("EV_DELETE restores the disposition, and drops the count") {
  const scoped_disposition ignore(SIGUSR1, SIG_IGN);
  const test_kqueue kq;
  signal_watch first(kq, SIGUSR1);
  kill(getpid(), SIGUSR1);
  first.end();
  CHECK(is_ignored(SIGUSR1));
  const signal_watch second(kq, SIGUSR1);
  CHECK(kq.now().empty());
}

TEST_CASE("closing kqueues that watched signals leaves no fd open") {
  const auto open_descriptors = [] {
    int count = 0;
    for (int fd = 0; fd < 256; ++fd) count += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
    return count;
  };
  const int before = open_descriptors();
  for (int i = 0; i < 2; ++i) {
    CAPTURE(i);
    const test_kqueue several[8];
    for (const test_kqueue& kq : several) {
      CAPTURE(kq.fd());
      REQUIRE(kq.apply(SIGUSR1, EVFILT_SIGNAL, EV_ADD) == 0);
    }
    CHECK(open_descriptors() > before);
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE("EVFILT_SIGNAL accepts idents that are not signals, and SIGKILL, and reports nothing") {
  const test_kqueue kq;
  const signal_watch none(kq, 0);
  const signal_watch large(kq, 100'000);
  const signal_watch unstoppable(kq, SIGKILL);
  CHECK(kq.now().empty());
}

namespace {

// A thread in kevent64 without a time-out, and the result of the call.
struct sleeping_thread {
  explicit sleeping_thread(const test_kqueue& kq)
      : thread([this, &kq] {
          started = true;
          result = kevent64(kq.fd(), nullptr, 0, &event, 1, 0, nullptr);
          error = errno;
          done = true;
        }) {
    while (!started) std::this_thread::yield();
  }
  kevent64_s event{};
  int result = 0;
  int error = 0;
  std::atomic<bool> started{false};
  std::atomic<bool> done{false};
  std::thread thread;
};

}  // namespace

TEST_CASE("a handler makes kevent64 fail with EINTR, in spite of SA_RESTART") {
  const scoped_disposition own(SIGUSR1, count, SA_RESTART);
  const test_kqueue kq;
  sleeping_thread sleeper(kq);
  // The first signals may come before the thread sleeps.
  while (!sleeper.done) {
    pthread_kill(sleeper.thread.native_handle(), SIGUSR1);
    std::this_thread::yield();
  }
  sleeper.thread.join();
  CHECK(sleeper.result == -1);
  CHECK(sleeper.error == EINTR);
}

TEST_CASE("an ignored signal does not make kevent64 in another kqueue fail with EINTR") {
  const scoped_disposition ignore(SIGUSR1, SIG_IGN);
  const test_kqueue watching;
  const test_kqueue other;
  const signal_watch watch(watching, SIGUSR1);
  REQUIRE(other.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR) == 0);
  sleeping_thread sleeper(other);
  for (int i = 0; i < 200; ++i) pthread_kill(sleeper.thread.native_handle(), SIGUSR1);
  CHECK(!sleeper.done);
  REQUIRE(other.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
  sleeper.thread.join();
  CHECK(sleeper.result == 1);
  CHECK(sleeper.event.filter == EVFILT_USER);
}

TEST_CASE("a signal wakes a thread in kevent64, whichever thread receives it") {
  const scoped_disposition ignore(SIGUSR1, SIG_IGN);
  const test_kqueue kq;
  const signal_watch watch(kq, SIGUSR1);
  sleeping_thread sleeper(kq);
  kill(getpid(), SIGUSR1);
  sleeper.thread.join();
  CHECK(sleeper.result == 1);
  CHECK(sleeper.event.filter == EVFILT_SIGNAL);
}

TEST_CASE("a blocked signal is reported at once, stays pending, and is not counted again") {
  const scoped_disposition own(SIGUSR1, count);
  handled = 0;
  const test_kqueue kq;
  const test_kqueue other;
  const signal_watch watch(kq, SIGUSR1);
  const signal_watch watch_too(other, SIGUSR1);
  const scoped_signal_block block(SIGUSR1);
  kill(getpid(), SIGUSR1);
  CHECK(only(kq.next(), EVFILT_SIGNAL).data == 1);
  CHECK(kq.now().empty());
  CHECK(is_pending(SIGUSR1));
  CHECK(handled == 0);
  block.end();
  CHECK(handled == 1);
  CHECK(kq.now().empty());
  CHECK(only(other.next(), EVFILT_SIGNAL).data == 1);
  kill(getpid(), SIGUSR1);
  CHECK(handled == 2);
  CHECK(only(kq.next(), EVFILT_SIGNAL).data == 1);
  CHECK(only(other.next(), EVFILT_SIGNAL).data == 1);
}

TEST_CASE("a blocked signal wakes a thread in kevent64") {
  const scoped_disposition ignore(SIGUSR1, SIG_IGN);
  const test_kqueue kq;
  const signal_watch watch(kq, SIGUSR1);
  const scoped_signal_block block(SIGUSR1);
  sleeping_thread sleeper(kq);
  kill(getpid(), SIGUSR1);
  sleeper.thread.join();
  CHECK(sleeper.result == 1);
  CHECK(sleeper.event.filter == EVFILT_SIGNAL);
  CHECK(sleeper.event.data == 1);
}

TEST_CASE("a signal that sigwait takes is reported, and so is the next one") {
  const scoped_disposition own(SIGUSR1, count);
  handled = 0;
  const test_kqueue kq;
  const signal_watch watch(kq, SIGUSR1);
  const scoped_signal_block block(SIGUSR1);
#if defined(__linux__)  // macOS lacks sigwaitinfo and sigtimedwait
  sigset_t only_this;
  sigemptyset(&only_this);
  sigaddset(&only_this, SIGUSR1);
  const timespec at_once{};
  const int waits = 3;
#else
  const int waits = 1;
#endif
  for (int i = 0; i < waits; ++i) {
    CAPTURE(i);
    kill(getpid(), SIGUSR1);
    CHECK(only(kq.next(), EVFILT_SIGNAL).data == 1);
    if (i == 0) CHECK(block.wait() == SIGUSR1);
#if defined(__linux__)
    if (i == 1) CHECK(sigwaitinfo(&only_this, nullptr) == SIGUSR1);
    if (i == 2) CHECK(sigtimedwait(&only_this, nullptr, &at_once) == SIGUSR1);
#endif
  }
  block.end();
  CHECK(handled == 0);
  kill(getpid(), SIGUSR1);
  CHECK(handled == 1);
  CHECK(only(kq.next(), EVFILT_SIGNAL).data == 1);
}

TEST_CASE("a signal that is pending at EV_ADD is not reported") {
  const scoped_disposition own(SIGUSR1, count);
  handled = 0;
  const test_kqueue kq;
  const scoped_signal_block block(SIGUSR1);
  kill(getpid(), SIGUSR1);
  const signal_watch watch(kq, SIGUSR1);
  CHECK(kq.now().empty());
  block.end();
  CHECK(handled == 1);
  CHECK(kq.now().empty());
}
