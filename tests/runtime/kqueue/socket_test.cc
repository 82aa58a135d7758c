// EVFILT_READ and EVFILT_WRITE on sockets, which follow filt_soread_common() and
// filt_sowrite_common() of bsd/kern/uipc_socket.c.

#include "test_kqueue.h"
#include "test_sockets.h"

#include <cerrno>
#include <string>
#include <thread>

namespace {

void set_nonblocking(int fd) {
  REQUIRE(::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK) == 0);
}

// Starts a non-blocking connect that will be refused. Returns false if the call itself was refused,
// so that there is nothing for a kqueue to report.
bool begin_refused_connect(int fd) {
  set_nonblocking(fd);
  tcp_listener listener;
  listener.close();
  const int result = listener.connect(fd);
  CHECK((result == EINPROGRESS || result == ECONNREFUSED));
  return result == EINPROGRESS;
}

}  // namespace

TEST_CASE("a peer that shuts its writing side causes EV_EOF for READ, not for WRITE") {
  const test_kqueue kq;
  const auto check = [&](int fd, int peer) {
    REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD | EV_CLEAR) == 0);
    REQUIRE(::shutdown(peer, SHUT_WR) == 0);
    CHECK((only(kq.next(), EVFILT_READ).flags & EV_EOF) != 0);
    REQUIRE(kq.apply(fd, EVFILT_WRITE, EV_ADD) == 0);
    CHECK((only(kq.next(), EVFILT_WRITE).flags & EV_EOF) == 0);
  };
  SUBCASE("AF_UNIX") {
    const fd_pair p = fd_pair::of_sockets();
    check(p[0], p[1]);
  }
  SUBCASE("TCP") {
    const fd_pair p = tcp_pair();
    check(p[0], p[1]);
  }
}

TEST_CASE("shutdown(SHUT_RD) causes EV_EOF for READ of the same socket") {
  const test_kqueue kq;
  const auto check = [&](int fd) {
    REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD) == 0);
    CHECK(kq.now().empty());
    REQUIRE(::shutdown(fd, SHUT_RD) == 0);
    for (int i = 0; i < 2; ++i) {
      CAPTURE(i);
      CHECK(kq.next() == event_list{event(fd, EVFILT_READ, EV_ADD | EV_EOF)});
    }
  };
  SUBCASE("AF_UNIX") {
    const fd_pair p = fd_pair::of_sockets();
    check(p[0]);
  }
  SUBCASE("TCP") {
    const fd_pair p = tcp_pair();
    check(p[0]);
  }
}

TEST_CASE(
    "shutdown(SHUT_WR) causes EV_EOF for WRITE of the same socket, and leaves READ as it was") {
  const test_kqueue kq;
  unsigned mode = 0;
  bool before = true;
  SUBCASE("level-triggered") {}
  SUBCASE("EV_CLEAR") {
    mode = EV_CLEAR;
  }
  SUBCASE("WRITE is added after the shutdown") {
    before = false;
  }
  const auto check = [&](int fd, int peer) {
    REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD) == 0);
    if (before) {
      REQUIRE(kq.apply(fd, EVFILT_WRITE, EV_ADD | mode) == 0);
      CHECK((only(kq.next(), EVFILT_WRITE).flags & EV_EOF) == 0);
    }
    REQUIRE(::shutdown(fd, SHUT_WR) == 0);
    if (!before) REQUIRE(kq.apply(fd, EVFILT_WRITE, EV_ADD | mode) == 0);
    const event_list got = kq.next();
    REQUIRE(got.size() == 1);
    CHECK(only(got, EVFILT_WRITE).flags == (EV_ADD | EV_EOF | mode));
    CHECK(only(got, EVFILT_WRITE).fflags == 0);
    if (mode == 0) CHECK((only(kq.next(), EVFILT_WRITE).flags & EV_EOF) != 0);
    // The other direction is unchanged.
    REQUIRE(::write(peer, "abc", 3) == 3);
    CHECK(only(kq.next(), EVFILT_READ) == event(fd, EVFILT_READ, EV_ADD, 0, 3));
  };
  SUBCASE("AF_UNIX") {
    const fd_pair p = fd_pair::of_sockets();
    check(p[0], p[1]);
  }
  SUBCASE("TCP") {
    const fd_pair p = tcp_pair();
    check(p[0], p[1]);
  }
}

