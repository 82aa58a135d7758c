// EVFILT_PROC: exits of processes, their statuses, and what can be watched.

#include "test_kqueue.h"

#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "child_process.h"
#include "fd_limit.h"

TEST_CASE("NOTE_EXIT reports an exit once, with EV_EOF, and the knote is gone") {
  const test_kqueue kq;
  child_process child;
  REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT, 99, 7) == 0);
  CHECK(kq.now().empty());
  child.exit(3);
  const event_list got = kq.next();
  const kevent64_s& e = only(got, EVFILT_PROC);
  CHECK(e.ident == static_cast<std::uint64_t>(child.pid()));
  CHECK(e.fflags == NOTE_EXIT);
  CHECK((e.flags & (EV_EOF | EV_ONESHOT | EV_CLEAR)) == (EV_EOF | EV_ONESHOT | EV_CLEAR));
  CHECK(e.data == 0);
  CHECK(e.udata == 7);
  CHECK(kq.apply(child.pid(), EVFILT_PROC, EV_DELETE) == ENOENT);
  const int status = child.wait();
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 3);
  CHECK(kq.now().empty());
}

TEST_CASE("NOTE_EXITSTATUS puts the status into data, and wait still returns it") {
  const test_kqueue kq;
  child_process child;
  REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT | NOTE_EXITSTATUS) == 0);
  SUBCASE("after exit") {
    child.exit(200);
  }
  SUBCASE("after SIGUSR1") {  // doctest has a handler for SIGTERM
    child.kill(SIGUSR1);
  }
  SUBCASE("after SIGKILL") {
    child.kill(SIGKILL);
  }
  const event_list got = kq.next();
  const kevent64_s& e = only(got, EVFILT_PROC);
  CHECK(e.fflags == (NOTE_EXIT | NOTE_EXITSTATUS));
  CHECK(e.data == (child.wait() & 0xffff));
}

TEST_CASE(
    "NOTE_EXITSTATUS of a grandchild gives its status, or is refused (EACCES) before Linux 6.15") {
  const test_kqueue kq;
  // A child forks a grandchild, sends its pid, and waits for it.
  const fd_pair pid_channel = fd_pair::of_pipe();
  const fd_pair orders = fd_pair::of_pipe();
  const pid_t between = fork();
  REQUIRE(between >= 0);
  if (between == 0) {
    const pid_t grandchild = fork();
    if (grandchild == 0) {
      char order = 0;
      _exit(::read(orders[0], &order, 1) == 1 ? 5 : 6);
    }
    if (::write(pid_channel[1], &grandchild, sizeof grandchild) != sizeof grandchild) _exit(1);
    int status = 0;
    _exit(waitpid(grandchild, &status, 0) == grandchild ? 0 : 1);
  }
  pid_t grandchild = 0;
  REQUIRE(::read(pid_channel[0], &grandchild, sizeof grandchild) == sizeof grandchild);
  const int error = kq.apply(grandchild, EVFILT_PROC, EV_ADD, NOTE_EXIT | NOTE_EXITSTATUS);
#if defined(__linux__)
  REQUIRE((error == 0 || error == EACCES));  // EACCES: before Linux 6.15
#else
  REQUIRE(error == 0);
#endif
  if (error != 0) REQUIRE(kq.apply(grandchild, EVFILT_PROC, EV_ADD, NOTE_EXIT) == 0);
  orders.put(1, "x");
  const event_list got = kq.next();
  const kevent64_s& e = only(got, EVFILT_PROC);
  CHECK(e.fflags == (error == 0 ? NOTE_EXIT | NOTE_EXITSTATUS : std::uint32_t{NOTE_EXIT}));
  CHECK(e.data == (error == 0 ? 5 << 8 : 0));
  int status = -1;
  REQUIRE(waitpid(between, &status, 0) == between);
  CHECK(status == 0);
}

