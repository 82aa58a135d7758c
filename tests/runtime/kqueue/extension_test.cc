// kedge/runtime/kqueue/extension.h: options, take_active and clocks.

#include "test_kqueue.h"

#include <poll.h>
#include <sys/wait.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sys/syscall.h>
#endif

#include "extension_in_c.h"
#include "kedge/runtime/kqueue/extension.h"
#include "test_sockets.h"

using kedge::kqueue::clock_moved;
using kedge::kqueue::handle;
using kedge::kqueue::no_data;
using kedge::kqueue::not_pollable;
using kedge::kqueue::oob_marks;
using kedge::kqueue::opt_in;
using kedge::kqueue::opt_out;
using kedge::kqueue::take_active;
using kedge::kqueue::use_clock;

#if !defined(__APPLE__)

namespace {

bool readable(int fd) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, 0) == 1;
}

}  // namespace

TEST_CASE("opt_out and opt_in refuse an fd that is not a kqueue, and unknown bits") {
  const test_kqueue kq;
  CHECK(!opt_out(-1, no_data));
  CHECK(!opt_out(kq.fd(), 8));
  CHECK(!opt_out(kq.fd(), no_data | 16));
  CHECK(!opt_in(kq.fd(), 8));
  CHECK(!opt_in(1'000'000, no_data));
  CHECK(opt_out(kq.fd(), no_data | not_pollable));
  CHECK(opt_in(kq.fd(), no_data | not_pollable));
}

TEST_CASE("no_data makes data of READ 0, not that of USER, and opt_in restores it") {
  const test_kqueue kq;
  const fd_pair p = fd_pair::of_sockets();
  REQUIRE(opt_out(kq.fd(), no_data));
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER, 7) == 0);
  p.put(1, "abc");
  const event_list got = kq.now();
  CHECK(only(got, EVFILT_READ).data == 0);
  CHECK(only(got, EVFILT_USER).data == 7);
  REQUIRE(opt_in(kq.fd(), no_data));
  CHECK(only(kq.now(), EVFILT_READ).data == 3);
}

TEST_CASE("no_data leaves data of READ of a regular file") {
  const test_kqueue kq;
  std::FILE* const file = std::tmpfile();
  REQUIRE(file != nullptr);
  const int fd = ::fileno(file);
  REQUIRE(::write(fd, "abc", 3) == 3);
  REQUIRE(::lseek(fd, 1, SEEK_SET) == 1);
  REQUIRE(opt_out(kq.fd(), no_data));
  REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD) == 0);
  CHECK(only(kq.now(), EVFILT_READ).data == 2);
  REQUIRE(std::fclose(file) == 0);
}

TEST_CASE("not_pollable hides user events from poll(), and opt_in makes pending ones readable") {
  const test_kqueue kq;
  REQUIRE(opt_out(kq.fd(), not_pollable));
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR) == 0);
  REQUIRE(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
  CHECK(!readable(kq.fd()));
  REQUIRE(opt_in(kq.fd(), not_pollable));
  CHECK(readable(kq.fd()));
  CHECK(kq.now().size() == 1);
  CHECK(!readable(kq.fd()));

  SUBCASE("without a pending event opt_in leaves the kqueue unreadable") {
    REQUIRE(opt_out(kq.fd(), not_pollable));
    REQUIRE(opt_in(kq.fd(), not_pollable));
    CHECK(!readable(kq.fd()));
  }
  SUBCASE("a trigger after opt_in makes the kqueue readable") {
    REQUIRE(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
    CHECK(readable(kq.fd()));
  }
}

TEST_CASE("a trigger by another thread wakes a thread that waits in a kqueue with not_pollable") {
  const test_kqueue kq;
  REQUIRE(opt_out(kq.fd(), not_pollable));
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR) == 0);
  for (int i = 0; i < 200; ++i) {
    CAPTURE(i);
    std::thread other([&] { CHECK(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0); });
    CHECK(kq.next().size() == 1);
    other.join();
  }
}

