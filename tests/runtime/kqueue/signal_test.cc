// EVFILT_SIGNAL.

#include "kqueue_of_test.h"

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

// The disposition of a signal for the length of a test.
class disposition_of_test {
 public:
  disposition_of_test(int signal, void (*handler)(int), int flags = 0) : signal_(signal) {
    struct sigaction action{};
    action.sa_handler = handler;
    action.sa_flags = flags;
    REQUIRE(sigaction(signal, &action, &before_) == 0);
  }
  disposition_of_test(const disposition_of_test&) = delete;
  disposition_of_test& operator=(const disposition_of_test&) = delete;
  ~disposition_of_test() { sigaction(signal_, &before_, nullptr); }

 private:
  int signal_;
  struct sigaction before_{};
};

// EVFILT_SIGNAL in a kqueue, deleted at the end, unless before.
class watch_of_test {
 public:
  watch_of_test(const kqueue_of_test& kq, int signal, unsigned flags = 0)
      : kq_(kq), signal_(signal) {
    REQUIRE(kq.apply(signal, EVFILT_SIGNAL, EV_ADD | flags, 0, 123, 4) == 0);
  }
  watch_of_test(const watch_of_test&) = delete;
  watch_of_test& operator=(const watch_of_test&) = delete;
  ~watch_of_test() { end(); }
  void end() {
    if (!ended_) CHECK(kq_.apply(signal_, EVFILT_SIGNAL, EV_DELETE) == 0);
    ended_ = true;
  }

 private:
  const kqueue_of_test& kq_;
  int signal_;
  bool ended_ = false;
};

