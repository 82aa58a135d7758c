// kedge/runtime/kqueue/extension.h: options, take_active and clocks.

#include "test_kqueue.h"

#include <poll.h>

#include <atomic>
#include <thread>

#include "kedge/runtime/kqueue/extension.h"

using kedge::kqueue::no_data;
using kedge::kqueue::not_pollable;
using kedge::kqueue::opt_in;
using kedge::kqueue::opt_out;
using kedge::kqueue::take_active;

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
  CHECK(!opt_out(kq.fd(), 4));
  CHECK(!opt_out(kq.fd(), no_data | 8));
  CHECK(!opt_in(kq.fd(), 4));
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

TEST_CASE("take_active returns 0 for a kqueue that was used by kevent") {
  const test_kqueue kq;
  struct kevent narrow{};
  EV_SET(&narrow, 1, EVFILT_USER, EV_ADD, NOTE_TRIGGER, 0, nullptr);
  REQUIRE(kevent(kq.fd(), &narrow, 1, nullptr, 0, nullptr) == 0);
  kevent64_s out[1]{};
  CHECK(take_active(kq.fd(), out, 1) == 0);
}

namespace {

std::atomic<std::uint64_t> test_time{1'000'000'000};
std::uint64_t read_time() noexcept {
  return test_time;
}

struct scoped_test_clock {
  scoped_test_clock() { REQUIRE(kedge::kqueue::use_clock(&read_time)); }
  ~scoped_test_clock() { kedge::kqueue::use_clock(nullptr); }
};

}  // namespace

TEST_CASE("timers by a clock of the test fire at the exact nanosecond, with exact counts") {
  const scoped_test_clock clock;
  const test_kqueue kq;
  const auto pass = [](std::uint64_t ns) { test_time += ns; };

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

#else

TEST_CASE("on Darwin opt_out, opt_in and take_active report that they are not supported") {
  const test_kqueue kq;
  kevent64_s out[1]{};
  CHECK(!opt_out(kq.fd(), no_data));
  CHECK(!opt_in(kq.fd(), not_pollable));
  CHECK(take_active(kq.fd(), out, 1) == 0);
}

#endif
