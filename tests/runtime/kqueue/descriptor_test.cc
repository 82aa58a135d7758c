// EVFILT_READ and EVFILT_WRITE, as they behave on every kind of fd: modes, directions, order, and
// what closing leaves.

#include "test_kqueue.h"

#if defined(__linux__)
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#endif

#include <cerrno>

#include "tests/temporary_folder.h"

TEST_CASE("READ reports the number of bytes in data, in each call until they are read") {
  const test_kqueue kq;
  const auto check = [&](const fd_pair& p) {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD, 0, 0, 42) == 0);
    CHECK(kq.now().empty());
    p.put(1, "abc");
    for (int i = 0; i < 3; ++i) {
      CAPTURE(i);
      CHECK(kq.next() == event_list{event(p[0], EVFILT_READ, EV_ADD, 0, 3, 42)});
    }
    p.take(0, 2);
    CHECK(only(kq.next(), EVFILT_READ).data == 1);
    p.take(0, 1);
    CHECK(kq.now().empty());
  };
  SUBCASE("pipe") {
    check(fd_pair::of_pipe());
  }
  SUBCASE("stream socket") {
    check(fd_pair::of_sockets());
  }
}

TEST_CASE("WRITE reports the room in data while there is some") {
  const test_kqueue kq;
  const auto check = [&](const fd_pair& p) {
    REQUIRE(kq.apply(p[1], EVFILT_WRITE, EV_ADD) == 0);
    const std::int64_t before = only(kq.next(), EVFILT_WRITE).data;
    p.put(1, "some bytes");
    CHECK(only(kq.next(), EVFILT_WRITE).data < before);
    p.fill(1);
    CHECK(kq.now().empty());
    p.drain(0);
    CHECK(only(kq.next(), EVFILT_WRITE).data > 0);
  };
  SUBCASE("pipe") {
    check(fd_pair::of_pipe());
  }
  SUBCASE("stream socket") {
    check(fd_pair::of_sockets());
  }
}

TEST_CASE("READ with EV_CLEAR reports once until more bytes arrive") {
  const test_kqueue kq;
  const fd_pair p = fd_pair::of_sockets();
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_CLEAR) == 0);
  p.put(1, "a");
  CHECK(only(kq.next(), EVFILT_READ).data == 1);
  CHECK(kq.now().empty());
  p.put(1, "b");
  CHECK(only(kq.next(), EVFILT_READ).data == 2);
  CHECK(kq.now().empty());
  SUBCASE("a second EV_ADD reports the bytes again") {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_CLEAR) == 0);
    CHECK(only(kq.next(), EVFILT_READ).data == 2);
    CHECK(kq.now().empty());
  }
}

TEST_CASE("after one event EV_ONESHOT deletes a READ knote, and EV_DISPATCH disables it") {
  const test_kqueue kq;
  const fd_pair p = fd_pair::of_sockets();
  p.put(1, "a");
  SUBCASE("EV_ONESHOT") {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_ONESHOT) == 0);
    CHECK(only(kq.next(), EVFILT_READ).flags == (EV_ADD | EV_ONESHOT));
    CHECK(kq.now().empty());
    CHECK(kq.apply(p[0], EVFILT_READ, EV_DELETE) == ENOENT);
  }
  SUBCASE("EV_DISPATCH, until EV_ENABLE") {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_DISPATCH) == 0);
    for (int i = 0; i < 3; ++i) {
      CAPTURE(i);
      CHECK(kq.next().size() == 1);
      CHECK(kq.now().empty());
      REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ENABLE) == 0);
    }
    CHECK(kq.apply(p[0], EVFILT_READ, EV_DELETE) == 0);
    CHECK(kq.now().empty());
  }
}

TEST_CASE("EV_DISABLE holds back bytes and EV_EOF, and EV_ENABLE reports them") {
  const test_kqueue kq;
  fd_pair p = fd_pair::of_sockets();
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_DISABLE) == 0);
  p.put(1, "a");
  CHECK(kq.now().empty());
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ENABLE) == 0);
  CHECK(kq.now().size() == 1);
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_DISABLE) == 0);
  p.close(1);
  CHECK(kq.now().empty());
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ENABLE) == 0);
  CHECK((only(kq.now(), EVFILT_READ).flags & EV_EOF) != 0);
}

