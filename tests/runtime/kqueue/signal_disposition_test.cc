// EVFILT_SIGNAL beside dispositions. A watched signal does what the program's disposition says,
// whenever the program set it, and the program sees its own disposition. On Darwin EVFILT_SIGNAL is
// independent of dispositions. On Linux the library hides its handler behind the program's.

#include "child_process.h"
#include "test_kqueue.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <atomic>
#include <thread>
#include <vector>

// ThreadSanitizer runs every handler with all signals blocked.
#if defined(__SANITIZE_THREAD__)
#define KEDGE_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KEDGE_THREAD_SANITIZER 1
#endif
#endif

namespace {

std::atomic<int> handled{0};
void count(int) {
  ++handled;
}

struct sigaction action_of(void (*handler)(int), int flags = 0) {
  struct sigaction action{};
  action.sa_handler = handler;
  action.sa_flags = flags;
  return action;
}

struct sigaction disposition(int signal) {
  struct sigaction now{};
  REQUIRE(sigaction(signal, nullptr, &now) == 0);
  return now;
}

// A kqueue that watches a signal. The destructor restores the disposition from before.
class watched_signal {
 public:
  explicit watched_signal(int signal) : signal_(signal), before_(disposition(signal)) {
    handled = 0;
    REQUIRE(kq.apply(signal, EVFILT_SIGNAL, EV_ADD) == 0);
  }
  watched_signal(const watched_signal&) = delete;
  watched_signal& operator=(const watched_signal&) = delete;
  ~watched_signal() {
    end();
    sigaction(signal_, &before_, nullptr);
  }

  void end() {
    if (!ended_) CHECK(kq.apply(signal_, EVFILT_SIGNAL, EV_DELETE) == 0);
    ended_ = true;
  }
  void set(const struct sigaction& action) const {
    REQUIRE(sigaction(signal_, &action, nullptr) == 0);
  }
  void send() const { REQUIRE(kill(getpid(), signal_) == 0); }
  // Takes the event. Returns its count, or 0 without an event.
  std::int64_t take_count() const {
    const event_list got = kq.now();
    return got.empty() ? 0 : only(got, EVFILT_SIGNAL).data;
  }

  const test_kqueue kq;

 private:
  int signal_;
  struct sigaction before_;
  bool ended_ = false;
};

}  // namespace

TEST_CASE("a handler that is set after EV_ADD runs, and the signal is counted") {
  const watched_signal w(SIGUSR1);
  SUBCASE("set by sigaction") {
    w.set(action_of(count));
  }
  SUBCASE("set by signal") {
    REQUIRE((signal(SIGUSR1, count) != SIG_ERR));
  }
  w.send();
  w.send();
  CHECK(handled == 2);
  CHECK(w.take_count() == 2);
}

TEST_CASE("a signal that is ignored after EV_ADD is counted") {
  const watched_signal w(SIGUSR1);
  REQUIRE((signal(SIGUSR1, SIG_IGN) != SIG_ERR));
  w.send();
  CHECK(w.take_count() == 1);
}

TEST_CASE("a signal is counted through every change between a handler and SIG_IGN") {
  const watched_signal w(SIGUSR1);
  for (int i = 0; i < 3; ++i) {
    CAPTURE(i);
    w.set(action_of(count));
    w.send();
    CHECK(handled == i + 1);
    w.set(action_of(SIG_IGN));
    w.send();
    CHECK(handled == i + 1);
  }
  CHECK(w.take_count() == 6);
}

