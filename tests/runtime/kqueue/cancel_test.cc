// Threads that are cancelled, with the deferred type. The calls about kqueues are no cancellation
// points: none of them has a twin that is none in Darwin's table of system calls
// (bsd/kern/syscalls.master). close() is one, and a thread that dies in it has closed nothing.

#include "kqueue_of_test.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

#include <atomic>
#include <cstdio>

#include "child_of_test.h"
#include "kedge/runtime/kqueue/extension.h"
#include "sockets_of_test.h"

namespace {

// A thread with something to do, and then a cancellation point.
template <class Body>
class thread_of_test {
 public:
  explicit thread_of_test(Body body) : body_(body) {
    REQUIRE(pthread_create(&thread_, nullptr, run, this) == 0);
  }
  thread_of_test(const thread_of_test&) = delete;
  thread_of_test& operator=(const thread_of_test&) = delete;

  void cancel() const { REQUIRE(pthread_cancel(thread_) == 0); }
  // How it ended.
  bool was_cancelled() {
    void* result = nullptr;
    REQUIRE(pthread_join(thread_, &result) == 0);
    return result == PTHREAD_CANCELED;
  }
  // After that: whether it had done all.
  bool had_done_all() const { return done_; }

 private:
  static void* run(void* self) {
    thread_of_test& own = *static_cast<thread_of_test*>(self);
    own.body_();
    own.done_ = true;
    pthread_testcancel();
    return nullptr;
  }

