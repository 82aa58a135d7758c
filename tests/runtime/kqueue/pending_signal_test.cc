// EVFILT_SIGNAL and signals that all threads block: each is counted as it is sent, and stays
// pending for the program, which finds it by whatever call. One that another thread may receive, or
// is not known to block, is counted once, and no signal is lost for the program.

#include "child_process.h"
#include "test_kqueue.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/select.h>
#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <utility>

#if defined(__linux__)
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#endif

// ThreadSanitizer puts off handlers, and forgets them when the thread ends.
#if defined(__SANITIZE_THREAD__)
#define KEDGE_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KEDGE_THREAD_SANITIZER 1
#endif
#endif

namespace {

// Starts a thread. Its work begins when neither it nor the caller blocks signals any more that
// pthread_create() blocks for a while.
std::thread start(std::function<void()> work) {
  const auto step = std::make_shared<std::atomic<int>>(0);
  std::thread thread([step, work = std::move(work)] {
    *step = 1;
    step->notify_all();
    step->wait(1);
    work();
  });
  step->wait(0);
  *step = 2;
  step->notify_all();
  return thread;
}

std::atomic<int> handled{0};
std::atomic<pthread_t> handled_by{};
void count(int) {
  ++handled;
  handled_by = pthread_self();
}

sigset_t set_of(int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  return set;
}

sigset_t all_but(int signal) {
  sigset_t set;
  sigfillset(&set);
  sigdelset(&set, signal);
  return set;
}

void unblock(int signal) {
  const sigset_t only = set_of(signal);
  REQUIRE(pthread_sigmask(SIG_UNBLOCK, &only, nullptr) == 0);
}

// Waits until that many were handled. Returns false if they are not for very long.
bool waits_for_handled(int number) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (handled != number && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  return handled == number;
}

bool is_pending(int signal) {
  sigset_t now;
  REQUIRE(sigpending(&now) == 0);
  return sigismember(&now, signal) == 1;
}

// A kqueue that watches a signal, which this thread and those that it starts block, and whose
// handler counts.
class blocked_signal {
 public:
  explicit blocked_signal(int signal = SIGUSR1) : signal_(signal) {
    handled = 0;
    const sigset_t only = set_of(signal);
    REQUIRE(pthread_sigmask(SIG_BLOCK, &only, &mask_before_) == 0);
    struct sigaction own{};
    own.sa_handler = count;
    REQUIRE(sigaction(signal, &own, &before_) == 0);
    REQUIRE(kq.apply(signal, EVFILT_SIGNAL, EV_ADD) == 0);
  }
  blocked_signal(const blocked_signal&) = delete;
  blocked_signal& operator=(const blocked_signal&) = delete;
  ~blocked_signal() {
    signal_action(SIG_IGN);
    pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
    sigaction(signal_, &before_, nullptr);
  }

  void signal_action(void (*handler)(int)) const {
    struct sigaction action{};
    action.sa_handler = handler;
    sigaction(signal_, &action, nullptr);
  }
  // Sends it to the process, and takes its event, which must count 1.
  void send() const {
    REQUIRE(kill(getpid(), signal_) == 0);
    CHECK(only(kq.next(), EVFILT_SIGNAL).data == 1);
  }

  test_kqueue kq;

 private:
  int signal_;
  sigset_t mask_before_{};
  struct sigaction before_{};
};

// Unblocks SIGUSR1 by each call that can, one in each run of the test case.
void unblock_by_each_call() {
  const sigset_t only_this = set_of(SIGUSR1);
  const sigset_t others = all_but(SIGUSR1);
  SUBCASE("sigprocmask") {
    CHECK(sigprocmask(SIG_UNBLOCK, &only_this, nullptr) == 0);
  }
  SUBCASE("pthread_sigmask") {
    CHECK(pthread_sigmask(SIG_SETMASK, &others, nullptr) == 0);
  }
  SUBCASE("sigsuspend") {
    CHECK(sigsuspend(&others) == -1);
    CHECK(errno == EINTR);
  }
  SUBCASE("pselect") {
    CHECK(pselect(0, nullptr, nullptr, nullptr, nullptr, &others) == -1);
    CHECK(errno == EINTR);
  }
#if defined(__linux__)
  SUBCASE("ppoll") {
    CHECK(ppoll(nullptr, 0, nullptr, &others) == -1);
    CHECK(errno == EINTR);
  }
  SUBCASE("epoll_pwait") {
    const int epoll = epoll_create1(0);
    epoll_event event{};
    CHECK(epoll_pwait(epoll, &event, 1, -1, &others) == -1);
    CHECK(errno == EINTR);
    ::close(epoll);
  }
  SUBCASE("epoll_pwait2") {
    const int epoll = epoll_create1(0);
    epoll_event event{};
    CHECK(epoll_pwait2(epoll, &event, 1, nullptr, &others) == -1);
    CHECK((errno == EINTR || errno == ENOSYS));
    if (errno == ENOSYS) unblock(SIGUSR1);
    ::close(epoll);
  }
#endif
}

}  // namespace

