// in_child_process(fn): runs fn in a child of fork() and reports how the child ended; for code that
// ends the program.
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
  bool aborted;
  std::string standard_error;

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
    std::signal(SIGABRT, SIG_DFL);
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
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  end.aborted = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
  return end;
}

}  // namespace kedge
