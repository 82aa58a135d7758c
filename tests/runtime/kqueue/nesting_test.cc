// A kqueue as an fd: in poll, in select, in another kqueue.

#include "test_kqueue.h"

#include <poll.h>
#include <sys/select.h>

#include <memory>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/epoll.h>
#endif

namespace {

bool readable(int fd, int timeout = 0) {
  pollfd p{fd, POLLIN, 0};
  const int n = ::poll(&p, 1, timeout);
  REQUIRE(n >= 0);
  return n == 1 && (p.revents & POLLIN) != 0;
}

bool selected(int fd) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(fd, &set);
  timeval zero{0, 0};
  return ::select(fd + 1, &set, nullptr, nullptr, &zero) == 1 && FD_ISSET(fd, &set);
}

// Checks twice with poll, and with select, whether `kq` is readable.
void check_readable(const test_kqueue& kq, bool expected) {
  CHECK(readable(kq.fd()) == expected);
  CHECK(readable(kq.fd()) == expected);
  CHECK(selected(kq.fd()) == expected);
}

}  // namespace

TEST_CASE("poll and select see a kqueue readable while it has an event") {
  const test_kqueue kq;
  check_readable(kq, false);

  SUBCASE("while an fd is readable") {
    const fd_pair p = fd_pair::of_pipe();
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
    check_readable(kq, false);
    p.put(1, "a");
    check_readable(kq, true);
    REQUIRE(kq.now().size() == 1);
    check_readable(kq, true);
    p.take(0, 1);
    check_readable(kq, false);
  }
  SUBCASE("while a level-triggered user event is triggered") {
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD) == 0);
    check_readable(kq, false);
    REQUIRE(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
    check_readable(kq, true);
    for (int i = 0; i < 3; ++i) {
      CAPTURE(i);
      REQUIRE(kq.now().size() == 1);
      check_readable(kq, true);
    }
    REQUIRE(kq.apply(1, EVFILT_USER, EV_DELETE) == 0);
    check_readable(kq, false);
    CHECK(kq.now().empty());
  }
  SUBCASE("not for an event that was disabled or deleted before it was taken") {
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER) == 0);
    REQUIRE(kq.apply(2, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER) == 0);
    check_readable(kq, true);
    REQUIRE(kq.apply(1, EVFILT_USER, EV_DISABLE) == 0);
    check_readable(kq, true);
    REQUIRE(kq.apply(2, EVFILT_USER, EV_DELETE) == 0);
    check_readable(kq, false);
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ENABLE) == 0);
    check_readable(kq, true);
    CHECK(kq.now().size() == 1);
    check_readable(kq, false);
    REQUIRE(kq.apply(3, EVFILT_TIMER, EV_ADD, NOTE_ABSOLUTE, 1) == 0);
    check_readable(kq, true);
    REQUIRE(kq.apply(3, EVFILT_TIMER, EV_DELETE) == 0);
    check_readable(kq, false);
  }
}

TEST_CASE("poll and select see a kqueue readable until its last event is taken") {
  const test_kqueue kq;
  SUBCASE("a user event with EV_CLEAR") {
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR) == 0);
    for (int i = 0; i < 3; ++i) {
      CAPTURE(i);
      REQUIRE(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
      check_readable(kq, true);
      REQUIRE(kq.now().size() == 1);
      check_readable(kq, false);
    }
  }
  SUBCASE("three user events, taken one by one") {
    for (std::uint64_t i = 0; i < 3; ++i) {
      CAPTURE(i);
      REQUIRE(kq.apply(i, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER) == 0);
    }
    for (int i = 0; i < 3; ++i) {
      CAPTURE(i);
      check_readable(kq, true);
      REQUIRE(kq.now(1).size() == 1);
    }
    CHECK(kq.now().empty());
    check_readable(kq, false);
  }
  SUBCASE("a timer that has expired") {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_USECONDS, 100) == 0);
    CHECK(readable(kq.fd(), 30'000));
    check_readable(kq, true);
    REQUIRE(kq.now().size() == 1);
    check_readable(kq, false);
  }
}

