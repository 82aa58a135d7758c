// pmap: runs a command for each line of its input, several at a time.
//
//     ls *.flac | pmap -j 4 ffmpeg -i {} -loglevel error {}.mp3
//
// Each line of a command's output has the input line in front of it. A terminal on standard error
// shows the progress. Ctrl-C ends the commands: SIGTERM, and SIGKILL after two seconds. However
// pmap ends, no command is left running.
#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include "kedge/net/errc.h"
#include "kedge/net/reader.h"
#include "kedge/net/standard_stream.h"
#include "kedge/net/write_all.h"
#include "kedge/runtime/runtime.h"

using namespace std::chrono_literals;
namespace net = kedge::net;

constexpr std::size_t longest_line = 64 * 1024;  // of the input, and of a part of the output

constexpr const char* usage =
    "usage: pmap [-j N] [-q] [--] COMMAND [ARGUMENT...]\n"
    "Runs COMMAND for each line of the standard input that is not empty. The line takes the place\n"
    "of {} in the arguments, or is the last argument.\n"
    "  -j N    run N commands at a time; without it, one for each processor\n"
    "  -q      do not put the line in front of the output, and show no progress\n"
    "  --help  print this\n"
    "Exits with 0 if all commands do, and otherwise as the first line's that did not: 127 if it "
    "was\n"
    "not found, 126 if it did not start, 128 and the signal that ended it. 130 after Ctrl-C.\n";

struct options {
  std::size_t jobs = std::max(1u, std::thread::hardware_concurrency());
  bool is_quiet = false;
  std::vector<std::string> words;
};

// What the commands share: the two outputs, the progress, and what has failed.
class board {
 public:
  board(kedge::loop& loop, const options& o)
      : out_(loop), err_(loop, STDIN_FILENO, STDERR_FILENO), shows_(!o.is_quiet && ::isatty(2)) {}
  board(const board&) = delete;
  board& operator=(const board&) = delete;
  ~board() {
    if (shows_) std::fputs(erase, stderr);
    if (running_ != 0) std::fprintf(stderr, "pmap: ended %zu running commands\n", running_);
  }

  kedge::task<> print(bool is_error, std::string text) {
    const auto turn = (co_await order_.lock()).value();
    if (shows_) co_await write(err_, erase);
    co_await write(is_error ? err_ : out_, text);
    if (shows_) co_await write(err_, progress());
  }
  kedge::task<> note_start() {
    ++running_;
    if (shows_) co_await print(true, "");
  }
  kedge::task<> note_end(std::size_t number, std::string line, int status, std::string how) {
    --running_;
    ++done_;
    if (status != 0) {
      ++failed_;
      if (number < first_failed_) status_ = status;
      first_failed_ = std::min(number, first_failed_);
    }
    std::string text;
    if (status != 0) text = "pmap: " + line + how + "\n";
    if (status != 0 || shows_) co_await print(true, std::move(text));
  }
  int status() const noexcept { return status_; }

 private:
  static constexpr const char* erase = "\r\x1b[K";

  static kedge::task<> write(net::standard_stream& to, std::string text) {
    (co_await net::write_all(to, std::as_bytes(std::span(text)))).value();
  }
  std::string progress() const {
    return std::to_string(done_) + " done, " + std::to_string(running_) + " running, " +
           std::to_string(failed_) + " failed";
  }

  net::standard_stream out_, err_;
  kedge::mutex order_;
  bool shows_;
  std::size_t running_ = 0, done_ = 0, failed_ = 0;
  std::size_t first_failed_ = std::numeric_limits<std::size_t>::max();
  int status_ = 0;
};

// Copies what a command writes, line by line. A line without an end is cut into parts.
kedge::task<> copy_lines(kedge::descriptor& from, board& to, bool is_error,
                         const std::string& prefix) {
  net::reader in(from);
  for (;;) {
    const auto line = co_await in.line(longest_line);
    std::string text = prefix;
    if (line) {
      text += *line;
    } else if (line.error() == net::errc::limit_exceeded) {
      const auto part = in.buffered().first(longest_line);
      text.append(reinterpret_cast<const char*>(part.data()), part.size());
      in.consume(part.size());
    } else {
      co_return;
    }
    co_await to.print(is_error, text + "\n");
  }
}

