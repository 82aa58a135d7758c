// status_of_child(): runs a function in a forked child. died_of(): the signal that ended it.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace kedge {

// Runs `body` in a child, which exits with its result and prints nothing. Returns the status of the
// child.
template <class Function>
int status_of_child(Function body) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGABRT, SIG_DFL);  // doctest catches it
    const int nowhere = ::open("/dev/null", O_WRONLY);
    ::dup2(nowhere, STDOUT_FILENO);
    ::dup2(nowhere, STDERR_FILENO);
    ::close(nowhere);
    _exit(body());
  }
  REQUIRE(child > 0);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return status;
}

// Returns the signal that ended a child with this status, or 0.
inline int died_of(int status) noexcept {
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

}  // namespace kedge
