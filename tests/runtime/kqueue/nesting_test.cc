// A kqueue as a descriptor: in poll, in select, in another kqueue.

#include "kqueue_of_test.h"

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

}  // namespace

TEST_CASE("poll and select see a kqueue readable while it has an event") {
  const kqueue_of_test kq;
  const auto check = [&](bool expected) {
    CHECK(readable(kq.fd()) == expected);
    CHECK(readable(kq.fd()) == expected);
    CHECK(selected(kq.fd()) == expected);
  };
  check(false);

  SUBCASE("descriptor") {
    const pair_of_test p = pair_of_test::of_pipe();
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
    check(false);
    p.put(1, "a");
    check(true);
    REQUIRE(kq.now().size() == 1);
    check(true);
    p.take(0, 1);
    check(false);
  }
  SUBCASE("user event, level-triggered") {
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD) == 0);
    check(false);
    REQUIRE(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
    check(true);
    for (int i = 0; i < 3; ++i) {
      REQUIRE(kq.now().size() == 1);
      check(true);
    }
    REQUIRE(kq.apply(1, EVFILT_USER, EV_DELETE) == 0);
    check(false);
    CHECK(kq.now().empty());
  }
  SUBCASE("what is disabled or deleted before it was taken is none") {
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER) == 0);
    REQUIRE(kq.apply(2, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER) == 0);
    check(true);
    REQUIRE(kq.apply(1, EVFILT_USER, EV_DISABLE) == 0);
    check(true);
    REQUIRE(kq.apply(2, EVFILT_USER, EV_DELETE) == 0);
    check(false);
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ENABLE) == 0);
    check(true);
    CHECK(kq.now().size() == 1);
    check(false);
    REQUIRE(kq.apply(3, EVFILT_TIMER, EV_ADD, NOTE_ABSOLUTE, 1) == 0);
    check(true);
    REQUIRE(kq.apply(3, EVFILT_TIMER, EV_DELETE) == 0);
    check(false);
  }
  SUBCASE("user event, EV_CLEAR") {
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR) == 0);
    for (int i = 0; i < 3; ++i) {
      REQUIRE(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
      check(true);
      REQUIRE(kq.now().size() == 1);
      check(false);
    }
  }
  SUBCASE("more events than were taken") {
    for (std::uint64_t i = 0; i < 3; ++i)
      REQUIRE(kq.apply(i, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER) == 0);
    for (int i = 0; i < 3; ++i) {
      check(true);
      REQUIRE(kq.now(1).size() == 1);
    }
    CHECK(kq.now().empty());
    check(false);
  }
  SUBCASE("timer") {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_USECONDS, 100) == 0);
    CHECK(readable(kq.fd(), 30'000));
    check(true);
    REQUIRE(kq.now().size() == 1);
    check(false);
  }
}

TEST_CASE("a kqueue in a kqueue") {
  const kqueue_of_test outer;
  const kqueue_of_test inner;
  REQUIRE(inner.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR) == 0);
  REQUIRE(outer.apply(inner.fd(), EVFILT_READ, EV_ADD, 0, 0, 3) == 0);
  for (int i = 0; i < 3; ++i) {
    CHECK(outer.now().empty());
    REQUIRE(inner.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
    const event_list got = outer.next();
    REQUIRE(got.size() == 1);
    CHECK(got[0].ident == static_cast<std::uint64_t>(inner.fd()));
    CHECK(got[0].data == 1);
    CHECK(got[0].udata == 3);
    CHECK(outer.now().size() == 1);
    CHECK(inner.now().size() == 1);
  }
  CHECK(outer.now().empty());
}

TEST_CASE("what cannot be nested") {
  const kqueue_of_test kq;
  const kqueue_of_test other;
  CHECK(kq.apply(other.fd(), EVFILT_WRITE, EV_ADD) == EINVAL);
  CHECK(kq.apply(kq.fd(), EVFILT_READ, EV_ADD) == EINVAL);
  REQUIRE(kq.apply(other.fd(), EVFILT_READ, EV_ADD) == 0);
  CHECK(other.apply(kq.fd(), EVFILT_READ, EV_ADD) == EINVAL);
}

TEST_CASE("no kqueue is put into itself by way of others") {
  const kqueue_of_test inner;
  const kqueue_of_test middle;
  const kqueue_of_test outer;
  REQUIRE(middle.apply(inner.fd(), EVFILT_READ, EV_ADD) == 0);
  REQUIRE(outer.apply(middle.fd(), EVFILT_READ, EV_ADD) == 0);
  CHECK(inner.apply(outer.fd(), EVFILT_READ, EV_ADD) == EINVAL);
  CHECK(inner.apply(outer.fd(), EVFILT_READ, EV_DELETE) == ENOENT);
  REQUIRE(inner.apply(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER) == 0);
  CHECK(only(outer.next(), EVFILT_READ).ident == static_cast<std::uint64_t>(middle.fd()));
}

TEST_CASE("a tower of kqueues: what is ready at its foot shows at its top; it cannot be too high") {
  std::vector<std::unique_ptr<kqueue_of_test>> tower;
  tower.push_back(std::make_unique<kqueue_of_test>());
  int error = 0;
  while (error == 0 && tower.size() < 20) {
    auto next = std::make_unique<kqueue_of_test>();
    error = next->apply(tower.back()->fd(), EVFILT_READ, EV_ADD);
    if (error == 0) tower.push_back(std::move(next));
  }
  CHECK(error == EINVAL);
  CHECK(tower.size() >= 4);
  CHECK(tower.size() <= 10);
  const kqueue_of_test& top = *tower.back();
  CHECK(top.now().empty());
  REQUIRE(tower.front()->apply(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER) == 0);
  CHECK(only(top.next(), EVFILT_READ).ident ==
        static_cast<std::uint64_t>(tower[tower.size() - 2]->fd()));
  REQUIRE(tower.front()->apply(1, EVFILT_USER, EV_DELETE) == 0);
  CHECK(tower.front()->now().empty());
  CHECK(top.now().empty());
}

#if defined(__linux__)  // what a kqueue is made of there can also be made by the program
TEST_CASE("an epoll set with the number of a closed kqueue is left alone") {
  kqueue_of_test closed;
  const int number = closed.fd();
  closed.close();
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  REQUIRE(epoll == number);
  const kqueue_of_test kq;
  for (int i = 0; i < 2; ++i) {
    CHECK(kq.apply(epoll, EVFILT_WRITE, EV_ADD) == 0);
    CHECK(kq.apply(epoll, EVFILT_WRITE, EV_DELETE) == 0);
  }
  ::close(epoll);
}
#endif