TEST_CASE("shutdown(SHUT_WR) wakes a waiter for room, and shows in a disabled knote on EV_ENABLE") {
  const test_kqueue kq;
  const fd_pair p = fd_pair::of_sockets();
  p.fill(0);
  REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ADD | EV_DISPATCH) == 0);
  CHECK(kq.now().empty());
  SUBCASE("a thread waits") {
    std::thread other([&] { ::shutdown(p[0], SHUT_WR); });
    CHECK((only(kq.next(), EVFILT_WRITE).flags & EV_EOF) != 0);
    other.join();
  }
  SUBCASE("the knote is disabled") {
    REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_DISABLE) == 0);
    REQUIRE(::shutdown(p[0], SHUT_WR) == 0);
    CHECK(kq.now().empty());
  }
  REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ENABLE) == 0);
  CHECK((only(kq.next(), EVFILT_WRITE).flags & EV_EOF) != 0);
  REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_DELETE) == 0);
  REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ADD) == 0);
  CHECK((only(kq.next(), EVFILT_WRITE).flags & EV_EOF) != 0);
}

TEST_CASE("shutdown(SHUT_RDWR) causes EV_EOF for READ and WRITE of the same socket") {
  const test_kqueue kq;
  const fd_pair p = tcp_pair();
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ADD) == 0);
  REQUIRE(::shutdown(p[0], SHUT_RDWR) == 0);
  const event_list got = kq.next();
  CHECK((only(got, EVFILT_READ).flags & EV_EOF) != 0);
  CHECK((only(got, EVFILT_WRITE).flags & EV_EOF) != 0);
}

TEST_CASE("a TCP socket reports neither READ nor WRITE until it is connected") {
  const test_kqueue kq;
  const unsigned mode = level_or_clear();
  const tcp_listener listener;
  const scoped_fd fd(::socket(AF_INET, SOCK_STREAM, 0));
  REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD | mode) == 0);
  REQUIRE(kq.apply(fd, EVFILT_WRITE, EV_ADD | mode) == 0);
  CHECK(kq.now().empty());
  CHECK(kq.now().empty());

  // Once it is connected, it behaves as any other.
  REQUIRE(listener.connect(fd) == 0);
  const event_list connected = kq.next();
  REQUIRE(connected.size() == 1);
  CHECK(connected[0].filter == EVFILT_WRITE);
  CHECK(connected[0].flags == (EV_ADD | mode));
  CHECK(kq.now().size() == (mode == EV_CLEAR ? 0 : 1));
  const scoped_fd peer(::accept(listener.fd(), nullptr, nullptr));
  REQUIRE(kq.apply(fd, EVFILT_WRITE, EV_DELETE) == 0);
  CHECK(kq.now().empty());
  REQUIRE(::write(peer, "ab", 2) == 2);
  CHECK(only(kq.next(), EVFILT_READ) == event(int{fd}, EVFILT_READ, EV_ADD | mode, 0, 2));
}

TEST_CASE("an AF_UNIX stream socket reports neither READ nor WRITE until it is connected") {
  const test_kqueue kq;
  const unix_listener listener;
  const scoped_fd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
  REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(fd, EVFILT_WRITE, EV_ADD) == 0);
  CHECK(kq.now().empty());
  CHECK(kq.now().empty());
  listener.connect(fd);
  const event_list got = kq.next();
  REQUIRE(got.size() == 1);
  CHECK(got[0].filter == EVFILT_WRITE);
  CHECK(got[0].flags == EV_ADD);
}

TEST_CASE("a socket that listens after EV_ADD reports READ for a connection, and never WRITE") {
  const test_kqueue kq;
  const scoped_fd fd(::socket(AF_INET, SOCK_STREAM, 0));
  REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(fd, EVFILT_WRITE, EV_ADD) == 0);
  CHECK(kq.now().empty());
  sockaddr_in address{};
  socklen_t size = sizeof address;
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(::listen(fd, 8) == 0);
  CHECK(kq.now().empty());
  REQUIRE(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  const scoped_fd peer(::socket(AF_INET, SOCK_STREAM, 0));
  REQUIRE(::connect(peer, reinterpret_cast<sockaddr*>(&address), size) == 0);
  for (int i = 0; i < 2; ++i) {
    CAPTURE(i);
    // One event: a listening socket is never writable.
    CHECK(kq.next() == event_list{event(int{fd}, EVFILT_READ, EV_ADD, 0, 1)});
  }
}

TEST_CASE("READ of a listening socket counts the connections to accept in data") {
  const test_kqueue kq;
  const auto check = [&](const auto& listener, int family) {
    REQUIRE(kq.apply(listener.fd(), EVFILT_READ, EV_ADD) == 0);
    CHECK(kq.now().empty());
    const scoped_fd a(::socket(family, SOCK_STREAM, 0));
    const scoped_fd b(::socket(family, SOCK_STREAM, 0));
    listener.connect(a);
    CHECK(only(kq.next(), EVFILT_READ).data == 1);
    listener.connect(b);
    CHECK(only(kq.next(), EVFILT_READ).data == 2);
    ::close(::accept(listener.fd(), nullptr, nullptr));
    CHECK(only(kq.next(), EVFILT_READ).data == 1);
    ::close(::accept(listener.fd(), nullptr, nullptr));
    CHECK(kq.now().empty());
  };
  SUBCASE("AF_UNIX") {
    check(unix_listener(), AF_UNIX);
  }
  SUBCASE("TCP") {
    check(tcp_listener(), AF_INET);
  }
}

