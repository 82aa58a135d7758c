// EVFILT_EXCEPT and NOTE_OOB. On Darwin EVFILT_EXCEPT is a second EVFILT_READ of sockets:
// filt_sorattach() in bsd/kern/uipc_socket.c serves both, and both take NOTE_OOB.

#include "test_kqueue.h"
#include "test_sockets.h"

#include <cstdio>

namespace {

void send_urgent(int fd, const char* text, std::size_t size) {
  REQUIRE(::send(fd, text, size, MSG_OOB) == static_cast<ssize_t>(size));
}

template <class Check>
void on_except_and_read(Check check) {
  SUBCASE("EVFILT_EXCEPT") {
    check(std::int16_t{EVFILT_EXCEPT});
  }
  SUBCASE("EVFILT_READ") {
    check(std::int16_t{EVFILT_READ});
  }
}

}  // namespace

TEST_CASE("NOTE_OOB reports out-of-band data, again and again until it is read") {
  on_except_and_read([](std::int16_t filter) {
    const test_kqueue kq;
    const fd_pair p = tcp_pair();
    REQUIRE(kq.apply(p[0], filter, EV_ADD, NOTE_OOB, 0, 7) == 0);
    CHECK(kq.now().empty());
    send_urgent(p[1], "!", 1);
    for (int i = 0; i < 2; ++i) {
      CAPTURE(i);
      CHECK(kq.next() == event_list{event(p[0], filter, EV_ADD, NOTE_OOB, 0, 7)});
    }
    char c = 0;
    REQUIRE(::recv(p[0], &c, 1, MSG_OOB) == 1);
    CHECK(c == '!');
  });
}

TEST_CASE("NOTE_OOB with EV_CLEAR reports each out-of-band byte once") {
  on_except_and_read([](std::int16_t filter) {
    const test_kqueue kq;
    const fd_pair p = tcp_pair();
    REQUIRE(kq.apply(p[0], filter, EV_ADD | EV_CLEAR, NOTE_OOB) == 0);
    for (int i = 0; i < 2; ++i) {
      CAPTURE(i);
      send_urgent(p[1], "!", 1);
      CHECK(only(kq.next(), filter).fflags == NOTE_OOB);
      CHECK(kq.now().empty());
    }
  });
}

TEST_CASE("data of READ counts what is behind a mark that is reached, at the end too") {
  const test_kqueue kq;
  fd_pair p = tcp_pair();
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  send_urgent(p[1], "!", 1);
  REQUIRE(::send(p[1], "tail", 4, 0) == 4);
  CHECK(only(kq.next(), EVFILT_READ).data == 4);
  REQUIRE(::shutdown(p[1], SHUT_WR) == 0);
  kevent64_s end = only(kq.next(), EVFILT_READ);
  while ((end.flags & EV_EOF) == 0) end = only(kq.next(), EVFILT_READ);
  CHECK(end.data == 4);
  char text[8];
  CHECK(::recv(p[0], text, sizeof text, 0) == 4);
  CHECK(only(kq.next(), EVFILT_READ).data == 0);
}

TEST_CASE("without NOTE_OOB out-of-band data is not reported") {
  on_except_and_read([](std::int16_t filter) {
    const test_kqueue kq;
    const fd_pair p = tcp_pair();
    REQUIRE(kq.apply(p[0], filter, EV_ADD | EV_CLEAR) == 0);
    REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ADD | EV_CLEAR) == 0);
    kq.now();
    send_urgent(p[1], "!", 1);
    REQUIRE(::write(p[1], "ab", 2) == 2);
    const event_list got = kq.next();
    CHECK(only(got, filter).fflags == 0);
    SUBCASE("a later change with NOTE_OOB finds it") {
      REQUIRE(kq.apply(p[0], filter, EV_ADD, NOTE_OOB) == 0);
      CHECK(only(kq.next(), filter).fflags == NOTE_OOB);
    }
  });
}