TEST_CASE("take_active delivers active user events by the modes of their knotes, and no fds") {
  const test_kqueue kq;
  const fd_pair p = fd_pair::of_sockets();
  kevent64_s out[8]{};
  CHECK(take_active(-1, out, 8) == 0);
  CHECK(take_active(kq.fd(), out, 8) == 0);
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, 5) == 0);
  REQUIRE(kq.apply(2, EVFILT_USER, EV_ADD | EV_ONESHOT) == 0);
  REQUIRE(kq.apply(3, EVFILT_USER, EV_ADD) == 0);
  REQUIRE(kq.apply(p[1], EVFILT_WRITE, EV_ADD) == 0);
  CHECK(take_active(kq.fd(), out, 8) == 0);  // fds are left to kevent64()
  for (std::uint64_t i = 1; i <= 3; ++i) {
    CAPTURE(i);
    REQUIRE(kq.apply(i, EVFILT_USER, 0, NOTE_TRIGGER, 0, i) == 0);
  }
  CHECK(take_active(kq.fd(), out, 0) == 0);
  CHECK(take_active(kq.fd(), out, -1) == 0);
  REQUIRE(take_active(kq.fd(), out, 8) == 3);
  for (std::uint64_t i = 0; i < 3; ++i) {
    CAPTURE(i);
    CHECK(out[i].udata == i + 1);
  }
  REQUIRE(take_active(kq.fd(), out, 8) == 1);
  CHECK(out[0].ident == 3);
  CHECK(kq.apply(2, EVFILT_USER, EV_DELETE) == ENOENT);
}

TEST_CASE("take_active takes what is active in a kqueue that is used by kevent") {
  const test_kqueue kq;
  const handle h(kq.fd());
  struct kevent narrow{};
  EV_SET(&narrow, 1, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER, 7, nullptr);
  REQUIRE(kevent(kq.fd(), &narrow, 1, nullptr, 0, nullptr) == 0);
  REQUIRE(h.has_active());
  kevent64_s out[2]{};
  REQUIRE(h.take_active(out, 2) == 1);
  CHECK(out[0] == event(1, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER, 7));
  CHECK(!h.has_active());
  // It stays a kqueue of kevent().
  CHECK(kevent64(kq.fd(), nullptr, 0, out, 2, KEVENT_FLAG_IMMEDIATE, nullptr) == -1);
  CHECK(errno == EINVAL);
  CHECK(kevent(kq.fd(), &narrow, 1, nullptr, 0, nullptr) == 0);
}

namespace {

// Nanoseconds of a clock that a test moves.
using test_time = std::atomic<std::uint64_t>;

std::uint64_t read_time(void* time) noexcept {
  return *static_cast<test_time*>(time);
}

// A thread in kevent64() with a time-out in seconds, or null for none. wait() returns the result.
class waiting_thread {
 public:
  waiting_thread(const test_kqueue& kq, const timespec* limit)
      : thread_([this, &kq, limit] {
          tid_ = ::gettid();
          result_ = kevent64(kq.fd(), nullptr, 0, &event_, 1, 0, limit);
        }) {}
  ~waiting_thread() {
    if (thread_.joinable()) thread_.join();
  }
  waiting_thread(const waiting_thread&) = delete;
  waiting_thread& operator=(const waiting_thread&) = delete;
  // Returns when the thread sleeps in epoll.
  void wait_until_asleep() const {
    while (tid_ == 0) std::this_thread::yield();
    const std::string path = "/proc/self/task/" + std::to_string(tid_) + "/syscall";
    for (;;) {
      std::ifstream in(path);
      REQUIRE(in.good());
      long call = -1;  // not a number while the thread runs
      if (in >> call) {
#if defined(SYS_epoll_wait)
        if (call == SYS_epoll_wait) return;
#endif
        if (call == SYS_epoll_pwait || call == SYS_epoll_pwait2) return;
      }
      std::this_thread::yield();
    }
  }
  void send(int signal) { REQUIRE(::pthread_kill(thread_.native_handle(), signal) == 0); }
  int wait() {
    thread_.join();
    return result_;
  }

 private:
  std::atomic<pid_t> tid_{0};
  int result_ = -1;
  kevent64_s event_{};
  std::thread thread_;
};

}  // namespace

