// EVFILT_READ and EVFILT_WRITE on sockets: as filt_soread_common() and filt_sowrite_common() of
// bsd/kern/uipc_socket.c have it.

#include "kqueue_of_test.h"
#include "sockets_of_test.h"

#include <cerrno>
#include <string>
#include <thread>

namespace {

void set_nonblocking(int fd) {
  REQUIRE(::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK) == 0);
}

// A socket whose non-blocking connect is refused, though perhaps not yet: false if it was so in the
// call already, which the kqueue has no part in.
bool begin_refused_connect(int fd) {
  set_nonblocking(fd);
  listener_of_test listener;
  listener.close();
  const int result = listener.connect(fd);
  CHECK((result == EINPROGRESS || result == ECONNREFUSED));
  return result == EINPROGRESS;
}

}  // namespace

TEST_CASE("half closed by the peer: EV_EOF to READ, none to WRITE") {
  const kqueue_of_test kq;
  const auto check = [&](int fd, int peer) {
    REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD | EV_CLEAR) == 0);
    REQUIRE(::shutdown(peer, SHUT_WR) == 0);
    CHECK((only(kq.next(), EVFILT_READ).flags & EV_EOF) != 0);
    REQUIRE(kq.apply(fd, EVFILT_WRITE, EV_ADD) == 0);
    CHECK((only(kq.next(), EVFILT_WRITE).flags & EV_EOF) == 0);
  };
  SUBCASE("AF_UNIX") {
    const pair_of_test p = pair_of_test::of_sockets();
    check(p[0], p[1]);
  }
  SUBCASE("TCP") {
    const pair_of_test p = pair_of_tcp();
    check(p[0], p[1]);
  }
}

TEST_CASE("shutdown(SHUT_RD) of one's own: EV_EOF to READ") {
  const kqueue_of_test kq;
  const auto check = [&](int fd) {
    REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD) == 0);
    CHECK(kq.now().empty());
    REQUIRE(::shutdown(fd, SHUT_RD) == 0);
    for (int i = 0; i < 2; ++i) {
      const event_list got = kq.next();
      CHECK(only(got, EVFILT_READ).flags == (EV_ADD | EV_EOF));
      CHECK(only(got, EVFILT_READ).data == 0);
      CHECK(only(got, EVFILT_READ).fflags == 0);
    }
  };
  SUBCASE("AF_UNIX") {
    const pair_of_test p = pair_of_test::of_sockets();
    check(p[0]);
  }
  SUBCASE("TCP") {
    const pair_of_test p = pair_of_tcp();
    check(p[0]);
  }
}

TEST_CASE("shutdown(SHUT_WR) of one's own: EV_EOF to WRITE") {
  const kqueue_of_test kq;
  unsigned mode = 0;
  bool before = true;
  SUBCASE("level-triggered") {}
  SUBCASE("EV_CLEAR") {
    mode = EV_CLEAR;
  }
  SUBCASE("registered afterwards") {
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
    // The other direction is as it was.
    REQUIRE(::write(peer, "abc", 3) == 3);
    const event_list both = kq.next();
    CHECK(only(both, EVFILT_READ).flags == EV_ADD);
    CHECK(only(both, EVFILT_READ).data == 3);
  };
  SUBCASE("AF_UNIX") {
    const pair_of_test p = pair_of_test::of_sockets();
    check(p[0], p[1]);
  }
  SUBCASE("TCP") {
    const pair_of_test p = pair_of_tcp();
    check(p[0], p[1]);
  }
}

TEST_CASE("shutdown(SHUT_WR) wakes who waits for room; a disabled knote tells when it is enabled") {
  const kqueue_of_test kq;
  const pair_of_test p = pair_of_test::of_sockets();
  p.fill(0);
  REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ADD | EV_DISPATCH) == 0);
  CHECK(kq.now().empty());
  SUBCASE("waiting") {
    std::thread other([&] { ::shutdown(p[0], SHUT_WR); });
    CHECK((only(kq.next(), EVFILT_WRITE).flags & EV_EOF) != 0);
    other.join();
  }
  SUBCASE("disabled") {
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

TEST_CASE("shutdown(SHUT_RDWR) of one's own: EV_EOF to both") {
  const kqueue_of_test kq;
  const pair_of_test p = pair_of_tcp();
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ADD) == 0);
  REQUIRE(::shutdown(p[0], SHUT_RDWR) == 0);
  const event_list got = kq.next();
  CHECK((only(got, EVFILT_READ).flags & EV_EOF) != 0);
  CHECK((only(got, EVFILT_WRITE).flags & EV_EOF) != 0);
}

