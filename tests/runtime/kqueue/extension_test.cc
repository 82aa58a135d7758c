// kedge/kqueue/extension.h.

#include "kqueue_of_test.h"

#include <poll.h>
#include "kedge/runtime/kqueue/extension.h"

#include <atomic>
#include <thread>

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

TEST_CASE("options are refused for what is no kqueue, and for bits that mean nothing") {
  const kqueue_of_test kq;
  CHECK(!opt_out(-1, no_data));
  CHECK(!opt_out(kq.fd(), 4));
  CHECK(!opt_out(kq.fd(), no_data | 8));
  CHECK(!opt_in(kq.fd(), 4));
  CHECK(!opt_in(1'000'000, no_data));
  CHECK(opt_out(kq.fd(), no_data | not_pollable));
  CHECK(opt_in(kq.fd(), no_data | not_pollable));
}

TEST_CASE("no_data leaves data of READ and WRITE 0, and nothing else") {
  const kqueue_of_test kq;
  const pair_of_test p = pair_of_test::of_sockets();
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

TEST_CASE(
    "not_pollable keeps user-space events from an outside poller; opt_in posts what is pending") {
  const kqueue_of_test kq;
  REQUIRE(opt_out(kq.fd(), not_pollable));
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR) == 0);
  REQUIRE(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
  CHECK(!readable(kq.fd()));
  REQUIRE(opt_in(kq.fd(), not_pollable));
  CHECK(readable(kq.fd()));
  CHECK(kq.now().size() == 1);
  CHECK(!readable(kq.fd()));

  SUBCASE("nothing pending, nothing posted") {
    REQUIRE(opt_out(kq.fd(), not_pollable));
    REQUIRE(opt_in(kq.fd(), not_pollable));
    CHECK(!readable(kq.fd()));
  }
  SUBCASE("from then on it is pollable") {
    REQUIRE(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
    CHECK(readable(kq.fd()));
  }
}

TEST_CASE("not_pollable: another thread still wakes a sleeper") {
  const kqueue_of_test kq;
  REQUIRE(opt_out(kq.fd(), not_pollable));
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR) == 0);
  for (int i = 0; i < 200; ++i) {
    std::thread other([&] { CHECK(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0); });
    CHECK(kq.next().size() == 1);
    other.join();
  }
}

TEST_CASE("take_active delivers what is active in user space, by the knotes' modes") {
  const kqueue_of_test kq;
  const pair_of_test p = pair_of_test::of_sockets();
  kevent64_s out[8]{};
  CHECK(take_active(-1, out, 8) == 0);
  CHECK(take_active(kq.fd(), out, 8) == 0);
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, 5) == 0);
  REQUIRE(kq.apply(2, EVFILT_USER, EV_ADD | EV_ONESHOT) == 0);
  REQUIRE(kq.apply(3, EVFILT_USER, EV_ADD) == 0);
  REQUIRE(kq.apply(p[1], EVFILT_WRITE, EV_ADD) == 0);
  CHECK(take_active(kq.fd(), out, 8) == 0);  // descriptors are for full calls
  for (std::uint64_t i = 1; i <= 3; ++i)
    REQUIRE(kq.apply(i, EVFILT_USER, 0, NOTE_TRIGGER, 0, i) == 0);
  CHECK(take_active(kq.fd(), out, 0) == 0);
  CHECK(take_active(kq.fd(), out, -1) == 0);
  REQUIRE(take_active(kq.fd(), out, 8) == 3);
  for (std::uint64_t i = 0; i < 3; ++i) CHECK(out[i].udata == i + 1);
  REQUIRE(take_active(kq.fd(), out, 8) == 1);
  CHECK(out[0].ident == 3);
  CHECK(kq.apply(2, EVFILT_USER, EV_DELETE) == ENOENT);
}

TEST_CASE("take_active is for kqueues of kevent64") {
  const kqueue_of_test kq;
  struct kevent narrow{};
  EV_SET(&narrow, 1, EVFILT_USER, EV_ADD, NOTE_TRIGGER, 0, nullptr);
  REQUIRE(kevent(kq.fd(), &narrow, 1, nullptr, 0, nullptr) == 0);
  kevent64_s out[1]{};
  CHECK(take_active(kq.fd(), out, 1) == 0);
}

namespace {

std::atomic<std::uint64_t> time_of_test{1'000'000'000};
std::uint64_t read_time() noexcept {
  return time_of_test;
}

struct clock_of_test {
  clock_of_test() { REQUIRE(kedge::kqueue::use_clock(&read_time)); }
  ~clock_of_test() { kedge::kqueue::use_clock(nullptr); }
};

}  // namespace

TEST_CASE("timers by a clock of one's own: exact counts and order") {
  const clock_of_test clock;
  const kqueue_of_test kq;
  const auto pass = [](std::uint64_t ns) { time_of_test += ns; };

  SUBCASE("once") {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_NSECONDS, 100) == 0);
    pass(99);
    CHECK(kq.now().empty());
    pass(1);
    CHECK(only(kq.now(), EVFILT_TIMER).data == 1);
    pass(1000);
    CHECK(kq.now().empty());
  }
  SUBCASE("periods are counted from when it should have fired") {
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
  SUBCASE("in milliseconds, the default") {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, 0, 3) == 0);
    pass(2'999'999);
    CHECK(kq.now().empty());
    pass(1);
    CHECK(kq.now().size() == 1);
  }
  SUBCASE("in the order of deadlines") {
    for (std::uint64_t i = 0; i < 100; ++i) {
      const std::uint64_t ident = i * 37 % 100;
      REQUIRE(kq.apply(ident, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_NSECONDS,
                       static_cast<std::int64_t>(ident + 1)) == 0);
    }
    REQUIRE(kq.apply(50, EVFILT_TIMER, EV_DELETE) == 0);
    pass(1000);
    const event_list got = kq.now(100);
    REQUIRE(got.size() == 99);
    for (std::size_t i = 0; i < got.size(); ++i) CHECK(got[i].ident == (i < 50 ? i : i + 1));
  }
  SUBCASE("set anew, it counts from now") {
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

TEST_CASE("on Darwin: not supported") {
  const kqueue_of_test kq;
  kevent64_s out[1]{};
  CHECK(!opt_out(kq.fd(), no_data));
  CHECK(!opt_in(kq.fd(), not_pollable));
  CHECK(take_active(kq.fd(), out, 1) == 0);
}

#endif