TEST_CASE("timers by a clock of the test fire at the exact nanosecond, with exact counts") {
  const test_kqueue kq;
  test_time time{1'000'000'000};
  REQUIRE(use_clock(kq.fd(), read_time, &time));
  const auto pass = [&time](std::uint64_t ns) { time += ns; };

  SUBCASE("an EV_ONESHOT timer") {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_NSECONDS, 100) == 0);
    pass(99);
    CHECK(kq.now().empty());
    pass(1);
    CHECK(only(kq.now(), EVFILT_TIMER).data == 1);
    pass(1000);
    CHECK(kq.now().empty());
  }
  SUBCASE("a periodic timer counts from the time it should have fired") {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_NSECONDS, 100) == 0);
    pass(350);
    CHECK(only(kq.now(), EVFILT_TIMER).data == 3);
    pass(49);
    CHECK(kq.now().empty());
    pass(1);
    CHECK(only(kq.now(), EVFILT_TIMER).data == 1);
    pass(1'000'000);
    CHECK(only(kq.now(), EVFILT_TIMER).data == 10'000);
  }
  SUBCASE("a timer in milliseconds, the default unit") {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, 0, 3) == 0);
    pass(2'999'999);
    CHECK(kq.now().empty());
    pass(1);
    CHECK(kq.now().size() == 1);
  }
  SUBCASE("100 timers fire in the order of their deadlines") {
    for (std::uint64_t i = 0; i < 100; ++i) {
      CAPTURE(i);
      const std::uint64_t ident = i * 37 % 100;
      REQUIRE(kq.apply(ident, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_NSECONDS,
                       static_cast<std::int64_t>(ident + 1)) == 0);
    }
    REQUIRE(kq.apply(50, EVFILT_TIMER, EV_DELETE) == 0);
    pass(1000);
    const event_list got = kq.now(100);
    REQUIRE(got.size() == 99);
    for (std::size_t i = 0; i < got.size(); ++i) {
      CAPTURE(i);
      CHECK(got[i].ident == (i < 50 ? i : i + 1));
    }
  }
  SUBCASE("a timer that is armed again counts from now") {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_NSECONDS, 100) == 0);
    pass(60);
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_NSECONDS, 100) == 0);
    pass(60);
    CHECK(kq.now().empty());
    pass(40);
    CHECK(only(kq.now(), EVFILT_TIMER).data == 1);
  }
}

TEST_CASE("two kqueues each have a clock of their own, and a third has that of the system") {
  const test_kqueue a;
  const test_kqueue b;
  const test_kqueue real;
  test_time of_a{5};
  test_time of_b{7};
  REQUIRE(use_clock(a.fd(), read_time, &of_a));
  REQUIRE(use_clock(b.fd(), read_time, &of_b));
  for (const test_kqueue* const kq : {&a, &b}) {
    REQUIRE(kq->apply(1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_SECONDS, 1000) == 0);
  }
  of_a += 1'000'000'000'000;
  CHECK(only(a.now(), EVFILT_TIMER).data == 1);
  CHECK(b.now().empty());
  REQUIRE(real.apply(1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_NSECONDS, 1) == 0);
  CHECK(real.next().size() == 1);
}

TEST_CASE("use_clock refuses an fd that is not a kqueue, and a kqueue with a timer") {
  test_kqueue kq;
  test_time time{1};
  CHECK(!use_clock(-1, read_time, &time));
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_SECONDS, 1000) == 0);
  CHECK(!use_clock(kq.fd(), read_time, &time));
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_DELETE) == 0);
  CHECK(use_clock(kq.fd(), read_time, &time));

  SUBCASE("null restores the clock of the system") {
    REQUIRE(use_clock(kq.fd(), nullptr, nullptr));
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_NSECONDS, 1) == 0);
    CHECK(kq.next().size() == 1);
  }
  SUBCASE("a later kqueue does not inherit the clock") {
    kq.close();
    const test_kqueue later;
    REQUIRE(later.apply(1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_NSECONDS, 1) == 0);
    CHECK(later.next().size() == 1);
  }
}

TEST_CASE("clock_moved makes a kqueue readable whose clock has reached a timer") {
  const test_kqueue kq;
  const test_kqueue outer;
  const handle h(kq.fd());
  test_time time{1};
  REQUIRE(use_clock(kq.fd(), read_time, &time));
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_NSECONDS, 1000) == 0);
  REQUIRE(outer.apply(kq.fd(), EVFILT_READ, EV_ADD) == 0);
  for (int i = 0; i < 3; ++i) {
    CAPTURE(i);
    time += 999;
    REQUIRE(clock_moved(kq.fd()));
    CHECK(!readable(kq.fd()));
    CHECK(!h.has_active());
    CHECK(outer.now().empty());
    time += 1;
    REQUIRE(clock_moved(kq.fd()));
    CHECK(readable(kq.fd()));
    CHECK(h.has_active());
    CHECK(outer.now() == event_list{event(kq.fd(), EVFILT_READ, EV_ADD, 0, 1)});
    CHECK(only(kq.now(), EVFILT_TIMER).data == 1);
    CHECK(!readable(kq.fd()));
    CHECK(outer.now().empty());
  }
}

