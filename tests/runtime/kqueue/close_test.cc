// Closing: which knotes go when an fd is closed, and what becomes of a closed kqueue.

#include "test_kqueue.h"

#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <thread>
#include <utility>

#include "fd_limit.h"
#include "test_sockets.h"
#include "tests/temporary_folder.h"

#if defined(__linux__)
#include <sys/inotify.h>
#include <sys/syscall.h>

#include "kedge/runtime/kqueue/extension.h"

namespace {

// What the next call of inotify_rm_watch() does first, once.
std::function<void()> in_rm_watch;

}  // namespace

// Defined here, in front of the C library's, to run code at a point where the kqueue is unlocked.
extern "C" int inotify_rm_watch(int fd, int wd) noexcept {
  if (const auto act = std::exchange(in_rm_watch, nullptr)) act();
  return static_cast<int>(::syscall(SYS_inotify_rm_watch, fd, wd));
}
#endif

namespace {

constexpr timespec zero{0, 0};

bool readable(int fd) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, 0) == 1;
}

// Polls `kq`, which need not be a kqueue. Returns 0 or the errno.
int poll_kqueue(int kq) {
  kevent64_s out;
  return kevent64(kq, nullptr, 0, &out, 1, 0, &zero) >= 0 ? 0 : errno;
}

// A readable and writable socket, pair[0], and a duplicate of its fd that keeps the file open.
struct duplicated_socket {
  fd_pair pair = fd_pair::of_sockets();
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

// --- Closing a watched fd -----------------------------------------------------------------------

TEST_CASE("closing an fd drops its knotes, though a duplicate keeps the file open") {
  const test_kqueue kq;
  duplicated_socket s;
  const int fd = s.pair[0];
  REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(fd, EVFILT_WRITE, EV_ADD) == 0);
  REQUIRE(kq.now().size() == 2);
  s.pair.close(0);
  CHECK(kq.now().empty());
  CHECK(!readable(kq.fd()));
  CHECK(kq.apply(fd, EVFILT_READ, EV_DELETE) == ENOENT);
  CHECK(kq.apply(fd, EVFILT_WRITE, EV_ENABLE) == ENOENT);
  CHECK(kq.apply(fd, EVFILT_READ, EV_ADD) == EBADF);
}

TEST_CASE("closing an fd keeps the knotes of its duplicate") {
  const test_kqueue kq;
  duplicated_socket s;
  REQUIRE(kq.apply(s.pair[0], EVFILT_READ, EV_ADD, 0, 0, 1) == 0);
  REQUIRE(kq.apply(s.twin, EVFILT_READ, EV_ADD, 0, 0, 2) == 0);
  s.pair.close(0);
  const event_list got = kq.now();
  REQUIRE(got.size() == 1);
  CHECK(got[0].udata == 2);
}

TEST_CASE("closing a watched fd ends the file: its peer reads end of file") {
  const test_kqueue kq;
  fd_pair pipe = fd_pair::of_pipe();
  REQUIRE(kq.apply(pipe[1], EVFILT_WRITE, EV_ADD) == 0);
  REQUIRE(kq.now().size() == 1);
  pipe.close(1);
  char c = 0;
  CHECK(::read(pipe[0], &c, 1) == 0);
}

TEST_CASE("a new file with the fd of a closed one gets no old event, and a knote of its own") {
  const test_kqueue kq;
  duplicated_socket s;
  const int fd = s.pair[0];
  REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD | EV_ONESHOT, 0, 0, 1) == 0);
  s.pair.close(0);
  const fd_pair next = fd_pair::of_pipe();
  REQUIRE(next[0] == fd);
  CHECK(kq.now().empty());
  CHECK(kq.apply(fd, EVFILT_READ, EV_DELETE) == ENOENT);
  REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD, 0, 0, 2) == 0);
  CHECK(kq.now().empty());
  CHECK(!readable(kq.fd()));
  next.put(1, "ab");
  const event_list got = kq.now();
  REQUIRE(got.size() == 1);
  CHECK(got[0] == event(fd, EVFILT_READ, EV_ADD, 0, 2, 2));
}

