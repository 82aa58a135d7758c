// NOTE_LOWAT: the least that READ and WRITE report. A mark below what the descriptor has by itself
// changes nothing, one above its buffer's size counts as that.

#include "kqueue_of_test.h"
#include "sockets_of_test.h"

#include <poll.h>

#include <cstdio>
#include <string>

namespace {

constexpr std::int64_t above_any_buffer = std::int64_t{1} << 30;

bool readable(int fd) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, 0) == 1;
}

// There is nothing to report, and nobody is woken for it.
void check_quiet(const kqueue_of_test& kq) {
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
// Until `from` has nothing that comes at once; then what is under way to it is there, too, or
// wakes the kqueue later.
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
    const pair_of_test p = pair_of_test::of_pipe();
    check(p[0], p[1]);
  }
  SUBCASE("AF_UNIX") {
    const pair_of_test p = pair_of_test::of_sockets();
    check(p[0], p[1]);
  }
  SUBCASE("TCP") {
    const pair_of_test p = pair_of_tcp();
    check(p[0], p[1]);
  }
}

}  // namespace

TEST_CASE("READ: not before the mark is reached") {
  on_pipe_and_sockets([](int reader, int writer) {
    const kqueue_of_test kq;
    REQUIRE(kq.apply(reader, EVFILT_READ, EV_ADD, NOTE_LOWAT, 4) == 0);
    check_quiet(kq);
    put(writer, "abc");
    check_quiet(kq);
    put(writer, "d");
    for (int i = 0; i < 3; ++i) {
      const event_list got = kq.next();
      CHECK(only(got, EVFILT_READ).flags == EV_ADD);
      CHECK(only(got, EVFILT_READ).fflags == 0);
      CHECK(only(got, EVFILT_READ).data == 4);
    }
    take(reader, 1);
    check_quiet(kq);
    put(writer, "efg");
    CHECK(only(kq.next(), EVFILT_READ).data == 6);
    take(reader, 6);
    check_quiet(kq);
  });
}

TEST_CASE("READ: marks that change nothing") {
  on_pipe_and_sockets([](int reader, int writer) {
    const kqueue_of_test kq;
    put(writer, "a");
    for (const std::int64_t mark :
         {std::int64_t{1}, std::int64_t{0}, std::int64_t{-1}, INT64_MIN}) {
      REQUIRE(kq.apply(reader, EVFILT_READ, EV_ADD, NOTE_LOWAT, mark) == 0);
      CHECK(only(kq.next(), EVFILT_READ).data == 1);
    }
    // And data without the flag is no mark.
    REQUIRE(kq.apply(reader, EVFILT_READ, EV_ADD, 0, 100) == 0);
    CHECK(only(kq.next(), EVFILT_READ).data == 1);
    take(reader, 1);
    check_quiet(kq);
  });
}

TEST_CASE("READ: a mark above the buffer's size is reached by a full buffer") {
  on_pipe_and_sockets([](int reader, int writer) {
    const kqueue_of_test kq;
    REQUIRE(kq.apply(reader, EVFILT_READ, EV_ADD, NOTE_LOWAT, above_any_buffer) == 0);
    put(writer, "a");
    check_quiet(kq);
    fill(writer);
    CHECK(only(kq.next(), EVFILT_READ).data > 1);
  });
}

TEST_CASE("READ: a writer that can write no more than a byte at a time fills a buffer, too") {
  on_pipe_and_sockets([](int reader, int writer) {
    const kqueue_of_test kq;
    REQUIRE(::fcntl(writer, F_SETFL, ::fcntl(writer, F_GETFL) | O_NONBLOCK) == 0);
    // To be done soon. A pipe has no such options.
    const int few = 8192;
    ::setsockopt(reader, SOL_SOCKET, SO_RCVBUF, &few, sizeof few);
    ::setsockopt(writer, SOL_SOCKET, SO_SNDBUF, &few, sizeof few);
    REQUIRE(kq.apply(reader, EVFILT_READ, EV_ADD, NOTE_LOWAT, above_any_buffer) == 0);
    while (::write(writer, "a", 1) == 1) {
    }
    CHECK(only(kq.next(), EVFILT_READ).data > 1);
  });
}

