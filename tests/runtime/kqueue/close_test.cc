// Closing: what goes with a descriptor number, and what with a kqueue's.

#include "kqueue_of_test.h"

#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>

#include <atomic>
#include <cstdlib>
#include <thread>

#include "descriptor_limit_of_test.h"
#include "sockets_of_test.h"

#if defined(__linux__)
#include <sys/syscall.h>

#include "kedge/runtime/kqueue/extension.h"
#endif

namespace {

constexpr timespec zero{0, 0};

bool readable(int fd) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, 0) == 1;
}

// A change or a look at what may be no kqueue: 0 or the errno.
int look_at(int kq) {
  kevent64_s out;
  return kevent64(kq, nullptr, 0, &out, 1, 0, &zero) >= 0 ? 0 : errno;
}

// A descriptor that is readable and writable, with another that keeps its file open.
struct duplicated_socket {
  pair_of_test pair = pair_of_test::of_sockets();
  int twin = -1;

  duplicated_socket() {
    pair.put(1, "x");
    twin = ::dup(pair[0]);
    REQUIRE(twin >= 0);
  }
  duplicated_socket(const duplicated_socket&) = delete;
  duplicated_socket& operator=(const duplicated_socket&) = delete;
  ~duplicated_socket() { ::close(twin); }
};

}  // namespace

// --- Of a descriptor ----------------------------------------------------------------------------