TEST_CASE("READ and WRITE of one fd are two knotes, each with its modes") {
  const test_kqueue kq;
  const fd_pair p = fd_pair::of_sockets();
  p.put(1, "abc");

  SUBCASE("both level-triggered") {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD, 0, 0, 1) == 0);
    REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ADD, 0, 0, 2) == 0);
    for (int i = 0; i < 2; ++i) {
      CAPTURE(i);
      const event_list got = kq.now();
      REQUIRE(got.size() == 2);
      CHECK(only(got, EVFILT_READ).udata == 1);
      CHECK(only(got, EVFILT_READ).data == 3);
      CHECK(only(got, EVFILT_WRITE).udata == 2);
    }
    REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_DELETE) == 0);
    CHECK(kq.apply(p[0], EVFILT_WRITE, EV_DELETE) == ENOENT);
    REQUIRE(kq.now().size() == 1);
    p.take(0, 3);
    CHECK(kq.now().empty());
  }
  SUBCASE("both EV_CLEAR") {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_CLEAR) == 0);
    REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ADD | EV_CLEAR) == 0);
    CHECK(kq.now().size() == 2);
    CHECK(kq.now().empty());
  }
  SUBCASE("WRITE with EV_CLEAR, READ without: only READ is reported again") {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
    REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ADD | EV_CLEAR) == 0);
    for (int i = 0; i < 4; ++i) {
      CAPTURE(i);
      CHECK(only(kq.now(), EVFILT_READ).data == 3);
    }
    p.take(0, 3);
    kq.now();  // WRITE may report once early
    CHECK(kq.now().empty());
    p.put(1, "x");
    CHECK(only(kq.next(), EVFILT_READ).data == 1);
  }
  SUBCASE("READ disabled: only WRITE is reported") {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
    REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ADD) == 0);
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_DISABLE) == 0);
    REQUIRE(kq.now().size() == 1);
    CHECK(kq.now()[0].filter == EVFILT_WRITE);
  }
  SUBCASE("WRITE with EV_ONESHOT: only READ is reported again") {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
    REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ADD | EV_ONESHOT) == 0);
    CHECK(kq.now().size() == 2);
    REQUIRE(kq.now().size() == 1);
    CHECK(kq.now()[0].filter == EVFILT_READ);
  }
}

TEST_CASE("READ and WRITE of one fd both get their turn in calls with room for one event") {
  const test_kqueue kq;
  const fd_pair p = fd_pair::of_sockets();
  p.put(1, "abc");
  SUBCASE("level-triggered: each again and again") {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
    REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ADD) == 0);
    int reads = 0;
    int writes = 0;
    for (int i = 0; i < 10; ++i) {
      CAPTURE(i);
      const event_list got = kq.now(1);
      REQUIRE(got.size() == 1);
      if (got[0].filter == EVFILT_READ) CHECK(got[0].data == 3);
      ++(got[0].filter == EVFILT_READ ? reads : writes);
    }
    CHECK(reads >= 2);
    CHECK(writes >= 2);
  }
  SUBCASE("EV_CLEAR: each once") {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_CLEAR) == 0);
    REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ADD | EV_CLEAR) == 0);
    const event_list first = kq.now(1);
    const event_list second = kq.now(1);
    REQUIRE(first.size() == 1);
    REQUIRE(second.size() == 1);
    CHECK(first[0].filter != second[0].filter);
    CHECK(kq.now(1).empty());
  }
}

TEST_CASE("a knote that did not fit into a call is probed again before it is reported") {
  const test_kqueue kq;
  const fd_pair p = fd_pair::of_sockets();
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_CLEAR) == 0);
  REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ADD | EV_CLEAR) == 0);
  p.put(1, "a");
  const event_list first = kq.now(1);
  REQUIRE(first.size() == 1);
  if (first[0].filter == EVFILT_WRITE) {
    p.take(0, 1);
  } else {
    p.fill(0);
  }
  CHECK(kq.now(1).empty());
}

