// EVFILT_READ and EVFILT_WRITE, what is the same on every kind of descriptor: modes, sides, order,
// what closing leaves.

#include "folder_of_test.h"
#include "kqueue_of_test.h"

#if defined(__linux__)
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#endif

#include <cerrno>

TEST_CASE("READ: data is the bytes, again and again until they are read") {
  const kqueue_of_test kq;
  const auto check = [&](const pair_of_test& p) {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD, 0, 0, 42) == 0);
    CHECK(kq.now().empty());
    p.put(1, "abc");
    for (int i = 0; i < 3; ++i) {
      const event_list got = kq.next();
      REQUIRE(got.size() == 1);
      CHECK(got[0].ident == static_cast<std::uint64_t>(p[0]));
      CHECK(got[0].filter == EVFILT_READ);
      CHECK(got[0].flags == EV_ADD);
      CHECK(got[0].fflags == 0);
      CHECK(got[0].data == 3);
      CHECK(got[0].udata == 42);
    }
    p.take(0, 2);
    CHECK(only(kq.next(), EVFILT_READ).data == 1);
    p.take(0, 1);
    CHECK(kq.now().empty());
  };
  SUBCASE("pipe") {
    check(pair_of_test::of_pipe());
  }
  SUBCASE("stream socket") {
    check(pair_of_test::of_sockets());
  }
}

TEST_CASE("WRITE: active while there is room, data is the room") {
  const kqueue_of_test kq;
  const auto check = [&](const pair_of_test& p) {
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
    check(pair_of_test::of_pipe());
  }
  SUBCASE("stream socket") {
    check(pair_of_test::of_sockets());
  }
}

TEST_CASE("EV_CLEAR reports once until more comes") {
  const kqueue_of_test kq;
  const pair_of_test p = pair_of_test::of_sockets();
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_CLEAR) == 0);
  p.put(1, "a");
  CHECK(only(kq.next(), EVFILT_READ).data == 1);
  CHECK(kq.now().empty());
  p.put(1, "b");
  CHECK(only(kq.next(), EVFILT_READ).data == 2);
  CHECK(kq.now().empty());
  SUBCASE("adding again looks again") {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_CLEAR) == 0);
    CHECK(only(kq.next(), EVFILT_READ).data == 2);
    CHECK(kq.now().empty());
  }
}

TEST_CASE("EV_ONESHOT deletes, EV_DISPATCH disables, after one delivery") {
  const kqueue_of_test kq;
  const pair_of_test p = pair_of_test::of_sockets();
  p.put(1, "a");
  SUBCASE("ONESHOT") {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_ONESHOT) == 0);
    CHECK(only(kq.next(), EVFILT_READ).flags == (EV_ADD | EV_ONESHOT));
    CHECK(kq.now().empty());
    CHECK(kq.apply(p[0], EVFILT_READ, EV_DELETE) == ENOENT);
  }
  SUBCASE("DISPATCH") {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_DISPATCH) == 0);
    for (int i = 0; i < 3; ++i) {
      CHECK(kq.next().size() == 1);
      CHECK(kq.now().empty());
      REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ENABLE) == 0);
    }
    CHECK(kq.apply(p[0], EVFILT_READ, EV_DELETE) == 0);
    CHECK(kq.now().empty());
  }
}