  Body body_;
  pthread_t thread_{};
  bool done_ = false;
};

// In a thread that is cancelled before: does all of it, and dies then.
template <class Body>
void do_cancelled(Body body) {
  thread_of_test thread([&] {
    pthread_cancel(pthread_self());
    body();
  });
  CHECK(thread.was_cancelled());
  CHECK(thread.had_done_all());
}

// How a thread waits for one event.
struct manner {
  bool wide;       // kevent64()
  bool short_way;  // nothing but epoll_wait(), where it is made of that
  const timespec* limit;
};

constexpr timespec zero{0, 0};
constexpr timespec long_enough{30, 0};

// The filter of the one event that comes; else a negative number.
int wait_for_one(int kq, const manner& how, const kevent64_s* added = nullptr) {
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
void in_each_manner(Try attempt) {
  for (const bool wide : {false, true}) {
    for (const bool short_way : {false, true}) {
      for (const timespec* const limit : {static_cast<const timespec*>(nullptr), &long_enough}) {
        const manner how{wide, short_way, limit};
        CAPTURE(wide);
        CAPTURE(short_way);
        CAPTURE(limit != nullptr);
        attempt(how);
      }
    }
  }
}

// Adds, and opens the short way: with a wait that finds nothing in it.
void add_with(int kq, const manner& how, const kevent64_s& added) {
  manner at_once = how;
  at_once.limit = &zero;
  const int filter = wait_for_one(kq, at_once, &added);
  REQUIRE(filter == -100);
  if (how.short_way) kedge::kqueue::opt_out(kq, kedge::kqueue::no_data);
  REQUIRE(wait_for_one(kq, at_once) == -100);
}

}  // namespace

TEST_CASE("a thread that is cancelled takes its event, and dies later") {
  in_each_manner([](const manner& how) {
    const kqueue_of_test kq;
    const pair_of_test p = pair_of_test::of_pipe();
    add_with(kq.fd(), how, change(p[0], EVFILT_READ, EV_ADD));
    p.put(1, "x");
    int filter = 0;
    do_cancelled([&] { filter = wait_for_one(kq.fd(), how); });
    CHECK(filter == ~EVFILT_READ);
  });
}

TEST_CASE("the same with a change, and with a user event") {
  in_each_manner([](const manner& how) {
    const kqueue_of_test kq;
    const kevent64_s trigger = change(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER);
    int filter = 0;
    do_cancelled([&] { filter = wait_for_one(kq.fd(), how, &trigger); });
    CHECK(filter == ~EVFILT_USER);
    do_cancelled([&] { filter = wait_for_one(kq.fd(), how); });
    CHECK(filter == ~EVFILT_USER);
  });
}

TEST_CASE("a thread that is cancelled when no event is there gets none in time") {
  in_each_manner([](const manner& how) {
    const kqueue_of_test kq;
    const pair_of_test p = pair_of_test::of_pipe();
    add_with(kq.fd(), how, change(p[0], EVFILT_READ, EV_ADD));
    constexpr timespec soon{0, 1};
    for (const timespec* const limit : {&zero, &soon}) {
      manner brief = how;
      brief.limit = limit;
      int filter = 0;
      do_cancelled([&] { filter = wait_for_one(kq.fd(), brief); });
      CHECK(filter == -100);
    }
  });
}

TEST_CASE("a thread that is cancelled while it waits goes on waiting for its event") {
  in_each_manner([](const manner& how) {
    const kqueue_of_test kq;
    const pair_of_test p = pair_of_test::of_pipe();
    add_with(kq.fd(), how, change(p[0], EVFILT_READ, EV_ADD));
    std::atomic<bool> begun{false};
    int filter = 0;
    thread_of_test thread([&] {
      begun = true;
      filter = wait_for_one(kq.fd(), how);
    });
    while (!begun) sched_yield();
    thread.cancel();
    p.put(1, "x");
    CHECK(thread.was_cancelled());
    CHECK(thread.had_done_all());
    CHECK(filter == ~EVFILT_READ);
  });
}

TEST_CASE("the same, certainly inside the call") {
  const kqueue_of_test kq;
  int count = -1;
  thread_of_test thread([&] {
    const kevent64_s add = change(1, EVFILT_USER, EV_ADD);
    kevent64_s got{};
    count = kevent64(kq.fd(), &add, 1, &got, 1, 0, nullptr);
  });
  while (kq.apply(1, EVFILT_USER, EV_ENABLE) != 0) sched_yield();  // until it has added
  thread.cancel();
  CHECK(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
  CHECK(thread.was_cancelled());
  CHECK(thread.had_done_all());
  CHECK(count == 1);
}

TEST_CASE("making a kqueue, adding and taking events of every filter, and deleting") {
  const pair_of_test connection = pair_of_tcp();
  const pair_of_test sockets = pair_of_test::of_sockets();
  const pair_of_test pipe = pair_of_test::of_pipe();
  sockets.put(1, "ab");  // what is looked at, and found to be less than a mark
  pipe.fill(1);
  pipe.take(0, 4096);
  const unix_listener_of_test listener;
  const descriptor_of_test client(::socket(AF_UNIX, SOCK_STREAM, 0));
  std::FILE* const file = std::tmpfile();
  REQUIRE(file != nullptr);
  child_of_test child;
  const auto process = static_cast<std::uint64_t>(child.pid());
  const kevent64_s adds[] = {
      change(connection[0], EVFILT_READ, EV_ADD | EV_CLEAR, NOTE_LOWAT, 2, 1),
      change(connection[0], EVFILT_EXCEPT, EV_ADD | EV_CLEAR, NOTE_OOB, 0, 2),
      change(sockets[0], EVFILT_READ, EV_ADD | EV_CLEAR, NOTE_LOWAT, 4, 3),
      change(sockets[0], EVFILT_WRITE, EV_ADD | EV_CLEAR, 0, 0, 4),
      change(pipe[1], EVFILT_WRITE, EV_ADD | EV_CLEAR, NOTE_LOWAT, 2 * 4096, 5),
      change(fileno(file), EVFILT_VNODE, EV_ADD | EV_CLEAR, NOTE_WRITE, 0, 6),
      change(listener.fd(), EVFILT_READ, EV_ADD | EV_CLEAR, 0, 0, 12),
      change(1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_USECONDS, 1, 7),
      change(2, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_USECONDS | NOTE_MACH_CONTINUOUS_TIME, 1, 8),
      change(1, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER, 0, 9),
      change(SIGUSR1, EVFILT_SIGNAL, EV_ADD, 0, 0, 10),
      change(process, EVFILT_PROC, EV_ADD, NOTE_EXIT | NOTE_EXITSTATUS, 0, 11),
  };
  constexpr int count = sizeof adds / sizeof adds[0];
  constexpr unsigned all = (1u << (count + 1)) - 2;
  void (*const before)(int) = signal(SIGUSR1, SIG_IGN);
  int kq = -1;
  int added = -1;
  unsigned seen = 0;
  int deleted = -1;
  std::atomic<bool> ready{false};
  std::atomic<bool> happened{false};
  const auto take = [&](const timespec& limit) {
    kevent64_s got[4];
    const int n = kevent64(kq, nullptr, 0, got, 4, 0, &limit);
    for (int i = 0; i < n; ++i) seen |= 1u << got[i].udata;
    return n > 0;
  };
  thread_of_test thread([&] {
    pthread_cancel(pthread_self());
    kq = ::kqueue();
    added = kevent64(kq, adds, count, nullptr, 0, 0, nullptr);
    while (take(zero)) {
    }
    ready = true;
    while (!happened) sched_yield();
    while (seen != all && take(long_enough)) {
    }
    for (kevent64_s gone : adds) {
      const bool is_gone = gone.filter == EVFILT_TIMER || gone.filter == EVFILT_PROC;
      if (is_gone) continue;
      gone.flags = EV_DELETE;
      deleted = kevent64(kq, &gone, 1, nullptr, 0, 0, nullptr);
      if (deleted != 0) break;
    }
  });
  while (!ready) sched_yield();
  REQUIRE(::send(connection[1], "ab", 2, 0) == 2);
  REQUIRE(::send(connection[1], "c", 1, MSG_OOB) == 1);
  sockets.put(1, "cd");
  pipe.drain(0);
  listener.connect(client);
  std::fputs("text", file);
  std::fflush(file);
  kill(getpid(), SIGUSR1);
  child.kill(SIGKILL);
  happened = true;
  CHECK(thread.was_cancelled());
  CHECK(thread.had_done_all());
  CHECK(added == 0);
  CHECK(seen == all);
  CHECK(deleted == 0);

  SUBCASE("and the end of it, by what is no cancellation point") {
    int number = -1;
    do_cancelled([&] { number = ::dup2(pipe[0], kq); });
    CHECK(number == kq);
  }
  SUBCASE("which close() is") {
    thread_of_test closing([&] {
      pthread_cancel(pthread_self());
      ::close(kq);
    });
    CHECK(closing.was_cancelled());
    CHECK(!closing.had_done_all());
    // It is there, with what is in it.
    const kevent64_s trigger = change(3, EVFILT_USER, EV_ADD, NOTE_TRIGGER);
    kevent64_s got{};
    CHECK(kevent64(kq, &trigger, 1, &got, 1, 0, &long_enough) == 1);
  }
  CHECK(::close(kq) == 0);
  signal(SIGUSR1, before);
  std::fclose(file);
  child.wait();
}

TEST_CASE("close: a thread that dies in it has closed nothing, and its knotes stay") {
  const kqueue_of_test kq;
  const pair_of_test p = pair_of_test::of_sockets();
  p.put(1, "x");
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  thread_of_test closing([&] {
    pthread_cancel(pthread_self());
    ::close(p[0]);
  });
  CHECK(closing.was_cancelled());
  CHECK(!closing.had_done_all());
  CHECK(only(kq.now(), EVFILT_READ).data == 1);
}

TEST_CASE("fork: neither the thread nor its child dies of it") {
  const kqueue_of_test kq;
  const pair_of_test p = pair_of_test::of_pipe();
  p.put(1, "x");
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_SECONDS, 1000) == 0);
  pid_t child = -1;
  do_cancelled([&] {
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

TEST_CASE("a watched signal: counting it is no cancellation point, but its handler may reach one") {
  const kqueue_of_test kq;
  REQUIRE(kq.apply(SIGUSR1, EVFILT_SIGNAL, EV_ADD) == 0);
  void (*before)(int) = SIG_DFL;
  SUBCASE("ignored") {
    before = signal(SIGUSR1, SIG_IGN);
    do_cancelled([] { raise(SIGUSR1); });
  }
  SUBCASE("handled") {
    before = signal(SIGUSR1, reach_cancellation_point);
    thread_of_test thread([] {
      pthread_cancel(pthread_self());
      raise(SIGUSR1);
    });
    CHECK(thread.was_cancelled());
    CHECK(!thread.had_done_all());
  }
  signal(SIGUSR1, before);
  CHECK(only(kq.now(), EVFILT_SIGNAL).data == 1);
}
