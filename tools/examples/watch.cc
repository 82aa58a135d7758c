// watch: runs a command whenever a file changes.
//
//     watch notes.md make html          # also after an editor has saved it by a rename
//
// The command runs at the start too. It is not run while the file is missing, nor twice at a time:
// changes that come while it runs are answered by one more run. Exits with 2 if there is no such
// file or command, and with 130 on Ctrl-C, which ends the command too.
#include <signal.h>

#include <chrono>
#include <cstdio>
#include <span>
#include <string_view>
#include <system_error>
#include <vector>

#include "kedge/runtime/attempt.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/process.h"
#include "kedge/runtime/shield.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/watch_file.h"
#include "kedge/runtime/with_signals.h"

using namespace std::chrono_literals;

kedge::task<> run(kedge::loop& loop, std::span<const std::string_view> words) {
  kedge::process p(loop, kedge::command(words), {.input = kedge::null_device, .new_group = true});
  auto ended = co_await kedge::attempt(p.exited());
  if (ended.cancelled()) (void)co_await kedge::shield(p.terminate(5s));
  if (!ended) co_return;
  const kedge::exit_status status = (*ended).value();
  if (!status.success()) std::fprintf(stderr, "watch: ended with %d\n", status.shell_code());
}

kedge::task<int> watch(kedge::loop& loop, const char* path,
                       std::span<const std::string_view> words) {
  try {
    kedge::watch_file file(loop, path);
    co_await run(loop, words);
    for (;;) {
      const kedge::file_change change = (co_await file.next()).value();
      if (change.exists) {
        co_await run(loop, words);
      } else {
        std::fprintf(stderr, "watch: %s is gone, until it comes back\n", path);
      }
    }
  } catch (const std::system_error& e) {
    std::fprintf(stderr, "watch: %s\n", e.what());
    co_return 2;
  }
}

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fputs("usage: watch FILE COMMAND...\n", stderr);
    return 2;
  }
  const std::vector<std::string_view> words(argv + 2, argv + argc);
  kedge::loop loop;
  return loop.run(kedge::with_signals({SIGINT, SIGTERM}, watch(loop, argv[1], words)));
}
