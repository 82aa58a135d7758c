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

// Returns the hexadecimal value of a line, as "SigBlk:\t0000000000010000".
std::uint64_t value_of(std::string_view text, std::string_view name) noexcept {
  std::uint64_t value = 0;
  const std::size_t at = text.find(name);
  if (at == std::string_view::npos) return value;
  const char* const from = text.data() + at + name.size();
  std::from_chars(from, text.data() + text.size(), value, 16);
  return value;
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

std::optional<thread_status> read_status(pid_t thread) noexcept {
  char path[48];
  write_path(path, thread);
  const scoped_file file(path, O_RDONLY);
  if (file.fd() < 0) return std::nullopt;
  char text[4096];
  const long size = syscall(SYS_read, file.fd(), text, sizeof text);
  if (size <= 0) return std::nullopt;
  const std::string_view all(text, static_cast<std::size_t>(size));
  const auto has = [all](std::string_view line) {
    return all.find(line) != std::string_view::npos;
  };
  const bool takes_none =
      has("\nState:\tZ") || has("\nState:\tX") || all.starts_with("Name:\tiou-");
  return thread_status{takes_none, value_of(all, "\nSigBlk:\t"), value_of(all, "\nSigPnd:\t"),
                       value_of(all, "\nShdPnd:\t")};
}

reception reception_by(pid_t thread, std::uint64_t signals) noexcept {
  const std::optional<thread_status> status = read_status(thread);
  if (!status || status->takes_none) return reception::blocked;
  if ((status->blocked & internal_signal) != 0) return reception::uncertain;
  return (status->blocked & signals) == signals ? reception::blocked : reception::possible;
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
  const std::optional<thread_status> status = read_status(thread);
  errno = error;
  return status;
}

reception reception_of(std::uint64_t signals, pid_t self) noexcept {
  const int error = errno;
  reception all = reception::blocked;
  const scoped_file threads("/proc/self/task", O_RDONLY | O_DIRECTORY);
  alignas(directory_entry) char entries[2048];
  while (all != reception::possible && threads.fd() >= 0) {
    const long size = syscall(SYS_getdents64, threads.fd(), entries, sizeof entries);
    if (size <= 0) break;
    for (long at = 0; at < size && all != reception::possible;) {
      const auto& entry = *reinterpret_cast<const directory_entry*>(entries + at);
      const char* const name = entries + at + offsetof(directory_entry, name);
      pid_t thread = 0;
      std::from_chars(name, name + std::strlen(name), thread);
      if (thread != 0 && thread != self) {
        const reception its = reception_by(thread, signals);
        if (its != reception::blocked) all = its;
      }
      at += entry.length;
    }
  }
  errno = error;
  return all;
}

}  // namespace kedge::kqueue
