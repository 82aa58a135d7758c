// What tests ask of the children of their process, and read_all() for their pipes.
#pragma once

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#if __has_include(<sys/ptrace.h>)
#include <sys/ptrace.h>
#endif

#include <array>
#include <cerrno>
#include <cstddef>
#include <string>
#include <thread>
#include <utility>

#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/loop.h"

namespace kedge {

// Returns whether the child runs or is a zombie.
inline bool is_child(pid_t pid) {
  siginfo_t information{};
  return ::waitid(P_PID, static_cast<id_t>(pid), &information, WEXITED | WNOHANG | WNOWAIT) == 0;
}

// Returns true if this process has no child, not even a zombie.
inline bool has_no_child() {
  siginfo_t information{};
  return ::waitid(P_ALL, 0, &information, WEXITED | WNOHANG | WNOWAIT) != 0 && errno == ECHILD;
}

// For children that the thread of unreaped_child.h waits for.
inline void await_no_child() {
  while (!has_no_child()) std::this_thread::yield();
}

// Waits until the child has ended, and leaves it waitable.
inline void await_zombie(pid_t pid) {
  siginfo_t information{};
  REQUIRE(::waitid(P_PID, static_cast<id_t>(pid), &information, WEXITED | WNOWAIT) == 0);
}

// Waits until some child has ended, and leaves it waitable. Returns at once if there is no child.
inline void await_any_zombie() {
  siginfo_t information{};
  ::waitid(P_ALL, 0, &information, WEXITED | WNOWAIT);
}

// Reads to the end of the file.
inline std::string read_all(loop& l, descriptor& from) {
  std::string all;
  std::array<std::byte, 4096> buffer{};
  for (;;) {
    const auto n = l.run(from.read_some(buffer));
    if (!n) {
      CHECK(n.error() == errc::end_of_file);
      return all;
    }
    all.append(reinterpret_cast<const char*>(buffer.data()), *n);
  }
}

#if defined(PTRACE_SEIZE)
// A process that traces a child of this one. So the child cannot be waited for when it has ended,
// until the tracer lets go of it.
class tracer {
 public:
  explicit tracer(pid_t child) {
    REQUIRE(::pipe(report_) == 0);
    REQUIRE(::pipe(hold_) == 0);
    pid_ = ::fork();
    if (pid_ != 0) {
      ::close(report_[1]);
      ::close(hold_[0]);
      is_allowed_ = hears('t');
      return;
    }
    ::close(hold_[1]);
    const auto say = [&](char c) {
      if (::write(report_[1], &c, 1) != 1) ::_exit(1);
    };
    if (::ptrace(PTRACE_SEIZE, child, nullptr, nullptr) != 0) ::_exit(1);
    say('t');
    await_zombie(child);
    say('z');
    char none;
    ::_exit(::read(hold_[0], &none, 1) == 0 ? 0 : 1);
  }
  tracer(const tracer&) = delete;
  tracer& operator=(const tracer&) = delete;
  ~tracer() {
    let_go();
    ::close(report_[0]);
  }

  // The system may refuse it.
  bool is_allowed() const noexcept { return is_allowed_; }
  // Waits until the child has ended.
  void await_end() { CHECK(hears('z')); }
  void let_go() noexcept {
    if (pid_ < 0) return;
    ::close(hold_[1]);
    ::waitpid(std::exchange(pid_, -1), nullptr, 0);
  }

 private:
  bool hears(char wanted) noexcept {
    char c = 0;
    return ::read(report_[0], &c, 1) == 1 && c == wanted;
  }

  int report_[2] = {};
  int hold_[2] = {};
  pid_t pid_ = -1;
  bool is_allowed_ = false;
};
#endif

// Another soft limit on the number of fds, for the lifetime of the object.
class scoped_fd_limit {
 public:
  explicit scoped_fd_limit(rlim_t limit) {
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before_) == 0);
    const rlimit now{limit, before_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &now) == 0);
  }
  scoped_fd_limit(const scoped_fd_limit&) = delete;
  scoped_fd_limit& operator=(const scoped_fd_limit&) = delete;
  ~scoped_fd_limit() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

}  // namespace kedge