// --- One thread ---------------------------------------------------------------------------------

TEST_CASE("a supervisor that blocks SIGCHLD gets an event for each of three children") {
  const blocked_signal chld(SIGCHLD);
  for (int i = 0; i < 3; ++i) {
    CAPTURE(i);
    const pid_t child = fork();
    if (child == 0) _exit(i);
    REQUIRE(child > 0);
    CHECK(only(chld.kq.next(), EVFILT_SIGNAL).data == 1);
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WEXITSTATUS(status) == i);
  }
  CHECK(chld.kq.now().empty());
}

TEST_CASE("a signal that was pending before EV_ADD does not count, and the same sent again does") {
  const sigset_t only_this = set_of(SIGUSR2);
  REQUIRE(pthread_sigmask(SIG_BLOCK, &only_this, nullptr) == 0);
  kill(getpid(), SIGUSR2);
  const test_kqueue kq;
  REQUIRE(kq.apply(SIGUSR2, EVFILT_SIGNAL, EV_ADD) == 0);
  CHECK(kq.now().empty());
  kill(getpid(), SIGUSR2);
  CHECK(only(kq.next(), EVFILT_SIGNAL).data == 1);
  CHECK(kq.now().empty());
  int signal = 0;
  CHECK(sigwait(&only_this, &signal) == 0);
  CHECK(signal == SIGUSR2);
  CHECK(!is_pending(SIGUSR2));
  unblock(SIGUSR2);
}

TEST_CASE("a signal sent again and again is counted each time, is pending once, handled once") {
  const blocked_signal usr1;
  for (int i = 0; i < 100; ++i) {
    CAPTURE(i);
    usr1.send();
    CHECK(is_pending(SIGUSR1));
  }
  CHECK(usr1.kq.now().empty());
  CHECK(handled == 0);
  unblock(SIGUSR1);
  CHECK(handled == 1);
  CHECK(!is_pending(SIGUSR1));
  CHECK(usr1.kq.now().empty());
  kill(getpid(), SIGUSR1);
  CHECK(handled == 2);
  CHECK(only(usr1.kq.next(), EVFILT_SIGNAL).data == 1);
}

TEST_CASE("a counted signal that is pending does not make the kqueue readable again") {
  const blocked_signal usr1;
  for (int i = 0; i < 3; ++i) {
    CAPTURE(i);
    usr1.send();
    CHECK(usr1.kq.now().empty());
    fd_set set;
    FD_ZERO(&set);
    FD_SET(usr1.kq.fd(), &set);
    timeval zero{0, 0};
    CHECK(select(usr1.kq.fd() + 1, &set, nullptr, nullptr, &zero) == 0);
  }
}

TEST_CASE("three kqueues each count each of the signals that are sent while it is pending") {
  const blocked_signal usr1;
  const test_kqueue two;
  const test_kqueue three;
  REQUIRE(two.apply(SIGUSR1, EVFILT_SIGNAL, EV_ADD) == 0);
  REQUIRE(three.apply(SIGUSR1, EVFILT_SIGNAL, EV_ADD) == 0);
  for (int i = 0; i < 3; ++i) {
    usr1.send();
    CHECK(only(two.next(), EVFILT_SIGNAL).data == 1);
  }
  CHECK(only(three.next(), EVFILT_SIGNAL).data == 3);
}

TEST_CASE("the call that unblocks a counted signal runs its handler") {
  const blocked_signal usr1;
  const sigset_t only_this = set_of(SIGUSR1);
  usr1.send();
  unblock_by_each_call();
  SUBCASE("siglongjmp") {
    sigjmp_buf place;
    unblock(SIGUSR1);
    CHECK(handled == 1);
    handled = 0;
    if (sigsetjmp(place, 1) == 0) {
      pthread_sigmask(SIG_BLOCK, &only_this, nullptr);
      usr1.send();
      CHECK(handled == 0);
      siglongjmp(place, 1);
    }
  }
  CHECK(handled == 1);
  CHECK(usr1.kq.now().empty());
}