std::vector<std::string> words_for(std::vector<std::string> words, const std::string& line) {
  bool has_place = false;
  for (std::string& word : words) {
    for (std::size_t at = 0; (at = word.find("{}", at)) != std::string::npos; at += line.size()) {
      word.replace(at, 2, line);
      has_place = true;
    }
  }
  if (!has_place) words.push_back(line);
  return words;
}

kedge::task<> run_one(board& all, const options& o, std::size_t number, std::string line) {
  co_await all.note_start();
  const std::string prefix = o.is_quiet ? "" : line + ": ";
  int status = 126;
  std::string how;
  try {
    const kedge::process_options piped{.input = kedge::null_device,
                                       .output = kedge::pipe,
                                       .error = kedge::pipe,
                                       .new_group = true};
    kedge::process child(*kedge::loop::current(), words_for(o.words, line), piped);
    const auto follow = [&]() -> kedge::task<> {
      co_await kedge::when_all(copy_lines(child.output(), all, false, prefix),
                               copy_lines(child.error(), all, true, prefix));
      const kedge::exit_status end = (co_await child.exited()).value();
      status = end.shell_code();
      how = end.signal() ? ": ended by signal " + std::to_string(*end.signal())
                         : ": exited with " + std::to_string(status);
    };
    const auto leave = [&](const kedge::attempted<void>& end) -> kedge::task<> {
      if (!end) (void)co_await child.terminate(2s);
    };
    co_await kedge::with_cleanup(follow, leave, 10s);
  } catch (const std::system_error& e) {
    if (status != 126 || e.code() == std::errc::broken_pipe) throw;
    status = e.code() == std::errc::no_such_file_or_directory ? 127 : 126;
    how = std::string(": ") + e.what();
  }
  co_await all.note_end(number, std::move(line), status, std::move(how));
}

kedge::task<int> map(kedge::loop& loop, const options& o) {
  board all(loop, o);
  const auto body = [&](kedge::scope& s) -> kedge::task<> {
    s.set_limit(o.jobs);
    net::standard_stream console(loop);
    net::reader in(console);
    for (std::size_t number = 1;; ++number) {
      const auto line = co_await in.line(longest_line);
      if (!line && line.error() == kedge::errc::end_of_file) co_return;
      if (!line) throw std::system_error(line.error(), "input line " + std::to_string(number));
      if (line->empty()) continue;
      std::string copy(*line);
      (void)co_await s.room();
      s.spawn(run_one, std::ref(all), std::cref(o), number, std::move(copy));
    }
  };
  co_await kedge::with_scope(body);
  co_return all.status();
}

// Returns whether the arguments are right; prints what is wrong otherwise.
bool parse(std::span<char*> arguments, options& o) {
  std::size_t i = 1;
  for (; i < arguments.size() && arguments[i][0] == '-'; ++i) {
    const std::string_view word = arguments[i];
    if (word == "--") {
      ++i;
      break;
    }
    if (word == "-q") {
      o.is_quiet = true;
    } else if (word == "-j") {
      const std::string_view n = ++i < arguments.size() ? arguments[i] : "";
      const auto [end, error] = std::from_chars(n.data(), n.data() + n.size(), o.jobs);
      if (error == std::errc() && end == n.data() + n.size() && o.jobs != 0) continue;
      std::fprintf(stderr, "pmap: -j takes a number from 1 on, not \"%s\"\n",
                   std::string(n).c_str());
      return false;
    } else {
      std::fprintf(stderr, "pmap: no option %s; see pmap --help\n", arguments[i]);
      return false;
    }
  }
  for (; i < arguments.size(); ++i) o.words.emplace_back(arguments[i]);
  if (o.words.empty()) std::fputs("pmap: no command; see pmap --help\n", stderr);
  return !o.words.empty();
}

int main(int argc, char** argv) try {
  options o;
  if (argc == 2 && argv[1] == std::string_view("--help")) return std::fputs(usage, stdout), 0;
  if (!parse(std::span(argv, static_cast<std::size_t>(argc)), o)) return 2;
  kedge::loop loop;
  return loop.run(kedge::with_signals({SIGINT, SIGTERM}, map(loop, o)));
} catch (const std::exception& e) {
  return std::fprintf(stderr, "pmap: %s\n", e.what()), 1;
}