TEST_CASE("sigaction returns the disposition that the program set, watched or not") {
  struct sigaction own = action_of(count, SA_RESTART | SA_NODEFER);
  sigaddset(&own.sa_mask, SIGUSR2);
  const auto is_own = [&](const struct sigaction& action) {
    CHECK((action.sa_handler == count));
    constexpr int all = SA_RESTART | SA_NODEFER | SA_SIGINFO | static_cast<int>(SA_RESETHAND);
    CHECK((action.sa_flags & all) == (SA_RESTART | SA_NODEFER));
    CHECK(sigismember(&action.sa_mask, SIGUSR2) == 1);
    CHECK(sigismember(&action.sa_mask, SIGHUP) == 0);
  };
  watched_signal w(SIGUSR1);
  SUBCASE("set while the signal is watched") {
    w.set(own);
    is_own(disposition(SIGUSR1));
    w.end();
    is_own(disposition(SIGUSR1));
  }
  SUBCASE("set before the signal is watched") {
    w.end();
    w.set(own);
    REQUIRE(w.kq.apply(SIGUSR1, EVFILT_SIGNAL, EV_ADD) == 0);
    is_own(disposition(SIGUSR1));
    REQUIRE(w.kq.apply(SIGUSR1, EVFILT_SIGNAL, EV_DELETE) == 0);
    is_own(disposition(SIGUSR1));
  }
  SUBCASE("returned by the call that replaces it") {
    w.set(own);
    const struct sigaction ignore = action_of(SIG_IGN);
    struct sigaction replaced{};
    REQUIRE(sigaction(SIGUSR1, &ignore, &replaced) == 0);
    is_own(replaced);
    CHECK((signal(SIGUSR1, SIG_DFL) == SIG_IGN));
    CHECK((signal(SIGUSR1, SIG_IGN) == SIG_DFL));
  }
}

TEST_CASE("a handler that is set while two kqueues watch stays when both stop watching") {
  watched_signal w(SIGUSR1);
  const test_kqueue other;
  REQUIRE(other.apply(SIGUSR1, EVFILT_SIGNAL, EV_ADD) == 0);
  w.set(action_of(count));
  w.end();
  w.send();
  CHECK(handled == 1);
  CHECK(only(other.now(), EVFILT_SIGNAL).data == 1);
  REQUIRE(other.apply(SIGUSR1, EVFILT_SIGNAL, EV_DELETE) == 0);
  w.send();
  CHECK(handled == 2);
  CHECK(other.now().empty());
}

TEST_CASE("SA_RESETHAND: the handler runs once, and later signals are still counted") {
  const watched_signal w(SIGURG);  // whose default is to be ignored
  w.set(action_of(count, static_cast<int>(SA_RESETHAND)));
  CHECK((disposition(SIGURG).sa_handler == count));
  w.send();
  CHECK(handled == 1);
  CHECK((disposition(SIGURG).sa_handler == SIG_DFL));
  w.send();
  CHECK(handled == 1);
  CHECK(w.take_count() == 2);
}

namespace {

siginfo_t last_information{};
bool had_context = false;
void save_information(int, siginfo_t* information, void* context) {
  last_information = *information;
  had_context = context != nullptr;
}

}  // namespace

TEST_CASE("SA_SIGINFO: the handler gets the signal, its sender and a context") {
  const watched_signal w(SIGUSR1);
  struct sigaction own{};
  own.sa_sigaction = save_information;
  own.sa_flags = SA_SIGINFO;
  w.set(own);
  last_information = {};
  had_context = false;
  w.send();
  CHECK(last_information.si_signo == SIGUSR1);
  CHECK(last_information.si_pid == getpid());
  CHECK(had_context);
  CHECK((disposition(SIGUSR1).sa_sigaction == save_information));
  CHECK(w.take_count() == 1);
}

namespace {

sigset_t blocked_in_handler;
void save_mask(int) {
  pthread_sigmask(SIG_BLOCK, nullptr, &blocked_in_handler);
}
bool was_blocked(int signal) {
  return sigismember(&blocked_in_handler, signal) == 1;
}

}  // namespace

TEST_CASE(
    "a handler runs with sa_mask and its signal blocked, or without its signal by SA_NODEFER") {
  const watched_signal w(SIGUSR1);
  struct sigaction own = action_of(save_mask);
  sigaddset(&own.sa_mask, SIGUSR2);
  w.set(own);
  w.send();
  CHECK(was_blocked(SIGUSR1));
  CHECK(was_blocked(SIGUSR2));
#if !defined(KEDGE_THREAD_SANITIZER)
  CHECK_FALSE(was_blocked(SIGHUP));
  w.set(action_of(save_mask, SA_NODEFER));
  w.send();
  CHECK_FALSE(was_blocked(SIGUSR1));
  CHECK_FALSE(was_blocked(SIGUSR2));
#endif
  sigset_t after;
  REQUIRE(pthread_sigmask(SIG_BLOCK, nullptr, &after) == 0);
  CHECK(sigismember(&after, SIGUSR1) == 0);
  CHECK(sigismember(&after, SIGUSR2) == 0);
}

