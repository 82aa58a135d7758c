// NOTE_LOWAT: the low-water mark of READ and WRITE, the least that they report. A mark below the
// own minimum of the fd has no effect. A mark above the size of its buffer counts as that size.

#include "test_kqueue.h"
#include "test_sockets.h"

#include <poll.h>

#include <cstdio>
#include <string>

namespace {

constexpr std::int64_t above_any_buffer = std::int64_t{1} << 30;

bool readable(int fd) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, 0) == 1;
}

// Checks that there is no event, and that the kqueue does not look readable.
void check_quiet(const test_kqueue& kq) {
  CHECK(kq.now().empty());
  CHECK(kq.now().empty());
  CHECK(!readable(kq.fd()));
}

void put(int fd, std::string_view text) {
  REQUIRE(::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
}
void take(int fd, std::size_t count) {
  std::string bytes(count, ' ');
  REQUIRE(::read(fd, bytes.data(), count) == static_cast<ssize_t>(count));
}
// Reads until nothing more arrives at once. Bytes still under way arrive later and wake the kqueue.
void drain(int from) {
  REQUIRE(::fcntl(from, F_SETFL, ::fcntl(from, F_GETFL) | O_NONBLOCK) == 0);
  std::string bytes(1 << 16, ' ');
  while (::read(from, bytes.data(), bytes.size()) > 0) {
  }
}
void fill(int fd) {
  REQUIRE(::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK) == 0);
  const std::string bytes(4096, ' ');
  while (::write(fd, bytes.data(), bytes.size()) > 0) {
  }
}

template <class Check>
void on_pipe_and_sockets(Check check) {
  SUBCASE("pipe") {
    const fd_pair p = fd_pair::of_pipe();
    check(p[0], p[1]);
  }
  SUBCASE("AF_UNIX") {
    const fd_pair p = fd_pair::of_sockets();
    check(p[0], p[1]);
  }
  SUBCASE("TCP") {
    const fd_pair p = tcp_pair();
    check(p[0], p[1]);
  }
}

}  // namespace

TEST_CASE("READ reports nothing below its mark, and each call above it") {
  on_pipe_and_sockets([](int reader, int writer) {
    const test_kqueue kq;
    REQUIRE(kq.apply(reader, EVFILT_READ, EV_ADD, NOTE_LOWAT, 4) == 0);
    check_quiet(kq);
    put(writer, "abc");
    check_quiet(kq);
    put(writer, "d");
    for (int i = 0; i < 3; ++i) {
      CAPTURE(i);
      CHECK(kq.next() == event_list{event(reader, EVFILT_READ, EV_ADD, 0, 4)});
    }
    take(reader, 1);
    check_quiet(kq);
    put(writer, "efg");
    CHECK(only(kq.next(), EVFILT_READ).data == 6);
    take(reader, 6);
    check_quiet(kq);
  });
}

TEST_CASE("READ ignores a mark of 1 or less, and data without NOTE_LOWAT") {
  on_pipe_and_sockets([](int reader, int writer) {
    const test_kqueue kq;
    put(writer, "a");
    for (const std::int64_t mark :
         {std::int64_t{1}, std::int64_t{0}, std::int64_t{-1}, INT64_MIN}) {
      CAPTURE(mark);
      REQUIRE(kq.apply(reader, EVFILT_READ, EV_ADD, NOTE_LOWAT, mark) == 0);
      CHECK(only(kq.next(), EVFILT_READ).data == 1);
    }
    // Without NOTE_LOWAT, data is not a mark.
    REQUIRE(kq.apply(reader, EVFILT_READ, EV_ADD, 0, 100) == 0);
    CHECK(only(kq.next(), EVFILT_READ).data == 1);
    take(reader, 1);
    check_quiet(kq);
  });
}

TEST_CASE("READ reports a full buffer below a mark that is above the size of the buffer") {
  on_pipe_and_sockets([](int reader, int writer) {
    const test_kqueue kq;
    REQUIRE(kq.apply(reader, EVFILT_READ, EV_ADD, NOTE_LOWAT, above_any_buffer) == 0);
    put(writer, "a");
    check_quiet(kq);
    fill(writer);
    CHECK(only(kq.next(), EVFILT_READ).data > 1);
  });
}