TEST_CASE(
    "a refused connect causes EV_EOF with its errno for READ and WRITE, and SO_ERROR stays set") {
  const test_kqueue kq;
  const scoped_fd fd(::socket(AF_INET, SOCK_STREAM, 0));
  if (!begin_refused_connect(fd)) return;
  REQUIRE(kq.apply(fd, EVFILT_WRITE, EV_ADD) == 0);
  const event_list writes = kq.next();
  CHECK(only(writes, EVFILT_WRITE).flags == (EV_ADD | EV_EOF));
  CHECK(only(writes, EVFILT_WRITE).fflags == ECONNREFUSED);
  REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD) == 0);
  const event_list both = kq.next();
  CHECK(only(both, EVFILT_READ).flags == (EV_ADD | EV_EOF));
  CHECK(only(both, EVFILT_READ).fflags == ECONNREFUSED);
  CHECK(only(both, EVFILT_WRITE).fflags == ECONNREFUSED);
  CHECK(socket_error(fd) == ECONNREFUSED);
  // Reading SO_ERROR has cleared it. EV_EOF stays.
  const event_list after = kq.next();
  CHECK(only(after, EVFILT_READ).flags == (EV_ADD | EV_EOF));
  CHECK(only(after, EVFILT_READ).fflags == 0);
  CHECK(only(after, EVFILT_WRITE).fflags == 0);
}

TEST_CASE(
    "a refused connect is reported once by a WRITE knote with EV_CLEAR that was added before") {
  const test_kqueue kq;
  const scoped_fd fd(::socket(AF_INET, SOCK_STREAM, 0));
  REQUIRE(kq.apply(fd, EVFILT_WRITE, EV_ADD | EV_CLEAR) == 0);
  CHECK(kq.now().empty());
  if (!begin_refused_connect(fd)) return;
  CHECK(only(kq.next(), EVFILT_WRITE).flags == (EV_ADD | EV_CLEAR | EV_EOF));
  CHECK(kq.now().empty());
  CHECK(socket_error(fd) == ECONNREFUSED);
}

TEST_CASE(
    "a reset causes EV_EOF with ECONNRESET for READ and WRITE, and read still fails with it") {
  const test_kqueue kq;
  fd_pair p = tcp_pair();
  int side = 0;
  SUBCASE("seen by the side that connected") {}
  SUBCASE("seen by the side that accepted and sent nothing") {
    side = 1;
  }
  REQUIRE(kq.apply(p[side], EVFILT_READ, EV_ADD) == 0);
  abort_side(p, 1 - side);
  const event_list reads = kq.next();
  CHECK(only(reads, EVFILT_READ).flags == (EV_ADD | EV_EOF));
  CHECK(only(reads, EVFILT_READ).fflags == ECONNRESET);
  REQUIRE(kq.apply(p[side], EVFILT_WRITE, EV_ADD) == 0);
  const event_list both = kq.next();
  CHECK(only(both, EVFILT_READ).fflags == ECONNRESET);
  CHECK(only(both, EVFILT_WRITE).flags == (EV_ADD | EV_EOF));
  CHECK(only(both, EVFILT_WRITE).fflags == ECONNRESET);
  char c = 0;
  CHECK(::read(p[side], &c, 1) == -1);
  CHECK(errno == ECONNRESET);
}

TEST_CASE("a connection that ended causes EV_EOF beside a count of the bytes that are left") {
  const test_kqueue kq;
  fd_pair p = tcp_pair();
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  REQUIRE(::write(p[1], "abc", 3) == 3);
  CHECK(only(kq.next(), EVFILT_READ).data == 3);
  REQUIRE(::shutdown(p[0], SHUT_WR) == 0);
  p.close(1);
  event_list got = kq.next();
  // The FIN may still be on its way.
  while ((only(got, EVFILT_READ).flags & EV_EOF) == 0) got = kq.next();
  CHECK(only(got, EVFILT_READ) == event(p[0], EVFILT_READ, EV_ADD | EV_EOF, 0, 3));
  char bytes[4];
  REQUIRE(::read(p[0], bytes, sizeof bytes) == 3);
  CHECK(kq.next() == event_list{event(p[0], EVFILT_READ, EV_ADD | EV_EOF)});
}

