// process: the children of a loop, how their exits are noticed, and what becomes of dropped ones.
#include "kedge/runtime/process.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/event.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <new>
#include <string>

#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/base/list.h"
#include "kedge/runtime/child_start.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/private_pipe.h"
#include "kedge/runtime/reactor/fork_generation.h"
#include "kedge/runtime/reactor/registration.h"
#include "kedge/runtime/time_hold.h"
#include "kedge/runtime/unreaped_child.h"
#include "kedge/runtime/with_timeout.h"

namespace kedge {

std::optional<int> exit_status::code() const noexcept {
  return WIFEXITED(status_) ? std::optional(WEXITSTATUS(status_)) : std::nullopt;
}

std::optional<int> exit_status::signal() const noexcept {
  return WIFSIGNALED(status_) ? std::optional(WTERMSIG(status_)) : std::nullopt;
}

int exit_status::shell_code() const noexcept {
  return WIFSIGNALED(status_) ? 128 + WTERMSIG(status_) : WEXITSTATUS(status_);
}

// --- The children of a loop ----------------------------------------------------------------------

namespace {

// How often, and then how long after one another, a child is looked at that has ended and cannot be
// waited for.
constexpr int looks_at_once = 100;
constexpr clock::duration shortest_interval = std::chrono::milliseconds(1);
constexpr clock::duration longest_interval = std::chrono::milliseconds(100);

}  // namespace

// One child, from before its start until it is reaped. Its process and the operations share it. A
// child that was dropped holds itself.
class process::child final : private listener, private timer {
 public:
  child(children& home, bool has_group);
  child(const child&) = delete;
  child& operator=(const child&) = delete;
  ~child();

  // The child has been started. Registers its exit in the kernel. Throws std::system_error and
  // std::bad_alloc, after killing and reaping the child.
  void watch(reactor& r, pid_t pid);

  // Kills the child unless it has been reaped, and lets go of it.
  static void drop(const std::shared_ptr<child>& c) noexcept;
  // The loop is being destroyed.
  void leave_home() noexcept;

  pid_t pid() const noexcept { return pid_; }
  result<void> signal(int number) noexcept;

  // From now on what is left of the child's group is killed before the child is reaped.
  void end_group() noexcept { ends_group_ = has_group_; }

  // Returns true if the status, or the reason why there is none, is known. Reaps a child that has
  // ended. If a tracer still holds it, an operation that waits is woken later.
  bool has_result() noexcept;
  std::error_code failure() const noexcept { return failure_; }
  exit_status status() const noexcept { return status_; }

  exited_operation* waiting = nullptr;
  base::list_link<child> link;  // of `children`

 private:
  void notify(const kevent64_s&) noexcept override;
  void closed(std::error_code why) noexcept override;
  bool can_wake() const noexcept override { return waiting != nullptr; }
  void expire() noexcept override { settle_end(); }
  void register_exit(reactor& r);
  void stop_watching() noexcept;
  static void leave_to_loop(const std::shared_ptr<child>& c) noexcept;
  void settle_end() noexcept;
  bool reap() noexcept;
  void keep_status(int status) noexcept;
  void look_later() noexcept;
  void end(std::error_code why) noexcept;
  void wake_waiting() noexcept;
  bool of_this_process() const noexcept { return generation_ == fork_generation(); }

  children* home_;  // null: the loop is gone
  registration source_;
  time_hold hold_;  // until the exit is noticed
  std::unique_ptr<unreaped_child> unreaped_ = std::make_unique<unreaped_child>();
  std::shared_ptr<child> self_;
  const unsigned generation_ = fork_generation();
  pid_t pid_ = -1;
  const bool has_group_;
  bool ends_group_ = false;
  bool has_ended_ = false;
  bool is_reaped_ = false;
  std::error_code failure_;
  exit_status status_{0};
  clock::duration interval_ = shortest_interval;  // until the next look
};

// An attachment of the loop, so that the children outlive its tasks, and leave before its kqueue.
class process::children {
 public:
  explicit children(reactor& r) noexcept : owner(r) {}
  children(const children&) = delete;
  children& operator=(const children&) = delete;
  ~children() {
    while (child* const c = all.pop_front()) c->leave_home();
  }