TEST_CASE("unblocking a counted signal takes its default action") {
  const int status = status_of_child([] {
    const blocked_signal term(SIGTERM);
    term.send();
    term.signal_action(SIG_DFL);
    unblock(SIGTERM);
    return 0;
  });
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGTERM);
}

TEST_CASE("SIG_IGN discards a counted signal that is pending, and it counted") {
  const blocked_signal usr1;
  SUBCASE("after its event is taken") {
    usr1.send();
    usr1.signal_action(SIG_IGN);
  }
  SUBCASE("before that") {
    kill(getpid(), SIGUSR1);
    usr1.signal_action(SIG_IGN);
    CHECK(only(usr1.kq.next(), EVFILT_SIGNAL).data == 1);
  }
  CHECK(!is_pending(SIGUSR1));
  usr1.signal_action(count);
  unblock(SIGUSR1);
  CHECK(handled == 0);
}

TEST_CASE("the child of a fork does not have a counted signal that is pending") {
  const blocked_signal usr1;
  usr1.send();
  CHECK(status_of_child([] {
          if (is_pending(SIGUSR1)) return 1;
          unblock(SIGUSR1);
          return handled == 0 ? 0 : 2;
        }) == 0);
  CHECK(is_pending(SIGUSR1));
}

TEST_CASE(
    "a watch that ends leaves the counted signal pending, and a new watch does not count it") {
  const blocked_signal usr1;
  usr1.send();
  REQUIRE(usr1.kq.apply(SIGUSR1, EVFILT_SIGNAL, EV_DELETE) == 0);
  CHECK(is_pending(SIGUSR1));
  REQUIRE(usr1.kq.apply(SIGUSR1, EVFILT_SIGNAL, EV_ADD) == 0);
  CHECK(usr1.kq.now().empty());
  unblock(SIGUSR1);
  CHECK(handled == 1);
  CHECK(usr1.kq.now().empty());
}

#if defined(__linux__)

TEST_CASE("sigwaitinfo and a handler get the siginfo of a counted signal as it was sent") {
  const blocked_signal chld(SIGCHLD);
  const sigset_t only_this = set_of(SIGCHLD);
  const pid_t child = fork();
  if (child == 0) _exit(42);
  REQUIRE(child > 0);
  CHECK(only(chld.kq.next(), EVFILT_SIGNAL).data == 1);
  siginfo_t info{};
  SUBCASE("by sigwaitinfo") {
    CHECK(sigwaitinfo(&only_this, &info) == SIGCHLD);
  }
  SUBCASE("by sigtimedwait") {
    const timespec at_once{};
    CHECK(sigtimedwait(&only_this, &info, &at_once) == SIGCHLD);
    CHECK(sigtimedwait(&only_this, nullptr, &at_once) == -1);
    CHECK(errno == EAGAIN);
  }
  SUBCASE("by a handler") {
    static siginfo_t seen;
    struct sigaction own{};
    own.sa_sigaction = [](int, siginfo_t* its, void*) { seen = *its; };
    own.sa_flags = SA_SIGINFO;
    REQUIRE(sigaction(SIGCHLD, &own, nullptr) == 0);
    unblock(SIGCHLD);
    info = seen;
  }
  CHECK(info.si_signo == SIGCHLD);
  CHECK(info.si_code == CLD_EXITED);
  CHECK(info.si_errno == 0);
  CHECK(info.si_pid == child);
  CHECK(info.si_status == 42);
  CHECK(waitpid(child, nullptr, 0) == child);
}

TEST_CASE("a signalfd of the program finds a counted signal, and the next one counts too") {
  const blocked_signal usr1;
  const sigset_t only_this = set_of(SIGUSR1);
  const int fd = signalfd(-1, &only_this, SFD_NONBLOCK | SFD_CLOEXEC);
  REQUIRE(fd >= 0);
  for (int i = 0; i < 3; ++i) {
    CAPTURE(i);
    usr1.send();
    pollfd p{fd, POLLIN, 0};
    CHECK(::poll(&p, 1, 0) == 1);
    signalfd_siginfo info{};
    CHECK(::read(fd, &info, sizeof info) == sizeof info);
    CHECK(info.ssi_signo == SIGUSR1);
    CHECK(info.ssi_pid == static_cast<std::uint32_t>(getpid()));
    CHECK(::read(fd, &info, sizeof info) == -1);
  }
  ::close(fd);
}

