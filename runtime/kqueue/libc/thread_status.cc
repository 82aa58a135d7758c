#include "kedge/runtime/kqueue/libc/thread_status.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <string_view>

namespace kedge::kqueue {
namespace {

// The C library blocks its own signals, of which this is the first, only for as long as it must not
// be interrupted. A program cannot block them by its calls.
constexpr std::uint64_t internal_signal = std::uint64_t{1} << (32 - 1);

// A descriptor of 3 or above for the length of a function. It is not among internal_fds, whose lock
// a signal handler must not take: the child of a fork just then has it until it calls exec.
class scoped_file {
 public:
  scoped_file(const char* path, int flags) noexcept
      : fd_(static_cast<int>(syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC))) {
    if (fd_ < 0 || fd_ > STDERR_FILENO) return;
    const int low = fd_;
    fd_ = static_cast<int>(syscall(SYS_fcntl, low, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
    syscall(SYS_close, low);
  }
  scoped_file(const scoped_file&) = delete;
  scoped_file& operator=(const scoped_file&) = delete;
  ~scoped_file() {
    if (fd_ >= 0) syscall(SYS_close, fd_);
  }
  int fd() const noexcept { return fd_; }

 private:
  int fd_;
};

// Takes what a line of the status file says, as "SigBlk:\t0000000000010000", into `status`.
// Returns how many of the three sets it was.
int take_line(std::string_view line, thread_status& status) noexcept {
  if (line.starts_with("State:\tZ") || line.starts_with("State:\tX") ||
      line.starts_with("Name:\tiou-"))
    status.takes_none = true;
  constexpr std::size_t name_size = 8;
  if (line.size() <= name_size) return 0;
  const std::string_view name = line.substr(0, name_size);
  std::uint64_t* set = nullptr;
  if (name == "SigPnd:\t") set = &status.pending;
  if (name == "ShdPnd:\t") set = &status.pending_of_process;
  if (name == "SigBlk:\t") set = &status.blocked;
  if (set == nullptr) return 0;
  std::from_chars(line.data() + name_size, line.data() + line.size(), *set, 16);
  return 1;
}

// Line by line, because the line of a user's groups has any length, and in a small buffer, because
// a handler may run on a small stack. All the sets are on lines shorter than the buffer. Of a
// longer line only the start is looked at.
std::optional<thread_status> read_status(int fd) noexcept {
  thread_status status;
  char text[128];
  std::size_t held = 0;
  bool in_rest = false;  // of a line whose start was looked at
  int left = 3;
  for (off_t at = 0; left > 0;) {
    const long size = syscall(SYS_pread64, fd, text + held, sizeof text - held, at);
    if (size <= 0) return std::nullopt;
    at += size;
    held += static_cast<std::size_t>(size);
    std::string_view rest(text, held);
    for (std::size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
      if (!in_rest) left -= take_line(rest.substr(0, end), status);
      in_rest = false;
      rest.remove_prefix(end + 1);
    }
    if (rest.size() == sizeof text) {
      if (!in_rest) left -= take_line(rest, status);
      in_rest = true;
    }
    if (in_rest) rest = {};
    held = rest.size();
    if (held != 0) std::memmove(text, rest.data(), held);
  }
  return status;
}

void write_path(char* path, pid_t thread) noexcept {
  char* at = path;
  const auto append = [&at](std::string_view part) {
    std::memcpy(at, part.data(), part.size());
    at += part.size();
  };
  append("/proc/self/task/");
  at = std::to_chars(at, at + 12, thread).ptr;
  append("/status");
  *at = '\0';
}

// errno says why it is null.
std::optional<thread_status> read_status_of(pid_t thread) noexcept {
  char path[48];
  write_path(path, thread);
  const scoped_file file(path, O_RDONLY);
  if (file.fd() < 0) return std::nullopt;
  errno = 0;
  return read_status(file.fd());
}

// Returns whether the thread is known to block the signals.
bool blocks(pid_t thread, std::uint64_t signals) noexcept {
  const std::optional<thread_status> status = read_status_of(thread);
  if (!status) return errno == ENOENT || errno == ESRCH;  // it has ended
  if (status->takes_none) return true;
  return (status->blocked & internal_signal) == 0 && (status->blocked & signals) == signals;
}

struct directory_entry {  // getdents64(2)
  std::uint64_t inode;
  std::int64_t offset;
  std::uint16_t length;
  std::uint8_t type;
  char name[5];  // or longer
};

}  // namespace

std::optional<thread_status> status_of(pid_t thread) noexcept {
  const int error = errno;
  const std::optional<thread_status> status = read_status_of(thread);
  errno = error;
  return status;
}

std::optional<thread_status> status_from(int fd) noexcept {
  const int error = errno;
  const std::optional<thread_status> status = read_status(fd);
  errno = error;
  return status;
}

bool others_block(std::uint64_t signals, pid_t self) noexcept {
  const int error = errno;
  const scoped_file threads("/proc/self/task", O_RDONLY | O_DIRECTORY);
  bool all = threads.fd() >= 0;
  alignas(directory_entry) char entries[512];
  while (all) {
    const long size = syscall(SYS_getdents64, threads.fd(), entries, sizeof entries);
    if (size == 0) break;
    all = size > 0;
    for (long at = 0; at < size && all;) {
      const auto& entry = *reinterpret_cast<const directory_entry*>(entries + at);
      const char* const name = entries + at + offsetof(directory_entry, name);
      pid_t thread = 0;
      std::from_chars(name, name + std::strlen(name), thread);
      if (thread != 0 && thread != self) all = blocks(thread, signals);
      at += entry.length;
    }
  }
  errno = error;
  return all;
}

}  // namespace kedge::kqueue