TEST_CASE("a kqueue reports READ of another that has an event, with data 1") {
  const test_kqueue outer;
  const test_kqueue inner;
  REQUIRE(inner.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR) == 0);
  REQUIRE(outer.apply(inner.fd(), EVFILT_READ, EV_ADD, 0, 0, 3) == 0);
  for (int i = 0; i < 3; ++i) {
    CAPTURE(i);
    CHECK(outer.now().empty());
    REQUIRE(inner.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
    CHECK(outer.next() == event_list{event(inner.fd(), EVFILT_READ, EV_ADD, 0, 1, 3)});
    CHECK(outer.now().size() == 1);
    CHECK(inner.now().size() == 1);
  }
  CHECK(outer.now().empty());
}

TEST_CASE("a kqueue refuses WRITE of a kqueue, itself, and a kqueue that watches it (EINVAL)") {
  const test_kqueue kq;
  const test_kqueue other;
  CHECK(kq.apply(other.fd(), EVFILT_WRITE, EV_ADD) == EINVAL);
  CHECK(kq.apply(kq.fd(), EVFILT_READ, EV_ADD) == EINVAL);
  REQUIRE(kq.apply(other.fd(), EVFILT_READ, EV_ADD) == 0);
  CHECK(other.apply(kq.fd(), EVFILT_READ, EV_ADD) == EINVAL);
}

TEST_CASE("a kqueue refuses one that watches it through a third (EINVAL)") {
  const test_kqueue inner;
  const test_kqueue middle;
  const test_kqueue outer;
  REQUIRE(middle.apply(inner.fd(), EVFILT_READ, EV_ADD) == 0);
  REQUIRE(outer.apply(middle.fd(), EVFILT_READ, EV_ADD) == 0);
  CHECK(inner.apply(outer.fd(), EVFILT_READ, EV_ADD) == EINVAL);
  CHECK(inner.apply(outer.fd(), EVFILT_READ, EV_DELETE) == ENOENT);
  REQUIRE(inner.apply(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER) == 0);
  CHECK(only(outer.next(), EVFILT_READ).ident == static_cast<std::uint64_t>(middle.fd()));
}

TEST_CASE("an event shows through a tower of kqueues, whose height is limited (EINVAL)") {
  std::vector<std::unique_ptr<test_kqueue>> tower;
  tower.push_back(std::make_unique<test_kqueue>());
  int error = 0;
  while (error == 0 && tower.size() < 20) {
    auto next = std::make_unique<test_kqueue>();
    error = next->apply(tower.back()->fd(), EVFILT_READ, EV_ADD);
    if (error == 0) tower.push_back(std::move(next));
  }
  CHECK(error == EINVAL);
  CHECK(tower.size() >= 4);
  CHECK(tower.size() <= 10);
  const test_kqueue& top = *tower.back();
  CHECK(top.now().empty());
  REQUIRE(tower.front()->apply(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER) == 0);
  CHECK(only(top.next(), EVFILT_READ).ident ==
        static_cast<std::uint64_t>(tower[tower.size() - 2]->fd()));
  REQUIRE(tower.front()->apply(1, EVFILT_USER, EV_DELETE) == 0);
  CHECK(tower.front()->now().empty());
  CHECK(top.now().empty());
}

#if defined(__linux__)  // where a kqueue is an epoll set, which a program can make too
TEST_CASE("an epoll set of the program with the fd of a closed kqueue is watched as any fd") {
  test_kqueue closed;
  const int fd = closed.fd();
  closed.close();
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  REQUIRE(epoll == fd);
  const test_kqueue kq;
  for (int i = 0; i < 2; ++i) {
    CAPTURE(i);
    CHECK(kq.apply(epoll, EVFILT_WRITE, EV_ADD) == 0);
    CHECK(kq.apply(epoll, EVFILT_WRITE, EV_DELETE) == 0);
  }
  ::close(epoll);
}
#endif