TEST_CASE("NOTE_EXIT_DETAIL adds no detail to an ordinary exit") {
  const test_kqueue kq;
  const child_process child;
  REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_ADD,
                   NOTE_EXIT | NOTE_EXITSTATUS | NOTE_EXIT_DETAIL) == 0);
  child.exit(1);
  const event_list got = kq.next();
  const kevent64_s& e = only(got, EVFILT_PROC);
  CHECK(e.fflags == (NOTE_EXIT | NOTE_EXITSTATUS | NOTE_EXIT_DETAIL));
  CHECK(e.data == 1 << 8);
}

TEST_CASE("an exit is reported though the child was reaped before kevent") {
  const test_kqueue kq;
  child_process child;
  REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT) == 0);
  child.exit(0);
  child.wait();
  const event_list got = kq.next();
  CHECK(only(got, EVFILT_PROC).fflags == NOTE_EXIT);
}

TEST_CASE("EV_ADD of a process that has ended or never existed fails with ESRCH") {
  const test_kqueue kq;
  SUBCASE("a zombie") {
    const child_process child;
    child.exit(0);
    child.await_zombie();
    CHECK(kq.apply(child.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT) == ESRCH);
  }
  SUBCASE("a child that was reaped") {
    child_process child;
    child.exit(0);
    child.wait();
    CHECK(kq.apply(child.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT) == ESRCH);
  }
  SUBCASE("a negative pid") {
    CHECK(kq.apply(-1, EVFILT_PROC, EV_ADD, NOTE_EXIT) == ESRCH);
  }
  SUBCASE("a pid above the maximum") {
    CHECK(kq.apply(0x7fffffff, EVFILT_PROC, EV_ADD, NOTE_EXIT) == ESRCH);
  }
}

TEST_CASE("NOTE_TRACK, NOTE_TRACKERR and NOTE_CHILD are refused with ENOTSUP") {
  const test_kqueue kq;
  for (const auto f : {NOTE_TRACK, NOTE_TRACKERR, NOTE_CHILD}) {
    CAPTURE(f);
    CHECK(kq.apply(getpid(), EVFILT_PROC, EV_ADD, NOTE_EXIT | static_cast<std::uint32_t>(f)) ==
          ENOTSUP);
  }
  CHECK(kq.apply(getpid(), EVFILT_PROC, EV_DELETE) == ENOENT);
}

#if defined(__linux__)  // on Darwin pid 0 is the kernel
TEST_CASE("EV_ADD of pid 0 fails with ESRCH") {
  const test_kqueue kq;
  CHECK(kq.apply(0, EVFILT_PROC, EV_ADD, NOTE_EXIT) == ESRCH);
  CHECK(kq.apply(0, EVFILT_PROC, EV_DELETE) == ENOENT);
}

TEST_CASE("NOTE_FORK, NOTE_EXEC and NOTE_SIGNAL, which Linux does not report, fail with ENOTSUP") {
  const test_kqueue kq;
  for (const auto f : {NOTE_FORK, NOTE_EXEC, NOTE_SIGNAL}) {
    CAPTURE(f);
    CHECK(kq.apply(getpid(), EVFILT_PROC, EV_ADD, NOTE_EXIT | static_cast<std::uint32_t>(f)) ==
          ENOTSUP);
  }
  REQUIRE(kq.apply(getpid(), EVFILT_PROC, EV_ADD, NOTE_EXIT) == 0);
  CHECK(kq.apply(getpid(), EVFILT_PROC, EV_ADD, NOTE_FORK) == ENOTSUP);
}
#endif

TEST_CASE("a process can watch itself, and delete the knote once") {
  const test_kqueue kq;
  REQUIRE(kq.apply(getpid(), EVFILT_PROC, EV_ADD, NOTE_EXIT) == 0);
  CHECK(kq.now().empty());
  CHECK(kq.apply(getpid(), EVFILT_PROC, EV_DELETE) == 0);
  CHECK(kq.apply(getpid(), EVFILT_PROC, EV_DELETE) == ENOENT);
}

