// EVFILT_PROC.

#include "kqueue_of_test.h"

#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "child_of_test.h"
#include "descriptor_limit_of_test.h"

TEST_CASE("NOTE_EXIT: once, EV_EOF, and the knote is gone") {
  const kqueue_of_test kq;
  child_of_test child;
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

TEST_CASE("NOTE_EXITSTATUS: data is the status that wait will give, and wait still gives it") {
  const kqueue_of_test kq;
  child_of_test child;
  REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT | NOTE_EXITSTATUS) == 0);
  SUBCASE("of exit") {
    child.exit(200);
  }
  SUBCASE("of a signal") {  // doctest has a handler for SIGTERM
    child.kill(SIGUSR1);
  }
  SUBCASE("of SIGKILL") {
    child.kill(SIGKILL);
  }
  const event_list got = kq.next();
  const kevent64_s& e = only(got, EVFILT_PROC);
  CHECK(e.fflags == (NOTE_EXIT | NOTE_EXITSTATUS));
  CHECK(e.data == (child.wait() & 0xffff));
}

TEST_CASE("NOTE_EXITSTATUS of a process that is no child") {
  const kqueue_of_test kq;
  // A child that has one, tells its number, and waits for it.
  const pair_of_test number = pair_of_test::of_pipe();
  const pair_of_test orders = pair_of_test::of_pipe();
  const pid_t between = fork();
  REQUIRE(between >= 0);
  if (between == 0) {
    const pid_t grandchild = fork();
    if (grandchild == 0) {
      char order = 0;
      _exit(::read(orders[0], &order, 1) == 1 ? 5 : 6);
    }
    if (::write(number[1], &grandchild, sizeof grandchild) != sizeof grandchild) _exit(1);
    int status = 0;
    _exit(waitpid(grandchild, &status, 0) == grandchild ? 0 : 1);
  }
  pid_t grandchild = 0;
  REQUIRE(::read(number[0], &grandchild, sizeof grandchild) == sizeof grandchild);
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

TEST_CASE("NOTE_EXIT_DETAIL: nothing special has ended it") {
  const kqueue_of_test kq;
  const child_of_test child;
  REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_ADD,
                   NOTE_EXIT | NOTE_EXITSTATUS | NOTE_EXIT_DETAIL) == 0);
  child.exit(1);
  const event_list got = kq.next();
  const kevent64_s& e = only(got, EVFILT_PROC);
  CHECK(e.fflags == (NOTE_EXIT | NOTE_EXITSTATUS | NOTE_EXIT_DETAIL));
  CHECK(e.data == 1 << 8);
}

TEST_CASE("a child that was waited for before kevent looked is reported") {
  const kqueue_of_test kq;
  child_of_test child;
  REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT) == 0);
  child.exit(0);
  child.wait();
  const event_list got = kq.next();
  CHECK(only(got, EVFILT_PROC).fflags == NOTE_EXIT);
}

TEST_CASE("a process that has ended, or never was, gives ESRCH") {
  const kqueue_of_test kq;
  SUBCASE("a zombie") {
    const child_of_test child;
    child.exit(0);
    child.let_it_end();
    CHECK(kq.apply(child.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT) == ESRCH);
  }
  SUBCASE("one that was waited for") {
    child_of_test child;
    child.exit(0);
    child.wait();
    CHECK(kq.apply(child.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT) == ESRCH);
  }
  SUBCASE("a number below 0") {
    CHECK(kq.apply(-1, EVFILT_PROC, EV_ADD, NOTE_EXIT) == ESRCH);
  }
  SUBCASE("a number that no process can have") {
    CHECK(kq.apply(0x7fffffff, EVFILT_PROC, EV_ADD, NOTE_EXIT) == ESRCH);
  }
}

TEST_CASE("what follows children gives ENOTSUP") {
  const kqueue_of_test kq;
  for (const auto f : {NOTE_TRACK, NOTE_TRACKERR, NOTE_CHILD})
    CHECK(kq.apply(getpid(), EVFILT_PROC, EV_ADD, NOTE_EXIT | static_cast<std::uint32_t>(f)) ==
          ENOTSUP);
  CHECK(kq.apply(getpid(), EVFILT_PROC, EV_DELETE) == ENOENT);
}

#if defined(__linux__)  // Darwin's kernel is a process, with the number 0
TEST_CASE("the number 0 is no process") {
  const kqueue_of_test kq;
  CHECK(kq.apply(0, EVFILT_PROC, EV_ADD, NOTE_EXIT) == ESRCH);
  CHECK(kq.apply(0, EVFILT_PROC, EV_DELETE) == ENOENT);
}

TEST_CASE("what Linux tells nobody gives ENOTSUP") {
  const kqueue_of_test kq;
  for (const auto f : {NOTE_FORK, NOTE_EXEC, NOTE_SIGNAL})
    CHECK(kq.apply(getpid(), EVFILT_PROC, EV_ADD, NOTE_EXIT | static_cast<std::uint32_t>(f)) ==
          ENOTSUP);
  REQUIRE(kq.apply(getpid(), EVFILT_PROC, EV_ADD, NOTE_EXIT) == 0);
  CHECK(kq.apply(getpid(), EVFILT_PROC, EV_ADD, NOTE_FORK) == ENOTSUP);
}
#endif

TEST_CASE("one's own process can be watched") {
  const kqueue_of_test kq;
  REQUIRE(kq.apply(getpid(), EVFILT_PROC, EV_ADD, NOTE_EXIT) == 0);
  CHECK(kq.now().empty());
  CHECK(kq.apply(getpid(), EVFILT_PROC, EV_DELETE) == 0);
  CHECK(kq.apply(getpid(), EVFILT_PROC, EV_DELETE) == ENOENT);
}