TEST_CASE("a thread asleep without a time-out is woken by the clock that reaches a timer") {
  const test_kqueue kq;
  test_time time{1};
  REQUIRE(use_clock(kq.fd(), read_time, &time));
  for (int i = 0; i < 200; ++i) {
    CAPTURE(i);
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_NSECONDS, 1000) == 0);
    waiting_thread sleeper(kq, nullptr);
    sleeper.wait_until_asleep();
    time += 1000;
    REQUIRE(clock_moved(kq.fd()));
    CHECK(sleeper.wait() == 1);
  }
}

namespace {

int handler_begun = -1;
int handler_may_end = -1;
std::atomic<bool> handler_ended_in_time{false};

// Ends when the test lets it, or after 5 s.
void wait_in_handler(int) {
  const int saved = errno;
  const char byte = 1;
  pollfd p{handler_may_end, POLLIN, 0};
  handler_ended_in_time = ::write(handler_begun, &byte, 1) == 1 && ::poll(&p, 1, 5000) == 1;
  errno = saved;
}

}  // namespace

TEST_CASE("while a sleeper of before the clock moved is in a handler, other threads get events") {
  const test_kqueue kq;
  test_time time{1};
  const fd_pair begun = fd_pair::of_pipe();
  const fd_pair may_end = fd_pair::of_pipe();
  handler_begun = begun[1];
  handler_may_end = may_end[0];
  handler_ended_in_time = false;
  struct sigaction slow{};
  slow.sa_handler = wait_in_handler;
  struct sigaction before{};
  REQUIRE(::sigaction(SIGUSR2, &slow, &before) == 0);
  REQUIRE(use_clock(kq.fd(), read_time, &time));
  waiting_thread sleeper(kq, nullptr);
  sleeper.wait_until_asleep();
  sleeper.send(SIGUSR2);
  char byte = 0;
  REQUIRE(::read(begun[0], &byte, 1) == 1);
  const timespec second{1, 0};

  SUBCASE("a call with a zero time-out finds nothing") {
    time += 1000;
    REQUIRE(clock_moved(kq.fd()));
    CHECK(kq.now().empty());
  }
  SUBCASE("a call with a time-out takes a timer that is due") {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_NSECONDS, 1000) == 0);
    time += 1000;
    REQUIRE(clock_moved(kq.fd()));
    kevent64_s got{};
    CHECK(kevent64(kq.fd(), nullptr, 0, &got, 1, 0, &second) == 1);
  }
  may_end.put(1, "x");
  CHECK(sleeper.wait() == -1);
  CHECK(handler_ended_in_time);
  REQUIRE(::sigaction(SIGUSR2, &before, nullptr) == 0);
}