TEST_CASE("a stream socket that was never connected: neither READ nor WRITE") {
  const kqueue_of_test kq;
  const unsigned mode = level_or_clear();
  const listener_of_test listener;
  const descriptor_of_test fd(::socket(AF_INET, SOCK_STREAM, 0));
  REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD | mode) == 0);
  REQUIRE(kq.apply(fd, EVFILT_WRITE, EV_ADD | mode) == 0);
  CHECK(kq.now().empty());
  CHECK(kq.now().empty());

  // Once it is, all is as ever.
  REQUIRE(listener.connect(fd) == 0);
  const event_list connected = kq.next();
  REQUIRE(connected.size() == 1);
  CHECK(connected[0].filter == EVFILT_WRITE);
  CHECK(connected[0].flags == (EV_ADD | mode));
  CHECK(kq.now().size() == (mode == EV_CLEAR ? 0 : 1));
  const descriptor_of_test peer(::accept(listener.fd(), nullptr, nullptr));
  REQUIRE(kq.apply(fd, EVFILT_WRITE, EV_DELETE) == 0);
  CHECK(kq.now().empty());
  REQUIRE(::write(peer, "ab", 2) == 2);
  const event_list got = kq.next();
  CHECK(only(got, EVFILT_READ).flags == (EV_ADD | mode));
  CHECK(only(got, EVFILT_READ).data == 2);
}

TEST_CASE("a stream socket that was never connected, AF_UNIX") {
  const kqueue_of_test kq;
  const unix_listener_of_test listener;
  const descriptor_of_test fd(::socket(AF_UNIX, SOCK_STREAM, 0));
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

TEST_CASE("listen() after the registration") {
  const kqueue_of_test kq;
  const descriptor_of_test fd(::socket(AF_INET, SOCK_STREAM, 0));
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
  const descriptor_of_test peer(::socket(AF_INET, SOCK_STREAM, 0));
  REQUIRE(::connect(peer, reinterpret_cast<sockaddr*>(&address), size) == 0);
  for (int i = 0; i < 2; ++i) {
    const event_list got = kq.next();
    REQUIRE(got.size() == 1);  // a listening socket is never writable
    CHECK(only(got, EVFILT_READ).flags == EV_ADD);
    CHECK(only(got, EVFILT_READ).data == 1);
  }
}

TEST_CASE("a listening socket: data is the connections to accept") {
  const kqueue_of_test kq;
  const auto check = [&](const auto& listener, int family) {
    REQUIRE(kq.apply(listener.fd(), EVFILT_READ, EV_ADD) == 0);
    CHECK(kq.now().empty());
    const descriptor_of_test a(::socket(family, SOCK_STREAM, 0));
    const descriptor_of_test b(::socket(family, SOCK_STREAM, 0));
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
    check(unix_listener_of_test(), AF_UNIX);
  }
  SUBCASE("TCP") {
    check(listener_of_test(), AF_INET);
  }
}

TEST_CASE("a refused connect: EV_EOF and the errno to both sides, and SO_ERROR still tells") {
  const kqueue_of_test kq;
  const descriptor_of_test fd(::socket(AF_INET, SOCK_STREAM, 0));
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
  // Asking has cleared it. The end stays.
  const event_list after = kq.next();
  CHECK(only(after, EVFILT_READ).flags == (EV_ADD | EV_EOF));
  CHECK(only(after, EVFILT_READ).fflags == 0);
  CHECK(only(after, EVFILT_WRITE).fflags == 0);
}

TEST_CASE("a refused connect, registered before: EV_CLEAR tells it once") {
  const kqueue_of_test kq;
  const descriptor_of_test fd(::socket(AF_INET, SOCK_STREAM, 0));
  REQUIRE(kq.apply(fd, EVFILT_WRITE, EV_ADD | EV_CLEAR) == 0);
  CHECK(kq.now().empty());
  if (!begin_refused_connect(fd)) return;
  CHECK(only(kq.next(), EVFILT_WRITE).flags == (EV_ADD | EV_CLEAR | EV_EOF));
  CHECK(kq.now().empty());
  CHECK(socket_error(fd) == ECONNREFUSED);
}

TEST_CASE("a connection that is reset: EV_EOF with the errno to both, and read still gives it") {
  const kqueue_of_test kq;
  pair_of_test p = pair_of_tcp();
  int side = 0;
  SUBCASE("on the side that has connected") {}
  SUBCASE("on the side that has accepted, and sent nothing") {
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

TEST_CASE("a connection that ended: EV_EOF beside the bytes that are left") {
  const kqueue_of_test kq;
  pair_of_test p = pair_of_tcp();
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  REQUIRE(::write(p[1], "abc", 3) == 3);
  CHECK(only(kq.next(), EVFILT_READ).data == 3);
  REQUIRE(::shutdown(p[0], SHUT_WR) == 0);
  p.close(1);
  event_list got = kq.next();
  while ((only(got, EVFILT_READ).flags & EV_EOF) == 0) got = kq.next();  // the end is on its way
  CHECK(only(got, EVFILT_READ).data == 3);
  CHECK(only(got, EVFILT_READ).fflags == 0);
  char bytes[4];
  REQUIRE(::read(p[0], bytes, sizeof bytes) == 3);
  got = kq.next();
  CHECK(only(got, EVFILT_READ).flags == (EV_ADD | EV_EOF));
  CHECK(only(got, EVFILT_READ).data == 0);
}

TEST_CASE("EV_EOF with EV_DISPATCH and EV_ONESHOT") {
  const kqueue_of_test kq;
  pair_of_test p = pair_of_test::of_sockets();
  p.close(1);
  SUBCASE("DISPATCH") {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_DISPATCH) == 0);
    for (int i = 0; i < 3; ++i) {
      CHECK(only(kq.next(), EVFILT_READ).flags == (EV_ADD | EV_DISPATCH | EV_EOF));
      CHECK(kq.now().empty());
      REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ENABLE) == 0);
    }
  }
  SUBCASE("ONESHOT") {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_ONESHOT) == 0);
    CHECK(only(kq.next(), EVFILT_READ).flags == (EV_ADD | EV_ONESHOT | EV_EOF));
    CHECK(kq.apply(p[0], EVFILT_READ, EV_DELETE) == ENOENT);
  }
}

