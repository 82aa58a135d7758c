// A child plays the trace and writes its results to a pipe, each as it comes.
#include "kqueue_replay.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <system_error>

#include "kqueue_player.h"

namespace conformance {
namespace {

// A trace takes milliseconds. Under a sanitizer on a loaded machine it may take a hundred times as
// long.
constexpr unsigned longest = 20;  // s

void write_all(int to, std::string_view text) {
  while (!text.empty()) {
    const ssize_t done = write(to, text.data(), text.size());
    if (done <= 0) _exit(1);
    text.remove_prefix(static_cast<std::size_t>(done));
  }
}

// Plays the trace. Writes a line for each operation, or one that begins with `!` for a line that
// breaks the grammar.
[[noreturn]] void play_in_child(const std::vector<trace_line>& lines, int to) {
  signal(SIGALRM, SIG_DFL);
  alarm(longest);
  try {
    kqueue_player player;
    for (const trace_line& line : lines) {
      if (line.what != trace_line::kind::operation) continue;
      at_line(line, [&] { write_all(to, player.play(line.text) + "\n"); });
    }
  } catch (const bad_script& problem) {
    write_all(to, std::string("!") + problem.what() + "\n");
  }
  _exit(0);
}

std::string read_all(int from) {
  std::string text;
  char block[4096];
  for (;;) {
    const ssize_t got = read(from, block, sizeof block);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return text;
    text.append(block, static_cast<std::size_t>(got));
  }
}

std::string describe_end(int status) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return "";
  if (WIFEXITED(status)) return "status " + std::to_string(WEXITSTATUS(status));
  if (WTERMSIG(status) == SIGALRM) return "an alarm after " + std::to_string(longest) + " s";
  return "signal " + std::to_string(WTERMSIG(status));
}

}  // namespace

bool is_kqueue_trace(const std::vector<trace_line>& lines) {
  for (const trace_line& line : lines) {
    if (line.what == trace_line::kind::tasks) return false;
    if (line.what == trace_line::kind::operation) return is_kqueue_operation(line.text);
  }
  return false;
}

kqueue_run play_kqueue_trace(const std::vector<trace_line>& lines) {
  int ends[2];
  if (pipe(ends) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
  const pid_t child = fork();
  if (child < 0) throw std::system_error(errno, std::generic_category(), "fork");
  if (child == 0) {
    close(ends[0]);
    play_in_child(lines, ends[1]);
  }
  close(ends[1]);
  const std::string text = read_all(ends[0]);
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  kqueue_run run;
  run.end = describe_end(status);
  for (const std::string_view line : split(text, '\n')) {
    if (line.starts_with('!')) throw bad_script(std::string(line.substr(1)));
    if (!line.empty()) run.results.emplace_back(line);
  }
  return run;
}

}  // namespace conformance
