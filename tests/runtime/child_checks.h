// What tests ask of the children of their process, and read_all() for their pipes.
#pragma once

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <string>
#include <thread>

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
