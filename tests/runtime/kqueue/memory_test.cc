// Allocations that fail: a call that needs memory fails with ENOMEM and has no effect.

#include "test_kqueue.h"

#include <signal.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <new>

#include "child_process.h"
#include "fd_limit.h"

namespace {

int allocations_left = -1;  // how many succeed before one fails; negative: all succeed

bool must_fail() {
  return allocations_left >= 0 && allocations_left-- == 0;
}

void* allocate(std::size_t size) noexcept {
  return must_fail() ? nullptr : std::malloc(size);
}

}  // namespace

void* operator new(std::size_t size) {
  void* const block = allocate(size);
  if (block == nullptr) throw std::bad_alloc();
  return block;
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return allocate(size);
}
void operator delete(void* block) noexcept {
  std::free(block);
}
void operator delete(void* block, std::size_t) noexcept {
  std::free(block);
}

TEST_CASE("a change whose allocation fails gives ENOMEM, and succeeds when it is repeated") {
  const fd_pair p = fd_pair::of_sockets();
  std::FILE* const file = std::tmpfile();
  REQUIRE(file != nullptr);
  child_process child;
  const kevent64_s changes[] = {
      change(p[0], EVFILT_READ, EV_ADD),
      change(p[0], EVFILT_READ, EV_ADD | EV_UDATA_SPECIFIC, 0, 0, 7),
      change(fileno(file), EVFILT_READ, EV_ADD),
      change(fileno(file), EVFILT_VNODE, EV_ADD | EV_CLEAR, NOTE_WRITE),
      change(1, EVFILT_TIMER, EV_ADD, NOTE_SECONDS, 1000),
      change(2, EVFILT_TIMER, EV_ADD, NOTE_SECONDS | NOTE_MACH_CONTINUOUS_TIME, 1000),
      change(1, EVFILT_USER, EV_ADD),
      change(SIGUSR1, EVFILT_SIGNAL, EV_ADD),
      change(static_cast<std::uint64_t>(child.pid()), EVFILT_PROC, EV_ADD, NOTE_EXIT),
  };
  bool has_failed = true;
  int failed = 0;  // the allocation that fails in this round
  for (; has_failed; ++failed) {
    CAPTURE(failed);
    int left = failed;
    has_failed = false;
    const test_kqueue kq;
    for (kevent64_s c : changes) {
      CAPTURE(c);
      allocations_left = left;
      const int error = kq.apply(c);
      left = allocations_left;
      allocations_left = -1;
      if (error != 0) {
        CHECK(error == ENOMEM);
        CHECK(!has_failed);
        has_failed = true;
        CHECK(kq.apply(c) == 0);
      }
    }
    CHECK(kq.now(1).empty());
    for (kevent64_s c : changes) {
      CAPTURE(c);
      c.flags = static_cast<std::uint16_t>(EV_DELETE | (c.flags & EV_UDATA_SPECIFIC));
      CHECK(kq.apply(c) == 0);
    }
  }
  CHECK(failed > 9);  // each knote needs at least one allocation
  std::fclose(file);
  child.kill(SIGKILL);
  child.wait();
}

TEST_CASE(
    "fcntl, dup2 and dup3 of a kqueue fail with ENOMEM and make no fd if an allocation fails") {
  const scoped_fd_limit descriptors(16384);
  REQUIRE(descriptors.limit() > 4096);
  const test_kqueue kq;
  const auto duplicate = [&](int how, int fd) {
    if (how == 0) return ::fcntl(kq.fd(), F_DUPFD, fd);
    if (how == 1) return ::dup2(kq.fd(), fd);
    return ::dup3(kq.fd(), fd, O_CLOEXEC);
  };
  for (const int how : {0, 1, 2}) {
    CAPTURE(how);
    const int fd = 1024 * (how + 1);  // the first of a page in the table of fds
    int failed = 0;
    int duplicated = -1;
    for (; duplicated < 0; ++failed) {
      CAPTURE(failed);
      allocations_left = failed;
      duplicated = duplicate(how, fd);
      const int error = errno;
      allocations_left = -1;
      if (duplicated >= 0) break;
      CHECK(error == ENOMEM);
      CHECK(::fcntl(fd, F_GETFD) == -1);
    }
    CHECK(failed > 0);
    CHECK(duplicated == fd);
    kevent64_s out;
    constexpr timespec zero{0, 0};
    CHECK(kevent64(duplicated, nullptr, 0, &out, 1, 0, &zero) == 0);
    CHECK(::close(duplicated) == 0);
  }
  CHECK(kq.now().empty());
}