TEST_CASE("a knote that did not fit into a call, and was then enabled, is reported once") {
  const test_kqueue kq;
  const fd_pair both = fd_pair::of_sockets();
  const fd_pair other = fd_pair::of_sockets();
  both.put(1, "a");
  REQUIRE(kq.apply(both[0], EVFILT_READ, EV_ADD | EV_CLEAR) == 0);
  REQUIRE(kq.apply(both[0], EVFILT_WRITE, EV_ADD | EV_CLEAR) == 0);
  REQUIRE(kq.apply(other[0], EVFILT_WRITE, EV_ADD | EV_CLEAR) == 0);
  REQUIRE(kq.now(2).size() == 2);
  REQUIRE(kq.apply(other[0], EVFILT_WRITE, EV_ENABLE) == 0);
  std::size_t reported = 0;
  for (int i = 0; i < 4; ++i) {
    CAPTURE(i);
    for (const kevent64_s& event : kq.now(1)) {
      CAPTURE(event);
      CHECK(event.ident == static_cast<std::uint64_t>(other[0]));
      ++reported;
    }
  }
  CHECK(reported == 1);
}

TEST_CASE("READ of a closed peer reports EV_EOF beside the bytes that are left, in each call") {
  const test_kqueue kq;
  const auto check = [&](fd_pair p) {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
    p.put(1, "ab");
    p.close(1);
    for (int i = 0; i < 2; ++i) {
      CAPTURE(i);
      CHECK(kq.next() == event_list{event(p[0], EVFILT_READ, EV_ADD | EV_EOF, 0, 2)});
    }
    p.take(0, 2);
    CHECK(kq.next() == event_list{event(p[0], EVFILT_READ, EV_ADD | EV_EOF)});
    CHECK(kq.next() == event_list{event(p[0], EVFILT_READ, EV_ADD | EV_EOF)});
  };
  SUBCASE("pipe") {
    check(fd_pair::of_pipe());
  }
  SUBCASE("stream socket") {
    check(fd_pair::of_sockets());
  }
}

TEST_CASE("an ident above 32 bits is refused, with EINVAL if its lower half is an open fd") {
  const test_kqueue kq;
  const fd_pair p = fd_pair::of_pipe();
  fd_pair closed = fd_pair::of_pipe();
  const int fd = closed[0];
  closed.close(0);
  constexpr std::uint64_t above = std::uint64_t{1} << 32;
  for (const int filter : {EVFILT_READ, EVFILT_WRITE, EVFILT_VNODE, EVFILT_EXCEPT}) {
    CAPTURE(filter);
    const auto number = static_cast<std::int16_t>(filter);
    CHECK(kq.apply(above + static_cast<unsigned>(p[0]), number, EV_ADD) == EINVAL);
    CHECK(kq.apply(above + static_cast<unsigned>(fd), number, EV_ADD) == EBADF);
    CHECK(kq.apply(above + static_cast<unsigned>(p[0]), number, EV_DELETE) == ENOENT);
  }
}

TEST_CASE("READ and WRITE refuse closed fds (EBADF) and directories (EINVAL)") {
  const test_kqueue kq;
  CHECK(kq.apply(1'000'000, EVFILT_READ, EV_ADD) == EBADF);
  CHECK(kq.apply(-1, EVFILT_WRITE, EV_ADD) == EBADF);
  const int directory = ::open("/", O_RDONLY);
  REQUIRE(directory >= 0);
  CHECK(kq.apply(directory, EVFILT_READ, EV_ADD) == EINVAL);
  ::close(directory);
}

TEST_CASE("EV_ADD with EV_DISABLE refuses directories (EINVAL) and closed fds (EBADF) too") {
  const test_kqueue kq;
  const int directory = ::open("/", O_RDONLY);
  REQUIRE(directory >= 0);
  CHECK(kq.apply(directory, EVFILT_READ, EV_ADD | EV_DISABLE) == EINVAL);
  ::close(directory);
  fd_pair p = fd_pair::of_pipe();
  const int fd = p[0];
  REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(p[1], EVFILT_WRITE, EV_ADD) == 0);
  p.close(0);
  CHECK(kq.apply(fd, EVFILT_READ, EV_ADD | EV_DISABLE) == EBADF);
  CHECK(kq.apply(fd, EVFILT_READ, EV_DELETE) == ENOENT);
}