TEST_CASE("closing an fd drops its event that was active and not yet taken") {
  const test_kqueue kq;
  duplicated_socket one;
  duplicated_socket two;
  REQUIRE(kq.apply(one.pair[0], EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(two.pair[0], EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.now(1).size() == 1);
  one.pair.close(0);
  two.pair.close(0);
  CHECK(kq.now().empty());
}

TEST_CASE("closing the fd of a regular file drops its knotes") {
  const test_kqueue kq;
  FILE* const file = std::tmpfile();
  REQUIRE(file != nullptr);
  REQUIRE(std::fputs("abc", file) >= 0);
  REQUIRE(std::fflush(file) == 0);
  std::rewind(file);
  const int fd = ::dup(fileno(file));
  REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(fd, EVFILT_WRITE, EV_ADD) == 0);
  CHECK(kq.now().size() == 2);
  REQUIRE(::close(fd) == 0);
  CHECK(kq.now().empty());
  CHECK(kq.apply(fd, EVFILT_READ, EV_DELETE) == ENOENT);
  CHECK(kq.apply(fd, EVFILT_WRITE, EV_DELETE) == ENOENT);
  std::fclose(file);
}

TEST_CASE("closing an fd drops its knotes in all kqueues") {
  const test_kqueue kqs[3];
  duplicated_socket s;
  const int fd = s.pair[0];
  for (const test_kqueue& kq : kqs) {
    CAPTURE(kq.fd());
    REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD) == 0);
  }
  s.pair.close(0);
  for (const test_kqueue& kq : kqs) {
    CAPTURE(kq.fd());
    CHECK(kq.now().empty());
    CHECK(kq.apply(fd, EVFILT_READ, EV_DELETE) == ENOENT);
  }
}

TEST_CASE("closing an fd drops its EV_UDATA_SPECIFIC and disabled knotes too") {
  const test_kqueue kq;
  duplicated_socket s;
  const int fd = s.pair[0];
  for (std::uint64_t udata = 1; udata <= 3; ++udata) {
    CAPTURE(udata);
    REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD | EV_UDATA_SPECIFIC, 0, 0, udata) == 0);
  }
  REQUIRE(kq.apply(fd, EVFILT_WRITE, EV_ADD | EV_DISABLE) == 0);
  s.pair.close(0);
  CHECK(kq.now().empty());
  CHECK(kq.apply(fd, EVFILT_READ, EV_DELETE | EV_UDATA_SPECIFIC, 0, 0, 2) == ENOENT);
  CHECK(kq.apply(fd, EVFILT_WRITE, EV_ENABLE) == ENOENT);
}

TEST_CASE("close and dup2 return what they return for an fd that is not watched") {
  const test_kqueue kq;
  fd_pair pipe = fd_pair::of_pipe();
  const int fd = pipe[0];
  REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD) == 0);
  errno = 0;
  CHECK(::close(fd) == 0);
  CHECK(errno == 0);
  CHECK(::close(fd) == -1);
  CHECK(errno == EBADF);
  CHECK(::close(-1) == -1);
  CHECK(errno == EBADF);
  const int other = ::open("/dev/null", O_RDWR);
  REQUIRE(other == fd);
  CHECK(::dup2(-1, fd) == -1);
  CHECK(errno == EBADF);
}

TEST_CASE("each C call that closes an fd drops its knotes") {
  const test_kqueue kq;
  duplicated_socket s;
  const int fd = ::dup(s.twin);
  REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.now().size() == 1);
  FILE* stream = nullptr;
  const auto open_stream = [&] {
    stream = ::fdopen(fd, "r");
    REQUIRE(stream != nullptr);
  };

  SUBCASE("dup2 onto the fd") {
    REQUIRE(::dup2(kq.fd() + 1 == fd ? s.pair[0] : s.twin, fd) == fd);
  }
  SUBCASE("fclose of a stream") {
    open_stream();
    REQUIRE(std::fclose(stream) == 0);
  }
  SUBCASE("freopen of a stream") {
    open_stream();
    stream = std::freopen("/dev/null", "r", stream);
    REQUIRE(stream != nullptr);
    CHECK(kq.now().empty());
    CHECK(kq.apply(fd, EVFILT_READ, EV_DELETE) == ENOENT);
    std::fclose(stream);
    return;
  }
