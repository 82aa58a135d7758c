// EVFILT_READ and EVFILT_WRITE on terminals and other character devices.

#include "test_kqueue.h"

#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>

#include <cstdlib>

namespace {

// The two sides of a pseudo-terminal. A bare chroot without devpts has none: exists() is then
// false.
struct pseudo_terminal {
  int master = ::posix_openpt(O_RDWR | O_NOCTTY);
  int fd = -1;

  pseudo_terminal() {
    if (master < 0 && (errno == ENODEV || errno == ENOENT)) {
      MESSAGE("no pseudo-terminals");
      return;
    }
    REQUIRE(master >= 0);
    REQUIRE(::grantpt(master) == 0);
    REQUIRE(::unlockpt(master) == 0);
    fd = ::open(::ptsname(master), O_RDWR | O_NOCTTY);
    REQUIRE(fd >= 0);
  }
  pseudo_terminal(const pseudo_terminal&) = delete;
  pseudo_terminal& operator=(const pseudo_terminal&) = delete;
  ~pseudo_terminal() {
    for (const int side : {master, fd})
      if (side >= 0) ::close(side);
  }

  bool exists() const { return fd >= 0; }
};

}  // namespace

TEST_CASE("READ of a terminal counts the bytes of a line in data, and WRITE is active") {
  const test_kqueue kq;
  const pseudo_terminal t;
  if (!t.exists()) return;
  REQUIRE(kq.apply(t.fd, EVFILT_READ, EV_ADD) == 0);
  CHECK(kq.now().empty());
  REQUIRE(::write(t.master, "line\n", 5) == 5);
  CHECK(only(kq.next(), EVFILT_READ).data == 5);
  REQUIRE(kq.apply(t.fd, EVFILT_READ, EV_DELETE) == 0);
  REQUIRE(kq.apply(t.fd, EVFILT_WRITE, EV_ADD) == 0);
  CHECK(kq.next().size() == 1);
}

TEST_CASE("a terminal that hangs up reports EV_EOF for READ and WRITE in every call") {
  const test_kqueue kq;
  pseudo_terminal t;
  if (!t.exists()) return;
  REQUIRE(kq.apply(t.fd, EVFILT_READ, EV_ADD) == 0);
  CHECK(kq.now().empty());
  REQUIRE(kq.apply(t.fd, EVFILT_WRITE, EV_ADD) == 0);
  CHECK((only(kq.next(), EVFILT_WRITE).flags & EV_EOF) == 0);
  ::close(t.master);
  t.master = -1;
  for (int i = 0; i < 2; ++i) {
    CAPTURE(i);
    const event_list got = kq.next();
    CHECK((only(got, EVFILT_READ).flags & EV_EOF) != 0);
    CHECK((only(got, EVFILT_WRITE).flags & EV_EOF) != 0);
  }
}

TEST_CASE(
    "the master of a terminal reports what was written, then EV_EOF when the slave is closed") {
  const test_kqueue kq;
  pseudo_terminal t;
  if (!t.exists()) return;
  REQUIRE(kq.apply(t.master, EVFILT_READ, EV_ADD) == 0);
  CHECK(kq.now().empty());
  REQUIRE(::write(t.fd, "bye", 3) == 3);
  CHECK(only(kq.next(), EVFILT_READ).data == 3);
  char bytes[8];
  REQUIRE(::read(t.master, bytes, sizeof bytes) == 3);
  CHECK(kq.now().empty());
  ::close(t.fd);
  t.fd = -1;
  CHECK((only(kq.next(), EVFILT_READ).flags & EV_EOF) != 0);
}

// Runs in a child, which can make a terminal its controlling one.
TEST_CASE("Linux watches /dev/tty, Darwin refuses it with EINVAL") {
  pseudo_terminal t;
  if (!t.exists()) return;
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const int kq = ::setsid() >= 0 && ::ioctl(t.fd, TIOCSCTTY, 0) == 0 ? ::kqueue() : -1;
    const int own = ::open("/dev/tty", O_RDWR);
    if (kq < 0 || own < 0) ::_exit(1);
    const kevent64_s add = change(own, EVFILT_READ, EV_ADD);
    const int error = kevent64(kq, &add, 1, nullptr, 0, 0, nullptr) == 0 ? 0 : errno;
#if defined(__linux__)
    kevent64_s event{};
    if (error != 0 || ::write(t.master, "line\n", 5) != 5) ::_exit(2);
    const bool is_reported =
        kevent64(kq, nullptr, 0, &event, 1, 0, nullptr) == 1 && event.data == 5;
    ::_exit(is_reported ? 0 : 3);
#else
    ::_exit(error == EINVAL ? 0 : 2);
#endif
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

TEST_CASE("a device that is always ready accepts only NOTE_LOWAT with data 1") {
  const test_kqueue kq;
  const int device = ::open("/dev/null", O_RDWR);
  REQUIRE(device >= 0);
  for (const auto filter : {std::int16_t{EVFILT_READ}, std::int16_t{EVFILT_WRITE}}) {
    CAPTURE(filter);
    CHECK(kq.apply(device, filter, EV_ADD) == EINVAL);
    CHECK(kq.apply(device, filter, EV_ADD, NOTE_LOWAT, 2) == EINVAL);
    REQUIRE(kq.apply(device, filter, EV_ADD, NOTE_LOWAT, 1) == 0);
    CHECK(only(kq.next(), filter).data == 1);
    CHECK(only(kq.next(), filter).data == 1);
    REQUIRE(kq.apply(device, filter, EV_DELETE) == 0);
  }
  ::close(device);
}
