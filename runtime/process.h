// process: a child process on a loop.
//
//     kedge::process p(loop, {"sh", "-c", script}, {.output = kedge::pipe, .new_group = true});
//     const auto n = co_await p.output().read_some(buffer);
//     const kedge::exit_status status = (co_await p.exited()).value();
//
// The child is what a shell would start: every signal has its default disposition, none is blocked,
// and no descriptor is inherited but the standard streams and those that the options name. The
// constructor returns when the child runs the program. If the program cannot be executed, it throws
// the errno of the failed step; the child is gone then.
//
// Life. The status is taken from the system when exited() is awaited; until then a child that has
// ended is a zombie. A process that is dropped before is killed, with its group if it has one of
// its own, and the loop reaps it in a later turn. What is not reaped when the loop is destroyed is
// handed to a thread that waits for such children and ends with the last one. A child that the
// program may not kill (a set-user-ID program) is reaped when it ends.
//
// Other children. SIGCHLD is left to the program, and the loop waits only for its own children. The
// status is lost if the program ignores SIGCHLD, or if a thread takes it by a waitpid() for any
// child: exited() then gives std::errc::no_child_process.
//
// Threads: the loop's thread only. A process may outlive its loop: waits then end with
// errc::loop_gone. In the child of a fork it belongs to the parent, and is neither killed nor
// waited for.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/command.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/reactor/clock.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/result.h"
#include "kedge/runtime/task.h"

namespace kedge {

// How a process has ended.
class exit_status {
 public:
  // `status` is what waitpid(2) gives.
  explicit exit_status(int status) noexcept : status_(status) {}
  // Returns whether the process has exited with 0.
  bool success() const noexcept { return status_ == 0; }
  // The code with which the process has exited; nothing if a signal ended it.
  std::optional<int> code() const noexcept;
  // The signal that ended the process; nothing if it has exited.
  std::optional<int> signal() const noexcept;
  // The code, or 128 plus the signal, as shells have it.
  int shell_code() const noexcept;
  int native() const noexcept { return status_; }

 private:
  int status_;
};

// What a standard stream of a child is: one of the three below, or the file of a descriptor.
class child_stream {
 public:
  enum class kind : unsigned char { inherited, null_device, pipe, file };

  constexpr explicit child_stream(kind k) noexcept : kind_(k) {}
  // The caller keeps `d`, which must be open when the process is started.
  child_stream(const descriptor& d) noexcept : fd_(d.native_handle()), kind_(kind::file) {}
  kind is() const noexcept { return kind_; }
  int fd() const noexcept { return fd_; }

 private:
  int fd_ = -1;
  kind kind_;
};
// The stream of this program.
inline constexpr child_stream inherited{child_stream::kind::inherited};
// /dev/null.
inline constexpr child_stream null_device{child_stream::kind::null_device};
// A pipe, whose other end is input(), output() or error() of the process.
inline constexpr child_stream pipe{child_stream::kind::pipe};

// What it refers to is used by the constructor of the process only.
struct process_options {
  child_stream input = inherited;
  child_stream output = inherited;
  child_stream error = inherited;
  // "NAME=value": the whole environment. Nothing: this program's.
  std::optional<std::span<const std::string_view>> environment = {};
  // The working directory, to which a relative path of the program is relative too. Empty: this
  // program's.
  std::string_view directory = {};
  // The name of the user as whom, and with whose groups, the child runs. It needs the right to
  // change the user. The environment stays as it is. Empty: this program's.
  std::string_view user = {};
  // Fds above 2 that the child inherits, with the same numbers.
  std::span<const int> inherited_fds = {};
  // The child leads a process group of its own: signals for it and the kill of a dropped process
  // are sent to the whole group, and Ctrl-C of a terminal does not reach it.
  bool new_group = false;
};

class process {
  class child;
  class children;

 public:
  class exited_operation {
   public:
    explicit exited_operation(std::shared_ptr<child> c) noexcept : child_(std::move(c)) {}
    exited_operation(const exited_operation&) = delete;
    exited_operation& operator=(const exited_operation&) = delete;
    ~exited_operation() { leave(); }

    bool await_ready() noexcept;
    bool await_suspend(waiter& w) noexcept;
    bool await_settle() noexcept;
    bool await_cancel(cancel_cause) noexcept;
    result<exit_status> await_resume();
    void describe(description& line) const noexcept;

   private:
    friend class child;
    void leave() noexcept;
    std::shared_ptr<child> child_;
    waiter* waiter_ = nullptr;
    std::error_code error_;
  };

  class [[nodiscard]] exited_awaitable {
   public:
    explicit exited_awaitable(std::shared_ptr<child> c) noexcept : child_(std::move(c)) {}
    exited_operation operator co_await() && noexcept { return exited_operation(std::move(child_)); }

   private:
    std::shared_ptr<child> child_;
  };

  // `r` is the loop. Returns when the child executes the program, which takes a fork of this
  // process. Looking up a user may ask name servers. Throws std::system_error, whose message names
  // the step and the path: the program, the directory or the user that the system refuses, EBADF
  // for a closed descriptor, EINVAL for an unknown user or a NUL in an option, and what the kernel
  // answers if it does not report exits (a seccomp filter on Linux may refuse it). Throws
  // std::bad_alloc. When it throws, no child is left.
  process(reactor& r, command what, const process_options& options = {});
  process(process&& other) noexcept = default;
  process& operator=(process&& other) noexcept;
  // Kills the child, unless exited() has given its status, and ends a wait in progress, and the
  // awaitables that have not been awaited, with errc::closed. Does not block.
  ~process() { drop(); }

  // The process id, also after the end. It may be another process's once exited() has given the
  // status.
  pid_t pid() const noexcept;

  // The ends of the pipes; a closed descriptor for a stream that is not a pipe. close() of the
  // input is the end of the file to the child. A write to a child that has closed its input raises
  // SIGPIPE. They may be moved from.
  descriptor& input() noexcept { return input_; }
  descriptor& output() noexcept { return output_; }
  descriptor& error() noexcept { return error_; }

  // Waits for the child to end, and gives its status; every later wait gives it at once. One task
  // may wait at a time; a second one gets errc::already_awaited. Cancellation loses nothing: the
  // status is taken when the task has its turn.
  exited_awaitable exited() const noexcept { return exited_awaitable(child_); }

  // Sends a signal to the child, or to its group if it has one of its own. Gives ESRCH once
  // exited() has given the status, EINVAL for a signal that does not exist, and EPERM if the
  // program may not.
  result<void> signal(int number) noexcept;

  // Ends the child: sends SIGTERM, and SIGKILL if it has not ended after `grace` of the loop's
  // time. Gives the status as exited() does, or the error of the SIGKILL. A cancellation leaves the
  // child with what has been sent. To be awaited within shield() when a cancelled task cleans up.
  template <class Rep, class Period>
  task<result<exit_status>> terminate(std::chrono::duration<Rep, Period> grace) {
    return end(child_, saturate(grace));
  }

 private:
  static task<result<exit_status>> end(std::shared_ptr<child> c, clock::duration grace);
  void drop() noexcept;

  descriptor input_;
  descriptor output_;
  descriptor error_;
  std::shared_ptr<child> child_;  // null: moved from
};

}  // namespace kedge
