// EVFILT_READ and EVFILT_WRITE on pipes, sockets, terminals and files.

#include "kqueue_of_test.h"

#include <netinet/in.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

// A listening TCP socket on the loopback interface, and connections to it.
class listener_of_test {
 public:
  listener_of_test() : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    REQUIRE(fd_ >= 0);
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address_;
    REQUIRE(::bind(fd_, reinterpret_cast<sockaddr*>(&address_), size) == 0);
    REQUIRE(::listen(fd_, 8) == 0);
    REQUIRE(::getsockname(fd_, reinterpret_cast<sockaddr*>(&address_), &size) == 0);
  }
  listener_of_test(const listener_of_test&) = delete;
  listener_of_test& operator=(const listener_of_test&) = delete;
  ~listener_of_test() {
    if (fd_ >= 0) ::close(fd_);
  }

  int fd() const { return fd_; }
  void close() {
    ::close(fd_);
    fd_ = -1;
  }
  // 0 or an errno.
  int connect(int fd) const {
    return ::connect(fd, reinterpret_cast<const sockaddr*>(&address_), sizeof address_) == 0
               ? 0
               : errno;
  }

 private:
  int fd_;
  sockaddr_in address_{};
};

class file_of_test {
 public:
  explicit file_of_test(std::string_view content) : file_(std::tmpfile()) {
    REQUIRE(file_ != nullptr);
    REQUIRE(::write(fd(), content.data(), content.size()) == static_cast<ssize_t>(content.size()));
    REQUIRE(::lseek(fd(), 0, SEEK_SET) == 0);
  }
  file_of_test(const file_of_test&) = delete;
  file_of_test& operator=(const file_of_test&) = delete;
  ~file_of_test() { std::fclose(file_); }
  int fd() const { return ::fileno(file_); }

 private:
  FILE* file_;
};

}  // namespace

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

TEST_CASE("half closed: EV_EOF to READ, none to WRITE") {
  const kqueue_of_test kq;
  const pair_of_test p = pair_of_test::of_sockets();
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ADD) == 0);
  REQUIRE(::shutdown(p[1], SHUT_WR) == 0);
  const event_list got = kq.next();
  CHECK((only(got, EVFILT_READ).flags & EV_EOF) != 0);
  CHECK((only(got, EVFILT_WRITE).flags & EV_EOF) == 0);
}

TEST_CASE("WRITE to a pipe that nobody reads: EV_EOF") {
  const kqueue_of_test kq;
  pair_of_test p = pair_of_test::of_pipe();
  REQUIRE(kq.apply(p[1], EVFILT_WRITE, EV_ADD) == 0);
  p.close(0);
  CHECK((only(kq.next(), EVFILT_WRITE).flags & EV_EOF) != 0);
}

TEST_CASE("a listening socket: readable when there is a connection to accept") {
  const kqueue_of_test kq;
  const listener_of_test listener;
  REQUIRE(kq.apply(listener.fd(), EVFILT_READ, EV_ADD) == 0);
  CHECK(kq.now().empty());
  const int a = ::socket(AF_INET, SOCK_STREAM, 0);
  const int b = ::socket(AF_INET, SOCK_STREAM, 0);
  REQUIRE(listener.connect(a) == 0);
  CHECK(only(kq.next(), EVFILT_READ).data == 1);
  REQUIRE(listener.connect(b) == 0);
  CHECK(only(kq.next(), EVFILT_READ).data == 2);
  for (int i = 0; i < 2; ++i) ::close(::accept(listener.fd(), nullptr, nullptr));
  CHECK(kq.now().empty());
  ::close(a);
  ::close(b);
}