TEST_CASE("closing an fd deletes its READ and WRITE knotes") {
  const test_kqueue kq;
  fd_pair p = fd_pair::of_sockets();
  const int fd = p[0];
  p.put(1, "a");
  REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD, 0, 0, 1) == 0);
  REQUIRE(kq.apply(fd, EVFILT_WRITE, EV_ADD, 0, 0, 2) == 0);
  REQUIRE(kq.now().size() == 2);
  p.close(0);
  CHECK(kq.now().empty());

  SUBCASE("EV_DELETE of either fails with ENOENT, then EV_ADD with EBADF") {
    CHECK(kq.apply(fd, EVFILT_READ, EV_DELETE) == ENOENT);
    CHECK(kq.apply(fd, EVFILT_WRITE, EV_DELETE) == ENOENT);
    CHECK(kq.apply(fd, EVFILT_READ, EV_ADD) == EBADF);
  }
  SUBCASE("EV_ADD fails with EBADF") {
    CHECK(kq.apply(fd, EVFILT_WRITE, EV_ADD) == EBADF);
  }
  SUBCASE("EV_ENABLE fails with ENOENT") {
    CHECK(kq.apply(fd, EVFILT_READ, EV_ENABLE) == ENOENT);
  }
  SUBCASE("a new file with the fd has only the knote that is added for it") {
    const fd_pair next = fd_pair::of_pipe();
    REQUIRE(next[0] == fd);
    next.put(1, "xyz");
    CHECK(kq.now().empty());
    REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD, 0, 0, 3) == 0);
    CHECK(kq.next() == event_list{event(fd, EVFILT_READ, EV_ADD, 0, 3, 3)});
    CHECK(kq.apply(fd, EVFILT_WRITE, EV_DELETE) == ENOENT);
  }
  SUBCASE("a new file with the fd has no knote of the other filter") {
    const fd_pair next = fd_pair::of_sockets();
    REQUIRE(next[0] == fd);
    next.put(1, "xyz");
    REQUIRE(kq.apply(fd, EVFILT_WRITE, EV_ADD, 0, 0, 4) == 0);
    const event_list got = kq.next();
    REQUIRE(got.size() == 1);
    CHECK(got[0].filter == EVFILT_WRITE);
    CHECK(got[0].udata == 4);
    CHECK(kq.apply(fd, EVFILT_READ, EV_DELETE) == ENOENT);
  }
}

TEST_CASE("a file that leaves its fd and returns to it by dup2 has only the new knote") {
  const test_kqueue kq;
  const fd_pair p = fd_pair::of_pipe();
  const fd_pair other = fd_pair::of_pipe();
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD, 0, 0, 1) == 0);
  const int kept = ::dup(p[0]);
  REQUIRE(kept >= 0);
  REQUIRE(::dup2(other[0], p[0]) == p[0]);
  CHECK(kq.apply(p[0], EVFILT_READ, EV_DELETE) == ENOENT);
  REQUIRE(::dup2(kept, p[0]) == p[0]);
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD, 0, 0, 2) == 0);
  p.put(1, "a");
  const event_list got = kq.next();
  REQUIRE(got.size() == 1);
  CHECK(got[0].udata == 2);
  ::close(kept);
}

TEST_CASE("any change of a READ knote with EV_CLEAR probes the fd again") {
  const test_kqueue kq;
  const fd_pair p = fd_pair::of_pipe();
  p.put(1, "a");
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_CLEAR) == 0);
  CHECK(kq.next().size() == 1);
  CHECK(kq.now().empty());
  for (const unsigned flags : {0u, 0u + EV_ADD, 0u + EV_ENABLE, 0u + EV_RECEIPT}) {
    CAPTURE(flags);
    REQUIRE(kq.apply(p[0], EVFILT_READ, flags) == 0);
    CHECK(kq.now().size() == 1);
    CHECK(kq.now().empty());
  }
}