TEST_CASE("the clock ends the time-outs of eight threads that sleep in one kqueue") {
  const test_kqueue kq;
  test_time time{1};
  REQUIRE(use_clock(kq.fd(), read_time, &time));
  const timespec day{86'400, 0};
  for (int round = 0; round < 20; ++round) {
    CAPTURE(round);
    std::vector<std::unique_ptr<waiting_thread>> sleepers;
    for (int i = 0; i < 8; ++i) sleepers.push_back(std::make_unique<waiting_thread>(kq, &day));
    for (const auto& sleeper : sleepers) sleeper->wait_until_asleep();
    time += 86'400'000'000'000;
    REQUIRE(clock_moved(kq.fd()));
    for (const auto& sleeper : sleepers) CHECK(sleeper->wait() == 0);
  }
}

TEST_CASE("a clock that moves all the time ends the time-outs of eight threads") {
  const test_kqueue kq;
  test_time time{1};
  REQUIRE(use_clock(kq.fd(), read_time, &time));
  const timespec day{86'400, 0};
  for (int round = 0; round < 20; ++round) {
    CAPTURE(round);
    std::vector<std::unique_ptr<waiting_thread>> sleepers;
    for (int i = 0; i < 8; ++i) sleepers.push_back(std::make_unique<waiting_thread>(kq, &day));
    std::atomic<bool> over{false};
    // Those that begin after a move are woken by a later one.
    std::thread mover([&] {
      while (!over) {
        time += 86'400'000'000'000;
        clock_moved(kq.fd());
        std::this_thread::yield();
      }
    });
    for (const auto& sleeper : sleepers) CHECK(sleeper->wait() == 0);
    over = true;
    mover.join();
  }
}

TEST_CASE("a handle delivers as the fd does, and says without a call what is active") {
  const test_kqueue kq;
  const fd_pair p = fd_pair::of_sockets();
  const handle h(kq.fd());
  REQUIRE(h);
  kevent64_s out[4]{};
  const timespec zero{0, 0};
  const kevent64_s add[] = {change(1, EVFILT_USER, EV_ADD | EV_CLEAR),
                            change(p[0], EVFILT_READ, EV_ADD)};
  REQUIRE(h.kevent64(add, 2, nullptr, 0, 0, nullptr) == 0);
  CHECK(!h.has_active());
  CHECK(h.take_active(out, 4) == 0);
  p.put(1, "abc");
  CHECK(!h.has_active());  // fds are not active in user space
  REQUIRE(h.kevent64(nullptr, 0, out, 4, 0, &zero) == 1);
  CHECK(out[0] == event(p[0], EVFILT_READ, EV_ADD, 0, 3));
  REQUIRE(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
  CHECK(h.has_active());
  REQUIRE(h.take_active(out, 4) == 1);
  CHECK(out[0].ident == 1);
  CHECK(!h.has_active());
  CHECK(h.take_active(out, 4) == 0);
  REQUIRE(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
  REQUIRE(kq.apply(1, EVFILT_USER, EV_DELETE) == 0);
  CHECK(!h.has_active());
}

TEST_CASE("kevent by a handle serves the narrow events, and refuses a kqueue of kevent64") {
  const test_kqueue kq;
  const handle h(kq.fd());
  struct kevent e{};
  EV_SET(&e, 1, EVFILT_USER, EV_ADD, NOTE_TRIGGER, 0, nullptr);
  REQUIRE(h.kevent(&e, 1, nullptr, 0, nullptr) == 0);
  e = {};
  REQUIRE(h.kevent(nullptr, 0, &e, 1, nullptr) == 1);
  CHECK(e.ident == 1);
  kevent64_s wide{};
  CHECK(h.kevent64(nullptr, 0, &wide, 1, 0, nullptr) == -1);
  CHECK(errno == EINVAL);
}

TEST_CASE("a handle of a closed kqueue, or of no kqueue, fails with EBADF and has nothing active") {
  kevent64_s out{};
  const timespec zero{0, 0};
  const handle none(-1);
  CHECK(!none);
  test_kqueue kq;
  const handle h(kq.fd());
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER) == 0);
  kq.close();
  const test_kqueue another;  // may reuse what the first one had, but for the fd
  const int fd = ::dup(another.fd());
  for (const handle* const dead : {&none, &h}) {
    CHECK(!dead->has_active());
    CHECK(dead->take_active(&out, 1) == 0);
  }
  CHECK(none.kevent64(nullptr, 0, &out, 1, 0, &zero) == -1);
  CHECK(errno == EBADF);
  ::close(fd);
}

TEST_CASE("a handle as a member begins without a kqueue, and says which fd it has") {
  const test_kqueue kq;
  struct {
    handle of_loop;
  } loop;
  kevent64_s out{};
  CHECK(!loop.of_loop);
  CHECK(loop.of_loop.fd() == -1);
  CHECK(!loop.of_loop.has_active());
  CHECK(loop.of_loop.take_active(&out, 1) == 0);
  loop.of_loop = handle(kq.fd());
  CHECK(loop.of_loop);
  CHECK(loop.of_loop.fd() == kq.fd());
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER) == 0);
  CHECK(loop.of_loop.take_active(&out, 1) == 1);
}

TEST_CASE("in the child of a fork the parent's handle fails with EBADF") {
  const test_kqueue kq;
  const handle h(kq.fd());
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER) == 0);
  REQUIRE(h.has_active());
  const pid_t child = ::fork();
  if (child == 0) {
    kevent64_s out{};
    const timespec zero{0, 0};
    if (h.has_active() || h.take_active(&out, 1) != 0) _exit(1);
    _exit(h.kevent64(nullptr, 0, &out, 1, 0, &zero) == -1 && errno == EBADF ? 0 : 2);
  }
  REQUIRE(child > 0);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(h.has_active());
}

