// sigpipe_guard: SIGPIPE is kept away, and all else about signals stays as it was.
#include "kedge/net/sigpipe_guard.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>

namespace kedge::net {
namespace {

// Writes to a pipe without a reader. Returns the error.
int write_without_reader() {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  ::close(ends[0]);
  errno = 0;
  const ssize_t n = ::write(ends[1], "x", 1);
  const int why = errno;
  ::close(ends[1]);
  errno = why;
  return n < 0 ? why : 0;
}
bool is_pending() {
  sigset_t pending;
  sigpending(&pending);
  return sigismember(&pending, SIGPIPE) == 1;
}
bool is_blocked() {
  sigset_t blocked;
  ::pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
  return sigismember(&blocked, SIGPIPE) == 1;
}
// Blocks or unblocks SIGPIPE in this thread.
void mask(int how) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  REQUIRE(::pthread_sigmask(how, &set, nullptr) == 0);
}
volatile sig_atomic_t handled = 0;

TEST_CASE("a write under a guard gives EPIPE, and the signal never comes") {
  void (*const before)(int) = ::signal(SIGPIPE, SIG_DFL);
  handled = 0;
  SUBCASE("by default") {}
  SUBCASE("ignored") {
    ::signal(SIGPIPE, SIG_IGN);
  }
  SUBCASE("handled") {
    ::signal(SIGPIPE, [](int) { handled = 1; });
  }
  int why = 0;
  {
    const sigpipe_guard guard;
    why = write_without_reader();
  }
  CHECK(errno == EPIPE);
  CHECK(why == EPIPE);
  CHECK(handled == 0);
  CHECK_FALSE(is_blocked());
  CHECK_FALSE(is_pending());
  ::signal(SIGPIPE, before);
}

TEST_CASE("a guard leaves SIGPIPE blocked and pending where it was so before") {
  void (*const before)(int) = ::signal(SIGPIPE, [](int) { handled = 1; });
  handled = 0;
  mask(SIG_BLOCK);
  {
    const sigpipe_guard guard;
    CHECK(write_without_reader() == EPIPE);
  }
  CHECK(is_blocked());
  CHECK_FALSE(is_pending());
  CHECK(write_without_reader() == EPIPE);
  REQUIRE(is_pending());
  {
    const sigpipe_guard guard;
    CHECK(write_without_reader() == EPIPE);
  }
  CHECK(is_pending());
  mask(SIG_UNBLOCK);
  CHECK(handled == 1);
  CHECK_FALSE(is_pending());
  ::signal(SIGPIPE, before);
}

}  // namespace
}  // namespace kedge::net