TEST_CASE("EV_DISABLE keeps quiet, also of a hang-up; EV_ENABLE reports what is there") {
  const kqueue_of_test kq;
  pair_of_test p = pair_of_test::of_sockets();
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

TEST_CASE("READ and WRITE of one descriptor are two knotes, each with its modes") {
  const kqueue_of_test kq;
  const pair_of_test p = pair_of_test::of_sockets();
  p.put(1, "abc");

  SUBCASE("both level-triggered") {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD, 0, 0, 1) == 0);
    REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ADD, 0, 0, 2) == 0);
    for (int i = 0; i < 2; ++i) {
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
  SUBCASE("WRITE with EV_CLEAR, READ without: READ stays") {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
    REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ADD | EV_CLEAR) == 0);
    for (int i = 0; i < 4; ++i) CHECK(only(kq.now(), EVFILT_READ).data == 3);
    p.take(0, 3);
    kq.now();  // WRITE may be early, once
    CHECK(kq.now().empty());
    p.put(1, "x");
    CHECK(only(kq.next(), EVFILT_READ).data == 1);
  }
  SUBCASE("one disabled") {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
    REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ADD) == 0);
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_DISABLE) == 0);
    REQUIRE(kq.now().size() == 1);
    CHECK(kq.now()[0].filter == EVFILT_WRITE);
  }
  SUBCASE("one ONESHOT") {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
    REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ADD | EV_ONESHOT) == 0);
    CHECK(kq.now().size() == 2);
    REQUIRE(kq.now().size() == 1);
    CHECK(kq.now()[0].filter == EVFILT_READ);
  }
  SUBCASE("room for one at a time: both have their turn") {
    const unsigned mode = EV_ADD;
    REQUIRE(kq.apply(p[0], EVFILT_READ, mode) == 0);
    REQUIRE(kq.apply(p[0], EVFILT_WRITE, mode) == 0);
    int reads = 0;
    int writes = 0;
    for (int i = 0; i < 10; ++i) {
      const event_list got = kq.now(1);
      REQUIRE(got.size() == 1);
      if (got[0].filter == EVFILT_READ) CHECK(got[0].data == 3);
      ++(got[0].filter == EVFILT_READ ? reads : writes);
    }
    CHECK(reads >= 2);
    CHECK(writes >= 2);
  }
  SUBCASE("room for one at a time, EV_CLEAR: each once") {
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

TEST_CASE("what did not fit is asked again before it is reported") {
  const kqueue_of_test kq;
  const pair_of_test p = pair_of_test::of_sockets();
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

TEST_CASE("what did not fit, and was changed meanwhile, is reported once") {
  const kqueue_of_test kq;
  const pair_of_test both = pair_of_test::of_sockets();
  const pair_of_test other = pair_of_test::of_sockets();
  both.put(1, "a");
  REQUIRE(kq.apply(both[0], EVFILT_READ, EV_ADD | EV_CLEAR) == 0);
  REQUIRE(kq.apply(both[0], EVFILT_WRITE, EV_ADD | EV_CLEAR) == 0);
  REQUIRE(kq.apply(other[0], EVFILT_WRITE, EV_ADD | EV_CLEAR) == 0);
  REQUIRE(kq.now(2).size() == 2);
  REQUIRE(kq.apply(other[0], EVFILT_WRITE, EV_ENABLE) == 0);
  std::size_t reported = 0;
  for (int i = 0; i < 4; ++i) {
    for (const kevent64_s& event : kq.now(1)) {
      CHECK(event.ident == static_cast<std::uint64_t>(other[0]));
      ++reported;
    }
  }
  CHECK(reported == 1);
}

TEST_CASE("the peer's end: EV_EOF beside the bytes that are left, sticky") {
  const kqueue_of_test kq;
  const auto check = [&](pair_of_test p) {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
    p.put(1, "ab");
    p.close(1);
    for (int i = 0; i < 2; ++i) {
      const event_list got = kq.next();
      const kevent64_s& e = only(got, EVFILT_READ);
      CHECK(e.flags == (EV_ADD | EV_EOF));
      CHECK(e.fflags == 0);
      CHECK(e.data == 2);
    }
    p.take(0, 2);
    CHECK(only(kq.next(), EVFILT_READ).data == 0);
    CHECK((only(kq.next(), EVFILT_READ).flags & EV_EOF) != 0);
  };
  SUBCASE("pipe") {
    check(pair_of_test::of_pipe());
  }
  SUBCASE("stream socket") {
    check(pair_of_test::of_sockets());
  }
}

TEST_CASE("what cannot be watched") {
  const kqueue_of_test kq;
  CHECK(kq.apply(1'000'000, EVFILT_READ, EV_ADD) == EBADF);
  CHECK(kq.apply(std::uint64_t{1} << 40, EVFILT_READ, EV_ADD) == EBADF);
  CHECK(kq.apply(-1, EVFILT_WRITE, EV_ADD) == EBADF);
  const int directory = ::open("/", O_RDONLY);
  REQUIRE(directory >= 0);
  CHECK(kq.apply(directory, EVFILT_READ, EV_ADD) == EINVAL);
  ::close(directory);
}

TEST_CASE("what cannot be watched cannot be added with EV_DISABLE either") {
  const kqueue_of_test kq;
  const int directory = ::open("/", O_RDONLY);
  REQUIRE(directory >= 0);
  CHECK(kq.apply(directory, EVFILT_READ, EV_ADD | EV_DISABLE) == EINVAL);
  ::close(directory);
  pair_of_test p = pair_of_test::of_pipe();
  const int number = p[0];
  REQUIRE(kq.apply(number, EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(p[1], EVFILT_WRITE, EV_ADD) == 0);
  p.close(0);
  CHECK(kq.apply(number, EVFILT_READ, EV_ADD | EV_DISABLE) == EBADF);
  CHECK(kq.apply(number, EVFILT_READ, EV_DELETE) == ENOENT);
}

TEST_CASE("a closed descriptor's knotes are gone") {
  const kqueue_of_test kq;
  pair_of_test p = pair_of_test::of_sockets();
  const int number = p[0];
  p.put(1, "a");
  REQUIRE(kq.apply(number, EVFILT_READ, EV_ADD, 0, 0, 1) == 0);
  REQUIRE(kq.apply(number, EVFILT_WRITE, EV_ADD, 0, 0, 2) == 0);
  REQUIRE(kq.now().size() == 2);
  p.close(0);
  CHECK(kq.now().empty());

  SUBCASE("deleting one: ENOENT; adding one: EBADF") {
    CHECK(kq.apply(number, EVFILT_READ, EV_DELETE) == ENOENT);
    CHECK(kq.apply(number, EVFILT_WRITE, EV_DELETE) == ENOENT);
    CHECK(kq.apply(number, EVFILT_READ, EV_ADD) == EBADF);
  }
  SUBCASE("adding: EBADF") {
    CHECK(kq.apply(number, EVFILT_WRITE, EV_ADD) == EBADF);
  }
  SUBCASE("enabling: ENOENT") {
    CHECK(kq.apply(number, EVFILT_READ, EV_ENABLE) == ENOENT);
  }
  SUBCASE("a new file with the number starts clean") {
    const pair_of_test next = pair_of_test::of_pipe();
    REQUIRE(next[0] == number);
    next.put(1, "xyz");
    CHECK(kq.now().empty());
    REQUIRE(kq.apply(number, EVFILT_READ, EV_ADD, 0, 0, 3) == 0);
    const event_list got = kq.next();
    REQUIRE(got.size() == 1);
    CHECK(got[0].udata == 3);
    CHECK(got[0].data == 3);
    CHECK(kq.apply(number, EVFILT_WRITE, EV_DELETE) == ENOENT);
  }
  SUBCASE("a new file with the number, the other filter first") {
    const pair_of_test next = pair_of_test::of_sockets();
    REQUIRE(next[0] == number);
    next.put(1, "xyz");
    REQUIRE(kq.apply(number, EVFILT_WRITE, EV_ADD, 0, 0, 4) == 0);
    const event_list got = kq.next();
    REQUIRE(got.size() == 1);
    CHECK(got[0].filter == EVFILT_WRITE);
    CHECK(got[0].udata == 4);
    CHECK(kq.apply(number, EVFILT_READ, EV_DELETE) == ENOENT);
  }
}

TEST_CASE("the same file back under its number, by way of a duplicate") {
  const kqueue_of_test kq;
  const pair_of_test p = pair_of_test::of_pipe();
  const pair_of_test other = pair_of_test::of_pipe();
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

TEST_CASE("EV_CLEAR: any change has the descriptor looked at anew") {
  const kqueue_of_test kq;
  const pair_of_test p = pair_of_test::of_pipe();
  p.put(1, "a");
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_CLEAR) == 0);
  CHECK(kq.next().size() == 1);
  CHECK(kq.now().empty());
  for (const unsigned flags : {0u, 0u + EV_ADD, 0u + EV_ENABLE, 0u + EV_RECEIPT}) {
    kq.apply(p[0], EVFILT_READ, flags);
    CHECK(kq.now().size() == 1);
    CHECK(kq.now().empty());
  }
}

TEST_CASE("deleting ends it; adding again begins anew") {
  const kqueue_of_test kq;
  const pair_of_test p = pair_of_test::of_sockets();
  p.put(1, "a");
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_CLEAR) == 0);
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_DELETE) == 0);
  CHECK(kq.now().empty());
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  CHECK(only(kq.next(), EVFILT_READ).flags == EV_ADD);
}