TEST_CASE("a deleted knote does not report the exit") {
  const test_kqueue kq;
  const child_process child;
  REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT) == 0);
  REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_DELETE) == 0);
  child.exit(0);
  child.await_zombie();
  CHECK(kq.now().empty());
}

TEST_CASE("a disabled knote reports the exit after EV_ENABLE") {
  const test_kqueue kq;
  const child_process child;
  REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_ADD | EV_DISABLE, NOTE_EXIT) == 0);
  child.exit(0);
  child.await_zombie();
  CHECK(kq.now().empty());
  REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_ENABLE, NOTE_EXIT) == 0);
  CHECK(only(kq.next(), EVFILT_PROC).fflags == NOTE_EXIT);
}

TEST_CASE("a later change replaces fflags") {
  const test_kqueue kq;
  const child_process child;
  REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, 1) == 0);
  SUBCASE("NOTE_EXITSTATUS is added: the event has the status") {
    REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT | NOTE_EXITSTATUS, 0, 2) == 0);
    child.exit(9);
    const event_list got = kq.next();
    const kevent64_s& e = only(got, EVFILT_PROC);
    CHECK(e.fflags == (NOTE_EXIT | NOTE_EXITSTATUS));
    CHECK(e.data == 9 << 8);
    CHECK(e.udata == 2);
  }
  SUBCASE("fflags become 0: the exit is not reported") {
    REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_ADD, 0) == 0);
    child.exit(9);
    child.await_zombie();
    CHECK(kq.now().empty());
    CHECK(kq.apply(child.pid(), EVFILT_PROC, EV_DELETE) == 0);
  }
}

TEST_CASE("a change after the exit is too late: the event has the fflags of before") {
  const test_kqueue kq;
  const child_process child;
  REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT) == 0);
  child.exit(9);
  child.await_zombie();
  REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_ADD, NOTE_EXITSTATUS, 0, 2) == 0);
  CHECK(kq.next() == event_list{event(child.pid(), EVFILT_PROC,
                                      EV_ADD | EV_CLEAR | EV_ONESHOT | EV_EOF, NOTE_EXIT, 0, 2)});
}

TEST_CASE("a change after the exit may ask for the status, though the process is reaped") {
  const test_kqueue kq;
  child_process child;
  REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT) == 0);
  child.exit(9);
  child.wait();
  CHECK(kq.apply(child.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT | NOTE_EXITSTATUS) == 0);
  CHECK(kq.next().size() == 1);
}

TEST_CASE("NOTE_REAP reports the exit first, then EV_EOF when the child is reaped") {
  const test_kqueue kq;
  child_process child;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  constexpr std::uint32_t reap = NOTE_REAP;
#pragma GCC diagnostic pop
  const int error = kq.apply(child.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT | reap);
#if defined(__linux__)
  if (error == ENOTSUP) {
    MESSAGE("NOTE_REAP needs Linux 6.9");
    return;
  }
#endif
  REQUIRE(error == 0);
  child.exit(0);
  const event_list first = kq.next();
  CHECK(only(first, EVFILT_PROC).fflags == NOTE_EXIT);
  CHECK((only(first, EVFILT_PROC).flags & EV_EOF) == 0);
  child.wait();
  const event_list second = kq.next();
  CHECK(only(second, EVFILT_PROC).fflags == reap);
  CHECK((only(second, EVFILT_PROC).flags & EV_EOF) != 0);
  CHECK(kq.apply(child.pid(), EVFILT_PROC, EV_DELETE) == ENOENT);
}

TEST_CASE("two kqueues report the exit of one process, after a third that watched it was closed") {
  const test_kqueue one;
  const test_kqueue two;
  const child_process child;
  {
    const test_kqueue three;
    for (const test_kqueue* kq : {&one, &two, &three}) {
      CAPTURE(kq->fd());
      REQUIRE(kq->apply(child.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT | NOTE_EXITSTATUS) == 0);
    }
  }
  child.exit(4);
  CHECK(only(one.next(), EVFILT_PROC).data == 4 << 8);
  CHECK(only(two.next(), EVFILT_PROC).data == 4 << 8);
}