namespace {

// The exit status of the program after exec. (doctest's is 0, also without a test.)
constexpr int is_pending_once = 7;

// Returns whether SIGUSR1 was pending, did not count for a new kqueue, and is not pending any more.
bool finds_one_signal() {
  const sigset_t only_this = set_of(SIGUSR1);
  int signal = 0;
  if (!is_pending(SIGUSR1)) return false;
  const test_kqueue kq;
  return kq.apply(SIGUSR1, EVFILT_SIGNAL, EV_ADD) == 0 && kq.now().empty() &&
         sigwait(&only_this, &signal) == 0 && !is_pending(SIGUSR1);
}

}  // namespace

TEST_CASE("program after exec" * doctest::skip()) {
  _exit(finds_one_signal() ? is_pending_once : 1);
}

TEST_CASE("after exec a counted signal is still pending") {
  const int status = status_of_child([] {
    const blocked_signal usr1;
    usr1.send();
    execl("/proc/self/exe", "kqueue", "--no-skip", "--minimal", "--test-case=program after exec",
          static_cast<char*>(nullptr));
    return 100;
  });
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == is_pending_once);
}

TEST_CASE("real-time signals stay queued, and keep their values") {
  const blocked_signal queued(SIGRTMIN);
  const sigset_t only_this = set_of(SIGRTMIN);
  for (int i = 0; i < 3; ++i) {
    CAPTURE(i);
    REQUIRE(sigqueue(getpid(), SIGRTMIN, {.sival_int = i}) == 0);
  }
  CHECK(only(queued.kq.next(), EVFILT_SIGNAL).data == 1);
  for (int i = 0; i < 3; ++i) {
    CAPTURE(i);
    siginfo_t info{};
    CHECK(sigwaitinfo(&only_this, &info) == SIGRTMIN);
    CHECK(info.si_value.sival_int == i);
  }
  CHECK(!is_pending(SIGRTMIN));
}

#endif

TEST_CASE("a signal that sigwait takes before kevent is called counts") {
  const blocked_signal usr1;
  const sigset_t only_this = set_of(SIGUSR1);
  kill(getpid(), SIGUSR1);
  int signal = 0;
  CHECK(sigwait(&only_this, &signal) == 0);
  CHECK(only(usr1.kq.next(), EVFILT_SIGNAL).data == 1);
}

// --- Several threads ----------------------------------------------------------------------------

namespace {

// Runs `work` in another thread, which blocks what this one does.
void in_thread(const std::function<void()>& work) {
  start(work).join();
}

}  // namespace

TEST_CASE("with a second thread a signal sent again and again is counted each time") {
  const blocked_signal usr1;
  std::atomic<bool> over{false};
  std::thread other = start([&over] {
    while (!over) std::this_thread::yield();
  });
  for (int i = 0; i < 100; ++i) {
    CAPTURE(i);
    usr1.send();
  }
  over = true;
  other.join();
  CHECK(handled == 0);
  unblock(SIGUSR1);
  CHECK(handled == 1);
}

TEST_CASE("another thread finds a signal that this one has counted") {
  const blocked_signal usr1;
  const sigset_t only_this = set_of(SIGUSR1);
  std::atomic<int> step{0};
  std::thread holder = start([&] {
    usr1.send();
    usr1.send();
    step = 1;
    step.notify_all();
    step.wait(1);
  });
  step.wait(0);
  bool is_handled = true;
  SUBCASE("sigpending") {
    CHECK(is_pending(SIGUSR1));
    unblock(SIGUSR1);
  }
  unblock_by_each_call();
  SUBCASE("sigwait") {
    int signal = 0;
    CHECK(sigwait(&only_this, &signal) == 0);
    CHECK(signal == SIGUSR1);
    is_handled = false;
  }
#if defined(__linux__)
  SUBCASE("sigwaitinfo") {
    siginfo_t info{};
    CHECK(sigwaitinfo(&only_this, &info) == SIGUSR1);
    CHECK(info.si_pid == getpid());
    CHECK(info.si_code == SI_USER);
    CHECK(info.si_errno == 0);
    is_handled = false;
  }
#endif
  CHECK(handled == (is_handled ? 1 : 0));
  if (is_handled) CHECK(pthread_equal(handled_by, pthread_self()) != 0);
  CHECK(!is_pending(SIGUSR1));
  step = 2;
  step.notify_all();
  holder.join();
  unblock(SIGUSR1);
  CHECK(handled == (is_handled ? 1 : 0));
  CHECK(usr1.kq.now().empty());
}