TEST_CASE("EV_EOF with room for one event at a time: both sides have their turn") {
  const kqueue_of_test kq;
  pair_of_test p = pair_of_test::of_sockets();
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ADD) == 0);
  p.close(1);
  int reads = 0;
  int writes = 0;
  for (int i = 0; i < 10; ++i) {
    const event_list got = kq.next(1);
    REQUIRE(got.size() == 1);
    CHECK((got[0].flags & EV_EOF) != 0);
    ++(got[0].filter == EVFILT_READ ? reads : writes);
  }
  CHECK(reads >= 2);
  CHECK(writes >= 2);
}

TEST_CASE("datagrams: an empty one counts") {
  const kqueue_of_test kq;
  const pair_of_test p = pair_of_test::of_sockets(SOCK_DGRAM);
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  CHECK(kq.now().empty());
  REQUIRE(::send(p[1], "", 0, 0) == 0);
  const event_list got = kq.next();
  CHECK(only(got, EVFILT_READ).flags == EV_ADD);
  CHECK(only(got, EVFILT_READ).data == 0);
}

TEST_CASE("UDP: data is the bytes of a datagram, and it is writable without a peer") {
  const kqueue_of_test kq;
  const descriptor_of_test fd(::socket(AF_INET, SOCK_DGRAM, 0));
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
  const event_list got = kq.next();
  CHECK(only(got, EVFILT_READ).flags == EV_ADD);
  CHECK(only(got, EVFILT_READ).data == 5);
}

TEST_CASE("UDP: an error is reported to both sides without EV_EOF, and SO_ERROR still tells") {
  const kqueue_of_test kq;
  const descriptor_of_test fd(::socket(AF_INET, SOCK_DGRAM, 0));
  {
    // Nobody has that port any more.
    const descriptor_of_test nobody(::socket(AF_INET, SOCK_DGRAM, 0));
    sockaddr_in address{};
    socklen_t size = sizeof address;
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::bind(nobody, reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(::getsockname(nobody, reinterpret_cast<sockaddr*>(&address), &size) == 0);
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

TEST_CASE("SOCK_SEQPACKET: data is the bytes, the peer's end is EV_EOF") {
  int fd[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fd) != 0) {
    MESSAGE("no such sockets of AF_UNIX here: Darwin has none");
    return;
  }
  const kqueue_of_test kq;
  const descriptor_of_test own(fd[0]);
  descriptor_of_test peer(fd[1]);
  REQUIRE(kq.apply(own, EVFILT_READ, EV_ADD) == 0);
  CHECK(kq.now().empty());
  REQUIRE(::send(peer, "ab", 2, 0) == 2);
  REQUIRE(::send(peer, "cde", 3, 0) == 3);
  CHECK(only(kq.next(), EVFILT_READ).data == 5);
  peer.close();
  const event_list got = kq.next();
  CHECK(only(got, EVFILT_READ).flags == (EV_ADD | EV_EOF));
  CHECK(only(got, EVFILT_READ).data == 5);
}
