// EVFILT_EXCEPT, which on Darwin is EVFILT_READ of sockets once more (filt_sorattach() in
// bsd/kern/uipc_socket.c serves both), and NOTE_OOB, which both take.

#include "kqueue_of_test.h"
#include "sockets_of_test.h"

#include <cstdio>

namespace {

void send_urgent(int fd, const char* text, std::size_t size) {
  REQUIRE(::send(fd, text, size, MSG_OOB) == static_cast<ssize_t>(size));
}

template <class Check>
void on_except_and_read(Check check) {
  SUBCASE("EXCEPT") {
    check(std::int16_t{EVFILT_EXCEPT});
  }
  SUBCASE("READ") {
    check(std::int16_t{EVFILT_READ});
  }
}

}  // namespace

TEST_CASE("NOTE_OOB: reported when out-of-band data has come") {
  on_except_and_read([](std::int16_t filter) {
    const kqueue_of_test kq;
    const pair_of_test p = pair_of_tcp();
    REQUIRE(kq.apply(p[0], filter, EV_ADD, NOTE_OOB, 0, 7) == 0);
    CHECK(kq.now().empty());
    send_urgent(p[1], "!", 1);
    for (int i = 0; i < 2; ++i) {
      const event_list got = kq.next();
      REQUIRE(got.size() == 1);
      CHECK(got[0].filter == filter);
      CHECK(got[0].flags == EV_ADD);
      CHECK(got[0].fflags == NOTE_OOB);
      CHECK(got[0].data == 0);
      CHECK(got[0].udata == 7);
    }
    char c = 0;
    REQUIRE(::recv(p[0], &c, 1, MSG_OOB) == 1);
    CHECK(c == '!');
  });
}

TEST_CASE("NOTE_OOB with EV_CLEAR: once for each") {
  on_except_and_read([](std::int16_t filter) {
    const kqueue_of_test kq;
    const pair_of_test p = pair_of_tcp();
    REQUIRE(kq.apply(p[0], filter, EV_ADD | EV_CLEAR, NOTE_OOB) == 0);
    for (int i = 0; i < 2; ++i) {
      send_urgent(p[1], "!", 1);
      CHECK(only(kq.next(), filter).fflags == NOTE_OOB);
      CHECK(kq.now().empty());
    }
  });
}

TEST_CASE("without NOTE_OOB out-of-band data is not reported") {
  on_except_and_read([](std::int16_t filter) {
    const kqueue_of_test kq;
    const pair_of_test p = pair_of_tcp();
    REQUIRE(kq.apply(p[0], filter, EV_ADD | EV_CLEAR) == 0);
    REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ADD | EV_CLEAR) == 0);
    kq.now();
    send_urgent(p[1], "!", 1);
    REQUIRE(::write(p[1], "ab", 2) == 2);
    const event_list got = kq.next();
    CHECK(only(got, filter).fflags == 0);
    SUBCASE("and asking for it later finds it") {
      REQUIRE(kq.apply(p[0], filter, EV_ADD, NOTE_OOB) == 0);
      CHECK(only(kq.next(), filter).fflags == NOTE_OOB);
    }
  });
}

TEST_CASE("ordinary data and the end are reported, too, without NOTE_OOB in fflags") {
  on_except_and_read([](std::int16_t filter) {
    const kqueue_of_test kq;
    pair_of_test p = pair_of_tcp();
    std::uint32_t fflags = 0;
    SUBCASE("asked for NOTE_OOB") {
      fflags = NOTE_OOB;
    }
    SUBCASE("asked for nothing") {}
    REQUIRE(kq.apply(p[0], filter, EV_ADD, fflags) == 0);
    REQUIRE(::write(p[1], "abc", 3) == 3);
    const event_list got = kq.next();
    CHECK(only(got, filter).flags == EV_ADD);
    CHECK(only(got, filter).fflags == 0);
    CHECK(only(got, filter).data == 3);
    char bytes[3];
    REQUIRE(::read(p[0], bytes, sizeof bytes) == 3);
    CHECK(kq.now().empty());
    p.close(1);
    CHECK(only(kq.next(), filter).flags == (EV_ADD | EV_EOF));
  });
}

TEST_CASE("READ, EXCEPT and WRITE of one socket are three knotes") {
  const kqueue_of_test kq;
  const pair_of_test p = pair_of_tcp();
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ADD) == 0);
  REQUIRE(kq.apply(p[0], EVFILT_EXCEPT, EV_ADD, NOTE_OOB) == 0);
  CHECK(only(kq.next(), EVFILT_WRITE).fflags == 0);
  send_urgent(p[1], "!", 1);
  for (int i = 0; i < 2; ++i) {
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

TEST_CASE("a mark counts for EXCEPT, but out-of-band data comes before it") {
  const kqueue_of_test kq;
  const pair_of_test p = pair_of_tcp();
  REQUIRE(kq.apply(p[0], EVFILT_EXCEPT, EV_ADD, NOTE_OOB | NOTE_LOWAT, 3) == 0);
  REQUIRE(::write(p[1], "ab", 2) == 2);
  CHECK(kq.now().empty());
  send_urgent(p[1], "!", 1);
  CHECK(only(kq.next(), EVFILT_EXCEPT).fflags == NOTE_OOB);
}

TEST_CASE("only sockets have exceptions") {
  const kqueue_of_test kq;
  const kqueue_of_test other;
  const pair_of_test pipe = pair_of_test::of_pipe();
  CHECK(kq.apply(pipe[0], EVFILT_EXCEPT, EV_ADD, NOTE_OOB) == EINVAL);
  CHECK(kq.apply(pipe[1], EVFILT_EXCEPT, EV_ADD) == EINVAL);
  CHECK(kq.apply(other.fd(), EVFILT_EXCEPT, EV_ADD, NOTE_OOB) == EINVAL);
  const descriptor_of_test null(::open("/dev/null", O_RDONLY));
  CHECK(kq.apply(null, EVFILT_EXCEPT, EV_ADD, NOTE_OOB) == EINVAL);
  FILE* const file = std::tmpfile();
  REQUIRE(file != nullptr);
  CHECK(kq.apply(::fileno(file), EVFILT_EXCEPT, EV_ADD, NOTE_OOB) == EINVAL);
  std::fclose(file);
  CHECK(kq.apply(1'000'000, EVFILT_EXCEPT, EV_ADD, NOTE_OOB) == EBADF);
}

TEST_CASE("EV_OOBAND in a change is ignored: kevent() takes no system flags") {
  const kqueue_of_test kq;
  const pair_of_test p = pair_of_tcp();
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD | EV_OOBAND) == 0);
  REQUIRE(::write(p[1], "a", 1) == 1);
  CHECK(only(kq.next(), EVFILT_READ).flags == EV_ADD);
}