TEST_CASE("the thread that has counted a signal may unblock it after another one has taken it") {
  const blocked_signal usr1;
  const sigset_t only_this = set_of(SIGUSR1);
  usr1.send();
  in_thread([&] {
    int signal = 0;
    CHECK(sigwait(&only_this, &signal) == 0);
  });
  unblock(SIGUSR1);
  CHECK(handled == 0);
  kill(getpid(), SIGUSR1);
  CHECK(handled == 1);
  CHECK(only(usr1.kq.next(), EVFILT_SIGNAL).data == 1);
}

TEST_CASE("a signal that another thread has taken is not pending for the one that has counted it") {
  const blocked_signal usr1;
  const sigset_t only_this = set_of(SIGUSR1);
  usr1.send();
  in_thread([&] {
    int signal = 0;
    CHECK(sigwait(&only_this, &signal) == 0);
  });
  CHECK(!is_pending(SIGUSR1));
  SUBCASE("a signal for the thread itself is left to it") {
    CHECK(pthread_kill(pthread_self(), SIGUSR1) == 0);
    in_thread([] { CHECK(!is_pending(SIGUSR1)); });
    CHECK(is_pending(SIGUSR1));
    unblock(SIGUSR1);
    CHECK(handled == 1);
  }
  SUBCASE("the handler does not run after the watch has ended") {
    usr1.send();
    in_thread([&] {
      int signal = 0;
      CHECK(sigwait(&only_this, &signal) == 0);
    });
    REQUIRE(usr1.kq.apply(SIGUSR1, EVFILT_SIGNAL, EV_DELETE) == 0);
    unblock(SIGUSR1);
    CHECK(handled == 0);
    REQUIRE(usr1.kq.apply(SIGUSR1, EVFILT_SIGNAL, EV_ADD) == 0);
  }
}

TEST_CASE("a thread whose signal another one has taken finds the next one, counted by a third") {
  const blocked_signal usr1;
  const sigset_t only_this = set_of(SIGUSR1);
  usr1.send();
  in_thread([&] {
    int signal = 0;
    CHECK(sigwait(&only_this, &signal) == 0);
  });
  std::atomic<int> step{0};
  std::thread third = start([&] {
    usr1.send();
    step = 1;
    step.notify_all();
    step.wait(1);
  });
  step.wait(0);
  SUBCASE("by unblocking it") {
    unblock(SIGUSR1);
    CHECK(handled == 1);
  }
  SUBCASE("by sigwait") {
    int signal = 0;
    CHECK(sigwait(&only_this, &signal) == 0);
    CHECK(handled == 0);
  }
  CHECK(!is_pending(SIGUSR1));
  step = 2;
  step.notify_all();
  third.join();
}

TEST_CASE("a counted signal stays pending when the thread that has counted it ends") {
  const blocked_signal usr1;
  in_thread([&] { usr1.send(); });
  CHECK(is_pending(SIGUSR1));
  CHECK(usr1.kq.now().empty());  // this thread has it now
  usr1.send();
  CHECK(is_pending(SIGUSR1));
  unblock(SIGUSR1);
  CHECK(handled == 1);
  CHECK(usr1.kq.now().empty());
}

TEST_CASE("threads that count in turn keep one signal pending") {
  const blocked_signal usr1;
  for (int i = 0; i < 20; ++i) {
    CAPTURE(i);
    usr1.send();
    in_thread([&] { usr1.send(); });
  }
  unblock(SIGUSR1);
  CHECK(handled == 1);
}

TEST_CASE("a thread in sigwait gets each signal, and a thread in kevent64 an event for each") {
  const blocked_signal usr1;
  const sigset_t only_this = set_of(SIGUSR1);
  constexpr int rounds = 500;
  std::atomic<int> waited{0};
  std::thread waiter = start([&] {
    for (int i = 0; i < rounds; ++i) {
      int signal = 0;
      if (sigwait(&only_this, &signal) != 0) break;
      ++waited;
      waited.notify_all();
    }
  });
  for (int i = 0; i < rounds; ++i) {
    CAPTURE(i);
    usr1.send();
    waited.wait(i);
    CHECK(waited == i + 1);
  }
  waiter.join();
  CHECK(handled == 0);
  CHECK(!is_pending(SIGUSR1));
}