  reactor& owner;
  base::list<child, &child::link> all;
};

process::child::child(children& home, bool has_group) : home_(&home), has_group_(has_group) {
  home.all.push_back(*this);
}

process::child::~child() {
  stop_watching();
  if (home_ != nullptr) home_->all.remove(*this);
}

void process::child::watch(reactor& r, pid_t pid) {
  pid_ = unreaped_->pid = pid;
  try {
    register_exit(r);
  } catch (...) {
    if (signal(SIGKILL)) keep_status(unreaped_->wait());
    throw;
  }
}

void process::child::register_exit(reactor& r) {
  source_ =
      registration(r, sharing::exclusive, EVFILT_PROC, static_cast<std::uint64_t>(pid_), NOTE_EXIT);
  if (const std::error_code refused = source_.link(*this)) closed(refused);
  r.submit_changes();
  if (has_ended_) stop_watching();
  if (linked()) hold_ = time_hold(r);
  if (failure_) {
    throw std::system_error(failure_,
                            "kedge::process: the kernel does not report the exit of a child "
                            "(EVFILT_PROC; on Linux a seccomp filter may refuse it)");
  }
}

void process::child::drop(const std::shared_ptr<child>& c) noexcept {
  c->end(errc::closed);
  if (c->is_reaped_ || c->unreaped_->pid < 0 || !c->of_this_process()) return;
  static_cast<void>(c->signal(SIGKILL));
  leave_to_loop(c);
}

// The child reaps itself when it has ended: now, or in a later turn of the loop.
void process::child::leave_to_loop(const std::shared_ptr<child>& c) noexcept {
  if (c->has_ended_ && c->reap()) return;
  if (c->linked() || c->armed()) {
    c->self_ = c;
  } else {
    reap_in_background(std::move(c->unreaped_));
  }
}

void process::child::leave_home() noexcept {
  home_ = nullptr;
  stop_watching();
  disarm();
  end(errc::loop_gone);
  const std::shared_ptr<child> dropped = std::move(self_);
  if (dropped != nullptr && of_this_process()) reap_in_background(std::move(unreaped_));
}

// Only while the number is the child's: a wait by another thread may have freed it. A child that
// has left its group gets the signal alone. So does one that has ended, since Darwin refuses to
// signal a group of zombies.
result<void> process::child::signal(int number) noexcept {
  int error = ESRCH;
  if (!is_reaped_ && of_this_process() && unreaped_->is_ours()) {
    const bool is_sent = (has_group_ && ::kill(-pid_, number) == 0) || ::kill(pid_, number) == 0;
    error = is_sent ? 0 : errno;
  }
  if (error == 0) return {};
  return unexpected(std::error_code(error, std::system_category()),
                    failed_operation{"process::signal pid", pid_});
}

bool process::child::has_result() noexcept {
  if (!is_reaped_ && !of_this_process()) end(errc::loop_gone);
  return is_reaped_ || failure_ || (has_ended_ && reap()) || failure_;
}

// Stops watching before the child is reaped: its number may then be another child's.
void process::child::notify(const kevent64_s&) noexcept {
  has_ended_ = true;
  stop_watching();
  settle_end();
}

// The child has ended, and can perhaps be reaped.
void process::child::settle_end() noexcept {
  std::shared_ptr<child> dropped = std::move(self_);
  if (dropped == nullptr) {
    wake_waiting();
  } else {
    leave_to_loop(dropped);
  }
}

// The kernel refuses to watch a zombie.
void process::child::closed(std::error_code why) noexcept {
  if (why == std::error_code(ESRCH, std::system_category())) {
    has_ended_ = true;
  } else {
    end(why);
  }
}

void process::child::stop_watching() noexcept {
  unlink();
  source_.close();
  hold_.release();
}

// Returns false if the child cannot be waited for yet, and arms the timer for the next look. A
// tracer keeps it so, for as long as it likes; and on Darwin the exit is reported shortly before
// the child can be waited for: that time is waited out.
bool process::child::reap() noexcept {
  if (ends_group_ && unreaped_->is_ours()) ::kill(-pid_, SIGKILL);
  int status = unreaped_child::is_not_waitable;
  for (int i = 0; i < looks_at_once && status == unreaped_child::is_not_waitable; ++i) {
    if (i != 0) ::sched_yield();
    status = unreaped_->try_wait();
  }
  if (status == unreaped_child::is_not_waitable) {
    look_later();
    return false;
  }
  disarm();
  keep_status(status);
  return true;
}

void process::child::look_later() noexcept {
  disarm();
  if (home_ == nullptr) return;
  try {
    home_->owner.timers().arm(*this, clock::sum(home_->owner.now(), interval_));
    home_->owner.announce_timer();
    interval_ = std::min(2 * interval_, longest_interval);
  } catch (const std::bad_alloc&) {
    if (!failure_) failure_ = std::make_error_code(std::errc::not_enough_memory);
  }
}

void process::child::keep_status(int status) noexcept {
  is_reaped_ = true;
  if (status >= 0) {
    status_ = exit_status(status);
  } else if (!failure_) {
    failure_ = std::error_code(ECHILD, std::system_category());
  }
}

void process::child::end(std::error_code why) noexcept {
  if (!failure_) failure_ = why;
  wake_waiting();
}

void process::child::wake_waiting() noexcept {
  if (waiting != nullptr) wake(*waiting->waiter_);
}

// --- exited() ------------------------------------------------------------------------------------

bool process::exited_operation::await_ready() noexcept {
  if (child_ == nullptr) {
    error_ = errc::closed;
  } else if (child_->waiting != nullptr) {
    error_ = errc::already_awaited;
  } else if (!child_->has_result()) {
    return false;
  } else {
    error_ = child_->failure();
  }
  return true;
}

bool process::exited_operation::await_suspend(waiter& w) noexcept {
  waiter_ = &w;
  child_->waiting = this;
  return true;
}

bool process::exited_operation::await_settle() noexcept {
  if (!child_->has_result()) return false;
  error_ = child_->failure();
  leave();
  return true;
}

bool process::exited_operation::await_cancel(cancel_cause) noexcept {
  leave();
  return true;
}

result<exit_status> process::exited_operation::await_resume() {
  if (error_) {
    return unexpected(error_, failed_operation{"process::exited pid", child_ ? child_->pid() : -1});
  }
  return child_->status();
}

void process::exited_operation::leave() noexcept {
  if (child_ != nullptr && child_->waiting == this) child_->waiting = nullptr;
}

void process::exited_operation::describe(description& line) const noexcept {
  line.print("process %d to exit", child_ != nullptr ? static_cast<int>(child_->pid()) : -1);
}

// --- process -------------------------------------------------------------------------------------

namespace {

constexpr const char* stream_names[] = {"input", "output", "error"};

// The files of a child's standard streams, and this program's ends of the pipes.
class stream_files {
 public:
  stream_files(reactor& r, const std::array<child_stream, 3>& streams) {
    for (std::size_t i = 0; i < 3; ++i) {
      switch (streams[i].is()) {
        case child_stream::kind::inherited:
          in_child[i] = has_stream(static_cast<int>(i)) ? static_cast<int>(i) : open_null_device();
          break;
        case child_stream::kind::null_device:
          in_child[i] = open_null_device();
          break;
        case child_stream::kind::pipe:
          make_pipe(r, i);
          break;
        case child_stream::kind::file:
          if (streams[i].file() == nullptr) {
            throw std::system_error(
                EBADF, std::system_category(),
                "kedge::process: closed descriptor as " + std::string(stream_names[i]));
          }
          streams[i].file()->share_blocking();
          in_child[i] = streams[i].file()->fd();
      }
    }
  }
  stream_files(const stream_files&) = delete;
  stream_files& operator=(const stream_files&) = delete;
  ~stream_files() = default;

