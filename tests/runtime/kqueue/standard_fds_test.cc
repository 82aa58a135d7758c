// A program that was started with 0, 1 and 2 closed: a kqueue takes none of them but for its own
// fd.

#include "test_kqueue.h"

#include <signal.h>
#include <sys/wait.h>

#include <cstdio>
#include <vector>

namespace {

bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) != -1;
}

// Runs `child` in a child of fork() without standard input, output and error. Returns what it
// returned.
template <class Child>
int without_standard_fds(Child child) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    for (const int fd : {0, 1, 2}) ::close(fd);
    _exit(child());
  }
  REQUIRE(pid > 0);
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  REQUIRE(WIFEXITED(status));
  return WEXITSTATUS(status);
}

// Returns 0, or the place of the first change that left 1 or 2 open, or failed.
int take_no_standard_fd(int kq, const std::vector<kevent64_s>& changes) {
  int place = 0;
  for (const kevent64_s& c : changes) {
    ++place;
    kevent64_s event;
    const timespec zero{0, 0};
    if (kevent64(kq, &c, 1, nullptr, 0, 0, nullptr) != 0) return place;
    if (kevent64(kq, nullptr, 0, &event, 1, 0, &zero) < 0) return place;
    if (is_open(1) || is_open(2)) return 100 + place;
  }
  return 0;
}

}  // namespace

TEST_CASE("a kqueue with knotes of all filters leaves 1 and 2 closed, and is 0 itself") {
  const fd_pair pair = fd_pair::of_sockets();
  const fd_pair pipe = fd_pair::of_pipe();
  pipe.fill(1);
  pipe.take(0, 4096);
  FILE* const file = std::tmpfile();
  REQUIRE(file != nullptr);
  const std::vector<kevent64_s> changes{
      change(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER),
      change(1, EVFILT_TIMER, EV_ADD, NOTE_SECONDS, 1000),
      change(2, EVFILT_TIMER, EV_ADD, NOTE_SECONDS | NOTE_MACH_CONTINUOUS_TIME, 1000),
      change(pair[0], EVFILT_READ, EV_ADD, NOTE_LOWAT, 100),
      change(pipe[1], EVFILT_WRITE, EV_ADD, NOTE_LOWAT, 20'000),
      change(fileno(file), EVFILT_VNODE, EV_ADD, NOTE_WRITE),
      change(SIGUSR1, EVFILT_SIGNAL, EV_ADD)};
  CHECK(without_standard_fds([&] {
          const int kq = ::kqueue();
          if (kq != 0) return 200;  // the lowest that is free
          return take_no_standard_fd(kq, changes);
        }) == 0);
  CHECK(without_standard_fds([&] {
          const int kq = ::kqueue();
          const pid_t watched = ::fork();
          if (watched == 0) {
            ::pause();
            _exit(0);
          }
          const int result =
              take_no_standard_fd(kq, {change(watched, EVFILT_PROC, EV_ADD, NOTE_EXIT)});
          ::kill(watched, SIGKILL);
          return result;
        }) == 0);
  std::fclose(file);
}

TEST_CASE("bytes that a program without standard error writes there trigger no event") {
  CHECK(without_standard_fds([] {
          const int kq = ::kqueue();
          const kevent64_s add = change(1, EVFILT_USER, EV_ADD);
          if (kevent64(kq, &add, 1, nullptr, 0, 0, nullptr) != 0) return 1;
          for (const int fd : {1, 2}) {
            if (::write(fd, "8 bytes!", 8) >= 0 || errno != EBADF) return 2;
          }
          return 0;
        }) == 0);
}

TEST_CASE("a duplicate of a kqueue takes the lowest fd that is free") {
  CHECK(without_standard_fds([] {
          const int kq = ::kqueue();
          return kq == 0 && ::dup(kq) == 1 && ::fcntl(kq, F_DUPFD, 0) == 2 ? 0 : 1;
        }) == 0);
}
