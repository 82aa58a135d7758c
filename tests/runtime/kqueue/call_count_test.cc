// System calls that a kqueue does not make. The calls are defined here, in front of the C
// library's, and counted.
#include "test_kqueue.h"

#if defined(__linux__)

#include <poll.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#include <atomic>

namespace {

std::atomic<int> getpids{0};
std::atomic<int> timer_settings{0};

}  // namespace

extern "C" pid_t getpid() noexcept {
  ++getpids;
  return static_cast<pid_t>(syscall(SYS_getpid));
}

extern "C" int timerfd_settime(int fd, int flags, const itimerspec* wanted,
                               itimerspec* before) noexcept {
  ++timer_settings;
  return static_cast<int>(syscall(SYS_timerfd_settime, fd, flags, wanted, before));
}

// Where the library can tell the child of vfork() without a call:
// runtime/kqueue/libc/own_process.h.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define KEDGE_DEFINES_VFORK 1
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#undef KEDGE_DEFINES_VFORK
#endif
#endif
#endif

#if defined(KEDGE_DEFINES_VFORK)

TEST_CASE("closing a watched fd makes no call of getpid()") {
  const test_kqueue kq;
  fd_pair p = fd_pair::of_sockets();
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  const int before = getpids;
  p.close(0);
  CHECK(getpids == before);
  CHECK(kq.apply(p[1], EVFILT_WRITE, EV_ADD) == 0);
  const int twin = ::dup(kq.fd());
  REQUIRE(twin >= 0);
  CHECK(::close(twin) == 0);
  CHECK(getpids == before);
}

#endif

TEST_CASE("a tick of a periodic timer sets the timerfd once") {
  const test_kqueue kq;
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_USECONDS, 100) == 0);
  const int before = timer_settings;
  for (int tick = 0; tick < 100; ++tick) CHECK(kq.next().size() == 1);
  CHECK(timer_settings - before == 100);
}

TEST_CASE("ticks of ten timers that are taken together set the timerfd once") {
  const test_kqueue kq;
  for (int i = 0; i < 10; ++i) {
    CAPTURE(i);
    REQUIRE(kq.apply(i, EVFILT_TIMER, EV_ADD, NOTE_USECONDS, 100) == 0);
  }
  const int before = timer_settings;
  for (int tick = 0; tick < 50; ++tick) CHECK(!kq.next().empty());
  CHECK(timer_settings - before == 50);
}

TEST_CASE("a disabled timer that has fired costs later calls nothing") {
  const test_kqueue kq;
  SUBCASE("delivered and disabled by EV_DISPATCH") {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD | EV_DISPATCH, NOTE_USECONDS, 1) == 0);
    CHECK(only(kq.next(), EVFILT_TIMER).ident == 1);
  }
  SUBCASE("disabled before it is delivered") {
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_USECONDS, 1) == 0);
    pollfd fired{kq.fd(), POLLIN, 0};
    REQUIRE(::poll(&fired, 1, -1) == 1);
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_DISABLE, NOTE_USECONDS, 1) == 0);
  }
  CHECK(kq.now().empty());  // takes what epoll still reports of the timerfd
  const int before = timer_settings;
  for (int i = 0; i < 10; ++i) CHECK(kq.now().empty());
  CHECK(timer_settings == before);
}

#endif