namespace {

void* stack_of_handler = nullptr;
void save_stack(int) {
  stack_t now{};
  sigaltstack(nullptr, &now);
  stack_of_handler = (now.ss_flags & SS_ONSTACK) != 0 ? now.ss_sp : nullptr;
}

}  // namespace

TEST_CASE("SA_ONSTACK: the handler runs on the alternate stack") {
  const watched_signal w(SIGUSR1);
  const std::size_t size = 1 << 18;
  void* const place = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
  REQUIRE(place != MAP_FAILED);
  stack_t own{};
  own.ss_sp = place;
  own.ss_size = size;
  stack_t before{};
  REQUIRE(sigaltstack(&own, &before) == 0);
  w.set(action_of(save_stack, SA_ONSTACK));
  w.send();
  CHECK((stack_of_handler == place));
  w.set(action_of(save_stack));
  w.send();
  CHECK((stack_of_handler == nullptr));
  REQUIRE(sigaltstack(&before, nullptr) == 0);
  REQUIRE(munmap(place, size) == 0);
}

namespace {

void set_again(int number) {
  ++handled;
  signal(number, set_again);
}
void set_to_ignore(int number) {
  ++handled;
  signal(number, SIG_IGN);
}

}  // namespace

TEST_CASE("a handler may change the disposition of its own signal") {
  const watched_signal w(SIGUSR1);
  w.set(action_of(set_again, static_cast<int>(SA_RESETHAND)));
  w.send();
  w.send();
  CHECK(handled == 2);
  CHECK((disposition(SIGUSR1).sa_handler == set_again));
  w.set(action_of(set_to_ignore));
  w.send();
  w.send();
  CHECK(handled == 3);
  CHECK(w.take_count() == 4);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"  // deprecated, but programs call them

TEST_CASE("sigset, sigignore and siginterrupt work on a watched signal") {
  const watched_signal w(SIGUSR1);
  SUBCASE("sigset sets a handler and unblocks, and SIG_HOLD blocks") {
    CHECK((sigset(SIGUSR1, count) == SIG_DFL));
    w.send();
    CHECK(handled == 1);
    CHECK((sigset(SIGUSR1, SIG_HOLD) == count));
    w.send();
    CHECK(handled == 1);
    CHECK((sigset(SIGUSR1, count) == SIG_HOLD));
    CHECK(handled == 2);
    CHECK((sigset(SIGUSR1, SIG_IGN) == count));
  }
  SUBCASE("sigignore ignores the signal, which is still counted") {
    w.set(action_of(count));
    CHECK(sigignore(SIGUSR1) == 0);
    CHECK((disposition(SIGUSR1).sa_handler == SIG_IGN));
    w.send();
    CHECK(handled == 0);
    CHECK(w.take_count() == 1);
  }
  SUBCASE("siginterrupt decides whether signal() sets SA_RESTART") {
    REQUIRE((signal(SIGUSR1, count) != SIG_ERR));
    CHECK((disposition(SIGUSR1).sa_flags & SA_RESTART) != 0);
    CHECK(siginterrupt(SIGUSR1, 1) == 0);
    CHECK((disposition(SIGUSR1).sa_flags & SA_RESTART) == 0);
    REQUIRE((signal(SIGUSR1, count) != SIG_ERR));
    CHECK((disposition(SIGUSR1).sa_flags & SA_RESTART) == 0);
    CHECK(siginterrupt(SIGUSR1, 0) == 0);
    CHECK((disposition(SIGUSR1).sa_flags & SA_RESTART) != 0);
    w.send();
    CHECK(handled == 1);
    CHECK(w.take_count() == 1);
  }
}

#pragma GCC diagnostic pop

TEST_CASE("sigaction and signal refuse bad signals and SIGKILL with EINVAL") {
  const watched_signal w(SIGKILL);
  const struct sigaction ignore = action_of(SIG_IGN);
  CHECK(sigaction(SIGKILL, &ignore, nullptr) == -1);
  CHECK(errno == EINVAL);
  CHECK(sigaction(100'000, &ignore, nullptr) == -1);
  CHECK(errno == EINVAL);
  CHECK(sigaction(-1, nullptr, nullptr) == -1);
  CHECK(errno == EINVAL);
  CHECK((signal(SIGKILL, SIG_IGN) == SIG_ERR));
  CHECK((signal(0, SIG_IGN) == SIG_ERR));
  CHECK(errno == EINVAL);
}

namespace {

// A thread in a blocking read(), and the result of the call.
struct reading_thread {
  explicit reading_thread(int fd)
      : thread([this, fd] {
          char byte = 0;
          started = true;
          result = ::read(fd, &byte, 1);
          error = errno;
          done = true;
        }) {
    while (!started) std::this_thread::yield();
  }
  ssize_t result = 0;
  int error = 0;
  std::atomic<bool> started{false};
  std::atomic<bool> done{false};
  std::thread thread;
};

}  // namespace

TEST_CASE("SA_RESTART of the program decides whether a signal interrupts read()") {
  const watched_signal w(SIGUSR1);
  const fd_pair p = fd_pair::of_pipe();
  SUBCASE("without it read() fails with EINTR") {
    w.set(action_of(count));
    reading_thread reader(p[0]);
    while (!reader.done) {
      pthread_kill(reader.thread.native_handle(), SIGUSR1);
      std::this_thread::yield();
    }
    reader.thread.join();
    CHECK(reader.result == -1);
    CHECK(reader.error == EINTR);
  }
  SUBCASE("with it, or if the signal is ignored, read() goes on") {
    SUBCASE("handled with SA_RESTART") {
      w.set(action_of(count, SA_RESTART));
    }
    SUBCASE("ignored") {
      w.set(action_of(SIG_IGN));
    }
    reading_thread reader(p[0]);
    for (int i = 0; i < 100; ++i) {
      pthread_kill(reader.thread.native_handle(), SIGUSR1);
      std::this_thread::yield();
    }
    CHECK(!reader.done);
    p.put(1, "x");
    reader.thread.join();
    CHECK(reader.result == 1);
  }
}

TEST_CASE("SIGTSTP by default stops the process, which has counted it when it continues") {
  const pid_t child = fork();
  if (child == 0) {
    setpgid(0, 0);  // a new process group that is not orphaned: an orphaned one would not stop
    signal(SIGTSTP, SIG_DFL);
    const int kq = ::kqueue();
    const kevent64_s add = change(SIGTSTP, EVFILT_SIGNAL, EV_ADD);
    kevent64(kq, &add, 1, nullptr, 0, 0, nullptr);
    kill(getpid(), SIGTSTP);
    kevent64_s event{};
    const timespec zero{0, 0};
    const int n = kevent64(kq, nullptr, 0, &event, 1, 0, &zero);
    kill(getpid(), SIGTSTP);
    _exit(n == 1 ? static_cast<int>(event.data) : 100);
  }
  REQUIRE(child > 0);
  int status = 0;
  for (int i = 0; i < 2; ++i) {
    CAPTURE(i);
    REQUIRE(waitpid(child, &status, WUNTRACED) == child);
    REQUIRE(WIFSTOPPED(status));
    CHECK(WSTOPSIG(status) == SIGTSTP);
    REQUIRE(kill(child, SIGCONT) == 0);
  }
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 1);
}

TEST_CASE("SIG_DFL that is set after EV_ADD ends the process") {
  const int status = status_of_child([] {
    signal(SIGTERM, SIG_IGN);
    const int kq = ::kqueue();
    const kevent64_s add = change(SIGTERM, EVFILT_SIGNAL, EV_ADD);
    kevent64(kq, &add, 1, nullptr, 0, 0, nullptr);
    kill(getpid(), SIGTERM);
    signal(SIGTERM, SIG_DFL);
    kill(getpid(), SIGTERM);
    return 1;
  });
  REQUIRE(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGTERM);
}

TEST_CASE("a forked child keeps the dispositions of the program, and its signals are not counted") {
  const watched_signal w(SIGUSR1);
  SUBCASE("a handler runs in the child") {
    w.set(action_of(count));
    const int status = status_of_child([&] {
      kill(getpid(), SIGUSR1);
      return handled == 1 && disposition(SIGUSR1).sa_handler == count ? 0 : 1;
    });
    CHECK(status == 0);
  }
  SUBCASE("the child changes its own disposition, not that of the parent") {
    w.set(action_of(count));
    const int status = status_of_child([&] {
      signal(SIGUSR1, SIG_IGN);
      kill(getpid(), SIGUSR1);
      return handled == 0 ? 0 : 1;
    });
    CHECK(status == 0);
    CHECK((disposition(SIGUSR1).sa_handler == count));
  }
  SUBCASE("SIG_IGN stays through exec") {
    w.set(action_of(SIG_IGN));
    const int status = status_of_child([&] {
      execl("/bin/sh", "sh", "-c", "kill -s USR1 $$; exit 7", static_cast<char*>(nullptr));
      return 1;
    });
    REQUIRE(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 7);
  }
  w.send();
  CHECK(w.take_count() == 1);
}

TEST_CASE("two threads that fork concurrently keep their signal masks, and so do the children") {
  std::vector<std::thread> threads;
  for (const int blocked : {SIGUSR1, SIGUSR2}) {
    CAPTURE(blocked);
    threads.emplace_back([blocked] {
      sigset_t mask;
      sigemptyset(&mask);
      sigaddset(&mask, blocked);
      CHECK(pthread_sigmask(SIG_SETMASK, &mask, nullptr) == 0);
      for (int i = 0; i < 100; ++i) {
        CAPTURE(i);
        const pid_t child = fork();
        CHECK(pthread_sigmask(SIG_BLOCK, nullptr, &mask) == 0);
        const bool is_right = sigismember(&mask, blocked) == 1 &&
                              sigismember(&mask, SIGUSR1) + sigismember(&mask, SIGUSR2) == 1;
        if (child == 0) _exit(is_right ? 0 : 1);
        CHECK(is_right);
        int status = 1;
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(status == 0);
      }
    });
  }
  for (std::thread& t : threads) t.join();
}

TEST_CASE("ignoring SIGCHLD reaps children while it is watched") {
  const watched_signal w(SIGCHLD);
  w.set(action_of(SIG_IGN));
  const pid_t child = fork();
  if (child == 0) _exit(0);
  REQUIRE(child > 0);
  CHECK(waitpid(child, nullptr, 0) == -1);
  CHECK(errno == ECHILD);
}

TEST_CASE("SA_NOCLDSTOP: a child that stops is not counted, its exit is") {
  const watched_signal w(SIGCHLD);
  w.set(action_of(count, SA_NOCLDSTOP));
  const pid_t child = fork();
  if (child == 0) {
    kill(getpid(), SIGSTOP);
    _exit(0);
  }
  REQUIRE(child > 0);
  int status = 0;
  REQUIRE(waitpid(child, &status, WUNTRACED) == child);
  REQUIRE(WIFSTOPPED(status));
  CHECK(w.take_count() == 0);
  REQUIRE(kill(child, SIGCONT) == 0);
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(only(w.kq.next(), EVFILT_SIGNAL).data == 1);
}

TEST_CASE("2000 signals are all counted while another thread changes the disposition") {
  const watched_signal w(SIGUSR1);
  w.set(action_of(SIG_IGN));
  std::atomic<bool> done{false};
  sigset_t only_usr1;
  sigset_t before;
  sigemptyset(&only_usr1);
  sigaddset(&only_usr1, SIGUSR1);
  REQUIRE(pthread_sigmask(SIG_BLOCK, &only_usr1, &before) == 0);
  std::thread changing([&] {  // inherits the blocked SIGUSR1
    const struct sigaction ignore = action_of(SIG_IGN);
    const struct sigaction handle = action_of(count);
    while (!done) {
      sigaction(SIGUSR1, &handle, nullptr);
      sigaction(SIGUSR1, &ignore, nullptr);
    }
  });
  REQUIRE(pthread_sigmask(SIG_SETMASK, &before, nullptr) == 0);
  constexpr int sent = 2000;
  // Handled before kill() returns, in the only thread that does not block it.
  for (int i = 0; i < sent; ++i) w.send();
  done = true;
  changing.join();
  CHECK(w.take_count() == sent);
}