TEST_CASE("an exit wakes a thread that sleeps in kevent64") {
  const test_kqueue kq;
  const child_process child;
  REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT) == 0);
  int got = -1;
  kevent64_s e{};
  std::thread sleeper([&] { got = kevent64(kq.fd(), nullptr, 0, &e, 1, 0, nullptr); });
  child.exit(0);
  sleeper.join();
  CHECK(got == 1);
  CHECK(e.fflags == NOTE_EXIT);
}

TEST_CASE("200 exits are all reported, each once with its status, in calls with room for 64") {
  constexpr int count = 200;
  const test_kqueue kq;
  const fd_pair gate = fd_pair::of_pipe();
  std::vector<pid_t> pids;
  for (int i = 0; i < count; ++i) {
    CAPTURE(i);
    const pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
      ::close(gate[1]);
      char order = 0;
      _exit(::read(gate[0], &order, 1) == 1 ? i : 255);
    }
    pids.push_back(pid);
    REQUIRE(kq.apply(pid, EVFILT_PROC, EV_ADD, NOTE_EXIT | NOTE_EXITSTATUS) == 0);
  }
  gate.put(1, std::string(count, 'x'));
  std::vector<int> statuses(count, -1);
  for (int seen = 0; seen < count;) {
    CAPTURE(seen);
    for (const kevent64_s& e : kq.next(64)) {
      CAPTURE(e);
      for (std::size_t i = 0; i < pids.size(); ++i) {
        CAPTURE(i);
        if (static_cast<std::uint64_t>(pids[i]) != e.ident) continue;
        CHECK(statuses[i] == -1);
        statuses[i] = static_cast<int>(e.data);
        ++seen;
      }
    }
  }
  for (std::size_t i = 0; i < pids.size(); ++i) {
    CAPTURE(i);
    int status = -1;
    REQUIRE(waitpid(pids[i], &status, 0) == pids[i]);
    CHECK(statuses[i] == (status & 0xffff));
  }
  CHECK(kq.now().empty());
}

TEST_CASE("thousands of knotes about one process each report its exit once") {
  const scoped_fd_limit descriptors(4096);
  const std::uint64_t count = std::min<std::uint64_t>(3000, descriptors.limit() / 2);
  const test_kqueue kq;
  const child_process child;
  for (std::uint64_t i = 0; i < count; ++i) {
    CAPTURE(i);
    REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_ADD | EV_UDATA_SPECIFIC, NOTE_EXIT, 0, i) == 0);
  }
  CHECK(kq.now().empty());
  child.exit(0);
  std::vector<bool> is_reported(count);
  for (std::uint64_t reported = 0; reported < count;) {
    CAPTURE(reported);
    for (const kevent64_s& e : kq.next(256)) {
      CAPTURE(e);
      REQUIRE(e.udata < count);
      REQUIRE(!is_reported[e.udata]);
      is_reported[e.udata] = true;
      ++reported;
    }
  }
  CHECK(kq.now().empty());
}

#if defined(__linux__)  // where a watched process takes an fd
TEST_CASE("EV_ADD without a free fd fails with EMFILE and leaves no knote") {
  const test_kqueue kq;
  const child_process first;
  const child_process second;
  REQUIRE(kq.apply(first.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT) == 0);
  {
    const int next = ::dup(kq.fd());  // the lowest fd that is free
    ::close(next);
    const scoped_fd_limit none(static_cast<rlim_t>(next));
    CHECK(kq.apply(second.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT) == EMFILE);
    CHECK(kq.apply(second.pid(), EVFILT_PROC, EV_DELETE) == ENOENT);
  }
  REQUIRE(kq.apply(second.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT) == 0);
  second.exit(0);
  CHECK(only(kq.next(), EVFILT_PROC).ident == static_cast<std::uint64_t>(second.pid()));
}
#endif
