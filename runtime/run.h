// run(command): runs a program to its end, and gives its status and what it has written.
//
//     const kedge::run_output made = (co_await kedge::run({"git", "rev-parse", "HEAD"})).value();
//     if (made.status.success()) use(made.output);
//
// It ends when the program has ended and no process has its output and its error output open any
// more. The program leads a process group of its own, so Ctrl-C of a terminal reaches only this
// program. A cancelled run() ends the program before it ends itself: it sends SIGTERM to the group,
// and SIGKILL when the grace of the loop's time has passed, and waits for the program to end. What
// is left of the group then gets SIGKILL.
//
// Threads: the loop's thread only.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "kedge/runtime/command.h"
#include "kedge/runtime/process.h"
#include "kedge/runtime/result.h"
#include "kedge/runtime/task.h"

namespace kedge {

class run_output {
 public:
  explicit run_output(exit_status s) noexcept : status(s) {}

  exit_status status;
  std::string output;
  std::string error;
  // More than run_options::limit was written to one of the two. The rest was read and dropped.
  bool is_truncated = false;
};

// What it refers to must live until the run has ended.
struct run_options {
  child_stream input = null_device;  // a pipe would have no writer, and gives EINVAL
  std::optional<std::span<const std::string_view>> environment = {};  // as process_options has
  std::string_view directory = {};
  std::string_view user = {};
  // The most bytes that are kept of the output, and of the error output.
  std::size_t limit = std::size_t{1} << 20;
  // How long a cancelled run lets the program live after SIGTERM.
  clock::duration grace = std::chrono::seconds(5);
};

// Gives the output, the error of reading it, or std::errc::no_child_process if the status is lost
// (see process.h). Throws as the constructor of process does. Cancellation loses the output.
task<result<run_output>> run(command what, run_options options = {});

}  // namespace kedge
