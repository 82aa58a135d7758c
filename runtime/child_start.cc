// start_child(): what is made ready before the fork, and the steps of the child.
#include "kedge/runtime/child_start.h"

#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "kedge/runtime/private_pipe.h"

namespace kedge {
namespace {

[[noreturn]] void fail(int error, const std::string& what) {
  throw std::system_error(error, std::system_category(), "kedge::process: " + what);
}

std::string checked(std::string_view text, const char* what) {
  if (text.find('\0') != std::string_view::npos) fail(EINVAL, std::string(what) + " with a NUL");
  return std::string(text);
}

// --- Before the fork -----------------------------------------------------------------------------

struct user_ids {
  uid_t user;
  gid_t group;
  std::vector<gid_t> groups;
};

// The types of a group and of a size differ between systems.
template <class Group>
int list_groups(int (*list)(const char*, Group, Group*, int*), const char* user, gid_t group,
                gid_t* groups, int* count) noexcept {
  static_assert(sizeof(Group) == sizeof(gid_t));
  return list(user, static_cast<Group>(group), reinterpret_cast<Group*>(groups), count);
}
template <class Size>
int set_groups(int (*set)(Size, const gid_t*), std::span<const gid_t> groups) noexcept {
  const auto most = static_cast<std::size_t>(NGROUPS_MAX);
  return set(static_cast<Size>(std::min(groups.size(), most)), groups.data());
}

user_ids look_up(const std::string& name) {
  std::vector<char> text(1024);
  passwd entry{};
  passwd* found = nullptr;
  int error;
  while ((error = ::getpwnam_r(name.c_str(), &entry, text.data(), text.size(), &found)) == ERANGE) {
    text.resize(2 * text.size());
  }
  if (found == nullptr) fail(error == 0 ? EINVAL : error, "user " + name);
  user_ids ids{entry.pw_uid, entry.pw_gid, std::vector<gid_t>(16)};
  for (;;) {
    int count = static_cast<int>(ids.groups.size());
    const int listed =
        list_groups(::getgrouplist, name.c_str(), ids.group, ids.groups.data(), &count);
    if (listed >= 0) {
      ids.groups.resize(static_cast<std::size_t>(count));
      return ids;
    }
    ids.groups.resize(2 * ids.groups.size());
  }
}

// The paths at which the program may be.
std::vector<std::string> candidates(std::string_view program) {
  if (program.empty() || program.find('/') != std::string_view::npos) {
    return {std::string(program)};
  }
  const char* const path = std::getenv("PATH");
  std::string_view folders = path != nullptr ? path : "/usr/bin:/bin";
  std::vector<std::string> all;
  for (;;) {
    const std::size_t end = folders.find(':');
    std::string folder(folders.substr(0, end));
    if (folder.empty()) folder = ".";
    all.push_back(folder.append("/").append(program));
    if (end == std::string_view::npos) return all;
    folders.remove_prefix(end + 1);
  }
}

// Returns the number behind the greatest fd that may be open. An fd above this limit can only be
// open if the limit was lowered.
int fd_limit() noexcept {
  constexpr rlim_t most = 1 << 20;  // Linux's default limit for a file table
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return static_cast<int>(most);
  return static_cast<int>(std::min(limit.rlim_cur, most));
}

enum class step { group, streams, descriptors, user, directory, exec };

// All that the child needs: it allocates nothing.
struct plan {
  std::vector<char*> arguments;
  std::vector<std::string> programs;
  bool searches = false;
  std::optional<std::vector<char*>> environment = {};
  std::vector<std::string> variables = {};
  std::string directory = {};
  std::optional<user_ids> user = {};
  std::array<int, 3> streams;
  std::span<const int> inherited_fds;
  int fd_limit = 0;
  bool new_group = false;
};

plan make_plan(command& what, const process_options& o, const std::array<int, 3>& streams) {
  plan p{.arguments = what.arguments(),
         .programs = candidates(what.program()),
         .streams = streams,
         .inherited_fds = o.inherited_fds,
         .fd_limit = fd_limit(),
         .new_group = o.new_group};
  p.searches = std::string_view(what.program()).find('/') == std::string_view::npos;
  p.directory = checked(o.directory, "a working directory");
  if (!o.user.empty()) p.user = look_up(checked(o.user, "a user"));
  for (const int fd : o.inherited_fds) {
    if (fd <= STDERR_FILENO) fail(EINVAL, "inherited fd " + std::to_string(fd));
    if (::fcntl(fd, F_GETFD) < 0) fail(errno, "inherited fd " + std::to_string(fd));
  }
  if (o.environment) {
    for (const std::string_view variable : *o.environment) {
      p.variables.push_back(checked(variable, "a variable of the environment"));
    }
    p.environment.emplace();
    for (std::string& variable : p.variables) p.environment->push_back(variable.data());
    p.environment->push_back(nullptr);
  }
  return p;
}

// --- In the child: only what is safe in a signal handler -----------------------------------------

// What the child reports of a failed step. The end of the report's pipe without one says that the
// program runs.
struct failed_step {
  step at;
  int error;
};

// So that no handler of the program runs in the child, all signals are blocked until then.
void reset_signals() noexcept {
  struct sigaction by_default{};
  by_default.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) ::sigaction(number, &by_default, nullptr);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

bool set_streams(std::array<int, 3> files) noexcept {
  // First out of the way of dup2().
  for (int i = 0; i < 3; ++i) {
    int& file = files[static_cast<std::size_t>(i)];
    if (file != i && file <= STDERR_FILENO) {
      file = ::fcntl(file, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
      if (file < 0) return false;
    }
  }
  for (int i = 0; i < 3; ++i) {
    const int file = files[static_cast<std::size_t>(i)];
    // A stream that this program does not have is not inherited.
    if (file == i) {
      ::fcntl(i, F_SETFD, 0);
    } else if (::dup2(file, i) < 0) {
      return false;
    }
  }
  return true;
}

// Makes all fds above 2 close-on-exec: by one call where the system has it, else by poll(2), which
// says of many at a time which ones are open.
void hide_descriptors(int limit) noexcept {
#if defined(CLOSE_RANGE_CLOEXEC)
  if (::close_range(STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC) == 0) return;
#endif
  constexpr int most = 256;
  pollfd some[most];
  for (int first = STDERR_FILENO + 1; first < limit; first += most) {
    const int count = std::min(most, limit - first);
    for (int i = 0; i < count; ++i) some[i] = {first + i, 0, 0};
    const bool is_known = ::poll(some, static_cast<nfds_t>(count), 0) >= 0;
    for (int i = 0; i < count; ++i) {
      if (is_known && (some[i].revents & POLLNVAL) != 0) continue;
      ::fcntl(first + i, F_SETFD, FD_CLOEXEC);
    }
  }
}

bool set_descriptors(const plan& p) noexcept {
  hide_descriptors(p.fd_limit);
  return std::all_of(p.inherited_fds.begin(), p.inherited_fds.end(),
                     [](int fd) { return ::fcntl(fd, F_SETFD, 0) == 0; });
}

bool set_user(const user_ids& ids) noexcept {
  return set_groups(::setgroups, ids.groups) == 0 && ::setgid(ids.group) == 0 &&
         ::setuid(ids.user) == 0;
}

// Returns the errno with which the program cannot be executed.
int execute(const plan& p) noexcept {
  int error = p.searches ? ENOENT : 0;
  for (const std::string& path : p.programs) {
    if (p.environment) {
      ::execve(path.c_str(), p.arguments.data(), p.environment->data());
    } else {
      ::execv(path.c_str(), p.arguments.data());
    }
    // As execvp(3): the search goes on behind a file that may not be executed.
    if (!p.searches || (errno != ENOENT && errno != ENOTDIR && errno != EACCES)) return errno;
    if (errno == EACCES) error = EACCES;
  }
  return error;
}

[[noreturn]] void run_child(const plan& p, int report) noexcept {
  const auto require = [report](bool done, step at) {
    if (done) return;
    const failed_step failure{at, errno};
    // Without a reader no report is needed.
    const ssize_t written = ::write(report, &failure, sizeof failure);
    ::_exit(written < 0 ? 126 : 127);
  };
  if (p.new_group) require(::setpgid(0, 0) == 0, step::group);
  require(set_streams(p.streams), step::streams);
  require(set_descriptors(p), step::descriptors);
  if (p.user) require(set_user(*p.user), step::user);
  if (!p.directory.empty()) require(::chdir(p.directory.c_str()) == 0, step::directory);
  reset_signals();
  errno = execute(p);
  require(false, step::exec);
  ::_exit(127);
}

// --- In this process -----------------------------------------------------------------------------

std::string describe(step at, const command& what, const process_options& o) {
  switch (at) {
    case step::group:
      return "the process group of the child";
    case step::streams:
      return "the standard streams of the child";
    case step::descriptors:
      return "the inherited descriptors of the child";
    case step::user:
      return "user " + std::string(o.user);
    case step::directory:
      return "working directory " + std::string(o.directory);
    case step::exec:
      break;
  }
  const std::string program = what.program();
  const bool is_a_line = program.find(' ') != std::string::npos;
  return "execution of " + program + (is_a_line ? " (arguments are words of their own)" : "");
}

// Returns the child of fork(), with all signals blocked.
pid_t fork_blocked(const plan& p, const private_pipe& report) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = ::fork();
  if (pid == 0) run_child(p, report.writing());
  const int error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) fail(error, "fork");
  return pid;
}

// Waits until the child runs its program. Returns the step that has failed, if one has.
std::optional<failed_step> await_program(int report) noexcept {
  failed_step failure{};
  ssize_t n;
  do {
    n = ::read(report, &failure, sizeof failure);
  } while (n < 0 && errno == EINTR);
  if (n == static_cast<ssize_t>(sizeof failure)) return failure;
  return std::nullopt;
}

}  // namespace

pid_t start_child(command& what, const process_options& o, const std::array<int, 3>& streams) {
  const plan p = make_plan(what, o, streams);
  private_pipe report;
  const pid_t pid = fork_blocked(p, report);
  ::close(report.release_writing());
  const std::optional<failed_step> failure = await_program(report.reading());
  if (!failure) return pid;
  // The report is the last that the child does: this wait is short.
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) continue;
  fail(failure->error, describe(failure->at, what, o));
}

}  // namespace kedge