#if defined(__linux__)  // macOS lacks these, or keeps them private
  SUBCASE("dup3 onto the fd") {
    REQUIRE(::dup3(s.twin, fd, O_CLOEXEC) == fd);
  }
  SUBCASE("close_range") {
    REQUIRE(::close_range(static_cast<unsigned>(fd), static_cast<unsigned>(fd), 0) == 0);
  }
  SUBCASE("closefrom") {
    const int high = ::fcntl(fd, F_DUPFD, 900);
    REQUIRE(high >= 900);
    REQUIRE(kq.apply(high, EVFILT_READ, EV_ADD) == 0);
    REQUIRE(kq.now().size() == 2);
    ::closefrom(high);
    CHECK(kq.now().size() == 1);
    CHECK(kq.apply(high, EVFILT_READ, EV_DELETE) == ENOENT);
    REQUIRE(::close(fd) == 0);
  }
#endif
  CHECK(kq.now().empty());
  CHECK(!readable(kq.fd()));
  CHECK(kq.apply(fd, EVFILT_READ, EV_DELETE) == ENOENT);
  ::close(fd);
}

TEST_CASE("closedir and pclose drop the knotes of the fd inside") {
  const test_kqueue kq;
  SUBCASE("pclose") {
    FILE* const child = ::popen("echo x", "r");
    REQUIRE(child != nullptr);
    const int fd = fileno(child);
    REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD) == 0);
    REQUIRE(kq.next().size() == 1);
    CHECK(::pclose(child) != -1);
    CHECK(kq.apply(fd, EVFILT_READ, EV_DELETE) == ENOENT);
  }
  SUBCASE("closedir") {
    DIR* const directory = ::opendir("/");
    REQUIRE(directory != nullptr);
    const int fd = dirfd(directory);
    REQUIRE(kq.apply(fd, EVFILT_VNODE, EV_ADD, NOTE_DELETE) == 0);
    REQUIRE(::closedir(directory) == 0);
    CHECK(kq.apply(fd, EVFILT_VNODE, EV_DELETE) == ENOENT);
  }
}

TEST_CASE("a call that closes nothing drops no knote") {
  const test_kqueue kq;
  const fd_pair p = fd_pair::of_sockets();
  p.put(1, "x");
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  SUBCASE("dup2 of an fd onto itself") {
    CHECK(::dup2(p[0], p[0]) == p[0]);
  }
  SUBCASE("dup2 of a closed fd") {
    CHECK(::dup2(-1, p[0]) == -1);
  }
#if defined(__linux__)
  SUBCASE("dup3 of an fd onto itself") {
    CHECK(::dup3(p[0], p[0], 0) == -1);
    CHECK(errno == EINVAL);
  }
  SUBCASE("dup3 with an unknown flag") {
    CHECK(::dup3(p[1], p[0], O_APPEND) == -1);
    CHECK(errno == EINVAL);
  }
  SUBCASE("close_range with CLOSE_RANGE_CLOEXEC") {
    const auto n = static_cast<unsigned>(p[0]);
    CHECK(::close_range(n, n, CLOSE_RANGE_CLOEXEC) == 0);
  }
  SUBCASE("close_range with its ends exchanged") {
    CHECK(::close_range(static_cast<unsigned>(p[0]), 0, 0) == -1);
    CHECK(errno == EINVAL);
  }
#endif
  CHECK(kq.now().size() == 1);
}

// --- EV_VANISHED --------------------------------------------------------------------------------

namespace {

// A knote with EV_VANISHED about a readable socket, which a duplicate keeps open.
struct vanishing_knote {
  static constexpr unsigned mode = EV_ADD | EV_DISPATCH2 | EV_VANISHED;
  const test_kqueue kq;
  duplicated_socket s;
  const int fd = s.pair[0];

  vanishing_knote() { REQUIRE(apply(mode) == 0); }

  int apply(unsigned flags) const {
    return kq.apply(fd, EVFILT_READ, flags | EV_UDATA_SPECIFIC, 0, 0, 5);
  }
  void check_vanished() const {
    constexpr unsigned flags = EV_DISPATCH2 | EV_ONESHOT | EV_VANISHED;
    CHECK(kq.now() == event_list{event(fd, EVFILT_READ, flags, 0, 0, 5)});
    CHECK(kq.now().empty());
  }
  void check_end() const {
    constexpr unsigned flags = EV_DISPATCH2 | EV_ONESHOT | EV_DELETE;
    CHECK(kq.now() == event_list{event(fd, EVFILT_READ, flags, 0, 0, 5)});
    CHECK(apply(EV_DELETE) == ENOENT);
  }
};

}  // namespace