TEST_CASE("several knotes of one descriptor and filter, told apart by udata") {
  const kqueue_of_test kq;
  const pair_of_test p = pair_of_test::of_sockets();
  p.put(1, "a");
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_UDATA_SPECIFIC, 0, 0, 1) == 0);
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_UDATA_SPECIFIC | EV_ONESHOT, 0, 0, 2) == 0);
  CHECK(kq.next().size() == 2);
  REQUIRE(kq.next().size() == 1);
  CHECK(kq.next()[0].udata == 1);
}

TEST_CASE("many descriptors at once") {
  const kqueue_of_test kq;
  std::vector<pair_of_test> pairs;
  for (std::uint64_t i = 0; i < 300; ++i) {
    pairs.push_back(pair_of_test::of_pipe());
    REQUIRE(kq.apply(pairs.back()[0], EVFILT_READ, EV_ADD, 0, 0, i) == 0);
  }
  for (const pair_of_test& p : pairs) p.put(1, "x");
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

#if defined(__linux__)  // what can be polled there and is not known elsewhere
TEST_CASE("eventfd, timerfd, pidfd and inotify are read as anything that can be polled") {
  const kqueue_of_test kq;
  SUBCASE("eventfd") {
    const int fd = ::eventfd(0, EFD_NONBLOCK);
    REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD | EV_CLEAR) == 0);
    REQUIRE(kq.apply(fd, EVFILT_WRITE, EV_ADD | EV_ONESHOT) == 0);
    CHECK(only(kq.next(), EVFILT_WRITE).data == 1);
    CHECK(kq.now().empty());
    for (int i = 0; i < 3; ++i) {
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
    const folder_of_test folder;
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
