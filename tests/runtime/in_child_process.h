// in_child_process(fn), status_of_child(fn): run fn in a child of fork() and report how the child
// ended; for code that forks, or ends the program.
#pragma once

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <functional>
#include <string>

namespace kedge {

struct program_end {
  int status;  // as waitpid(2) gives it
  std::string standard_error;

  // Returns the signal that ended the program, or 0.
  int signal() const noexcept { return WIFSIGNALED(status) ? WTERMSIG(status) : 0; }
  bool aborted() const noexcept { return signal() == SIGABRT; }

  bool says(const std::string& part) const {
    if (standard_error.find(part) != std::string::npos) return true;
    MESSAGE("no \"" << part << "\" in:\n" << standard_error);
    return false;
  }
};

inline program_end in_child_process(const std::function<void()>& fn) {
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  const pid_t pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    for (const int end : ends) ::close(end);
    std::signal(SIGABRT, SIG_DFL);  // doctest catches it
    std::set_terminate(std::abort);
    fn();
    std::_Exit(0);
  }
  ::close(ends[1]);
  program_end end{};
  std::array<char, 256> buffer{};
  ssize_t n;
  while ((n = ::read(ends[0], buffer.data(), buffer.size())) > 0) {
    end.standard_error.append(buffer.data(), static_cast<std::size_t>(n));
  }
  ::close(ends[0]);
  REQUIRE(::waitpid(pid, &end.status, 0) == pid);
  return end;
}

// The child exits with what `fn` returns.
inline int status_of_child(const std::function<int()>& fn) {
  return in_child_process([&] { std::_Exit(fn()); }).status;
}

}  // namespace kedge