TEST_CASE("EV_VANISHED: events before the close do not repeat the flag") {
  const vanishing_knote k;
  CHECK(k.kq.now() == event_list{event(k.fd, EVFILT_READ, EV_ADD | EV_DISPATCH2, 0, 1, 5)});
}

TEST_CASE("EV_VANISHED is reported once, and after EV_DELETE and EV_ENABLE the end of the knote") {
  vanishing_knote k;
  k.s.pair.close(0);
  CHECK(readable(k.kq.fd()));
  k.check_vanished();
  CHECK(!readable(k.kq.fd()));
  CHECK(k.apply(EV_DELETE) == EINPROGRESS);
  CHECK(k.kq.now().empty());
  REQUIRE(k.apply(EV_ENABLE) == 0);
  k.check_end();
}

TEST_CASE("EV_VANISHED of a knote that EV_DISPATCH has disabled is reported after EV_ENABLE") {
  vanishing_knote k;
  REQUIRE(k.kq.now().size() == 1);
  k.s.pair.close(0);
  CHECK(k.kq.now().empty());
  REQUIRE(k.apply(EV_ENABLE) == 0);
  k.check_vanished();
  CHECK(k.apply(EV_DELETE | EV_ENABLE) == 0);
  CHECK(k.apply(EV_DELETE) == ENOENT);
}

TEST_CASE("a knote that was deleted before the close reports its end, not EV_VANISHED") {
  vanishing_knote k;
  REQUIRE(k.kq.now().size() == 1);
  REQUIRE(k.apply(EV_DELETE) == EINPROGRESS);
  k.s.pair.close(0);
  CHECK(k.kq.now().empty());
  REQUIRE(k.apply(EV_ENABLE) == 0);
  k.check_end();
}

TEST_CASE("EV_DELETE of a vanished, enabled knote ends it at once") {
  vanishing_knote k;
  k.s.pair.close(0);
  CHECK(k.apply(EV_DELETE) == 0);
  CHECK(k.kq.now().empty());
  CHECK(k.apply(EV_DELETE) == ENOENT);
}

TEST_CASE("a vanished knote does not report a new file with its fd, and EV_ADD finds it") {
  vanishing_knote k;
  k.s.pair.close(0);
  const fd_pair next = fd_pair::of_pipe();
  REQUIRE(next[0] == k.fd);
  next.put(1, "y");
  CHECK(k.apply(vanishing_knote::mode) == 0);
  k.check_vanished();
  REQUIRE(k.kq.apply(next[0], EVFILT_READ, EV_ADD, 0, 0, 6) == 0);
  CHECK(only(k.kq.now(), EVFILT_READ).udata == 6);
}

TEST_CASE("EV_VANISHED is reported for the fd of a regular file") {
  const test_kqueue kq;
  FILE* const file = std::tmpfile();
  REQUIRE(file != nullptr);
  const int fd = ::dup(fileno(file));
  REQUIRE(kq.apply(fd, EVFILT_READ, vanishing_knote::mode, 0, 0, 7) == 0);
  CHECK(kq.now().empty());
  REQUIRE(::close(fd) == 0);
  constexpr unsigned flags = EV_DISPATCH2 | EV_ONESHOT | EV_VANISHED;
  CHECK(kq.now() == event_list{event(fd, EVFILT_READ, flags, 0, 0, 7)});
  std::fclose(file);
}

TEST_CASE("EV_VANISHED wakes a thread that waits") {
  const test_kqueue kq;
  fd_pair pipe = fd_pair::of_pipe();
  REQUIRE(kq.apply(pipe[0], EVFILT_READ, EV_ADD | EV_DISPATCH2 | EV_VANISHED) == 0);
  std::thread closer([&] { pipe.close(0); });
  CHECK((kq.next()[0].flags & EV_VANISHED) != 0);
  closer.join();
}

// --- Closing a kqueue ---------------------------------------------------------------------------