TEST_CASE("EV_EOF is delivered by the rules of EV_DISPATCH and EV_ONESHOT") {
  const test_kqueue kq;
  fd_pair p = fd_pair::of_sockets();
  p.close(1);
  SUBCASE("EV_DISPATCH: again after each EV_ENABLE") {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_DISPATCH) == 0);
    for (int i = 0; i < 3; ++i) {
      CAPTURE(i);
      CHECK(only(kq.next(), EVFILT_READ).flags == (EV_ADD | EV_DISPATCH | EV_EOF));
      CHECK(kq.now().empty());
      REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ENABLE) == 0);
    }
  }
  SUBCASE("EV_ONESHOT: once, and the knote is gone") {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_ONESHOT) == 0);
    CHECK(only(kq.next(), EVFILT_READ).flags == (EV_ADD | EV_ONESHOT | EV_EOF));
    CHECK(kq.apply(p[0], EVFILT_READ, EV_DELETE) == ENOENT);
  }
}

TEST_CASE("READ and WRITE with EV_EOF both get their turn in calls with room for one event") {
  const test_kqueue kq;
  fd_pair p = fd_pair::of_sockets();
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ADD) == 0);
  p.close(1);
  int reads = 0;
  int writes = 0;
  for (int i = 0; i < 10; ++i) {
    CAPTURE(i);
    const event_list got = kq.next(1);
    REQUIRE(got.size() == 1);
    CHECK((got[0].flags & EV_EOF) != 0);
    ++(got[0].filter == EVFILT_READ ? reads : writes);
  }
  CHECK(reads >= 2);
  CHECK(writes >= 2);
}

TEST_CASE("an empty datagram makes READ active with data 0") {
  const test_kqueue kq;
  const fd_pair p = fd_pair::of_sockets(SOCK_DGRAM);
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  CHECK(kq.now().empty());
  REQUIRE(::send(p[1], "", 0, 0) == 0);
  CHECK(kq.next() == event_list{event(p[0], EVFILT_READ, EV_ADD)});
}

TEST_CASE("READ of a UDP socket counts a datagram in data, and WRITE is active without a peer") {
  const test_kqueue kq;
  const scoped_fd fd(::socket(AF_INET, SOCK_DGRAM, 0));
  REQUIRE(kq.apply(fd, EVFILT_WRITE, EV_ADD | EV_ONESHOT) == 0);
  const event_list writable = kq.next();
  CHECK(only(writable, EVFILT_WRITE).data > 0);
  sockaddr_in address{};
  socklen_t size = sizeof address;
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD) == 0);
  CHECK(kq.now().empty());
  REQUIRE(::sendto(fd, "12345", 5, 0, reinterpret_cast<sockaddr*>(&address), size) == 5);
  CHECK(kq.next() == event_list{event(int{fd}, EVFILT_READ, EV_ADD, 0, 5)});
}

TEST_CASE("a UDP error makes READ and WRITE active without EV_EOF, and SO_ERROR stays set") {
  const test_kqueue kq;
  const scoped_fd fd(::socket(AF_INET, SOCK_DGRAM, 0));
  {
    // After this block the port is unused.
    const scoped_fd unused(::socket(AF_INET, SOCK_DGRAM, 0));
    sockaddr_in address{};
    socklen_t size = sizeof address;
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::bind(unused, reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(::getsockname(unused, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    REQUIRE(::connect(fd, reinterpret_cast<sockaddr*>(&address), size) == 0);
  }
  REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD) == 0);
  REQUIRE(::send(fd, "x", 1, 0) == 1);
  const event_list reads = kq.next();
  CHECK(only(reads, EVFILT_READ).flags == EV_ADD);
  CHECK(only(reads, EVFILT_READ).fflags == 0);
  REQUIRE(kq.apply(fd, EVFILT_WRITE, EV_ADD) == 0);
  const event_list both = kq.next();
  CHECK(only(both, EVFILT_READ).flags == EV_ADD);
  CHECK(only(both, EVFILT_WRITE).flags == EV_ADD);
  CHECK(socket_error(fd) == ECONNREFUSED);
  CHECK(kq.next().size() == 1);  // WRITE
}

TEST_CASE(
    "READ of a SOCK_SEQPACKET socket counts its bytes in data, and reports EV_EOF of the peer") {
  int fd[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fd) != 0) {
    MESSAGE("AF_UNIX has no SOCK_SEQPACKET here, as on Darwin");
    return;
  }
  const test_kqueue kq;
  const scoped_fd own(fd[0]);
  scoped_fd peer(fd[1]);
  REQUIRE(kq.apply(own, EVFILT_READ, EV_ADD) == 0);
  CHECK(kq.now().empty());
  REQUIRE(::send(peer, "ab", 2, 0) == 2);
  REQUIRE(::send(peer, "cde", 3, 0) == 3);
  CHECK(only(kq.next(), EVFILT_READ).data == 5);
  peer.close();
  CHECK(kq.next() == event_list{event(int{own}, EVFILT_READ, EV_ADD | EV_EOF, 0, 5)});
}
