// program: starts a program by posix_spawn, with pipes and a temporary file.
#include "program.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

extern char** environ;

namespace {

void check(int error, const std::string& what) {
  if (error != 0) throw std::system_error(error, std::generic_category(), what);
}

// Makes a pipe that programs started later do not inherit.
std::pair<int, int> private_pipe() {
  int ends[2];
  check(::pipe(ends) == 0 ? 0 : errno, "pipe");
  for (const int fd : ends) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  return {ends[0], ends[1]};
}

}  // namespace

program::program(const std::vector<std::string>& command, int handed)
    : errors_(std::tmpfile(), &std::fclose) {
  check(errors_ ? 0 : errno, "tmpfile");
  ::fcntl(::fileno(errors_.get()), F_SETFD, FD_CLOEXEC);
  ::signal(SIGPIPE, SIG_IGN);  // write() reports a closed input
  const auto [input_end, input] = private_pipe();
  const auto [output, output_end] = private_pipe();
  input_ = input;
  output_ = output;

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, input_end, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&files, output_end, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&files, ::fileno(errors_.get()), STDERR_FILENO);
  if (handed >= 0) posix_spawn_file_actions_adddup2(&files, handed, 3);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t defaults;
  sigemptyset(&defaults);
  for (const int number : {SIGINT, SIGTERM, SIGPIPE}) sigaddset(&defaults, number);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);

  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const int error =
      posix_spawn(&pid_, arguments[0], &files, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  ::close(input_end);
  ::close(output_end);
  if (error != 0) {
    ::close(input_);
    ::close(output_);
    check(error, command.front());
  }
}

program::~program() {
  close_input();
  close_output();
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) continue;
}

bool program::write(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(input_, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

void program::close_input() {
  if (input_ >= 0) ::close(std::exchange(input_, -1));
}

bool program::read_more() {
  char buffer[4096];
  ssize_t n;
  do {
    n = ::read(output_, buffer, sizeof buffer);
  } while (n < 0 && errno == EINTR);
  if (n > 0) out_.append(buffer, static_cast<std::size_t>(n));
  return n > 0;
}

bool program::read_until(std::string_view text) {
  while (out_.find(text) == std::string::npos) {
    if (!read_more()) return false;
  }
  return true;
}

void program::close_output() {
  if (output_ >= 0) ::close(std::exchange(output_, -1));
}

void program::signal(int number) {
  ::kill(pid_, number);
}

outcome program::finish() {
  close_input();
  while (read_more()) continue;
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) continue;
  pid_ = -1;
  std::string err;
  std::rewind(errors_.get());
  for (int c; (c = std::getc(errors_.get())) != EOF;) err.push_back(static_cast<char>(c));
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), out_, std::move(err)};
}

outcome run(const std::vector<std::string>& command, std::string_view input) {
  program p(command);
  p.write(input);
  return p.finish();
}