TEST_CASE("closing a kqueue wakes every thread that waits in it, with EBADF") {
  for (int round = 0; round < 20; ++round) {
    CAPTURE(round);
    test_kqueue kq;
    const int fd = kq.fd();
    std::atomic<int> errors{0};
    std::vector<std::thread> waiters;
    for (int t = 0; t < 3; ++t) {
      waiters.emplace_back([&] {
        kevent64_s out;
        if (kevent64(fd, nullptr, 0, &out, 1, 0, nullptr) == -1 && errno == EBADF) ++errors;
      });
    }
    kq.close();
    for (std::thread& t : waiters) t.join();
    CHECK(errors == 3);
  }
}

TEST_CASE("closing a watched fd does not end a wait for another fd") {
  const test_kqueue kq;
  duplicated_socket s;
  const fd_pair other = fd_pair::of_pipe();
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

TEST_CASE("closing a kqueue drops its knotes: a new kqueue with its fd has none") {
  test_kqueue closed;
  const fd_pair p = fd_pair::of_sockets();
  p.put(1, "x");
  REQUIRE(closed.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  const int fd = closed.fd();
  closed.close();
  CHECK(poll_kqueue(fd) == EBADF);
  const test_kqueue next;
  REQUIRE(next.fd() == fd);
  CHECK(next.now().empty());
  CHECK(next.apply(p[0], EVFILT_READ, EV_DELETE) == ENOENT);
}

TEST_CASE("closing a kqueue that another watches drops the knote") {
  const test_kqueue outer;
  test_kqueue inner;
  const int fd = inner.fd();
  REQUIRE(inner.apply(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER) == 0);
  REQUIRE(outer.apply(fd, EVFILT_READ, EV_ADD) == 0);
  REQUIRE(outer.now().size() == 1);
  inner.close();
  CHECK(outer.now().empty());
  CHECK(outer.apply(fd, EVFILT_READ, EV_DELETE) == ENOENT);
}

TEST_CASE("dup2 onto the fd of a kqueue closes it, and wakes its waiter with EBADF") {
  test_kqueue kq;
  const int fd = kq.fd();
  const fd_pair pipe = fd_pair::of_pipe();
  REQUIRE(kq.apply(pipe[0], EVFILT_READ, EV_ADD) == 0);
  std::thread waiter([fd] {
    kevent64_s out;
    CHECK(kevent64(fd, nullptr, 0, &out, 1, 0, nullptr) == -1);
    CHECK(errno == EBADF);
  });
  REQUIRE(::dup2(pipe[1], fd) == fd);
  waiter.join();
  CHECK(poll_kqueue(fd) == EBADF);
  CHECK(::write(fd, "x", 1) == 1);
}

TEST_CASE("a duplicate of the fd of a kqueue is the same kqueue") {
  const test_kqueue kq;
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR) == 0);
  const fd_pair pipe = fd_pair::of_pipe();
  const int target = ::dup(pipe[0]);
  for (const int twin :
       {::dup(kq.fd()), ::dup2(kq.fd(), target), ::fcntl(kq.fd(), F_DUPFD_CLOEXEC, 0)}) {
    CAPTURE(twin);
    REQUIRE(twin >= 0);
    kevent64_s out;
    const kevent64_s trigger = change(1, EVFILT_USER, 0, NOTE_TRIGGER);
    REQUIRE(kevent64(twin, &trigger, 1, nullptr, 0, 0, nullptr) == 0);
    CHECK(kq.now().size() == 1);
    REQUIRE(kq.apply(trigger) == 0);
    CHECK(kevent64(twin, nullptr, 0, &out, 1, 0, &zero) == 1);
    CHECK(kq.now().empty());
    REQUIRE(::close(twin) == 0);
    CHECK(poll_kqueue(twin) == EBADF);
    CHECK(poll_kqueue(kq.fd()) == 0);
  }
}

TEST_CASE("a kqueue lives until its last fd is closed") {
  test_kqueue kq;
  const fd_pair pipe = fd_pair::of_pipe();
  pipe.put(1, "x");
  REQUIRE(kq.apply(pipe[0], EVFILT_READ, EV_ADD) == 0);
  const int twin = ::dup(kq.fd());
  const int fd = kq.fd();
  kq.close();
  CHECK(poll_kqueue(fd) == EBADF);
  const int other = ::open("/dev/null", O_RDONLY);
  CHECK(other == fd);
  const kevent64_s add = change(pipe[1], EVFILT_WRITE, EV_ADD);
  CHECK(kevent64(twin, &add, 1, nullptr, 0, 0, nullptr) == 0);
  kevent64_s out[3];
  CHECK(kevent64(twin, nullptr, 0, out, 3, 0, &zero) == 2);
  REQUIRE(::close(twin) == 0);
  CHECK(poll_kqueue(twin) == EBADF);
  ::close(other);
}

