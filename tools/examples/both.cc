// both: runs two commands at the same time, and prints each line that they write as it arrives.
//
//     both 'make -C server' 'make -C client'
//
// Exits with 0 if both did, else with the code of the first that did not; the other one is then
// ended. On Ctrl-C both are ended, and the exit code is 130. If nobody reads the lines any more
// both are ended, and the exit code is 1. A command is ended by SIGTERM, to it and all that it has
// started, and by SIGKILL five seconds later.
#include <signal.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <system_error>

#include "kedge/runtime/runtime.h"

// Prints what arrives, to the end of the file, each line with its command's number. Throws if it
// cannot print.
kedge::task<> print_lines(kedge::descriptor& from, int number) {
  std::array<std::byte, 4096> buffer;
  std::string unfinished;
  while (const auto n = co_await from.read_some(buffer)) {
    unfinished.append(reinterpret_cast<const char*>(buffer.data()), *n);
    for (std::size_t end; (end = unfinished.find('\n')) != std::string::npos;) {
      std::printf("%d: %s\n", number, unfinished.substr(0, end).c_str());
      if (std::fflush(stdout) != 0) {
        throw std::system_error(errno, std::system_category(), "standard output");
      }
      unfinished.erase(0, end + 1);
    }
  }
}

// Waits until the command has ended. It may close its output long before.
kedge::task<kedge::exit_status> follow(kedge::process& command, int number) {
  co_await print_lines(command.output(), number);
  const auto status = co_await command.exited();
  co_return status.value();
}

// Runs one command. Stores the code of the first one that fails, and cancels the other one.
kedge::task<> run(kedge::loop& loop, kedge::scope& all, int& code, const char* text, int number) {
  kedge::process command(loop, {"sh", "-c", text},
                         {.input = kedge::null_device, .output = kedge::pipe, .new_group = true});
  auto end = co_await kedge::attempt(follow(command, number));
  if (end.cancelled()) {
    const auto ended = co_await kedge::shield(command.terminate(std::chrono::seconds(5)));
    std::fprintf(stderr, "both: command %d: ended with %d\n", number, ended.value().shell_code());
    co_return;
  }
  const kedge::exit_status status = end.value();
  if (status.success()) co_return;
  if (code == 0) code = status.shell_code();
  all.cancel();
}

kedge::task<int> run_both(kedge::loop& loop, char** texts) {
  int code = 0;
  const auto body = [&](kedge::scope& all) -> kedge::task<> {
    for (int i : {1, 2}) all.spawn(run, std::ref(loop), std::ref(all), std::ref(code), texts[i], i);
    co_return;
  };
  co_await kedge::with_scope(body);
  co_return code;
}

int main(int argc, char** argv) try {
  if (argc != 3) return std::fputs("usage: both COMMAND COMMAND\n", stderr), 2;
  ::signal(SIGPIPE, SIG_IGN);  // it would end this program alone, and leave the commands behind
  kedge::loop loop;
  return loop.run(kedge::with_signals({SIGINT, SIGTERM}, run_both(loop, argv)));
} catch (const std::system_error& e) {
  std::fprintf(stderr, "both: %s\n", e.what());
  return 1;
}