TEST_CASE("closing a number drops its knotes, though a duplicate keeps the file open") {
  const kqueue_of_test kq;
  duplicated_socket s;
  const int number = s.pair[0];
  REQUIRE(kq.apply(number, EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(number, EVFILT_WRITE, EV_ADD) == 0);
  REQUIRE(kq.now().size() == 2);
  s.pair.close(0);
  CHECK(kq.now().empty());
  CHECK(!readable(kq.fd()));
  CHECK(kq.apply(number, EVFILT_READ, EV_DELETE) == ENOENT);
  CHECK(kq.apply(number, EVFILT_WRITE, EV_ENABLE) == ENOENT);
  CHECK(kq.apply(number, EVFILT_READ, EV_ADD) == EBADF);
}

TEST_CASE("knotes about the duplicate stay") {
  const kqueue_of_test kq;
  duplicated_socket s;
  REQUIRE(kq.apply(s.pair[0], EVFILT_READ, EV_ADD, 0, 0, 1) == 0);
  REQUIRE(kq.apply(s.twin, EVFILT_READ, EV_ADD, 0, 0, 2) == 0);
  s.pair.close(0);
  const event_list got = kq.now();
  REQUIRE(got.size() == 1);
  CHECK(got[0].udata == 2);
}

TEST_CASE("the peer of a watched descriptor sees its closing") {
  const kqueue_of_test kq;
  pair_of_test pipe = pair_of_test::of_pipe();
  REQUIRE(kq.apply(pipe[1], EVFILT_WRITE, EV_ADD) == 0);
  REQUIRE(kq.now().size() == 1);
  pipe.close(1);
  char c = 0;
  CHECK(::read(pipe[0], &c, 1) == 0);
}

TEST_CASE("a number that is used again has no old event, and a knote of its own") {
  const kqueue_of_test kq;
  duplicated_socket s;
  const int number = s.pair[0];
  REQUIRE(kq.apply(number, EVFILT_READ, EV_ADD | EV_ONESHOT, 0, 0, 1) == 0);
  s.pair.close(0);
  const pair_of_test next = pair_of_test::of_pipe();
  REQUIRE(next[0] == number);
  CHECK(kq.now().empty());
  CHECK(kq.apply(number, EVFILT_READ, EV_DELETE) == ENOENT);
  REQUIRE(kq.apply(number, EVFILT_READ, EV_ADD, 0, 0, 2) == 0);
  CHECK(kq.now().empty());
  CHECK(!readable(kq.fd()));
  next.put(1, "ab");
  const event_list got = kq.now();
  REQUIRE(got.size() == 1);
  CHECK(got[0].udata == 2);
  CHECK(got[0].data == 2);
  CHECK(got[0].flags == EV_ADD);
}

TEST_CASE("an event that was active and not yet taken goes with its number") {
  const kqueue_of_test kq;
  duplicated_socket one;
  duplicated_socket two;
  REQUIRE(kq.apply(one.pair[0], EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(two.pair[0], EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.now(1).size() == 1);
  one.pair.close(0);
  two.pair.close(0);
  CHECK(kq.now().empty());
}

TEST_CASE("closing a regular file's number drops its knotes") {
  const kqueue_of_test kq;
  FILE* const file = std::tmpfile();
  REQUIRE(file != nullptr);
  REQUIRE(std::fputs("abc", file) >= 0);
  REQUIRE(std::fflush(file) == 0);
  std::rewind(file);
  const int number = ::dup(fileno(file));
  REQUIRE(kq.apply(number, EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(number, EVFILT_WRITE, EV_ADD) == 0);
  CHECK(kq.now().size() == 2);
  REQUIRE(::close(number) == 0);
  CHECK(kq.now().empty());
  CHECK(kq.apply(number, EVFILT_READ, EV_DELETE) == ENOENT);
  CHECK(kq.apply(number, EVFILT_WRITE, EV_DELETE) == ENOENT);
  std::fclose(file);
}

TEST_CASE("all kqueues that watch the number lose it") {
  const kqueue_of_test kqs[3];
  duplicated_socket s;
  const int number = s.pair[0];
  for (const kqueue_of_test& kq : kqs) REQUIRE(kq.apply(number, EVFILT_READ, EV_ADD) == 0);
  s.pair.close(0);
  for (const kqueue_of_test& kq : kqs) {
    CHECK(kq.now().empty());
    CHECK(kq.apply(number, EVFILT_READ, EV_DELETE) == ENOENT);
  }
}

TEST_CASE("every knote about the number goes, those with udata in their key too") {
  const kqueue_of_test kq;
  duplicated_socket s;
  const int number = s.pair[0];
  for (std::uint64_t udata = 1; udata <= 3; ++udata) {
    REQUIRE(kq.apply(number, EVFILT_READ, EV_ADD | EV_UDATA_SPECIFIC, 0, 0, udata) == 0);
  }
  REQUIRE(kq.apply(number, EVFILT_WRITE, EV_ADD | EV_DISABLE) == 0);
  s.pair.close(0);
  CHECK(kq.now().empty());
  CHECK(kq.apply(number, EVFILT_READ, EV_DELETE | EV_UDATA_SPECIFIC, 0, 0, 2) == ENOENT);
  CHECK(kq.apply(number, EVFILT_WRITE, EV_ENABLE) == ENOENT);
}

TEST_CASE("closing answers as ever, watched or not") {
  const kqueue_of_test kq;
  pair_of_test pipe = pair_of_test::of_pipe();
  const int number = pipe[0];
  REQUIRE(kq.apply(number, EVFILT_READ, EV_ADD) == 0);
  errno = 0;
  CHECK(::close(number) == 0);
  CHECK(errno == 0);
  CHECK(::close(number) == -1);
  CHECK(errno == EBADF);
  CHECK(::close(-1) == -1);
  CHECK(errno == EBADF);
  const int other = ::open("/dev/null", O_RDWR);
  REQUIRE(other == number);
  CHECK(::dup2(-1, number) == -1);
  CHECK(errno == EBADF);
}

TEST_CASE("the calls that close a number: each drops its knotes") {
  const kqueue_of_test kq;
  duplicated_socket s;
  const int number = ::dup(s.twin);
  REQUIRE(kq.apply(number, EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.now().size() == 1);
  FILE* stream = nullptr;
  const auto open_stream = [&] {
    stream = ::fdopen(number, "r");
    REQUIRE(stream != nullptr);
  };

  SUBCASE("dup2 onto it") {
    REQUIRE(::dup2(kq.fd() + 1 == number ? s.pair[0] : s.twin, number) == number);
  }
  SUBCASE("fclose") {
    open_stream();
    REQUIRE(std::fclose(stream) == 0);
  }
  SUBCASE("freopen") {
    open_stream();
    stream = std::freopen("/dev/null", "r", stream);
    REQUIRE(stream != nullptr);
    CHECK(kq.now().empty());
    CHECK(kq.apply(number, EVFILT_READ, EV_DELETE) == ENOENT);
    std::fclose(stream);
    return;
  }
#if defined(__linux__)  // not there, or private, on macOS
  SUBCASE("dup3 onto it") {
    REQUIRE(::dup3(s.twin, number, O_CLOEXEC) == number);
  }
  SUBCASE("close_range") {
    REQUIRE(::close_range(static_cast<unsigned>(number), static_cast<unsigned>(number), 0) == 0);
  }
  SUBCASE("closefrom") {
    const int high = ::fcntl(number, F_DUPFD, 900);
    REQUIRE(high >= 900);
    REQUIRE(kq.apply(high, EVFILT_READ, EV_ADD) == 0);
    REQUIRE(kq.now().size() == 2);
    ::closefrom(high);
    CHECK(kq.now().size() == 1);
    CHECK(kq.apply(high, EVFILT_READ, EV_DELETE) == ENOENT);
    REQUIRE(::close(number) == 0);
  }
#endif
  CHECK(kq.now().empty());
  CHECK(!readable(kq.fd()));
  CHECK(kq.apply(number, EVFILT_READ, EV_DELETE) == ENOENT);
  ::close(number);
}

TEST_CASE("closedir and pclose drop knotes too") {
  const kqueue_of_test kq;
  SUBCASE("pclose") {
    FILE* const child = ::popen("echo x", "r");
    REQUIRE(child != nullptr);
    const int number = fileno(child);
    REQUIRE(kq.apply(number, EVFILT_READ, EV_ADD) == 0);
    REQUIRE(kq.next().size() == 1);
    CHECK(::pclose(child) != -1);
    CHECK(kq.apply(number, EVFILT_READ, EV_DELETE) == ENOENT);
  }
  SUBCASE("closedir") {
    DIR* const directory = ::opendir("/");
    REQUIRE(directory != nullptr);
    const int number = dirfd(directory);
    REQUIRE(kq.apply(number, EVFILT_VNODE, EV_ADD, NOTE_DELETE) == 0);
    REQUIRE(::closedir(directory) == 0);
    CHECK(kq.apply(number, EVFILT_VNODE, EV_DELETE) == ENOENT);
  }
}

TEST_CASE("what closes nothing drops nothing") {
  const kqueue_of_test kq;
  const pair_of_test p = pair_of_test::of_sockets();
  p.put(1, "x");
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  SUBCASE("dup2 of a number onto itself") {
    CHECK(::dup2(p[0], p[0]) == p[0]);
  }
  SUBCASE("dup2 of a closed number") {
    CHECK(::dup2(-1, p[0]) == -1);
  }
#if defined(__linux__)
  SUBCASE("dup3 of a number onto itself") {
    CHECK(::dup3(p[0], p[0], 0) == -1);
    CHECK(errno == EINVAL);
  }
  SUBCASE("dup3 with a flag that it does not have") {
    CHECK(::dup3(p[1], p[0], O_APPEND) == -1);
    CHECK(errno == EINVAL);
  }
  SUBCASE("close_range that only marks") {
    const auto n = static_cast<unsigned>(p[0]);
    CHECK(::close_range(n, n, CLOSE_RANGE_CLOEXEC) == 0);
  }
  SUBCASE("close_range the wrong way round") {
    CHECK(::close_range(static_cast<unsigned>(p[0]), 0, 0) == -1);
    CHECK(errno == EINVAL);
  }
#endif
  CHECK(kq.now().size() == 1);
}

// --- EV_VANISHED --------------------------------------------------------------------------------

TEST_CASE("EV_VANISHED: a closed number is reported once, then the knote waits for its end") {
  const kqueue_of_test kq;
  duplicated_socket s;
  const auto number = static_cast<std::uint64_t>(s.pair[0]);
  constexpr unsigned mode = EV_ADD | EV_DISPATCH2 | EV_VANISHED;
  const auto apply = [&](unsigned flags) {
    return kq.apply(number, EVFILT_READ, flags | EV_UDATA_SPECIFIC, 0, 0, 5);
  };
  const auto check_vanished = [&] {
    const event_list got = kq.now();
    REQUIRE(got.size() == 1);
    CHECK(got[0].ident == number);
    CHECK(got[0].filter == EVFILT_READ);
    CHECK(got[0].flags == (EV_DISPATCH2 | EV_ONESHOT | EV_VANISHED));
    CHECK(got[0].fflags == 0);
    CHECK(got[0].data == 0);
    CHECK(got[0].udata == 5);
    CHECK(kq.now().empty());
  };
  const auto check_end = [&] {
    const event_list got = kq.now();
    REQUIRE(got.size() == 1);
    CHECK(got[0].flags == (EV_DISPATCH2 | EV_ONESHOT | EV_DELETE));
    CHECK(apply(EV_DELETE) == ENOENT);
  };

  SUBCASE("its events do not repeat the flag") {
    REQUIRE(apply(mode) == 0);
    const event_list got = kq.now();
    REQUIRE(got.size() == 1);
    CHECK(got[0].flags == (EV_ADD | EV_DISPATCH2));
    s.pair.close(0);
  }
  SUBCASE("enabled, and active before") {
    REQUIRE(apply(mode) == 0);
    s.pair.close(0);
    CHECK(readable(kq.fd()));
    check_vanished();
    CHECK(!readable(kq.fd()));
    CHECK(apply(EV_DELETE) == EINPROGRESS);
    CHECK(kq.now().empty());
    REQUIRE(apply(EV_ENABLE) == 0);
    check_end();
  }
  SUBCASE("disabled by a delivery: reported when it is enabled") {
    REQUIRE(apply(mode) == 0);
    REQUIRE(kq.now().size() == 1);
    s.pair.close(0);
    CHECK(kq.now().empty());
    REQUIRE(apply(EV_ENABLE) == 0);
    check_vanished();
    CHECK(apply(EV_DELETE | EV_ENABLE) == 0);
    CHECK(apply(EV_DELETE) == ENOENT);
  }
  SUBCASE("deleted before it closed: only its end is reported") {
    REQUIRE(apply(mode) == 0);
    REQUIRE(kq.now().size() == 1);
    REQUIRE(apply(EV_DELETE) == EINPROGRESS);
    s.pair.close(0);
    CHECK(kq.now().empty());
    REQUIRE(apply(EV_ENABLE) == 0);
    check_end();
  }
  SUBCASE("vanished and enabled: deleting it ends it") {
    REQUIRE(apply(mode) == 0);
    s.pair.close(0);
    CHECK(apply(EV_DELETE) == 0);
    CHECK(kq.now().empty());
    CHECK(apply(EV_DELETE) == ENOENT);
  }
  SUBCASE("a new file with the number is not reported by it, adding again finds the old knote") {
    REQUIRE(apply(mode) == 0);
    s.pair.close(0);
    const pair_of_test next = pair_of_test::of_pipe();
    REQUIRE(next[0] == static_cast<int>(number));
    next.put(1, "y");
    CHECK(apply(mode) == 0);
    check_vanished();
    REQUIRE(kq.apply(next[0], EVFILT_READ, EV_ADD, 0, 0, 6) == 0);
    CHECK(only(kq.now(), EVFILT_READ).udata == 6);
  }
  SUBCASE("a regular file's") {
    FILE* const file = std::tmpfile();
    REQUIRE(file != nullptr);
    const int fd = ::dup(fileno(file));
    REQUIRE(kq.apply(fd, EVFILT_READ, mode, 0, 0, 7) == 0);
    CHECK(kq.now().empty());
    REQUIRE(::close(fd) == 0);
    const event_list got = kq.now();
    REQUIRE(got.size() == 1);
    CHECK(got[0].flags == (EV_DISPATCH2 | EV_ONESHOT | EV_VANISHED));
    std::fclose(file);
  }
}

TEST_CASE("EV_VANISHED wakes who waits") {
  const kqueue_of_test kq;
  pair_of_test pipe = pair_of_test::of_pipe();
  REQUIRE(kq.apply(pipe[0], EVFILT_READ, EV_ADD | EV_DISPATCH2 | EV_VANISHED) == 0);
  std::thread closer([&] { pipe.close(0); });
  CHECK((kq.next()[0].flags & EV_VANISHED) != 0);
  closer.join();
}

// --- Of a kqueue --------------------------------------------------------------------------------

TEST_CASE("closing a kqueue wakes all who wait in it, with EBADF") {
  for (int round = 0; round < 20; ++round) {
    kqueue_of_test kq;
    const int number = kq.fd();
    std::atomic<int> errors{0};
    std::vector<std::thread> waiters;
    for (int t = 0; t < 3; ++t) {
      waiters.emplace_back([&] {
        kevent64_s out;
        if (kevent64(number, nullptr, 0, &out, 1, 0, nullptr) == -1 && errno == EBADF) ++errors;
      });
    }
    kq.close();
    for (std::thread& t : waiters) t.join();
    CHECK(errors == 3);
  }
}

TEST_CASE("closing a watched descriptor does not wake who waits for others") {
  const kqueue_of_test kq;
  duplicated_socket s;
  const pair_of_test other = pair_of_test::of_pipe();
  REQUIRE(kq.apply(s.pair[0], EVFILT_READ, EV_ADD | EV_CLEAR) == 0);
  REQUIRE(kq.now().size() == 1);
  REQUIRE(kq.apply(other[0], EVFILT_READ, EV_ADD) == 0);
  std::thread closer([&] {
    s.pair.close(0);
    other.put(1, "x");
  });
  const event_list got = kq.next();
  CHECK(only(got, EVFILT_READ).ident == static_cast<std::uint64_t>(other[0]));
  closer.join();
}

TEST_CASE("a closed kqueue watches nothing: its descriptors can be watched anew") {
  kqueue_of_test closed;
  const pair_of_test p = pair_of_test::of_sockets();
  p.put(1, "x");
  REQUIRE(closed.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  const int number = closed.fd();
  closed.close();
  CHECK(look_at(number) == EBADF);
  const kqueue_of_test next;
  REQUIRE(next.fd() == number);
  CHECK(next.now().empty());
  CHECK(next.apply(p[0], EVFILT_READ, EV_DELETE) == ENOENT);
}

TEST_CASE("a kqueue inside another goes out of it when it is closed") {
  const kqueue_of_test outer;
  kqueue_of_test inner;
  const int number = inner.fd();
  REQUIRE(inner.apply(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER) == 0);
  REQUIRE(outer.apply(number, EVFILT_READ, EV_ADD) == 0);
  REQUIRE(outer.now().size() == 1);
  inner.close();
  CHECK(outer.now().empty());
  CHECK(outer.apply(number, EVFILT_READ, EV_DELETE) == ENOENT);
}

TEST_CASE("a file put on a kqueue's number ends the kqueue") {
  kqueue_of_test kq;
  const int number = kq.fd();
  const pair_of_test pipe = pair_of_test::of_pipe();
  REQUIRE(kq.apply(pipe[0], EVFILT_READ, EV_ADD) == 0);
  std::thread waiter([number] {
    kevent64_s out;
    CHECK(kevent64(number, nullptr, 0, &out, 1, 0, nullptr) == -1);
    CHECK(errno == EBADF);
  });
  REQUIRE(::dup2(pipe[1], number) == number);
  waiter.join();
  CHECK(look_at(number) == EBADF);
  CHECK(::write(number, "x", 1) == 1);
}

TEST_CASE("a duplicate of a kqueue's number is the kqueue") {
  const kqueue_of_test kq;
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR) == 0);
  const pair_of_test pipe = pair_of_test::of_pipe();
  const int target = ::dup(pipe[0]);
  for (const int twin :
       {::dup(kq.fd()), ::dup2(kq.fd(), target), ::fcntl(kq.fd(), F_DUPFD_CLOEXEC, 0)}) {
    REQUIRE(twin >= 0);
    kevent64_s out;
    const kevent64_s trigger = change(1, EVFILT_USER, 0, NOTE_TRIGGER);
    REQUIRE(kevent64(twin, &trigger, 1, nullptr, 0, 0, nullptr) == 0);
    CHECK(kq.now().size() == 1);
    REQUIRE(kq.apply(trigger) == 0);
    CHECK(kevent64(twin, nullptr, 0, &out, 1, 0, &zero) == 1);
    CHECK(kq.now().empty());
    REQUIRE(::close(twin) == 0);
    CHECK(look_at(twin) == EBADF);
    CHECK(look_at(kq.fd()) == 0);
  }
}

TEST_CASE("a kqueue whose first number is closed lives by its duplicate, and ends with it") {
  kqueue_of_test kq;
  const pair_of_test pipe = pair_of_test::of_pipe();
  pipe.put(1, "x");
  REQUIRE(kq.apply(pipe[0], EVFILT_READ, EV_ADD) == 0);
  const int twin = ::dup(kq.fd());
  const int number = kq.fd();
  kq.close();
  CHECK(look_at(number) == EBADF);
  const int other = ::open("/dev/null", O_RDONLY);
  CHECK(other == number);
  const kevent64_s add = change(pipe[1], EVFILT_WRITE, EV_ADD);
  CHECK(kevent64(twin, &add, 1, nullptr, 0, 0, nullptr) == 0);
  kevent64_s out[3];
  CHECK(kevent64(twin, nullptr, 0, out, 3, 0, &zero) == 2);
  REQUIRE(::close(twin) == 0);
  CHECK(look_at(twin) == EBADF);
  ::close(other);
}

TEST_CASE("a duplicate of a kqueue is no other kqueue: it cannot be put into itself") {
  const kqueue_of_test kq;
  const int twin = ::dup(kq.fd());
  REQUIRE(twin >= 0);
  CHECK(kq.apply(twin, EVFILT_READ, EV_ADD) == EINVAL);
  ::close(twin);
}

// --- Behind our back ----------------------------------------------------------------------------

#if defined(__linux__)  // elsewhere the kernel sees every closing
namespace {

void close_unseen(int fd) {
  REQUIRE(::syscall(SYS_close, fd) == 0);
}

}  // namespace

TEST_CASE("closed by a raw system call: the next file with the number has no old event") {
  const kqueue_of_test kq;
  SUBCASE("with data") {}
  SUBCASE("without") {
    REQUIRE(kedge::kqueue::opt_out(kq.fd(), kedge::kqueue::no_data));
  }
  duplicated_socket s;
  const int number = s.pair[0];
  REQUIRE(kq.apply(number, EVFILT_READ, EV_ADD, 0, 0, 1) == 0);
  REQUIRE(kq.now().size() == 1);
  close_unseen(number);
  const pair_of_test next = pair_of_test::of_pipe();
  REQUIRE(next[0] == number);
  REQUIRE(kq.apply(number, EVFILT_READ, EV_ADD, 0, 0, 2) == 0);
  CHECK(kq.now().empty());
  // The old registration is gone for good: nobody is woken by it.
  CHECK(!readable(kq.fd()));
  next.put(1, "y");
  const event_list got = kq.now();
  REQUIRE(got.size() == 1);
  CHECK(got[0].udata == 2);
}

TEST_CASE("closed by a raw system call: what epoll still reports is got rid of, and nothing else") {
  const kqueue_of_test kq;
  const pair_of_test other = pair_of_test::of_sockets();
  duplicated_socket s;
  const int number = s.pair[0];
  REQUIRE(kq.apply(number, EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(other[0], EVFILT_WRITE, EV_ADD) == 0);
  REQUIRE(kq.now().size() == 2);

  SUBCASE("with no other file at its number") {
    close_unseen(number);
    CHECK(kq.apply(number, EVFILT_READ, EV_DELETE) == ENOENT);
  }
  SUBCASE("a kqueue's other number was closed so, too, and is another file's") {
    const int twin = ::dup(kq.fd());
    close_unseen(twin);
    const int file = ::open("/dev/null", O_RDONLY);
    REQUIRE(file == twin);
    close_unseen(number);
    CHECK(kq.apply(number, EVFILT_READ, EV_DELETE) == ENOENT);
    CHECK(kq.now().size() == 1);
    char c = 0;
    CHECK(::read(file, &c, 1) == 0);
    ::close(file);
  }
  for (int i = 0; i < 4; ++i)
    CHECK(only(kq.now(1), EVFILT_WRITE).ident == static_cast<std::uint64_t>(other[0]));
  REQUIRE(kq.apply(other[0], EVFILT_WRITE, EV_DELETE) == 0);
  CHECK(!readable(kq.fd()));
}

TEST_CASE("closed by a raw system call: what cannot be got rid of for lack of a descriptor") {
  const kqueue_of_test kq;
  duplicated_socket s;
  const int number = s.pair[0];
  REQUIRE(kq.apply(number, EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD) == 0);
  close_unseen(number);
  const descriptor_of_test filler(::open("/dev/null", O_RDONLY));
  REQUIRE(filler == number);
  REQUIRE(kq.apply(number, EVFILT_READ, EV_DELETE) == ENOENT);
  const int next = ::dup(kq.fd());
  ::close(next);
  bool triggers = false;
  SUBCASE("a wait sleeps, in vain") {}
  SUBCASE("or until something is there") {
    triggers = true;
  }
  std::atomic<bool> is_there{false};  // before the limit: UBSan wants a descriptor for its start
  std::atomic<bool> waits{false};
  std::thread other([&] {
    is_there = true;
    while (!waits) std::this_thread::yield();
    if (triggers) CHECK(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
  });
  while (!is_there) std::this_thread::yield();
  {
    const descriptor_limit_of_test none(static_cast<rlim_t>(next));
    CHECK(kq.now().empty());
    waits = true;
    if (triggers) {
      CHECK(kq.next().size() == 1);
    } else {
      rusage before{};
      rusage after{};
      kevent64_s out;
      constexpr timespec moment{0, 100'000'000};
      REQUIRE(::getrusage(RUSAGE_THREAD, &before) == 0);
      CHECK(kevent64(kq.fd(), nullptr, 0, &out, 1, 0, &moment) == 0);
      REQUIRE(::getrusage(RUSAGE_THREAD, &after) == 0);
      CHECK(after.ru_nvcsw > before.ru_nvcsw);
    }
  }
  other.join();
  REQUIRE(kq.apply(1, EVFILT_USER, EV_DELETE) == 0);
  CHECK(kq.now().empty());
  CHECK(kq.now().empty());  // of what has become of the user event, the new set tells once
  CHECK(!readable(kq.fd()));
}

TEST_CASE("two threads add what was closed by a raw system call: both are told") {
  const kqueue_of_test kq;
  for (int i = 0; i < 300; ++i) {
    int number = -1;
    {
      const pair_of_test high = pair_of_test::of_pipe();
      number = ::fcntl(high[0], F_DUPFD, 500);
      REQUIRE(kq.apply(number, EVFILT_READ, EV_ADD) == 0);
    }
    close_unseen(number);
    std::atomic<int> ready{0};
    const auto add = [&](std::int16_t filter) {
      ++ready;
      while (ready != 2) {
      }
      const int error = kq.apply(number, filter, EV_ADD | EV_UDATA_SPECIFIC, 0, 0, 1);
      CHECK(error == EBADF);
    };
    std::thread other(add, std::int16_t{EVFILT_WRITE});
    add(EVFILT_READ);
    other.join();
  }
}

TEST_CASE("a new epoll set in the kqueue's place: all that was there goes on") {
  const kqueue_of_test outer;
  const kqueue_of_test kq;
  const int twin_of_kq = ::dup(kq.fd());
  const pair_of_test pipe = pair_of_test::of_pipe();
  REQUIRE(outer.apply(kq.fd(), EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(pipe[0], EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR) == 0);
  REQUIRE(kq.apply(2, EVFILT_TIMER, EV_ADD | EV_DISABLE, NOTE_USECONDS, 100) == 0);
  std::atomic<int> woken{0};
  std::vector<std::thread> waiters;
  for (int t = 0; t < 2; ++t) {
    waiters.emplace_back([&] {
      for (;;) {
        kevent64_s out;
        REQUIRE(kevent64(kq.fd(), nullptr, 0, &out, 1, 0, nullptr) == 1);
        ++woken;
        if (out.filter == EVFILT_READ) return;
      }
    });
  }

  duplicated_socket s;
  const int number = s.pair[0];
  REQUIRE(kq.apply(number, EVFILT_WRITE, EV_ADD) == 0);
  while (woken == 0) std::this_thread::yield();
  close_unseen(number);
  const int next = ::open("/dev/null", O_RDONLY);
  REQUIRE(next == number);
  // From here on epoll reports what nobody can remove any more.
  CHECK(kq.apply(number, EVFILT_WRITE, EV_ENABLE) == ENOENT);
  CHECK((fcntl(kq.fd(), F_GETFD) & FD_CLOEXEC) != 0);
  REQUIRE(kq.apply(2, EVFILT_TIMER, EV_ENABLE, NOTE_USECONDS, 100) == 0);
  int before = woken;
  while (woken < before + 3) std::this_thread::yield();
  REQUIRE(kq.apply(2, EVFILT_TIMER, EV_DELETE) == 0);
  const kevent64_s trigger = change(1, EVFILT_USER, 0, NOTE_TRIGGER);
  before = woken;
  REQUIRE(kevent64(twin_of_kq, &trigger, 1, nullptr, 0, 0, nullptr) == 0);
  while (woken == before) std::this_thread::yield();
  pipe.put(1, "x");  // level-triggered: ends them both
  for (std::thread& t : waiters) t.join();
  CHECK(outer.now().size() == 1);
  ::close(next);
  ::close(twin_of_kq);
}

TEST_CASE("a kqueue closed by a raw system call is none any more") {
  kqueue_of_test kq;
  const int number = kq.fd();
  close_unseen(number);
  CHECK(look_at(number) == EBADF);
  const kqueue_of_test next;
  CHECK(next.fd() == number);
  CHECK(next.now().empty());
  const int left = ::dup(next.fd());
  CHECK(kq.now().empty());  // the number is the new one's
  ::close(left);
}
#endif