TEST_CASE("a knote that is deleted and added again keeps nothing of its first modes") {
  const test_kqueue kq;
  const fd_pair p = fd_pair::of_sockets();
  p.put(1, "a");
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_CLEAR) == 0);
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_DELETE) == 0);
  CHECK(kq.now().empty());
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  CHECK(only(kq.next(), EVFILT_READ).flags == EV_ADD);
}

TEST_CASE("EV_UDATA_SPECIFIC makes several READ knotes of one fd") {
  const test_kqueue kq;
  const fd_pair p = fd_pair::of_sockets();
  p.put(1, "a");
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_UDATA_SPECIFIC, 0, 0, 1) == 0);
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_UDATA_SPECIFIC | EV_ONESHOT, 0, 0, 2) == 0);
  CHECK(kq.next().size() == 2);
  REQUIRE(kq.next().size() == 1);
  CHECK(kq.next()[0].udata == 1);
}

TEST_CASE("300 pipes each report READ once") {
  const test_kqueue kq;
  std::vector<fd_pair> pairs;
  for (std::uint64_t i = 0; i < 300; ++i) {
    CAPTURE(i);
    pairs.push_back(fd_pair::of_pipe());
    REQUIRE(kq.apply(pairs.back()[0], EVFILT_READ, EV_ADD, 0, 0, i) == 0);
  }
  for (const fd_pair& p : pairs) p.put(1, "x");
  std::vector<int> seen(300);
  while (true) {
    const event_list got = kq.now(1000);
    if (got.empty()) break;
    for (const kevent64_s& e : got) {
      ++seen[e.udata];
      pairs[e.udata].take(0, 1);
    }
  }
  CHECK(seen == std::vector<int>(300, 1));
}

#if defined(__linux__)  // fds that only Linux has, and that can be polled
TEST_CASE("READ of eventfd, timerfd, pidfd and inotify works as on any fd that can be polled") {
  const test_kqueue kq;
  SUBCASE("eventfd") {
    const int fd = ::eventfd(0, EFD_NONBLOCK);
    REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD | EV_CLEAR) == 0);
    REQUIRE(kq.apply(fd, EVFILT_WRITE, EV_ADD | EV_ONESHOT) == 0);
    CHECK(only(kq.next(), EVFILT_WRITE).data == 1);
    CHECK(kq.now().empty());
    for (int i = 0; i < 3; ++i) {
      CAPTURE(i);
      REQUIRE(::eventfd_write(fd, 1) == 0);
      CHECK(only(kq.next(), EVFILT_READ).data == 1);
      CHECK(kq.now().empty());
    }
    ::close(fd);
  }
  SUBCASE("timerfd") {
    const int fd = ::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD) == 0);
    CHECK(kq.now().empty());
    const itimerspec soon{{0, 0}, {0, 1}};
    REQUIRE(::timerfd_settime(fd, 0, &soon, nullptr) == 0);
    CHECK(only(kq.next(), EVFILT_READ).data == 1);
    std::uint64_t count = 0;
    REQUIRE(::read(fd, &count, sizeof count) == sizeof count);
    CHECK(kq.now().empty());
    ::close(fd);
  }
  SUBCASE("pidfd") {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) ::_exit(0);
    const int fd = static_cast<int>(::syscall(SYS_pidfd_open, child, 0));
    REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD | EV_ONESHOT) == 0);
    CHECK(kq.next().size() == 1);
    REQUIRE(::waitpid(child, nullptr, 0) == child);
    ::close(fd);
  }
  SUBCASE("inotify") {
    const temporary_folder folder;
    const int fd = ::inotify_init1(IN_NONBLOCK);
    REQUIRE(::inotify_add_watch(fd, folder.path().c_str(), IN_CREATE) >= 0);
    REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD) == 0);
    CHECK(kq.now().empty());
    REQUIRE(::mkdir((folder / "a").c_str(), 0700) == 0);
    CHECK(only(kq.next(), EVFILT_READ).data >= static_cast<std::int64_t>(sizeof(inotify_event)));
    ::close(fd);
  }
}
#endif
