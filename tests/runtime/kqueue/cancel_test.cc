// Threads that are cancelled, with the deferred type. The kqueue calls are not cancellation points:
// Darwin's table of system calls (bsd/kern/syscalls.master) has no `_nocancel` twin of any of them.
// close() is a cancellation point, and a thread that dies in it has closed nothing.

#include "test_kqueue.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

#include <atomic>
#include <cstdio>
#include <vector>

#include "child_process.h"
#include "kedge/runtime/kqueue/extension.h"
#include "test_sockets.h"

namespace {

// A thread that runs `body` and then reaches a cancellation point.
template <class Body>
class cancellable_thread {
 public:
  explicit cancellable_thread(Body body) : body_(body) {
    REQUIRE(pthread_create(&thread_, nullptr, run, this) == 0);
  }
  cancellable_thread(const cancellable_thread&) = delete;
  cancellable_thread& operator=(const cancellable_thread&) = delete;

  void cancel() const { REQUIRE(pthread_cancel(thread_) == 0); }
  // Joins the thread. Returns true if cancellation ended it.
  bool was_cancelled() {
    void* result = nullptr;
    REQUIRE(pthread_join(thread_, &result) == 0);
    return result == PTHREAD_CANCELED;
  }
  // Requires was_cancelled() before. Returns true if `body` ran to its end.
  bool has_finished_body() const { return done_; }

 private:
  static void* run(void* self) {
    cancellable_thread& own = *static_cast<cancellable_thread*>(self);
    own.body_();
    own.done_ = true;
    pthread_testcancel();
    return nullptr;
  }

  Body body_;
  pthread_t thread_{};
  bool done_ = false;
};

// Runs `body` in a thread that is already cancelled, and checks that it dies only afterwards.
template <class Body>
void run_cancelled(Body body) {
  cancellable_thread thread([&] {
    pthread_cancel(pthread_self());
    body();
  });
  CHECK(thread.was_cancelled());
  CHECK(thread.has_finished_body());
}

// How a thread waits for one event.
struct wait_mode {
  bool wide;             // by kevent64()
  bool takes_fast_path;  // on Linux by nothing but epoll_wait()
  const timespec* limit;
};

constexpr timespec zero{0, 0};
constexpr timespec long_enough{30, 0};

// Waits for one event, and makes the change `added` before if there is one. Returns ~filter of the
// event, or, if there was not exactly one, the result of the call minus 100.
int wait_for_one(int kq, const wait_mode& how, const kevent64_s* added = nullptr) {
  if (how.wide) {
    kevent64_s got{};
    const int n = kevent64(kq, added, added != nullptr ? 1 : 0, &got, 1, 0, how.limit);
    return n == 1 ? ~got.filter : n - 100;
  }
  struct kevent add{};
  if (added != nullptr) {
    EV_SET(&add, static_cast<std::uintptr_t>(added->ident), added->filter, added->flags,
           added->fflags, static_cast<std::intptr_t>(added->data), nullptr);
  }
  struct kevent got{};
  const int n = kevent(kq, &add, added != nullptr ? 1 : 0, &got, 1, how.limit);
  return n == 1 ? ~got.filter : n - 100;
}

template <class Try>
void in_each_mode(Try attempt) {
  for (const bool wide : {false, true}) {
    for (const bool takes_fast_path : {false, true}) {
      for (const timespec* const limit : {static_cast<const timespec*>(nullptr), &long_enough}) {
        const wait_mode how{wide, takes_fast_path, limit};
        CAPTURE(wide);
        CAPTURE(takes_fast_path);
        CAPTURE(limit != nullptr);
        attempt(how);
      }
    }
  }
}

// Makes the change `added`. A wait without an event then lets the next wait take the fast path.
void add_with(int kq, const wait_mode& how, const kevent64_s& added) {
  wait_mode at_once = how;
  at_once.limit = &zero;
  const int filter = wait_for_one(kq, at_once, &added);
  REQUIRE(filter == -100);
  if (how.takes_fast_path) kedge::kqueue::opt_out(kq, kedge::kqueue::no_data);
  REQUIRE(wait_for_one(kq, at_once) == -100);
}

}  // namespace

TEST_CASE(
    "a cancelled thread takes its event from kevent, and dies at the next cancellation point") {
  in_each_mode([](const wait_mode& how) {
    const test_kqueue kq;
    const fd_pair p = fd_pair::of_pipe();
    add_with(kq.fd(), how, change(p[0], EVFILT_READ, EV_ADD));
    p.put(1, "x");
    int filter = 0;
    run_cancelled([&] { filter = wait_for_one(kq.fd(), how); });
    CHECK(filter == ~EVFILT_READ);
  });
}

TEST_CASE(
    "a cancelled thread that adds a triggered user event gets it, and again in the next wait") {
  in_each_mode([](const wait_mode& how) {
    const test_kqueue kq;
    const kevent64_s trigger = change(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER);
    int filter = 0;
    run_cancelled([&] { filter = wait_for_one(kq.fd(), how, &trigger); });
    CHECK(filter == ~EVFILT_USER);
    run_cancelled([&] { filter = wait_for_one(kq.fd(), how); });
    CHECK(filter == ~EVFILT_USER);
  });
}