TEST_CASE("a kqueue refuses to watch its own duplicate (EINVAL)") {
  const test_kqueue kq;
  const int twin = ::dup(kq.fd());
  REQUIRE(twin >= 0);
  CHECK(kq.apply(twin, EVFILT_READ, EV_ADD) == EINVAL);
  ::close(twin);
}

// --- Closing by a raw system call ---------------------------------------------------------------

#if defined(__linux__)  // on Darwin the kernel sees every close
namespace {

void close_unseen(int fd) {
  REQUIRE(::syscall(SYS_close, fd) == 0);
}

}  // namespace

TEST_CASE("after a raw SYS_close the next file with the fd gets no old event") {
  const test_kqueue kq;
  SUBCASE("with data in the events") {}
  SUBCASE("with no_data") {
    REQUIRE(kedge::kqueue::opt_out(kq.fd(), kedge::kqueue::no_data));
  }
  duplicated_socket s;
  const int fd = s.pair[0];
  REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD, 0, 0, 1) == 0);
  REQUIRE(kq.now().size() == 1);
  close_unseen(fd);
  const fd_pair next = fd_pair::of_pipe();
  REQUIRE(next[0] == fd);
  REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD, 0, 0, 2) == 0);
  CHECK(kq.now().empty());
  // The old registration is gone for good: it wakes no waiter.
  CHECK(!readable(kq.fd()));
  next.put(1, "y");
  const event_list got = kq.now();
  REQUIRE(got.size() == 1);
  CHECK(got[0].udata == 2);
}

TEST_CASE(
    "after a raw SYS_close the kqueue removes the stale epoll registration and keeps the others") {
  const test_kqueue kq;
  const fd_pair other = fd_pair::of_sockets();
  duplicated_socket s;
  const int fd = s.pair[0];
  REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(other[0], EVFILT_WRITE, EV_ADD) == 0);
  REQUIRE(kq.now().size() == 2);

  SUBCASE("no other file has the fd") {
    close_unseen(fd);
    CHECK(kq.apply(fd, EVFILT_READ, EV_DELETE) == ENOENT);
  }
  SUBCASE("a duplicate of the kqueue was closed the same way, and another file has its fd") {
    const int twin = ::dup(kq.fd());
    close_unseen(twin);
    const int file = ::open("/dev/null", O_RDONLY);
    REQUIRE(file == twin);
    close_unseen(fd);
    CHECK(kq.apply(fd, EVFILT_READ, EV_DELETE) == ENOENT);
    CHECK(kq.now().size() == 1);
    char c = 0;
    CHECK(::read(file, &c, 1) == 0);
    ::close(file);
  }
  for (int i = 0; i < 4; ++i) {
    CAPTURE(i);
    CHECK(only(kq.now(1), EVFILT_WRITE).ident == static_cast<std::uint64_t>(other[0]));
  }
  REQUIRE(kq.apply(other[0], EVFILT_WRITE, EV_DELETE) == 0);
  CHECK(!readable(kq.fd()));
}