TEST_CASE("READ reports a buffer that single-byte writes have filled below such a mark") {
  on_pipe_and_sockets([](int reader, int writer) {
    const test_kqueue kq;
    REQUIRE(::fcntl(writer, F_SETFL, ::fcntl(writer, F_GETFL) | O_NONBLOCK) == 0);
    // Small buffers fill sooner. A pipe lacks these options, and the calls fail.
    const int few = 8192;
    ::setsockopt(reader, SOL_SOCKET, SO_RCVBUF, &few, sizeof few);
    ::setsockopt(writer, SOL_SOCKET, SO_SNDBUF, &few, sizeof few);
    REQUIRE(kq.apply(reader, EVFILT_READ, EV_ADD, NOTE_LOWAT, above_any_buffer) == 0);
    while (::write(writer, "a", 1) == 1) {
    }
    CHECK(only(kq.next(), EVFILT_READ).data > 1);
  });
}

TEST_CASE("READ with EV_CLEAR compares its mark again with each arrival") {
  on_pipe_and_sockets([](int reader, int writer) {
    const test_kqueue kq;
    REQUIRE(kq.apply(reader, EVFILT_READ, EV_ADD | EV_CLEAR, NOTE_LOWAT, 3) == 0);
    put(writer, "ab");
    check_quiet(kq);
    put(writer, "c");
    CHECK(only(kq.next(), EVFILT_READ).data == 3);
    check_quiet(kq);
    put(writer, "d");
    CHECK(only(kq.next(), EVFILT_READ).data == 4);
    check_quiet(kq);
  });
}

TEST_CASE("READ below its mark uses up neither EV_ONESHOT nor EV_DISPATCH") {
  on_pipe_and_sockets([](int reader, int writer) {
    const test_kqueue kq;
    for (const unsigned mode : {unsigned{EV_ONESHOT}, unsigned{EV_DISPATCH}}) {
      CAPTURE(mode);
      REQUIRE(kq.apply(reader, EVFILT_READ, EV_ADD | mode, NOTE_LOWAT, 3) == 0);
      put(writer, "ab");
      check_quiet(kq);
      put(writer, "c");
      CHECK(only(kq.next(), EVFILT_READ).flags == (EV_ADD | mode));
      check_quiet(kq);
      take(reader, 3);
    }
    CHECK(kq.apply(reader, EVFILT_READ, EV_DELETE) == 0);
  });
}

TEST_CASE("each change sets the mark of READ again") {
  on_pipe_and_sockets([](int reader, int writer) {
    const test_kqueue kq;
    put(writer, "abc");
    REQUIRE(kq.apply(reader, EVFILT_READ, EV_ADD, NOTE_LOWAT, 4) == 0);
    check_quiet(kq);
    REQUIRE(kq.apply(reader, EVFILT_READ, EV_ADD, NOTE_LOWAT, 3) == 0);
    CHECK(kq.next().size() == 1);
    REQUIRE(kq.apply(reader, EVFILT_READ, EV_ADD, NOTE_LOWAT, 5) == 0);
    check_quiet(kq);
    SUBCASE("to a lower one, without EV_ADD") {
      REQUIRE(kq.apply(reader, EVFILT_READ, 0, NOTE_LOWAT, 2) == 0);
    }
    SUBCASE("to none, by EV_ENABLE") {
      REQUIRE(kq.apply(reader, EVFILT_READ, EV_ENABLE, 0, 0) == 0);
    }
    CHECK(kq.next().size() == 1);
    CHECK(kq.next().size() == 1);
    take(reader, 3);
    check_quiet(kq);
  });
}

TEST_CASE("READ reports EV_EOF below its mark") {
  const test_kqueue kq;
  const auto check = [&](fd_pair p) {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD, NOTE_LOWAT, 10) == 0);
    p.put(1, "abc");
    check_quiet(kq);
    p.close(1);
    CHECK(kq.next() == event_list{event(p[0], EVFILT_READ, EV_ADD | EV_EOF, 0, 3)});
  };
  SUBCASE("pipe") {
    check(fd_pair::of_pipe());
  }
  SUBCASE("AF_UNIX") {
    check(fd_pair::of_sockets());
  }
}

TEST_CASE("READ below its mark does not hide another ready fd in a call with room for one event") {
  const test_kqueue kq;
  const fd_pair below = fd_pair::of_pipe();
  const fd_pair ready = fd_pair::of_pipe();
  REQUIRE(kq.apply(below[0], EVFILT_READ, EV_ADD, NOTE_LOWAT, 4) == 0);
  REQUIRE(kq.apply(ready[0], EVFILT_READ, EV_ADD) == 0);
  for (int i = 0; i < 3; ++i) {
    CAPTURE(i);
    below.put(1, "a");
    ready.put(1, "a");
    const event_list got = kq.now(1);
    REQUIRE(got.size() == 1);
    CHECK(got[0].ident == static_cast<std::uint64_t>(ready[0]));
    ready.take(0, 1);
  }
}