TEST_CASE("a cancelled thread waits for its time-out if there is no event") {
  in_each_mode([](const wait_mode& how) {
    const test_kqueue kq;
    const fd_pair p = fd_pair::of_pipe();
    add_with(kq.fd(), how, change(p[0], EVFILT_READ, EV_ADD));
    constexpr timespec soon{0, 1};
    for (const timespec* const limit : {&zero, &soon}) {
      CAPTURE(limit->tv_nsec);
      wait_mode brief = how;
      brief.limit = limit;
      int filter = 0;
      run_cancelled([&] { filter = wait_for_one(kq.fd(), brief); });
      CHECK(filter == -100);
    }
  });
}

TEST_CASE("a thread that is cancelled while it waits goes on waiting for its event") {
  in_each_mode([](const wait_mode& how) {
    const test_kqueue kq;
    const fd_pair p = fd_pair::of_pipe();
    add_with(kq.fd(), how, change(p[0], EVFILT_READ, EV_ADD));
    std::atomic<bool> begun{false};
    int filter = 0;
    cancellable_thread thread([&] {
      begun = true;
      filter = wait_for_one(kq.fd(), how);
    });
    while (!begun) sched_yield();
    thread.cancel();
    p.put(1, "x");
    CHECK(thread.was_cancelled());
    CHECK(thread.has_finished_body());
    CHECK(filter == ~EVFILT_READ);
  });
}