  std::array<int, 3> in_child{};
  std::array<descriptor, 3> in_parent;

 private:
  struct null_file {
    null_file() = default;
    null_file(const null_file&) = delete;
    null_file& operator=(const null_file&) = delete;
    ~null_file() {
      if (fd >= 0) ::close(fd);
    }
    int fd = -1;
  };

  // A file that has taken the number of a closed stream and is close-on-exec is not for children.
  static bool has_stream(int fd) noexcept {
    const int flags = ::fcntl(fd, F_GETFD);
    return flags < 0 || (flags & FD_CLOEXEC) == 0;
  }
  int open_null_device() {
    if (null_.fd < 0) null_.fd = above_standard(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (null_.fd < 0) {
      throw std::system_error(errno, std::system_category(), "kedge::process: /dev/null");
    }
    return null_.fd;
  }
  void make_pipe(reactor& r, std::size_t i) {
    private_pipe& made = pipes_[i].emplace();
    const bool is_read = i != 0;  // by this program
    const int end = is_read ? made.release_reading() : made.release_writing();
    in_child[i] = is_read ? made.writing() : made.reading();
    ::fcntl(end, F_SETFL, O_NONBLOCK);  // so that the descriptor need not ask poll(2)
    in_parent[i] = descriptor(r, end, ownership::owned);
  }

  null_file null_;
  std::optional<private_pipe> pipes_[3];
};

}  // namespace

process::process(reactor& r, command what, const process_options& o) {
  child_ = std::make_shared<child>(r.attachment<children>(), o.new_group);
  try {
    stream_files files(r, {o.input, o.output, o.error});
    child_->watch(r, start_child(what, o, files.in_child));
    input_ = std::move(files.in_parent[0]);
    output_ = std::move(files.in_parent[1]);
    error_ = std::move(files.in_parent[2]);
  } catch (...) {
    drop();
    throw;
  }
}

process& process::operator=(process&& other) noexcept {
  if (this != &other) {
    drop();
    input_ = std::move(other.input_);
    output_ = std::move(other.output_);
    error_ = std::move(other.error_);
    child_ = std::move(other.child_);
  }
  return *this;
}

void process::drop() noexcept {
  if (const std::shared_ptr<child> dropped = std::move(child_)) child::drop(dropped);
}

pid_t process::pid() const noexcept {
  return child_ != nullptr ? child_->pid() : -1;
}

result<void> process::signal(int number) noexcept {
  if (child_ == nullptr) return unexpected(errc::closed, failed_operation{"process::signal"});
  return child_->signal(number);
}

task<result<exit_status>> process::end(std::shared_ptr<child> c, clock::duration grace) {
  if (c == nullptr) co_return unexpected(errc::closed, failed_operation{"process::terminate"});
  static_cast<void>(c->signal(SIGTERM));
  c->end_group();
  const auto ended = co_await with_timeout(grace, exited_awaitable(c));
  if (ended || ended.error() != errc::timed_out) co_return ended;
  const result<void> killed = c->signal(SIGKILL);
  if (!killed && killed.error() == std::errc::operation_not_permitted) {
    co_return unexpected(killed.error(), failed_operation{"process::terminate pid", c->pid()});
  }
  co_return co_await exited_awaitable(c);
}

}  // namespace kedge