TEST_CASE("a mark of READ does not affect WRITE of the same fd") {
  on_pipe_and_sockets([](int reader, int writer) {
    if (::fcntl(reader, F_GETFL) % 4 == O_RDONLY) return;  // a pipe has one direction
    const test_kqueue kq;
    REQUIRE(kq.apply(reader, EVFILT_READ, EV_ADD, NOTE_LOWAT, 3) == 0);
    REQUIRE(kq.apply(reader, EVFILT_WRITE, EV_ADD) == 0);
    put(writer, "ab");
    for (int i = 0; i < 3; ++i) {
      CAPTURE(i);
      const event_list got = kq.now();
      REQUIRE(got.size() == 1);
      CHECK(got[0].filter == EVFILT_WRITE);
    }
    put(writer, "c");
    CHECK(kq.next().size() == 2);
    REQUIRE(kq.apply(reader, EVFILT_WRITE, EV_DELETE) == 0);
    CHECK(kq.next().size() == 1);
  });
}

TEST_CASE("WRITE with a mark above the size of the buffer reports only an empty buffer") {
  on_pipe_and_sockets([](int reader, int writer) {
    const test_kqueue kq;
    const unsigned mode = level_or_clear();
    REQUIRE(kq.apply(writer, EVFILT_WRITE, EV_ADD | mode, NOTE_LOWAT, above_any_buffer) == 0);
    CHECK(only(kq.next(), EVFILT_WRITE).flags == (EV_ADD | mode));
    fill(writer);
    check_quiet(kq);
    // Some room is not enough. (With TCP, the buffer of the reader empties first.)
    take(reader, 8192);
    CHECK(kq.now().empty());
    event_list got;
    while (got.empty()) {
      drain(reader);
      got = kq.now();
    }
    CHECK(only(got, EVFILT_WRITE).flags == (EV_ADD | mode));
  });
}

TEST_CASE("WRITE wakes a thread that waits when there is room up to the mark") {
  const test_kqueue kq;
  const fd_pair p = fd_pair::of_pipe();
  p.put(1, "a");
  REQUIRE(kq.apply(p[1], EVFILT_WRITE, EV_ADD, NOTE_LOWAT, above_any_buffer) == 0);
  CHECK(kq.now().empty());
  p.take(0, 1);
  CHECK(kq.next().size() == 1);
  CHECK(kq.next().size() == 1);
  REQUIRE(kq.apply(p[1], EVFILT_WRITE, EV_DELETE) == 0);
  check_quiet(kq);
}

TEST_CASE("a WRITE knote that lacks room up to its mark can be deleted, and its kqueue closed") {
  test_kqueue kq;
  const fd_pair p = fd_pair::of_pipe();
  p.put(1, "a");
  REQUIRE(kq.apply(p[1], EVFILT_WRITE, EV_ADD, NOTE_LOWAT, above_any_buffer) == 0);
  CHECK(kq.now().empty());
  SUBCASE("EV_DELETE leaves the other knotes") {
    REQUIRE(kq.apply(p[1], EVFILT_WRITE, EV_DELETE) == 0);
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
    CHECK(kq.next().size() == 1);
  }
  SUBCASE("the kqueue is closed") {
    kq.close();
  }
}

TEST_CASE("a listening socket ignores a mark") {
  const test_kqueue kq;
  const tcp_listener listener;
  REQUIRE(kq.apply(listener.fd(), EVFILT_READ, EV_ADD, NOTE_LOWAT, 5) == 0);
  check_quiet(kq);
  const scoped_fd fd(::socket(AF_INET, SOCK_STREAM, 0));
  REQUIRE(listener.connect(fd) == 0);
  CHECK(only(kq.next(), EVFILT_READ).data == 1);
}

TEST_CASE("a regular file ignores a mark") {
  const test_kqueue kq;
  FILE* const file = std::tmpfile();
  REQUIRE(file != nullptr);
  REQUIRE(::pwrite(::fileno(file), "abc", 3, 0) == 3);
  REQUIRE(kq.apply(::fileno(file), EVFILT_READ, EV_ADD, NOTE_LOWAT, 10) == 0);
  CHECK(only(kq.next(), EVFILT_READ).data == 3);
  REQUIRE(kq.apply(::fileno(file), EVFILT_WRITE, EV_ADD, NOTE_LOWAT, 10) == 0);
  CHECK(kq.next().size() == 2);
  std::fclose(file);
}
