// kqueues in fork, vfork, posix_spawn and exec: the child has none of the parent's.

#include "test_kqueue.h"

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "child_process.h"

namespace {

constexpr timespec zero{0, 0};

// Runs `child` in a child of fork(). Returns what it returned.
template <class Child>
int in_child(Child child) {
  const int status = status_of_child(child);
  REQUIRE(WIFEXITED(status));
  return WEXITSTATUS(status);
}

// Polls `kq`, which need not be a kqueue. Returns 0 or the errno.
int poll_kqueue(int kq) {
  kevent64_s out;
  return kevent64(kq, nullptr, 0, &out, 1, 0, &zero) >= 0 ? 0 : errno;
}

bool is_open(int fd) {
  return fcntl(fd, F_GETFD) != -1;
}

using open_fds = std::array<bool, 256>;

open_fds open_now() {
  open_fds all{};
  for (int fd = 0; fd < 256; ++fd) all[static_cast<std::size_t>(fd)] = is_open(fd);
  return all;
}

// Returns true if every fd that is open now was open then.
bool nothing_new_since(const open_fds& then) {
  const open_fds now = open_now();
  for (std::size_t fd = 0; fd < now.size(); ++fd) {
    if (now[fd] && !then[fd]) return false;
  }
  return true;
}

// Makes a kqueue with events of four filters, takes them, and closes it. Returns 0, or which step
// failed.
int use_one(int readable) {
  const int own = ::kqueue();
  const kevent64_s add[] = {change(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER),
                            change(1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_USECONDS, 1),
                            change(readable, EVFILT_READ, EV_ADD),
                            change(SIGUSR1, EVFILT_SIGNAL, EV_ADD)};
  if (kevent64(own, add, 4, nullptr, 0, 0, nullptr) != 0) return 2;
  raise(SIGUSR1);
  int seen = 0;
  kevent64_s out[4];
  while (seen != 15) {
    const int n = kevent64(own, nullptr, 0, out, 4, 0, nullptr);
    if (n <= 0) return 3;
    for (int i = 0; i < n; ++i) {
      seen |= out[i].filter == EVFILT_USER    ? 1
              : out[i].filter == EVFILT_TIMER ? 2
              : out[i].filter == EVFILT_READ  ? 4
                                              : 8;
    }
  }
  return ::close(own) == 0 ? 0 : 4;
}

// A kqueue with knotes of many kinds, two of which are ready: USER and READ.
struct busy_kqueue {
  test_kqueue kq;
  fd_pair pair = fd_pair::of_sockets();
  FILE* file = std::tmpfile();

  busy_kqueue() {
    REQUIRE(file != nullptr);
    pair.put(1, "x");
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER) == 0);
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, NOTE_SECONDS, 1'000'000) == 0);
    REQUIRE(kq.apply(2, EVFILT_TIMER, EV_ADD, NOTE_SECONDS | NOTE_MACH_CONTINUOUS_TIME,
                     1'000'000) == 0);
    REQUIRE(kq.apply(SIGUSR1, EVFILT_SIGNAL, EV_ADD) == 0);
    REQUIRE(kq.apply(pair[0], EVFILT_READ, EV_ADD) == 0);
    REQUIRE(kq.apply(fileno(file), EVFILT_VNODE, EV_ADD, NOTE_DELETE | NOTE_WRITE) == 0);
    REQUIRE(kq.now().size() == 2);
  }
  busy_kqueue(const busy_kqueue&) = delete;
  busy_kqueue& operator=(const busy_kqueue&) = delete;
  ~busy_kqueue() { std::fclose(file); }
};

}  // namespace

TEST_CASE("after fork a kqueue fails with EBADF in the child, and works in the parent") {
  const busy_kqueue b;
  const int twin = ::dup(b.kq.fd());
  CHECK(in_child([&] {
          if (poll_kqueue(b.kq.fd()) != EBADF || poll_kqueue(twin) != EBADF) return 1;
          if (b.kq.apply(1, EVFILT_USER, EV_DELETE) != EBADF) return 2;
          if (is_open(b.kq.fd()) || is_open(twin)) return 3;
          return 0;
        }) == 0);
  CHECK(b.kq.now().size() == 2);
  CHECK(b.kq.apply(1, EVFILT_USER, EV_DELETE) == 0);
  ::close(twin);
}