TEST_CASE("a thread that does not block the signal handles each, and each is counted") {
  const blocked_signal usr1;
  constexpr int rounds = 500;
  const fd_pair orders = fd_pair::of_pipe();
  std::atomic<bool> ready{false};
  std::thread handler = start([&] {
    unblock(SIGUSR1);
    ready = true;
    ready.notify_all();
    char byte = 0;
    while (::read(orders[0], &byte, 1) < 0 && errno == EINTR) {
    }
  });
  ready.wait(false);
  for (int i = 0; i < rounds; ++i) {
    CAPTURE(i);
    usr1.send();
    CHECK(waits_for_handled(i + 1));
    if (handled != i + 1) break;
  }
  orders.put(1, "x");
  handler.join();
}

TEST_CASE("a thread that blocks the signal for a moment at a time handles each") {
  const blocked_signal usr1;
  constexpr int rounds = 100;
  const sigset_t only_this = set_of(SIGUSR1);
  std::atomic<bool> over{false};
  std::thread handler = start([&] {
    while (!over) {
      pthread_sigmask(SIG_UNBLOCK, &only_this, nullptr);
      pthread_sigmask(SIG_BLOCK, &only_this, nullptr);
    }
  });
  for (int i = 0; i < rounds; ++i) {
    CAPTURE(i);
    usr1.send();
    CHECK(waits_for_handled(i + 1));
    if (handled != i + 1) break;
  }
  over = true;
  handler.join();
  CHECK(!is_pending(SIGUSR1));
}

#if !defined(KEDGE_THREAD_SANITIZER)

TEST_CASE("a thread that makes threads, which blocks all signals for moments, handles each") {
  const blocked_signal usr1;
  constexpr int rounds = 100;
  std::atomic<bool> over{false};
  std::thread handler = start([&] {
    unblock(SIGUSR1);
    while (!over) std::thread([] {}).join();
  });
  for (int i = 0; i < rounds; ++i) {
    CAPTURE(i);
    usr1.send();
    CHECK(waits_for_handled(i + 1));
    if (handled != i + 1) break;
  }
  over = true;
  handler.join();
}

#endif

TEST_CASE("a signal that a handler's sa_mask blocks is handled when that handler returns") {
  const blocked_signal usr1;
  struct sigaction own{};
  static std::atomic<int> step{0};
  step = 0;
  own.sa_handler = [](int) {
    step = 1;
    step.notify_all();
    step.wait(1);
  };
  own.sa_mask = set_of(SIGUSR1);
  struct sigaction before{};
  REQUIRE(sigaction(SIGUSR2, &own, &before) == 0);
  REQUIRE(usr1.kq.apply(SIGUSR2, EVFILT_SIGNAL, EV_ADD) == 0);
  std::thread thread = start([&] {
    unblock(SIGUSR1);
    pthread_kill(pthread_self(), SIGUSR2);
  });
  step.wait(0);
  REQUIRE(kill(getpid(), SIGUSR1) == 0);
  bool seen = false;
  while (!seen) {
    for (const kevent64_s& e : usr1.kq.next()) seen = seen || e.ident == SIGUSR1;
  }
  CHECK(handled == 0);
  step = 2;
  step.notify_all();
  thread.join();
  CHECK(handled == 1);
  CHECK(sigaction(SIGUSR2, &before, nullptr) == 0);
}

TEST_CASE("EV_ADD and EV_DELETE keep a pending signal that is ignored by default") {
  const sigset_t only_this = set_of(SIGCHLD);
  sigset_t before;
  REQUIRE(pthread_sigmask(SIG_BLOCK, &only_this, &before) == 0);
  REQUIRE(kill(getpid(), SIGCHLD) == 0);
  {
    const test_kqueue kq;
    REQUIRE(kq.apply(SIGCHLD, EVFILT_SIGNAL, EV_ADD) == 0);
    CHECK(is_pending(SIGCHLD));
    CHECK(kq.now().empty());
    REQUIRE(kq.apply(SIGCHLD, EVFILT_SIGNAL, EV_DELETE) == 0);
    CHECK(is_pending(SIGCHLD));
  }
  int signal = 0;
  CHECK(sigwait(&only_this, &signal) == 0);
  CHECK(!is_pending(SIGCHLD));
  CHECK(pthread_sigmask(SIG_SETMASK, &before, nullptr) == 0);
}

TEST_CASE("a sigaction that discards a pending signal keeps errno") {
  const blocked_signal usr1;
  usr1.send();
  errno = 0;
  usr1.signal_action(SIG_IGN);
  CHECK(errno == 0);
}

#if defined(__linux__)