TEST_CASE("a deleted knote hears nothing") {
  const kqueue_of_test kq;
  const child_of_test child;
  REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT) == 0);
  REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_DELETE) == 0);
  child.exit(0);
  child.let_it_end();
  CHECK(kq.now().empty());
}

TEST_CASE("the end of a process that is watched with EV_DISABLE is reported with EV_ENABLE") {
  const kqueue_of_test kq;
  const child_of_test child;
  REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_ADD | EV_DISABLE, NOTE_EXIT) == 0);
  child.exit(0);
  child.let_it_end();
  CHECK(kq.now().empty());
  REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_ENABLE, NOTE_EXIT) == 0);
  CHECK(only(kq.next(), EVFILT_PROC).fflags == NOTE_EXIT);
}

TEST_CASE("a later change says what is of interest") {
  const kqueue_of_test kq;
  const child_of_test child;
  REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, 1) == 0);
  SUBCASE("more") {
    REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT | NOTE_EXITSTATUS, 0, 2) == 0);
    child.exit(9);
    const event_list got = kq.next();
    const kevent64_s& e = only(got, EVFILT_PROC);
    CHECK(e.fflags == (NOTE_EXIT | NOTE_EXITSTATUS));
    CHECK(e.data == 9 << 8);
    CHECK(e.udata == 2);
  }
  SUBCASE("nothing") {
    REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_ADD, 0) == 0);
    child.exit(9);
    child.let_it_end();
    CHECK(kq.now().empty());
    CHECK(kq.apply(child.pid(), EVFILT_PROC, EV_DELETE) == 0);
  }
}

TEST_CASE("NOTE_REAP: the exit first, the end when it is waited for") {
  const kqueue_of_test kq;
  child_of_test child;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  constexpr std::uint32_t reap = NOTE_REAP;
#pragma GCC diagnostic pop
  const int error = kq.apply(child.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT | reap);
#if defined(__linux__)
  if (error == ENOTSUP) return;  // before Linux 6.9
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

TEST_CASE("several kqueues hear of one process, and closing one leaves the others") {
  const kqueue_of_test one;
  const kqueue_of_test two;
  const child_of_test child;
  {
    const kqueue_of_test three;
    for (const kqueue_of_test* kq : {&one, &two, &three})
      REQUIRE(kq->apply(child.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT | NOTE_EXITSTATUS) == 0);
  }
  child.exit(4);
  CHECK(only(one.next(), EVFILT_PROC).data == 4 << 8);
  CHECK(only(two.next(), EVFILT_PROC).data == 4 << 8);
}

TEST_CASE("a thread that sleeps in kevent hears of an end") {
  const kqueue_of_test kq;
  const child_of_test child;
  REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT) == 0);
  int got = -1;
  kevent64_s e{};
  std::thread sleeper([&] { got = kevent64(kq.fd(), nullptr, 0, &e, 1, 0, nullptr); });
  child.exit(0);
  sleeper.join();
  CHECK(got == 1);
  CHECK(e.fflags == NOTE_EXIT);
}

TEST_CASE("more processes than one look can tell of") {
  constexpr int count = 200;
  const kqueue_of_test kq;
  const pair_of_test gate = pair_of_test::of_pipe();
  std::vector<pid_t> pids;
  for (int i = 0; i < count; ++i) {
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
    for (const kevent64_s& e : kq.next(64)) {
      for (std::size_t i = 0; i < pids.size(); ++i) {
        if (static_cast<std::uint64_t>(pids[i]) != e.ident) continue;
        CHECK(statuses[i] == -1);
        statuses[i] = static_cast<int>(e.data);
        ++seen;
      }
    }
  }
  for (std::size_t i = 0; i < pids.size(); ++i) {
    int status = -1;
    REQUIRE(waitpid(pids[i], &status, 0) == pids[i]);
    CHECK(statuses[i] == (status & 0xffff));
  }
  CHECK(kq.now().empty());
}

TEST_CASE("thousands of knotes about one process: each is told once") {
  const descriptor_limit_of_test descriptors(4096);
  const std::uint64_t count = std::min<std::uint64_t>(3000, descriptors.limit() / 2);
  const kqueue_of_test kq;
  const child_of_test child;
  for (std::uint64_t i = 0; i < count; ++i)
    REQUIRE(kq.apply(child.pid(), EVFILT_PROC, EV_ADD | EV_UDATA_SPECIFIC, NOTE_EXIT, 0, i) == 0);
  CHECK(kq.now().empty());
  child.exit(0);
  std::vector<bool> is_told(count);
  for (std::uint64_t told = 0; told < count;) {
    for (const kevent64_s& e : kq.next(256)) {
      REQUIRE(e.udata < count);
      REQUIRE(!is_told[e.udata]);
      is_told[e.udata] = true;
      ++told;
    }
  }
  CHECK(kq.now().empty());
}

#if defined(__linux__)  // where a watched process takes a descriptor
TEST_CASE("a process that there is no descriptor for gives EMFILE, and takes nothing") {
  const kqueue_of_test kq;
  const child_of_test first;
  const child_of_test second;
  REQUIRE(kq.apply(first.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT) == 0);
  {
    const int next = ::dup(kq.fd());
    ::close(next);
    const descriptor_limit_of_test none(static_cast<rlim_t>(next));
    CHECK(kq.apply(second.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT) == EMFILE);
    CHECK(kq.apply(second.pid(), EVFILT_PROC, EV_DELETE) == ENOENT);
  }
  REQUIRE(kq.apply(second.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT) == 0);
  second.exit(0);
  CHECK(only(kq.next(), EVFILT_PROC).ident == static_cast<std::uint64_t>(second.pid()));
}
#endif