TEST_CASE("the child has no fd of the parent's kqueue, and its own kqueues work and leave no fd") {
  open_fds before = open_now();
  const busy_kqueue b;
  for (const int fd : {b.pair[0], b.pair[1], fileno(b.file)}) {
    before[static_cast<std::size_t>(fd)] = true;
  }
  CHECK(in_child([&] {
          if (!nothing_new_since(before)) return 1;
          signal(SIGUSR1, SIG_IGN);
          if (const int failed = use_one(b.pair[0]); failed != 0) return failed;
          const open_fds after_one = open_now();
          if (const int failed = use_one(b.pair[0]); failed != 0) return failed;
          return nothing_new_since(after_one) ? 0 : 5;
        }) == 0);
  CHECK(b.kq.now().size() == 2);
}

TEST_CASE("a file that the child puts on the fd of a kqueue of the parent is an ordinary file") {
  const busy_kqueue b;
  CHECK(in_child([&] {
          const int fd = ::dup2(b.pair[1], b.kq.fd());
          if (fd != b.kq.fd() || poll_kqueue(fd) != EBADF || !is_open(fd)) return 1;
          const int own = ::kqueue();
          const kevent64_s add = change(fd, EVFILT_WRITE, EV_ADD);
          kevent64_s out;
          if (kevent64(own, &add, 1, &out, 1, 0, nullptr) != 1) return 2;
          return ::close(fd) == 0 && ::close(own) == 0 ? 0 : 3;
        }) == 0);
  CHECK(b.kq.now().size() == 2);
}

TEST_CASE("an fd that the child closes stays watched in the parent") {
  const busy_kqueue b;
  CHECK(in_child([&] { return ::close(b.pair[0]); }) == 0);
  CHECK(b.kq.now().size() == 2);
  SUBCASE("an fd that the parent closes does not, though a child has it open") {
    const fd_pair hold = fd_pair::of_pipe();
    const int fd = ::dup(b.pair[0]);
    REQUIRE(b.kq.apply(fd, EVFILT_READ, EV_ADD) == 0);
    REQUIRE(b.kq.now().size() == 3);
    const pid_t child = fork();
    if (child == 0) {
      char c = 0;
      ::close(hold[1]);
      _exit(static_cast<int>(::read(hold[0], &c, 1)));
    }
    REQUIRE(child > 0);
    ::close(fd);
    CHECK(b.kq.now().size() == 2);
    hold.put(1, "x");
    CHECK(waitpid(child, nullptr, 0) == child);
  }
}

TEST_CASE("a grandchild has none of the kqueues of its parent and grandparent") {
  const busy_kqueue b;
  CHECK(in_child([&] {
          const int own = ::kqueue();
          const pid_t grandchild = fork();
          if (grandchild == 0) {
            _exit(poll_kqueue(b.kq.fd()) == EBADF && poll_kqueue(own) == EBADF && !is_open(own)
                      ? 0
                      : 1);
          }
          int status = 1;
          waitpid(grandchild, &status, 0);
          return status == 0 && poll_kqueue(own) == 0 ? 0 : 2;
        }) == 0);
}