TEST_CASE("a refused connect: WRITE with EV_EOF, and SO_ERROR still tells the program") {
  const kqueue_of_test kq;
  listener_of_test listener;
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  REQUIRE(::fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
  listener.close();
  const int result = listener.connect(fd);
  if (result == EINPROGRESS) {
    REQUIRE(kq.apply(fd, EVFILT_WRITE, EV_ADD) == 0);
    CHECK((only(kq.next(), EVFILT_WRITE).flags & EV_EOF) != 0);
    int error = 0;
    socklen_t size = sizeof error;
    REQUIRE(::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0);
    CHECK(error == ECONNREFUSED);
  } else {
    CHECK(result == ECONNREFUSED);
  }
  ::close(fd);
}

TEST_CASE("a connection that is reset: EV_EOF with the errno, and read still gives it") {
  const kqueue_of_test kq;
  const listener_of_test listener;
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  REQUIRE(listener.connect(fd) == 0);
  const int peer = ::accept(listener.fd(), nullptr, nullptr);
  REQUIRE(peer >= 0);
  REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD) == 0);
  const linger at_once{1, 0};
  REQUIRE(::setsockopt(peer, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
  ::close(peer);
  const event_list got = kq.next();
  CHECK((only(got, EVFILT_READ).flags & EV_EOF) != 0);
  CHECK(only(got, EVFILT_READ).fflags == ECONNRESET);
  char c = 0;
  CHECK(::read(fd, &c, 1) == -1);
  CHECK(errno == ECONNRESET);
  ::close(fd);
}

TEST_CASE("datagrams: an empty one counts") {
  const kqueue_of_test kq;
  const pair_of_test p = pair_of_test::of_sockets(SOCK_DGRAM);
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  CHECK(kq.now().empty());
  REQUIRE(::send(p[1], "", 0, 0) == 0);
  CHECK((only(kq.next(), EVFILT_READ).flags & EV_EOF) == 0);
}

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

TEST_CASE("regular files: READ while the offset is not at the end, WRITE always") {
  const kqueue_of_test kq;
  const file_of_test file("0123456789");
  REQUIRE(kq.apply(file.fd(), EVFILT_READ, EV_ADD) == 0);
  for (int i = 0; i < 2; ++i) {
    const event_list got = kq.next();
    REQUIRE(got.size() == 1);
    CHECK(got[0].data == 10);
    CHECK((got[0].flags & EV_EOF) == 0);
  }
  REQUIRE(::lseek(file.fd(), 4, SEEK_SET) == 4);
  CHECK(only(kq.next(), EVFILT_READ).data == 6);
  REQUIRE(::lseek(file.fd(), 12, SEEK_SET) == 12);
  CHECK(only(kq.next(), EVFILT_READ).data == -2);
  REQUIRE(::lseek(file.fd(), 10, SEEK_SET) == 10);
  CHECK(kq.now().empty());
  REQUIRE(kq.apply(file.fd(), EVFILT_WRITE, EV_ADD) == 0);
  CHECK(only(kq.next(), EVFILT_WRITE).data == 1);
  CHECK(only(kq.next(), EVFILT_WRITE).data == 1);
}

TEST_CASE("a regular file that grows wakes the reader at its end, and goes on doing so") {
  const kqueue_of_test kq;
  const file_of_test file("abc");
  REQUIRE(::lseek(file.fd(), 3, SEEK_SET) == 3);
  unsigned mode = 0;
  SUBCASE("level-triggered") {}
  SUBCASE("EV_CLEAR") {
    mode = EV_CLEAR;
  }
  REQUIRE(kq.apply(file.fd(), EVFILT_READ, EV_ADD | mode) == 0);
  CHECK(kq.now().empty());
  for (int i = 0; i < 3; ++i) {
    REQUIRE(::pwrite(file.fd(), "de", 2, 3 + 2 * i) == 2);
    CHECK(only(kq.next(), EVFILT_READ).data == 2);
    char bytes[2];
    REQUIRE(::read(file.fd(), bytes, 2) == 2);
    CHECK(kq.now().empty());
  }
  REQUIRE(kq.apply(file.fd(), EVFILT_READ, EV_DELETE) == 0);
  REQUIRE(::pwrite(file.fd(), "f", 1, 9) == 1);
  CHECK(kq.now().empty());
}

TEST_CASE("a regular file takes the modes too") {
  const kqueue_of_test kq;
  const file_of_test file("abc");
  SUBCASE("ONESHOT") {
    REQUIRE(kq.apply(file.fd(), EVFILT_READ, EV_ADD | EV_ONESHOT) == 0);
    CHECK(kq.next().size() == 1);
    CHECK(kq.now().empty());
    CHECK(kq.apply(file.fd(), EVFILT_READ, EV_DELETE) == ENOENT);
  }
  SUBCASE("DISPATCH") {
    REQUIRE(kq.apply(file.fd(), EVFILT_READ, EV_ADD | EV_DISPATCH) == 0);
    CHECK(kq.next().size() == 1);
    CHECK(kq.now().empty());
    REQUIRE(kq.apply(file.fd(), EVFILT_READ, EV_ENABLE) == 0);
    CHECK(kq.next().size() == 1);
  }
  SUBCASE("DISABLE, DELETE") {
    REQUIRE(kq.apply(file.fd(), EVFILT_READ, EV_ADD | EV_DISABLE) == 0);
    CHECK(kq.now().empty());
    REQUIRE(kq.apply(file.fd(), EVFILT_READ, EV_DELETE) == 0);
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