// A signal that the calling thread, and those it starts, block for the length of a test.
class block_of_test {
 public:
  explicit block_of_test(int signal) {
    sigemptyset(&only_);
    sigaddset(&only_, signal);
    REQUIRE(pthread_sigmask(SIG_BLOCK, &only_, nullptr) == 0);
  }
  block_of_test(const block_of_test&) = delete;
  block_of_test& operator=(const block_of_test&) = delete;
  ~block_of_test() { end(); }
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

// A kqueue before main and before anything that a library does there: what it said of a signal.
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

TEST_CASE(
    "an ignored signal is reported, with the count since the last time; EV_CLEAR is implied") {
  const disposition_of_test ignore(SIGUSR1, SIG_IGN);
  const kqueue_of_test kq;
  const watch_of_test watch(kq, SIGUSR1);
  CHECK(kq.now().empty());
  for (int i = 0; i < 3; ++i) kill(getpid(), SIGUSR1);
  const event_list got = kq.next();
  REQUIRE(got.size() == 1);
  CHECK(got[0].ident == SIGUSR1);
  CHECK(got[0].flags == (EV_ADD | EV_CLEAR));
  CHECK(got[0].data == 3);
  CHECK(got[0].udata == 4);
  CHECK(kq.now().empty());
  kill(getpid(), SIGUSR1);
  CHECK(only(kq.next(), EVFILT_SIGNAL).data == 1);
}

TEST_CASE("a signal is reported before main, too") {
  CHECK(counted_before_main == 1);
}

TEST_CASE("the program's handler runs as well") {
  const disposition_of_test own(SIGUSR1, count);
  handled = 0;
  const kqueue_of_test kq;
  watch_of_test watch(kq, SIGUSR1);
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
  const kqueue_of_test kq;
  const watch_of_test watch(kq, SIGCHLD);
  const pid_t child = fork();
  if (child == 0) _exit(0);
  REQUIRE(child > 0);
  CHECK(only(kq.next(), EVFILT_SIGNAL).data == 1);
  CHECK(waitpid(child, nullptr, 0) == child);
}

TEST_CASE("a signal whose default is to end the process still does") {
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

TEST_CASE("two kqueues, and two signals of one, count for themselves") {
  const disposition_of_test ignore_one(SIGUSR1, SIG_IGN);
  const disposition_of_test ignore_two(SIGUSR2, SIG_IGN);
  const kqueue_of_test a;
  const kqueue_of_test b;
  watch_of_test a_one(a, SIGUSR1);
  const watch_of_test a_two(a, SIGUSR2);
  const watch_of_test b_one(b, SIGUSR1);
  kill(getpid(), SIGUSR1);
  kill(getpid(), SIGUSR2);
  kill(getpid(), SIGUSR2);
  const event_list got = a.next();
  REQUIRE(got.size() == 2);
  for (const kevent64_s& e : got) CHECK(e.data == (e.ident == SIGUSR1 ? 1 : 2));
  CHECK(only(b.next(), EVFILT_SIGNAL).data == 1);
  a_one.end();
  kill(getpid(), SIGUSR1);
  CHECK(only(b.next(), EVFILT_SIGNAL).data == 1);
  CHECK(a.now().empty());
}

TEST_CASE("a knote made after a signal does not count it, whichever others do") {
  const disposition_of_test ignore(SIGUSR1, SIG_IGN);
  const kqueue_of_test kq;
  const watch_of_test watch(kq, SIGUSR1);
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

TEST_CASE("the count goes on while it is disabled") {
  const disposition_of_test ignore(SIGUSR1, SIG_IGN);
  const kqueue_of_test kq;
  const watch_of_test watch(kq, SIGUSR1, EV_DISABLE);
  kill(getpid(), SIGUSR1);
  CHECK(kq.now().empty());
  kill(getpid(), SIGUSR1);
  CHECK(kq.now().empty());
  REQUIRE(kq.apply(SIGUSR1, EVFILT_SIGNAL, EV_ENABLE) == 0);
  CHECK(only(kq.now(), EVFILT_SIGNAL).data == 2);
}

TEST_CASE("deleting puts the disposition back, and what came before is forgotten") {
  const disposition_of_test ignore(SIGUSR1, SIG_IGN);
  const kqueue_of_test kq;
  watch_of_test first(kq, SIGUSR1);
  kill(getpid(), SIGUSR1);
  first.end();
  CHECK(is_ignored(SIGUSR1));
  const watch_of_test second(kq, SIGUSR1);
  CHECK(kq.now().empty());
}

TEST_CASE("kqueues that watched signals leave no descriptors behind") {
  const auto open_descriptors = [] {
    int count = 0;
    for (int fd = 0; fd < 256; ++fd) count += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
    return count;
  };
  const int before = open_descriptors();
  for (int i = 0; i < 2; ++i) {
    const kqueue_of_test several[8];
    for (const kqueue_of_test& kq : several) REQUIRE(kq.apply(SIGUSR1, EVFILT_SIGNAL, EV_ADD) == 0);
    CHECK(open_descriptors() > before);
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE("numbers that are no signals never come") {
  const kqueue_of_test kq;
  const watch_of_test none(kq, 0);
  const watch_of_test large(kq, 100'000);
  const watch_of_test unstoppable(kq, SIGKILL);
  CHECK(kq.now().empty());
}

namespace {

// A thread in kevent64 for ever, and its result.
struct sleeper_of_test {
  explicit sleeper_of_test(const kqueue_of_test& kq)
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

TEST_CASE("EINTR surfaces though the handler says SA_RESTART") {
  const disposition_of_test own(SIGUSR1, count, SA_RESTART);
  const kqueue_of_test kq;
  sleeper_of_test sleeper(kq);
  // The first ones may come before it sleeps.
  while (!sleeper.done) {
    pthread_kill(sleeper.thread.native_handle(), SIGUSR1);
    std::this_thread::yield();
  }
  sleeper.thread.join();
  CHECK(sleeper.result == -1);
  CHECK(sleeper.error == EINTR);
}

TEST_CASE("an ignored signal does not surface as EINTR, in the kqueue that watches it or another") {
  const disposition_of_test ignore(SIGUSR1, SIG_IGN);
  const kqueue_of_test watching;
  const kqueue_of_test other;
  const watch_of_test watch(watching, SIGUSR1);
  REQUIRE(other.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR) == 0);
  sleeper_of_test sleeper(other);
  for (int i = 0; i < 200; ++i) pthread_kill(sleeper.thread.native_handle(), SIGUSR1);
  CHECK(!sleeper.done);
  REQUIRE(other.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
  sleeper.thread.join();
  CHECK(sleeper.result == 1);
  CHECK(sleeper.event.filter == EVFILT_USER);
}

TEST_CASE("a signal wakes a sleeper whichever thread it hits") {
  const disposition_of_test ignore(SIGUSR1, SIG_IGN);
  const kqueue_of_test kq;
  const watch_of_test watch(kq, SIGUSR1);
  sleeper_of_test sleeper(kq);
  kill(getpid(), SIGUSR1);
  sleeper.thread.join();
  CHECK(sleeper.result == 1);
  CHECK(sleeper.event.filter == EVFILT_SIGNAL);
}

TEST_CASE("a blocked signal is reported at once, stays pending, and is counted no second time") {
  const disposition_of_test own(SIGUSR1, count);
  handled = 0;
  const kqueue_of_test kq;
  const kqueue_of_test other;
  const watch_of_test watch(kq, SIGUSR1);
  const watch_of_test watch_too(other, SIGUSR1);
  const block_of_test block(SIGUSR1);
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

TEST_CASE("a blocked signal wakes a sleeper") {
  const disposition_of_test ignore(SIGUSR1, SIG_IGN);
  const kqueue_of_test kq;
  const watch_of_test watch(kq, SIGUSR1);
  const block_of_test block(SIGUSR1);
  sleeper_of_test sleeper(kq);
  kill(getpid(), SIGUSR1);
  sleeper.thread.join();
  CHECK(sleeper.result == 1);
  CHECK(sleeper.event.filter == EVFILT_SIGNAL);
  CHECK(sleeper.event.data == 1);
}

TEST_CASE("what sigwait takes was reported, and so is the next") {
  const disposition_of_test own(SIGUSR1, count);
  handled = 0;
  const kqueue_of_test kq;
  const watch_of_test watch(kq, SIGUSR1);
  const block_of_test block(SIGUSR1);
#if defined(__linux__)  // sigwaitinfo and sigtimedwait are not there on macOS
  sigset_t only_this;
  sigemptyset(&only_this);
  sigaddset(&only_this, SIGUSR1);
  const timespec at_once{};
  const int waits = 3;
#else
  const int waits = 1;
#endif
  for (int i = 0; i < waits; ++i) {
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

TEST_CASE("what is pending when it is added came before") {
  const disposition_of_test own(SIGUSR1, count);
  handled = 0;
  const kqueue_of_test kq;
  const block_of_test block(SIGUSR1);
  kill(getpid(), SIGUSR1);
  const watch_of_test watch(kq, SIGUSR1);
  CHECK(kq.now().empty());
  block.end();
  CHECK(handled == 1);
  CHECK(kq.now().empty());
}