namespace {

// Another thread, which runs `work`, and lives until this ends.
class other_thread {
 public:
  explicit other_thread(const std::function<void()>& work)
      : thread_(start([this, work] {
          work();
          step_ = 1;
          step_.notify_all();
          step_.wait(1);
        })) {
    step_.wait(0);
  }
  ~other_thread() { end(); }
  void end() {
    if (!thread_.joinable()) return;
    step_ = 2;
    step_.notify_all();
    thread_.join();
  }

 private:
  std::atomic<int> step_{0};
  std::thread thread_;
};

// Blocks also the signals that the C library needs, as some of its functions do for a while.
void block_everything() {
  const std::uint64_t all = ~std::uint64_t{0};
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, nullptr, sizeof all);
}

void use_up_descriptors() {
  rlimit few{};
  getrlimit(RLIMIT_NOFILE, &few);
  few.rlim_cur = 64;
  setrlimit(RLIMIT_NOFILE, &few);
  while (open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0) {
  }
}

// Sends the signal and returns how many kevent64() counts.
std::int64_t counted_after_kill(const test_kqueue& kq) {
  kill(getpid(), SIGUSR1);
  const std::vector<kevent64_s> events = kq.now();
  return events.size() == 1 ? events.front().data : 0;
}

void jump_out_of_sigsuspend() {
  static sigjmp_buf place;
  const sigset_t usr2 = set_of(SIGUSR2);
  sigset_t none;
  sigemptyset(&none);
  struct sigaction jump{};
  jump.sa_handler = [](int) { siglongjmp(place, 1); };
  struct sigaction before{};
  sigaction(SIGUSR2, &jump, &before);
  pthread_sigmask(SIG_BLOCK, &usr2, nullptr);
  if (sigsetjmp(place, 1) == 0) {
    pthread_kill(pthread_self(), SIGUSR2);
    sigsuspend(&none);
  }
  pthread_sigmask(SIG_UNBLOCK, &usr2, nullptr);
  sigaction(SIGUSR2, &before, nullptr);
}

}  // namespace

TEST_CASE("a signal is counted, reported and handled once while a thread blocks all signals") {
  const blocked_signal usr1;
  const other_thread other(block_everything);
  usr1.send();
  CHECK(usr1.kq.now().empty());
  pollfd p{usr1.kq.fd(), POLLIN, 0};
  CHECK(::poll(&p, 1, 0) == 0);
  CHECK(is_pending(SIGUSR1));
  unblock(SIGUSR1);
  CHECK(handled == 1);
  CHECK(usr1.kq.now().empty());
  kill(getpid(), SIGUSR1);
  CHECK(handled == 2);
  CHECK(only(usr1.kq.next(), EVFILT_SIGNAL).data == 1);
}

TEST_CASE("a signal counts and is handled after a handler has left sigsuspend by siglongjmp") {
  CHECK(status_of_child([] {
          const blocked_signal usr1;
          const other_thread other(jump_out_of_sigsuspend);
          for (int i = 0; i < 3; ++i) {
            const sigset_t only_this = set_of(SIGUSR1);
            if (counted_after_kill(usr1.kq) != 1) _exit(1);
            unblock(SIGUSR1);
            if (handled != i + 1) _exit(2);
            pthread_sigmask(SIG_BLOCK, &only_this, nullptr);
          }
          _exit(0);
          return 0;
        }) == 0);
}

TEST_CASE("a signal that was counted in place is moved, uncounted, when all threads block it") {
  const blocked_signal usr1;
  other_thread other(block_everything);
  usr1.send();
  other.end();
  CHECK(usr1.kq.now().empty());
  kill(getpid(), SIGUSR1);  // merges with the first one
  usr1.kq.now();
  CHECK(is_pending(SIGUSR1));
  unblock(SIGUSR1);
  CHECK(handled == 1);
}

// A program of its own, because the child of a fork may not know that it has one thread.
TEST_CASE("program without a free descriptor" * doctest::skip()) {
  const blocked_signal usr1;
  use_up_descriptors();
  for (int i = 0; i < 3; ++i) {
    if (counted_after_kill(usr1.kq) != 1) _exit(i + 1);
  }
  unblock(SIGUSR1);
  _exit(handled == 1 ? is_pending_once : 4);
}

TEST_CASE("without a free descriptor a program with one thread counts each signal") {
  const int status = status_of_child([] {
    execl("/proc/self/exe", "kqueue", "--no-skip", "--minimal",
          "--test-case=program without a free descriptor", static_cast<char*>(nullptr));
    return 100;
  });
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == is_pending_once);
}