TEST_CASE("oob_marks: READ with EV_CLEAR has NOTE_OOB while a mark is ahead") {
  const test_kqueue kq;
  const fd_pair p = tcp_pair();
  REQUIRE(opt_in(kq.fd(), oob_marks));
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_CLEAR) == 0);
  const event_list plain{event(p[0], EVFILT_READ, EV_ADD | EV_CLEAR, 0, 3)};
  p.put(1, "abc");
  CHECK(kq.next() == plain);
  p.take(0, 3);
  SUBCASE("a mark behind data, and data behind the mark") {
    p.put(1, "ab");
    CHECK(only(kq.next(), EVFILT_READ).fflags == 0);
    REQUIRE(::send(p[1], "!", 1, MSG_OOB) == 1);
    CHECK(only(kq.next(), EVFILT_READ).fflags == NOTE_OOB);
    p.put(1, "cde");
    CHECK(only(kq.next(), EVFILT_READ).fflags == NOTE_OOB);
    char bytes[16];
    CHECK(::recv(p[0], bytes, sizeof bytes, 0) == 2);  // short, though there is more
    CHECK(::recv(p[0], bytes, sizeof bytes, 0) == 3);
    p.put(1, "abc");
    CHECK(kq.next() == plain);
  }
  SUBCASE("a mark without data makes no event, and data behind it does") {
    REQUIRE(::send(p[1], "!", 1, MSG_OOB) == 1);
    pollfd urgent{p[0], POLLPRI, 0};
    REQUIRE(::poll(&urgent, 1, -1) == 1);
    CHECK(kq.now().empty());
    p.put(1, "abc");
    CHECK(only(kq.next(), EVFILT_READ).fflags == NOTE_OOB);
  }
  SUBCASE("an event with EV_EOF has the error of the socket, 0, in fflags") {
    REQUIRE(::send(p[1], "ab!", 3, MSG_OOB) == 3);
    REQUIRE(::shutdown(p[1], SHUT_WR) == 0);
    pollfd ended{p[0], POLLRDHUP, 0};
    REQUIRE(::poll(&ended, 1, -1) == 1);
    const event_list got = kq.next();
    CHECK((only(got, EVFILT_READ).flags & EV_EOF) != 0);
    CHECK(only(got, EVFILT_READ).fflags == 0);
  }
  SUBCASE("a knote with a low-water mark") {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD, NOTE_LOWAT, 2) == 0);
    p.put(1, "ab");
    REQUIRE(::send(p[1], "!", 1, MSG_OOB) == 1);
    pollfd urgent{p[0], POLLPRI, 0};
    REQUIRE(::poll(&urgent, 1, -1) == 1);
    CHECK(only(kq.next(), EVFILT_READ).fflags == NOTE_OOB);
  }
  SUBCASE("after opt_out new knotes do not report marks") {
    REQUIRE(opt_out(kq.fd(), oob_marks));
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_DELETE) == 0);
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_CLEAR) == 0);
    REQUIRE(::send(p[1], "ab!", 3, MSG_OOB) == 3);
    pollfd urgent{p[0], POLLPRI, 0};
    REQUIRE(::poll(&urgent, 1, -1) == 1);
    CHECK(only(kq.next(), EVFILT_READ).fflags == 0);
  }
}

TEST_CASE("every function works in C99") {
  CHECK(use_extension_in_c(1) == 0);
}

TEST_CASE("without oob_marks READ does not tell of a mark, as on Darwin") {
  const test_kqueue kq;
  const fd_pair p = tcp_pair();
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_CLEAR) == 0);
  REQUIRE(::send(p[1], "ab!", 3, MSG_OOB) == 3);
  pollfd urgent{p[0], POLLPRI, 0};
  REQUIRE(::poll(&urgent, 1, -1) == 1);
  CHECK(only(kq.next(), EVFILT_READ).fflags == 0);
}

#else

TEST_CASE("on Darwin opt_out, opt_in and take_active report that they are not supported") {
  const test_kqueue kq;
  kevent64_s out[1]{};
  CHECK(!opt_out(kq.fd(), no_data));
  CHECK(!opt_in(kq.fd(), not_pollable));
  CHECK(take_active(kq.fd(), out, 1) == 0);
  CHECK(!use_clock(kq.fd(), nullptr, nullptr));
  CHECK(!clock_moved(kq.fd()));
  CHECK(!opt_in(kq.fd(), oob_marks));
}

TEST_CASE("on Darwin every function compiles as C99 and is not supported") {
  CHECK(use_extension_in_c(0) == 0);
}

TEST_CASE("on Darwin a handle makes the plain calls, and has nothing active") {
  const test_kqueue kq;
  const handle h(kq.fd());
  kevent64_s out[1]{};
  const kevent64_s add = change(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER);
  CHECK(!h);
  CHECK(h.fd() == kq.fd());
  CHECK(handle().fd() == -1);
  CHECK(!h.has_active());
  CHECK(h.take_active(out, 1) == 0);
  CHECK(h.kevent64(&add, 1, out, 1, 0, nullptr) == 1);
}

#endif