TEST_CASE("fork while threads wait in and trigger a kqueue leaves the child able to use its own") {
  const test_kqueue kq;
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR) == 0);
  REQUIRE(kq.apply(2, EVFILT_USER, EV_ADD) == 0);
  std::atomic<bool> done{false};
  std::thread waiter([&] {
    for (;;) {
      kevent64_s out[2];
      const int n = kevent64(kq.fd(), nullptr, 0, out, 2, 0, nullptr);
      for (int i = 0; i < n; ++i) {
        if (out[i].ident == 2) return;
      }
    }
  });
  std::thread trigger([&] {
    while (!done) CHECK(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
  });
  for (int i = 0; i < 20; ++i) {
    CAPTURE(i);
    CHECK(in_child([&] {
            if (poll_kqueue(kq.fd()) != EBADF) return 1;
            const int own = ::kqueue();
            const kevent64_s add = change(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER);
            kevent64_s out;
            return kevent64(own, &add, 1, &out, 1, 0, nullptr) == 1 ? 0 : 2;
          }) == 0);
  }
  done = true;
  trigger.join();
  REQUIRE(kq.apply(2, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
  waiter.join();
}

TEST_CASE("fork while threads make, change and close kqueues leaves the child none of their fds") {
  const busy_kqueue b;
  child_process watched;
  const open_fds before = open_now();
  std::atomic<bool> done{false};
  std::atomic<int> failures{0};
  std::vector<std::thread> others;
  others.emplace_back([&] {
    const test_kqueue kq;
    constexpr std::uint64_t count = 40;
    while (!done) {
      for (const unsigned what : {unsigned{EV_ADD}, unsigned{EV_DELETE}}) {
        for (std::uint64_t i = 0; i < count; ++i) {
          if (kq.apply(watched.pid(), EVFILT_PROC, what | EV_UDATA_SPECIFIC, NOTE_EXIT, 0, i) != 0)
            ++failures;
        }
      }
    }
  });
  others.emplace_back([&] {
    while (!done) {
      const int kq = ::kqueue();
      const kevent64_s adds[] = {
          change(1, EVFILT_TIMER, EV_ADD, NOTE_SECONDS, 1000),
          change(fileno(b.file), EVFILT_VNODE, EV_ADD, NOTE_WRITE),
          change(watched.pid(), EVFILT_PROC, EV_ADD, NOTE_EXIT),
      };
      if (kevent64(kq, adds, 3, nullptr, 0, 0, nullptr) != 0) ++failures;
      if (::close(kq) != 0) ++failures;
    }
  });
  for (int i = 0; i < 60; ++i) {
    CAPTURE(i);
    CHECK(in_child([&] {
            if (!nothing_new_since(before)) return 1;
            for (const int fd : {b.pair[0], b.pair[1], fileno(b.file)}) {
              if (!is_open(fd)) return 2;
            }
            return 0;
          }) == 0);
  }
  done = true;
  for (std::thread& t : others) t.join();
  CHECK(failures == 0);
  watched.kill(SIGKILL);
  watched.wait();
}

TEST_CASE("exec closes the fd of a kqueue") {
  const busy_kqueue b;
  for (int fd = 3; fd < 256; ++fd) {
    CAPTURE(fd);
    if (!is_open(fd)) continue;
    const bool is_ours = fd == b.pair[0] || fd == b.pair[1] || fd == fileno(b.file);
    if (is_ours) REQUIRE(fcntl(fd, F_SETFD, FD_CLOEXEC) == 0);
  }
  // The shell itself uses fds 0 to 2.
  const std::string command = "test ! -e /dev/fd/" + std::to_string(b.kq.fd());
  CHECK(std::system(command.c_str()) == 0);
}

TEST_CASE(
    "the child of vfork may close watched fds before exec, and the parent still watches them") {
  const busy_kqueue b;
  const int fd = b.pair[0];
  const int kq = b.kq.fd();
  const pid_t child = vfork();
  if (child == 0) {
    ::close(fd);
    ::dup2(2, kq);
    execl("/bin/sh", "sh", "-c", "exit 7", static_cast<char*>(nullptr));
    _exit(1);
  }
  REQUIRE(child > 0);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WEXITSTATUS(status) == 7);
  CHECK(b.kq.now().size() == 2);
}

TEST_CASE("a signal that the child of vfork receives is not counted in the parent") {
  const test_kqueue kq;
  REQUIRE(kq.apply(SIGUSR1, EVFILT_SIGNAL, EV_ADD) == 0);
  struct sigaction own{};
  struct sigaction before{};
  SUBCASE("ignored") {
    own.sa_handler = SIG_IGN;
  }
  SUBCASE("handled with SA_RESETHAND, which keeps the handler of the parent") {
    own.sa_handler = [](int) {};
    own.sa_flags = static_cast<int>(SA_RESETHAND);
  }
  REQUIRE(sigaction(SIGUSR1, &own, &before) == 0);
  const pid_t child = vfork();
  if (child == 0) {
    kill(getpid(), SIGUSR1);
    _exit(7);
  }
  REQUIRE(child > 0);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WEXITSTATUS(status) == 7);
  CHECK(kq.now().empty());
  REQUIRE(raise(SIGUSR1) == 0);
  CHECK(only(kq.now(), EVFILT_SIGNAL).data == 1);
  REQUIRE(sigaction(SIGUSR1, &before, nullptr) == 0);
}

TEST_CASE("posix_spawn with actions on watched fds leaves them watched in the parent") {
  const busy_kqueue b;
  posix_spawn_file_actions_t actions;
  REQUIRE(posix_spawn_file_actions_init(&actions) == 0);
  REQUIRE(posix_spawn_file_actions_addclose(&actions, b.pair[0]) == 0);
  REQUIRE(posix_spawn_file_actions_adddup2(&actions, 2, b.kq.fd()) == 0);
  char name[] = "sh";
  char option[] = "-c";
  char command[] = "exit 7";
  char* arguments[] = {name, option, command, nullptr};
  char* environment[] = {nullptr};
  pid_t child = 0;
  REQUIRE(posix_spawn(&child, "/bin/sh", &actions, nullptr, arguments, environment) == 0);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WEXITSTATUS(status) == 7);
  CHECK(b.kq.now().size() == 2);
  posix_spawn_file_actions_destroy(&actions);
}
