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
