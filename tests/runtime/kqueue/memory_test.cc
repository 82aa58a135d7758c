// No memory: a change that would need some fails with ENOMEM and changes nothing.

#include "kqueue_of_test.h"

#include <signal.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <new>

#include "child_of_test.h"
#include "descriptor_limit_of_test.h"

namespace {

int allocations_left = -1;  // until one fails; negative: none does

bool fails() {
  return allocations_left >= 0 && allocations_left-- == 0;
}

void* allocate(std::size_t size) noexcept {
  return fails() ? nullptr : std::malloc(size);
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

TEST_CASE("whichever allocation fails: ENOMEM, and the same change succeeds afterwards") {
  const pair_of_test p = pair_of_test::of_sockets();
  std::FILE* const file = std::tmpfile();
  REQUIRE(file != nullptr);
  child_of_test child;
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
  int failed = 0;  // how many allocations were tried
  for (; has_failed; ++failed) {
    int left = failed;
    has_failed = false;
    const kqueue_of_test kq;
    for (kevent64_s c : changes) {
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
      c.flags = static_cast<std::uint16_t>(EV_DELETE | (c.flags & EV_UDATA_SPECIFIC));
      CHECK(kq.apply(c) == 0);
    }
  }
  CHECK(failed > 9);  // each knote has a block at least
  std::fclose(file);
  child.kill(SIGKILL);
  child.wait();
}

TEST_CASE(
    "a duplicate of a kqueue's number that there is no memory for: ENOMEM, and none is made") {
  const descriptor_limit_of_test descriptors(16384);
  REQUIRE(descriptors.limit() > 4096);
  const kqueue_of_test kq;
  const auto duplicate = [&](int how, int number) {
    if (how == 0) return ::fcntl(kq.fd(), F_DUPFD, number);
    if (how == 1) return ::dup2(kq.fd(), number);
    return ::dup3(kq.fd(), number, O_CLOEXEC);
  };
  for (const int how : {0, 1, 2}) {
    const int number = 1024 * (how + 1);  // the first of a page
    int failed = 0;
    int fresh = -1;
    for (; fresh < 0; ++failed) {
      allocations_left = failed;
      fresh = duplicate(how, number);
      const int error = errno;
      allocations_left = -1;
      if (fresh >= 0) break;
      CHECK(error == ENOMEM);
      CHECK(::fcntl(number, F_GETFD) == -1);
    }
    CHECK(failed > 0);
    CHECK(fresh == number);
    kevent64_s out;
    constexpr timespec zero{0, 0};
    CHECK(kevent64(fresh, nullptr, 0, &out, 1, 0, &zero) == 0);
    CHECK(::close(fresh) == 0);
  }
  CHECK(kq.now().empty());
}
