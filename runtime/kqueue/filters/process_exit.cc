#include "kedge/runtime/kqueue/filters/process_exit.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "kedge/runtime/kqueue/libc/no_cancellation.h"

namespace kedge::kqueue {
namespace {

// Linux's PIDFD_GET_INFO, which is newer than the headers of most systems.
struct pidfd_info {
  std::uint64_t mask;
  std::uint64_t cgroup;
  std::uint32_t ids[11];
  std::int32_t exit_code;
};
constexpr std::uint64_t info_exit = 1 << 3;
constexpr unsigned long get_info = _IOWR(0xff, 11, pidfd_info);

bool is_at_least(int major, int minor) noexcept {
  utsname system{};
  int its_major = 0;
  int its_minor = 0;
  if (uname(&system) != 0 || std::sscanf(system.release, "%d.%d", &its_major, &its_minor) != 2)
    return false;
  return its_major > major || (its_major == major && its_minor >= minor);
}

// waitid() of the pidfd that takes nothing. False: not our child, or not any more.
bool look(int pidfd, siginfo_t& information) noexcept {
  const no_cancellation here;
  information.si_pid = 0;
  return waitid(P_PIDFD, static_cast<id_t>(pidfd), &information, WEXITED | WNOHANG | WNOWAIT) == 0;
}

}  // namespace

bool may_learn_status(int pidfd) noexcept {
  siginfo_t information{};
  if (look(pidfd, information)) return true;
  return is_at_least(6, 15) && syscall(SYS_pidfd_send_signal, pidfd, 0, nullptr, 0) == 0;
}

std::optional<std::uint32_t> exit_status(int pidfd) noexcept {
  siginfo_t child{};
  if (look(pidfd, child) && child.si_pid != 0) {
    const auto value = static_cast<std::uint32_t>(child.si_status);
    if (child.si_code == CLD_EXITED) return (value & 0xff) << 8;
    return child.si_code == CLD_DUMPED ? value | WCOREFLAG : value;
  }
  pidfd_info info{};
  info.mask = info_exit;
  if (ioctl(pidfd, get_info, &info) != 0 || (info.mask & info_exit) == 0) return std::nullopt;
  return static_cast<std::uint32_t>(info.exit_code);
}

bool reaping_is_told() noexcept {
  return is_at_least(6, 9);
}

}  // namespace kedge::kqueue