TEST_CASE(
    "after a raw SYS_close, with no fd left for a new epoll set, a wait sleeps and never spins") {
  const test_kqueue kq;
  duplicated_socket s;
  const int fd = s.pair[0];
  REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD) == 0);
  close_unseen(fd);
  const scoped_fd filler(::open("/dev/null", O_RDONLY));
  REQUIRE(filler == fd);
  REQUIRE(kq.apply(fd, EVFILT_READ, EV_DELETE) == ENOENT);
  const int next = ::dup(kq.fd());
  ::close(next);
  bool triggers = false;
  SUBCASE("until its time-out passes") {}
  SUBCASE("until another thread triggers an event") {
    triggers = true;
  }
  // The thread starts before the limit is set: UBSan needs an fd when a thread starts.
  std::atomic<bool> is_running{false};
  std::atomic<bool> waits{false};
  std::thread other([&] {
    is_running = true;
    while (!waits) std::this_thread::yield();
    if (triggers) CHECK(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
  });
  while (!is_running) std::this_thread::yield();
  {
    const scoped_fd_limit none(static_cast<rlim_t>(next));
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
  CHECK(kq.now().empty());  // the new epoll set reports the deleted user event once
  CHECK(!readable(kq.fd()));
}

TEST_CASE("after a raw SYS_close two threads that add the fd at once both get EBADF") {
  const test_kqueue kq;
  for (int i = 0; i < 300; ++i) {
    CAPTURE(i);
    int fd = -1;
    {
      const fd_pair high = fd_pair::of_pipe();
      fd = ::fcntl(high[0], F_DUPFD, 500);
      REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD) == 0);
    }
    close_unseen(fd);
    std::atomic<int> ready{0};
    const auto add = [&](std::int16_t filter) {
      ++ready;
      while (ready != 2) {
      }
      const int error = kq.apply(fd, filter, EV_ADD | EV_UDATA_SPECIFIC, 0, 0, 1);
      CHECK(error == EBADF);
    };
    std::thread other(add, std::int16_t{EVFILT_WRITE});
    add(EVFILT_READ);
    other.join();
  }
}

TEST_CASE(
    "a knote of the next file stays that is added while those of the closed one are dropped") {
  constexpr unsigned own = EV_UDATA_SPECIFIC | EV_DISPATCH2;
  const temporary_folder folder;
  const std::string path = folder / "fifo";
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  const test_kqueue kq;
  const fd_pair next = fd_pair::of_pipe();
  const scoped_fd fd(::open(path.c_str(), O_RDWR | O_NONBLOCK));
  const scoped_fd keeps_registration(::dup(fd));
  REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(fd, EVFILT_VNODE, EV_ADD | own, NOTE_WRITE) == 0);
  REQUIRE(::syscall(SYS_dup3, next[0], int{fd}, 0) == int{fd});
  // The kqueue is unlocked while the VNODE knote is detached.
  bool is_added = false;
  in_rm_watch = [&] { is_added = kq.apply(fd, EVFILT_READ, EV_ADD | own, 0, 0, 7) == 0; };
  CHECK(kq.apply(fd, EVFILT_READ, EV_ENABLE) == ENOENT);
  CHECK(is_added);
  CHECK(kq.apply(fd, EVFILT_VNODE, EV_DELETE | own) == ENOENT);
  CHECK(kq.apply(fd, EVFILT_READ, EV_DELETE | own, 0, 0, 7) == 0);
}

TEST_CASE(
    "a kqueue that replaces its epoll set keeps its knotes, waiters, duplicates, outer kqueue") {
  const test_kqueue outer;
  const test_kqueue kq;
  const int twin_of_kq = ::dup(kq.fd());
  const fd_pair pipe = fd_pair::of_pipe();
  REQUIRE(outer.apply(kq.fd(), EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(pipe[0], EVFILT_READ, EV_ADD) == 0);
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR) == 0);
  REQUIRE(kq.apply(2, EVFILT_TIMER, EV_ADD | EV_DISABLE, NOTE_USECONDS, 100) == 0);
  std::atomic<int> woken{0};
  std::vector<std::thread> waiters;
  for (int t = 0; t < 2; ++t) {
    CAPTURE(t);
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
  const int fd = s.pair[0];
  REQUIRE(kq.apply(fd, EVFILT_WRITE, EV_ADD) == 0);
  while (woken == 0) std::this_thread::yield();
  close_unseen(fd);
  const int next = ::open("/dev/null", O_RDONLY);
  REQUIRE(next == fd);
  // Now epoll keeps reporting a registration that no call can remove.
  CHECK(kq.apply(fd, EVFILT_WRITE, EV_ENABLE) == ENOENT);
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

TEST_CASE(
    "a kqueue that a raw SYS_close closed fails with EBADF, and a new one with its fd is empty") {
  test_kqueue kq;
  const int fd = kq.fd();
  close_unseen(fd);
  CHECK(poll_kqueue(fd) == EBADF);
  const test_kqueue next;
  CHECK(next.fd() == fd);
  CHECK(next.now().empty());
  const int left = ::dup(next.fd());
  CHECK(kq.now().empty());  // the fd belongs to the new kqueue
  ::close(left);
}
#endif
