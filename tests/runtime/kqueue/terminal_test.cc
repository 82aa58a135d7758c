// EVFILT_READ and EVFILT_WRITE on terminals and other character devices.

#include "kqueue_of_test.h"

#include <cstdlib>

TEST_CASE("a terminal") {
  const kqueue_of_test kq;
  const int master = ::posix_openpt(O_RDWR | O_NOCTTY);
  if (master < 0 && (errno == ENODEV || errno == ENOENT)) {
    MESSAGE("no pseudo-terminals: a bare chroot has no devpts");
    return;
  }
  REQUIRE(master >= 0);
  REQUIRE(::grantpt(master) == 0);
  REQUIRE(::unlockpt(master) == 0);
  const int terminal = ::open(::ptsname(master), O_RDWR | O_NOCTTY);
  REQUIRE(terminal >= 0);
  REQUIRE(kq.apply(terminal, EVFILT_READ, EV_ADD) == 0);
  CHECK(kq.now().empty());
  REQUIRE(::write(master, "line\n", 5) == 5);
  CHECK(only(kq.next(), EVFILT_READ).data == 5);
  REQUIRE(kq.apply(terminal, EVFILT_READ, EV_DELETE) == 0);
  REQUIRE(kq.apply(terminal, EVFILT_WRITE, EV_ADD) == 0);
  CHECK(kq.next().size() == 1);
  ::close(terminal);
  ::close(master);
}

TEST_CASE("a device that is always ready takes only NOTE_LOWAT with data 1") {
  const kqueue_of_test kq;
  const int device = ::open("/dev/null", O_RDWR);
  REQUIRE(device >= 0);
  for (const auto filter : {std::int16_t{EVFILT_READ}, std::int16_t{EVFILT_WRITE}}) {
    CHECK(kq.apply(device, filter, EV_ADD) == EINVAL);
    CHECK(kq.apply(device, filter, EV_ADD, NOTE_LOWAT, 2) == EINVAL);
    REQUIRE(kq.apply(device, filter, EV_ADD, NOTE_LOWAT, 1) == 0);
    CHECK(only(kq.next(), filter).data == 1);
    CHECK(only(kq.next(), filter).data == 1);
    REQUIRE(kq.apply(device, filter, EV_DELETE) == 0);
  }
  ::close(device);
}