#if !defined(KEDGE_THREAD_SANITIZER)

TEST_CASE("without a free descriptor a thread that does not block the signal handles each") {
  CHECK(status_of_child([] {
          const blocked_signal usr1;
          const other_thread other([] { unblock(SIGUSR1); });
          use_up_descriptors();
          for (int i = 0; i < 100; ++i) {
            kill(getpid(), SIGUSR1);
            usr1.kq.now();
            if (!waits_for_handled(i + 1)) _exit(1);
          }
          _exit(0);
          return 0;
        }) == 0);
}

TEST_CASE("a thread of a user with many groups is known to block the signal") {
  const int status = status_of_child([] {
    std::vector<gid_t> groups;
    for (unsigned i = 0; i < 500; ++i) groups.push_back(1'000'000'000 + i);
    if (setgroups(groups.size(), groups.data()) != 0) _exit(77);  // not root
    const blocked_signal usr1;
    const other_thread other([] {});
    for (int i = 0; i < 3; ++i) {
      if (counted_after_kill(usr1.kq) != 1) _exit(i + 1);
    }
    _exit(0);
    return 0;
  });
  if (WEXITSTATUS(status) == 77) return;
  CHECK(status == 0);
}

#endif

TEST_CASE("a signal that comes after a signalfd took the first stays when the holder ends") {
  const blocked_signal usr1;
  in_thread([&] {
    usr1.send();
    const sigset_t only_this = set_of(SIGUSR1);
    const int fd = signalfd(-1, &only_this, SFD_NONBLOCK | SFD_CLOEXEC);
    signalfd_siginfo info{};
    CHECK(::read(fd, &info, sizeof info) == sizeof info);
    ::close(fd);
    kill(getpid(), SIGUSR1);
  });
  CHECK(is_pending(SIGUSR1));
  CHECK(only(usr1.kq.next(), EVFILT_SIGNAL).data == 1);
  unblock(SIGUSR1);
  CHECK(handled == 1);
}

TEST_CASE("a signal that a thread has fetched and not received stays when that thread ends") {
  const blocked_signal usr1;
  other_thread holder([&] { usr1.send(); });
  in_thread([] {
    const fd_pair pipe = fd_pair::of_pipe();
    pipe.put(1, "x");
    pollfd p{pipe[0], POLLIN, 0};
    const sigset_t others = all_but(SIGUSR1);
    ppoll(&p, 1, nullptr, &others);
  });
  const int so_far = handled;  // ppoll may have let the handler run
  CHECK(is_pending(SIGUSR1) == (so_far == 0));
  unblock(SIGUSR1);
  CHECK(handled == 1);
}

TEST_CASE("sigtimedwait finds a signal that another thread holds after the watch has ended") {
  const blocked_signal usr1;
  const other_thread holder([&] {
    usr1.send();
    REQUIRE(usr1.kq.apply(SIGUSR1, EVFILT_SIGNAL, EV_DELETE) == 0);
  });
  const sigset_t only_this = set_of(SIGUSR1);
  const timespec at_once{};
  CHECK(is_pending(SIGUSR1));
  CHECK(sigtimedwait(&only_this, nullptr, &at_once) == SIGUSR1);
  CHECK(!is_pending(SIGUSR1));
}

TEST_CASE("a signal that was sent to a thread is left to that thread") {
  const blocked_signal usr1;
  REQUIRE(pthread_kill(pthread_self(), SIGUSR1) == 0);
  const other_thread keeps_two_threads([] {});
  usr1.kq.now();
  in_thread([] {
    const sigset_t only_this = set_of(SIGUSR1);
    const timespec at_once{};
    CHECK(!is_pending(SIGUSR1));
    CHECK(sigtimedwait(&only_this, nullptr, &at_once) == -1);
  });
  CHECK(is_pending(SIGUSR1));
  unblock(SIGUSR1);
  CHECK(handled == 1);
}

TEST_CASE("an old copy is known after 256 newer ones") {
  const blocked_signal usr1;
  usr1.send();
  in_thread([] {
    const sigset_t only_this = set_of(SIGUSR1);
    int signal = 0;
    CHECK(sigwait(&only_this, &signal) == 0);
  });
  // The next copies are those of another thread.
  other_thread holder([&] {
    for (int i = 0; i < 255; ++i) usr1.send();
  });
  unblock(SIGUSR1);
  CHECK(handled == 1);
  holder.end();
  CHECK(handled == 1);
}

#endif
