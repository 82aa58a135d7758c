// counted_run: runs a program under ptrace, or under callgrind.
#include "counted_run.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#if defined(__linux__)
#include <sys/ptrace.h>
#endif

namespace {

// Replaces this process by the program, with its standard output discarded. For a forked child.
[[noreturn]] void become(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  ::dup2(::open("/dev/null", O_WRONLY), STDOUT_FILENO);
  ::execvp(arguments[0], arguments.data());
  std::_Exit(127);
}

int wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  return status;
}

}  // namespace

#if defined(__linux__)

std::optional<std::uint64_t> count_system_calls(const std::vector<std::string>& command) {
  const pid_t pid = ::fork();
  if (pid < 0) return std::nullopt;
  if (pid == 0) {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) std::_Exit(127);
    ::raise(SIGSTOP);
    become(command);
  }
  constexpr int call_stop = SIGTRAP | 0x80;
  std::uint64_t stops = 0;  // two per system call
  int status = wait_for(pid);
  if (WIFSTOPPED(status)) {
    // Traces its threads too, each of which stops with SIGSTOP once before it begins.
    ::ptrace(PTRACE_SETOPTIONS, pid, nullptr,
             PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL);
    ::ptrace(PTRACE_SYSCALL, pid, nullptr, 0);
  }
  for (pid_t thread = pid; thread != pid || WIFSTOPPED(status);) {
    thread = ::waitpid(-1, &status, __WALL);
    if (thread < 0 && errno != EINTR) return std::nullopt;
    if (thread < 0 || !WIFSTOPPED(status)) continue;
    const int why = WSTOPSIG(status);
    if (why == call_stop) ++stops;
    const bool is_signal = why != call_stop && why != SIGTRAP && why != SIGSTOP;
    ::ptrace(PTRACE_SYSCALL, thread, nullptr, is_signal ? why : 0);
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return std::nullopt;
  return stops / 2;
}

#else

std::optional<std::uint64_t> count_system_calls(const std::vector<std::string>&) {
  return std::nullopt;
}

#endif

std::optional<std::uint64_t> count_instructions(const std::vector<std::string>& command) {
  std::vector<std::string> under{"valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"};
  under.insert(under.end(), command.begin(), command.end());
  int ends[2];
  if (::pipe(ends) != 0) return std::nullopt;
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    become(under);
  }
  ::close(ends[1]);
  std::string said;
  char buffer[1024];
  for (ssize_t n; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
    said.append(buffer, static_cast<std::size_t>(n));
  }
  ::close(ends[0]);
  if (pid < 0 || wait_for(pid) != 0) return std::nullopt;
  constexpr std::string_view before = "Collected : ";
  const std::size_t at = said.find(before);
  if (at == said.npos) return std::nullopt;
  return std::strtoull(said.c_str() + at + before.size(), nullptr, 10);
}
