// EVFILT_PROC: filt_proc*() of Darwin's kern_event.c, over pidfds. The pidfds of a kqueue are in an
// epoll set, which is the filter's pump. They are registered edge-triggered: a pidfd becomes
// readable when its process has ended, and hangs up when a parent has waited for the process.
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <new>
#include <optional>
#include <vector>

#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/kqueue/descriptors/internal_fds.h"
#include "kedge/runtime/kqueue/filter_table.h"
#include "kedge/runtime/kqueue/libc/no_cancellation.h"

namespace kedge::kqueue {
namespace {

// Linux reports these only to tracers and to listeners of its process connector, which only the
// initial namespaces have.
constexpr std::uint32_t unsupported = NOTE_FORK | NOTE_EXEC | NOTE_SIGNAL;
constexpr std::uint32_t tracking = NOTE_TRACK | NOTE_TRACKERR | NOTE_CHILD;

// --- How a process ends, through its pidfd.

// Linux's PIDFD_GET_INFO, which is newer than the headers of most systems.
struct pidfd_info {
  std::uint64_t mask;
  std::uint64_t cgroup;
  std::uint32_t ids[11];
  std::int32_t exit_code;
};
constexpr std::uint64_t info_exit = 1 << 3;
constexpr unsigned long get_info = _IOWR(0xff, 11, pidfd_info);

bool is_linux_at_least(int major, int minor) noexcept {
  utsname system{};
  int its_major = 0;
  int its_minor = 0;
  if (uname(&system) != 0 || std::sscanf(system.release, "%d.%d", &its_major, &its_minor) != 2)
    return false;
  return its_major > major || (its_major == major && its_minor >= minor);
}

// waitid() that leaves the process waitable. Returns false if it is not a child, or no longer one.
bool peek_at_child(int pidfd, siginfo_t& information) noexcept {
  const no_cancellation guard;
  information.si_pid = 0;
  return waitid(P_PIDFD, static_cast<id_t>(pidfd), &information, WEXITED | WNOHANG | WNOWAIT) == 0;
}

// Returns whether this process can get the exit status: as the parent, or because it may signal the
// process and Linux keeps the status for all, from 6.15 on.
bool can_get_status(int pidfd) noexcept {
  siginfo_t information{};
  if (peek_at_child(pidfd, information)) return true;
  return is_linux_at_least(6, 15) && syscall(SYS_pidfd_send_signal, pidfd, 0, nullptr, 0) == 0;
}

// Returns the status of an ended process as wait(2) has it, and leaves it for the process that
// waits. Returns nothing if it is not available, or not yet: Linux gives it to processes other than
// the parent only after the parent has waited.
std::optional<std::uint32_t> exit_status(int pidfd) noexcept {
  siginfo_t child{};
  if (peek_at_child(pidfd, child) && child.si_pid != 0) {
    const auto value = static_cast<std::uint32_t>(child.si_status);
    if (child.si_code == CLD_EXITED) return (value & 0xff) << 8;
    return child.si_code == CLD_DUMPED ? value | WCOREFLAG : value;
  }
  pidfd_info info{};
  info.mask = info_exit;
  if (ioctl(pidfd, get_info, &info) != 0 || (info.mask & info_exit) == 0) return std::nullopt;
  return static_cast<std::uint32_t>(info.exit_code);
}

// Returns whether a pidfd hangs up when its process was waited for: from Linux 6.9 on.
bool reports_reaping() noexcept {
  return is_linux_at_least(6, 9);
}

// --- The filter.

// The area of a knote. The lock of `processes` guards it.
struct watched_process {
  int pidfd;
  std::uint32_t place;     // in processes::notes
  std::uint32_t happened;  // NOTE_* not yet reported
  std::uint32_t status;    // not yet reported
  bool exit_seen;
  bool over;  // there are no more events
};
static_assert(sizeof(watched_process) <= knote::area_size);

watched_process& process_of(knote& note) noexcept {
  return reinterpret_cast<watched_process&>(note.area);
}

// The process knotes of one kqueue. activate() is called under the lock.
struct processes {
  base::mutex lock;
  int set;
  std::vector<knote*> notes;
};

processes& processes_of(const knote& note) noexcept {
  return *static_cast<processes*>(filter_state(note));
}

// Returns 0, or an errno if a change may not ask for these fflags.
int check_fflags(std::uint32_t fflags, int pidfd) noexcept {
  if ((fflags & unsupported) != 0) return ENOTSUP;
  if ((fflags & NOTE_REAP) != 0 && !reports_reaping()) return ENOTSUP;
  if ((fflags & NOTE_EXITSTATUS) != 0 && !can_get_status(pidfd)) return EACCES;
  return 0;
}

// Returns a pidfd of a process that has not ended, or -1 with errno.
int open_process(std::uint64_t ident) noexcept {
  const no_cancellation guard;
  if (ident == 0 || ident > INT_MAX) {
    errno = ESRCH;
    return -1;
  }
  const int pidfd = internal_fds::make(
      [ident] { return static_cast<int>(syscall(SYS_pidfd_open, static_cast<pid_t>(ident), 0)); });
  if (pidfd < 0) {
    // The id of a thread that is not a process.
    if (errno == EINVAL || errno == ENOENT) errno = ESRCH;
    if (errno == ENOSYS) errno = ENOTSUP;
    return -1;
  }
  pollfd ended{pidfd, POLLIN, 0};
  if (poll(&ended, 1, 0) == 0) return pidfd;
  internal_fds::close(pidfd);
  errno = ESRCH;
  return -1;
}

// Adds the knote and its pidfd. Returns 0 or an errno.
int add(processes& all, knote& note) noexcept {
  const std::lock_guard hold(all.lock);
  try {
    all.notes.push_back(&note);
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.ptr = &note;
  if (epoll_ctl(all.set, EPOLL_CTL_ADD, process_of(note).pidfd, &event) != 0) {
    all.notes.pop_back();
    return errno;
  }
  process_of(note).place = static_cast<std::uint32_t>(all.notes.size() - 1);
  return 0;
}

verdict attach(knote& note, const kevent64_s& change) {
  if ((change.fflags & tracking) != 0) return {ENOTSUP, false};
  const int pidfd = open_process(note.ident);
  if (pidfd < 0) return {errno, false};
  process_of(note).pidfd = pidfd;
  int error = check_fflags(change.fflags, pidfd);
  if (error == 0) error = add(processes_of(note), note);
  if (error != 0) {
    internal_fds::close(pidfd);
    return {error, false};
  }
  note.flags |= EV_CLEAR;
  note.data = 0;
  return {};
}

void detach(knote& note) noexcept {
  processes& all = processes_of(note);
  const watched_process& p = process_of(note);
  const std::lock_guard hold(all.lock);
  epoll_ctl(all.set, EPOLL_CTL_DEL, p.pidfd, nullptr);  // a child of fork may still have it open
  internal_fds::close(p.pidfd);
  knote* const last = all.notes.back();
  all.notes[p.place] = last;
  process_of(*last).place = p.place;
  all.notes.pop_back();
}

void pump(void* state) noexcept;

verdict touch(knote& note, const kevent64_s& change) {
  processes& all = processes_of(note);
  pump(&all);  // an exit before the change is reported by the old fflags
  const std::lock_guard hold(all.lock);
  watched_process& p = process_of(note);
  const std::uint32_t added = p.exit_seen ? 0 : change.fflags & ~note.fflags;
  if (const int error = check_fflags(added, p.pidfd); error != 0) return {error, false};
  note.fflags = change.fflags;
  return {0, p.happened != 0};
}

// NOTE_EXIT of filt_procevent(). `reaped`: the status is available now or never.
void record_exit(const knote& note, watched_process& p, bool reaped) noexcept {
  if (p.exit_seen) return;
  if ((note.fflags & NOTE_EXITSTATUS) != 0) {
    const std::optional<std::uint32_t> status = exit_status(p.pidfd);
    if (!status && !reaped) return;  // it comes when the process is reaped
    if (status) {
      p.happened |= NOTE_EXITSTATUS;
      p.status = *status & NOTE_PDATAMASK;
    }
  }
  p.exit_seen = true;
  p.happened |= note.fflags & (NOTE_EXIT | NOTE_EXIT_DETAIL);  // no detail is known
  if ((note.fflags & NOTE_REAP) == 0) p.over = true;
}

void record_event(knote& note, std::uint32_t events) noexcept {
  watched_process& p = process_of(note);
  const bool reaped = (events & EPOLLHUP) != 0;
  record_exit(note, p, reaped);
  if (reaped) {
    p.happened |= note.fflags & NOTE_REAP;
    p.over = true;
  }
  if (p.happened != 0) activate(note);
}

void process(std::span<delivery> batch) noexcept {
  const std::lock_guard hold(processes_of(*batch.front().note).lock);
  for (delivery& d : batch) {
    watched_process& p = process_of(*d.note);
    d.fired = p.happened != 0;
    d.event.fflags = p.happened;
    d.event.data = p.status;
    if (p.over) d.event.flags |= EV_EOF | EV_ONESHOT;
    p.happened = p.status = 0;
  }
}

// Calls epoll_wait under the lock, so that no knote of the result has left the set.
void pump(void* state) noexcept {
  const no_cancellation guard;
  processes& all = *static_cast<processes*>(state);
  constexpr int room = 64;
  epoll_event events[room];
  const std::lock_guard hold(all.lock);
  int n = room;
  while (n == room) {
    n = epoll_wait(all.set, events, room, 0);
    for (int i = 0; i < n; ++i)
      record_event(*static_cast<knote*>(events[i].data.ptr), events[i].events);
  }
}

int open(queue&, void** state, int* pump_fd) noexcept {
  const int set = internal_fds::make([] { return epoll_create1(EPOLL_CLOEXEC); });
  if (set < 0) return errno;
  processes* const all = new (std::nothrow) processes{{}, set, {}};
  if (all == nullptr) {
    internal_fds::close(set);
    return ENOMEM;
  }
  *state = all;
  *pump_fd = set;
  return 0;
}

void close(void* state) noexcept {
  processes* const all = static_cast<processes*>(state);
  internal_fds::close(all->set);
  delete all;
}

}  // namespace

constinit const filter_operations proc_filter{.attach = attach,
                                              .detach = detach,
                                              .touch = touch,
                                              .process = process,
                                              .open = open,
                                              .pump = pump,
                                              .close = close};

}  // namespace kedge::kqueue