TEST_CASE("a thread that is cancelled inside of kevent64 goes on waiting for its event") {
  const test_kqueue kq;
  int count = -1;
  cancellable_thread thread([&] {
    const kevent64_s add = change(1, EVFILT_USER, EV_ADD);
    kevent64_s got{};
    count = kevent64(kq.fd(), &add, 1, &got, 1, 0, nullptr);
  });
  while (kq.apply(1, EVFILT_USER, EV_ENABLE) != 0) sched_yield();  // until it has added
  thread.cancel();
  CHECK(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
  CHECK(thread.was_cancelled());
  CHECK(thread.has_finished_body());
  CHECK(count == 1);
}

namespace {

// Something to watch for every filter. The knotes have the udata 1 to `count`. activate() makes
// those ready that are not ready at EV_ADD or by a timer.
struct every_filter {
  const fd_pair connection = tcp_pair();
  const fd_pair sockets = fd_pair::of_sockets();
  const fd_pair pipe = fd_pair::of_pipe();
  const unix_listener listener;
  const scoped_fd client{::socket(AF_UNIX, SOCK_STREAM, 0)};
  std::FILE* const file = std::tmpfile();
  child_process child;
  void (*const on_usr1_before)(int) = signal(SIGUSR1, SIG_IGN);

  every_filter() {
    sockets.put(1, "ab");  // less than the low-water mark
    pipe.fill(1);
    pipe.take(0, 4096);
    REQUIRE(file != nullptr);
  }
  every_filter(const every_filter&) = delete;
  every_filter& operator=(const every_filter&) = delete;
  ~every_filter() {
    signal(SIGUSR1, on_usr1_before);
    std::fclose(file);
  }

  std::vector<kevent64_s> adds() const {
    const auto process = static_cast<std::uint64_t>(child.pid());
    constexpr std::uint32_t continuous = NOTE_USECONDS | NOTE_MACH_CONTINUOUS_TIME;
    return {
        change(connection[0], EVFILT_READ, EV_ADD | EV_CLEAR, NOTE_LOWAT, 2, 1),
        change(connection[0], EVFILT_EXCEPT, EV_ADD | EV_CLEAR, NOTE_OOB, 0, 2),
        change(sockets[0], EVFILT_READ, EV_ADD | EV_CLEAR, NOTE_LOWAT, 4, 3),
        change(sockets[0], EVFILT_WRITE, EV_ADD | EV_CLEAR, 0, 0, 4),
        change(pipe[1], EVFILT_WRITE, EV_ADD | EV_CLEAR, NOTE_LOWAT, 2 * 4096, 5),
        change(fileno(file), EVFILT_VNODE, EV_ADD | EV_CLEAR, NOTE_WRITE, 0, 6),
        change(1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_USECONDS, 1, 7),
        change(2, EVFILT_TIMER, EV_ADD | EV_ONESHOT, continuous, 1, 8),
        change(1, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER, 0, 9),
        change(SIGUSR1, EVFILT_SIGNAL, EV_ADD, 0, 0, 10),
        change(process, EVFILT_PROC, EV_ADD, NOTE_EXIT | NOTE_EXITSTATUS, 0, 11),
        change(listener.fd(), EVFILT_READ, EV_ADD | EV_CLEAR, 0, 0, 12),
    };
  }

  void activate() const {
    REQUIRE(::send(connection[1], "ab", 2, 0) == 2);
    REQUIRE(::send(connection[1], "c", 1, MSG_OOB) == 1);
    sockets.put(1, "cd");
    pipe.drain(0);
    listener.connect(client);
    std::fputs("text", file);
    std::fflush(file);
    ::kill(getpid(), SIGUSR1);
    child.kill(SIGKILL);
  }
};

// Takes the events of a call with room for 4, and sets the bits of their udata in `seen`. Returns
// false if there were none.
bool take_events(int kq, const timespec& limit, unsigned& seen) {
  kevent64_s got[4];
  const int n = kevent64(kq, nullptr, 0, got, 4, 0, &limit);
  for (int i = 0; i < n; ++i) seen |= 1u << got[i].udata;
  return n > 0;
}

// Deletes the knotes that are not deleted by their event. Returns the first result that is not 0.
int delete_all(int kq, const std::vector<kevent64_s>& adds) {
  for (kevent64_s c : adds) {
    if (c.filter == EVFILT_TIMER || c.filter == EVFILT_PROC) continue;
    c.flags = EV_DELETE;
    if (const int result = kevent64(kq, &c, 1, nullptr, 0, 0, nullptr); result != 0) return result;
  }
  return 0;
}

}  // namespace

TEST_CASE("a cancelled thread adds knotes of every filter, takes their events and deletes them") {
  const every_filter sources;
  const std::vector<kevent64_s> adds = sources.adds();
  const int count = static_cast<int>(adds.size());
  const unsigned all = (1u << (count + 1)) - 2;
  int kq = -1;
  int added = -1;
  unsigned seen = 0;
  int deleted = -1;
  std::atomic<bool> ready{false};
  std::atomic<bool> happened{false};
  cancellable_thread thread([&] {
    pthread_cancel(pthread_self());
    kq = ::kqueue();
    added = kevent64(kq, adds.data(), count, nullptr, 0, 0, nullptr);
    while (take_events(kq, zero, seen)) {
    }
    ready = true;
    while (!happened) sched_yield();
    while (seen != all && take_events(kq, long_enough, seen)) {
    }
    deleted = delete_all(kq, adds);
  });
  while (!ready) sched_yield();
  sources.activate();
  happened = true;
  CHECK(thread.was_cancelled());
  CHECK(thread.has_finished_body());
  CHECK(added == 0);
  CHECK(seen == all);
  CHECK(deleted == 0);

  SUBCASE("dup2 onto the kqueue, not a cancellation point, closes it") {
    int fd = -1;
    run_cancelled([&] { fd = ::dup2(sources.pipe[0], kq); });
    CHECK(fd == kq);
  }
  SUBCASE("close(), a cancellation point, leaves the kqueue open") {
    cancellable_thread closing([&] {
      pthread_cancel(pthread_self());
      ::close(kq);
    });
    CHECK(closing.was_cancelled());
    CHECK(!closing.has_finished_body());
    // The kqueue is still open, and works.
    const kevent64_s trigger = change(3, EVFILT_USER, EV_ADD, NOTE_TRIGGER);
    kevent64_s got{};
    CHECK(kevent64(kq, &trigger, 1, &got, 1, 0, &long_enough) == 1);
  }
  CHECK(::close(kq) == 0);
}

TEST_CASE(
    "a thread that is cancelled in close() has closed nothing, and the knotes of the fd stay") {
  const test_kqueue kq;
  const fd_pair p = fd_pair::of_sockets();
  p.put(1, "x");
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  cancellable_thread closing([&] {
    pthread_cancel(pthread_self());
    ::close(p[0]);
  });
  CHECK(closing.was_cancelled());
  CHECK(!closing.has_finished_body());
  CHECK(only(kq.now(), EVFILT_READ).data == 1);
}

TEST_CASE("a cancelled thread forks, and neither it nor the child dies in fork") {
  const test_kqueue kq;
  const fd_pair p = fd_pair::of_pipe();
  p.put(1, "x");
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_SECONDS, 1000) == 0);
  pid_t child = -1;
  run_cancelled([&] {
    child = fork();
    if (child == 0) _exit(7);
  });
  REQUIRE(child > 0);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 7);
}

namespace {

void reach_cancellation_point(int) {
  pthread_testcancel();
}

}  // namespace

TEST_CASE(
    "a watched signal ends a cancelled thread only if its handler reaches a cancellation point") {
  const test_kqueue kq;
  REQUIRE(kq.apply(SIGUSR1, EVFILT_SIGNAL, EV_ADD) == 0);
  void (*before)(int) = SIG_DFL;
  SUBCASE("an ignored signal lets the thread finish") {
    before = signal(SIGUSR1, SIG_IGN);
    run_cancelled([] { raise(SIGUSR1); });
  }
  SUBCASE("a handler with a cancellation point ends the thread") {
    before = signal(SIGUSR1, reach_cancellation_point);
    cancellable_thread thread([] {
      pthread_cancel(pthread_self());
      raise(SIGUSR1);
    });
    CHECK(thread.was_cancelled());
    CHECK(!thread.has_finished_body());
  }
  signal(SIGUSR1, before);
  CHECK(only(kq.now(), EVFILT_SIGNAL).data == 1);
}