TEST_CASE("READ with EV_CLEAR: each arrival is measured") {
  on_pipe_and_sockets([](int reader, int writer) {
    const kqueue_of_test kq;
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

TEST_CASE("READ: what is below the mark uses up neither EV_ONESHOT nor EV_DISPATCH") {
  on_pipe_and_sockets([](int reader, int writer) {
    const kqueue_of_test kq;
    unsigned mode = EV_ONESHOT;
    for (int i = 0; i < 2; ++i, mode = EV_DISPATCH) {
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

TEST_CASE("READ: each change sets the mark anew") {
  on_pipe_and_sockets([](int reader, int writer) {
    const kqueue_of_test kq;
    put(writer, "abc");
    REQUIRE(kq.apply(reader, EVFILT_READ, EV_ADD, NOTE_LOWAT, 4) == 0);
    check_quiet(kq);
    REQUIRE(kq.apply(reader, EVFILT_READ, EV_ADD, NOTE_LOWAT, 3) == 0);
    CHECK(kq.next().size() == 1);
    REQUIRE(kq.apply(reader, EVFILT_READ, EV_ADD, NOTE_LOWAT, 5) == 0);
    check_quiet(kq);
    SUBCASE("without EV_ADD") {
      REQUIRE(kq.apply(reader, EVFILT_READ, 0, NOTE_LOWAT, 2) == 0);
    }
    SUBCASE("to none") {
      REQUIRE(kq.apply(reader, EVFILT_READ, EV_ENABLE, 0, 0) == 0);
    }
    CHECK(kq.next().size() == 1);
    CHECK(kq.next().size() == 1);
    take(reader, 3);
    check_quiet(kq);
  });
}

TEST_CASE("READ: the peer's end is reported below the mark") {
  const kqueue_of_test kq;
  const auto check = [&](pair_of_test p) {
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD, NOTE_LOWAT, 10) == 0);
    p.put(1, "abc");
    check_quiet(kq);
    p.close(1);
    const event_list got = kq.next();
    CHECK(only(got, EVFILT_READ).flags == (EV_ADD | EV_EOF));
    CHECK(only(got, EVFILT_READ).data == 3);
  };
  SUBCASE("pipe") {
    check(pair_of_test::of_pipe());
  }
  SUBCASE("AF_UNIX") {
    check(pair_of_test::of_sockets());
  }
}

TEST_CASE("READ: what is below the mark does not hide what is ready, with room for one") {
  const kqueue_of_test kq;
  const pair_of_test below = pair_of_test::of_pipe();
  const pair_of_test ready = pair_of_test::of_pipe();
  REQUIRE(kq.apply(below[0], EVFILT_READ, EV_ADD, NOTE_LOWAT, 4) == 0);
  REQUIRE(kq.apply(ready[0], EVFILT_READ, EV_ADD) == 0);
  for (int i = 0; i < 3; ++i) {
    below.put(1, "a");
    ready.put(1, "a");
    const event_list got = kq.now(1);
    REQUIRE(got.size() == 1);
    CHECK(got[0].ident == static_cast<std::uint64_t>(ready[0]));
    ready.take(0, 1);
  }
}

TEST_CASE("READ with a mark and WRITE without: each by itself") {
  on_pipe_and_sockets([](int reader, int writer) {
    if (::fcntl(reader, F_GETFL) % 4 == O_RDONLY) return;  // a pipe has one side
    const kqueue_of_test kq;
    REQUIRE(kq.apply(reader, EVFILT_READ, EV_ADD, NOTE_LOWAT, 3) == 0);
    REQUIRE(kq.apply(reader, EVFILT_WRITE, EV_ADD) == 0);
    put(writer, "ab");
    for (int i = 0; i < 3; ++i) {
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

TEST_CASE("WRITE: a mark above the buffer's size wants it empty") {
  on_pipe_and_sockets([](int reader, int writer) {
    const kqueue_of_test kq;
    const unsigned mode = level_or_clear();
    REQUIRE(kq.apply(writer, EVFILT_WRITE, EV_ADD | mode, NOTE_LOWAT, above_any_buffer) == 0);
    CHECK(only(kq.next(), EVFILT_WRITE).flags == (EV_ADD | mode));
    fill(writer);
    check_quiet(kq);
    // Some room is not enough. (Of TCP the reader's buffer gives way first.)
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

TEST_CASE("WRITE: who waits is woken when there is room up to the mark") {
  const kqueue_of_test kq;
  const pair_of_test p = pair_of_test::of_pipe();
  p.put(1, "a");
  REQUIRE(kq.apply(p[1], EVFILT_WRITE, EV_ADD, NOTE_LOWAT, above_any_buffer) == 0);
  CHECK(kq.now().empty());
  p.take(0, 1);
  CHECK(kq.next().size() == 1);
  CHECK(kq.next().size() == 1);
  REQUIRE(kq.apply(p[1], EVFILT_WRITE, EV_DELETE) == 0);
  check_quiet(kq);
}

TEST_CASE("WRITE: deleted, or its kqueue closed, while it waits for room") {
  kqueue_of_test kq;
  const pair_of_test p = pair_of_test::of_pipe();
  p.put(1, "a");
  REQUIRE(kq.apply(p[1], EVFILT_WRITE, EV_ADD, NOTE_LOWAT, above_any_buffer) == 0);
  CHECK(kq.now().empty());
  SUBCASE("deleted") {
    REQUIRE(kq.apply(p[1], EVFILT_WRITE, EV_DELETE) == 0);
    REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
    CHECK(kq.next().size() == 1);
  }
  SUBCASE("closed") {
    kq.close();
  }
}

TEST_CASE("a listening socket knows no mark") {
  const kqueue_of_test kq;
  const listener_of_test listener;
  REQUIRE(kq.apply(listener.fd(), EVFILT_READ, EV_ADD, NOTE_LOWAT, 5) == 0);
  check_quiet(kq);
  const descriptor_of_test fd(::socket(AF_INET, SOCK_STREAM, 0));
  REQUIRE(listener.connect(fd) == 0);
  CHECK(only(kq.next(), EVFILT_READ).data == 1);
}

TEST_CASE("a regular file knows no mark") {
  const kqueue_of_test kq;
  FILE* const file = std::tmpfile();
  REQUIRE(file != nullptr);
  REQUIRE(::pwrite(::fileno(file), "abc", 3, 0) == 3);
  REQUIRE(kq.apply(::fileno(file), EVFILT_READ, EV_ADD, NOTE_LOWAT, 10) == 0);
  CHECK(only(kq.next(), EVFILT_READ).data == 3);
  REQUIRE(kq.apply(::fileno(file), EVFILT_WRITE, EV_ADD, NOTE_LOWAT, 10) == 0);
  CHECK(kq.next().size() == 2);
  std::fclose(file);
}