TEST_CASE("EXCEPT and READ report ordinary data and EV_EOF without NOTE_OOB in fflags") {
  on_except_and_read([](std::int16_t filter) {
    const test_kqueue kq;
    fd_pair p = tcp_pair();
    std::uint32_t fflags = 0;
    SUBCASE("with NOTE_OOB in the change") {
      fflags = NOTE_OOB;
    }
    SUBCASE("without fflags in the change") {}
    REQUIRE(kq.apply(p[0], filter, EV_ADD, fflags) == 0);
    REQUIRE(::write(p[1], "abc", 3) == 3);
    CHECK(kq.next() == event_list{event(p[0], filter, EV_ADD, 0, 3)});
    char bytes[3];
    REQUIRE(::read(p[0], bytes, sizeof bytes) == 3);
    CHECK(kq.now().empty());
    p.close(1);
    CHECK(only(kq.next(), filter).flags == (EV_ADD | EV_EOF));
  });
}

TEST_CASE(
    "READ, EXCEPT and WRITE of one socket are three knotes, disabled and deleted one by one") {
  const test_kqueue kq;
  const fd_pair p = tcp_pair();
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ADD) == 0);
  REQUIRE(kq.apply(p[0], EVFILT_EXCEPT, EV_ADD, NOTE_OOB) == 0);
  CHECK(only(kq.next(), EVFILT_WRITE).fflags == 0);
  send_urgent(p[1], "!", 1);
  for (int i = 0; i < 2; ++i) {
    CAPTURE(i);
    event_list got = kq.next();
    while (got.size() == 1 && got[0].filter == EVFILT_WRITE) got = kq.next();
    REQUIRE(got.size() == 2);
    CHECK(only(got, EVFILT_EXCEPT).fflags == NOTE_OOB);
    CHECK(only(got, EVFILT_WRITE).fflags == 0);
  }
  REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_DELETE) == 0);
  REQUIRE(kq.apply(p[0], EVFILT_EXCEPT, EV_DISABLE) == 0);
  CHECK(kq.now().empty());
  REQUIRE(kq.apply(p[0], EVFILT_EXCEPT, EV_ENABLE, NOTE_OOB) == 0);
  CHECK(only(kq.next(), EVFILT_EXCEPT).fflags == NOTE_OOB);
  REQUIRE(kq.apply(p[0], EVFILT_EXCEPT, EV_DELETE) == 0);
  CHECK(kq.apply(p[0], EVFILT_EXCEPT, EV_DELETE) == ENOENT);
  CHECK(kq.apply(p[0], EVFILT_READ, EV_DELETE) == 0);
}

TEST_CASE("EXCEPT heeds a low-water mark, but reports out-of-band data below it") {
  const test_kqueue kq;
  const fd_pair p = tcp_pair();
  REQUIRE(kq.apply(p[0], EVFILT_EXCEPT, EV_ADD, NOTE_OOB | NOTE_LOWAT, 3) == 0);
  REQUIRE(::write(p[1], "ab", 2) == 2);
  CHECK(kq.now().empty());
  send_urgent(p[1], "!", 1);
  CHECK(only(kq.next(), EVFILT_EXCEPT).fflags == NOTE_OOB);
}

TEST_CASE("EVFILT_EXCEPT refuses all but sockets (EINVAL) and closed fds (EBADF)") {
  const test_kqueue kq;
  const test_kqueue other;
  const fd_pair pipe = fd_pair::of_pipe();
  CHECK(kq.apply(pipe[0], EVFILT_EXCEPT, EV_ADD, NOTE_OOB) == EINVAL);
  CHECK(kq.apply(pipe[1], EVFILT_EXCEPT, EV_ADD) == EINVAL);
  CHECK(kq.apply(other.fd(), EVFILT_EXCEPT, EV_ADD, NOTE_OOB) == EINVAL);
  const scoped_fd null(::open("/dev/null", O_RDONLY));
  CHECK(kq.apply(null, EVFILT_EXCEPT, EV_ADD, NOTE_OOB) == EINVAL);
  FILE* const file = std::tmpfile();
  REQUIRE(file != nullptr);
  CHECK(kq.apply(::fileno(file), EVFILT_EXCEPT, EV_ADD, NOTE_OOB) == EINVAL);
  std::fclose(file);
  CHECK(kq.apply(1'000'000, EVFILT_EXCEPT, EV_ADD, NOTE_OOB) == EBADF);
}

TEST_CASE("EV_OOBAND in a change is ignored: kevent() takes no system flags") {
  const test_kqueue kq;
  const fd_pair p = tcp_pair();
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_OOBAND) == 0);
  REQUIRE(::write(p[1], "a", 1) == 1);
  CHECK(only(kq.next(), EVFILT_READ).flags == EV_ADD);
}
