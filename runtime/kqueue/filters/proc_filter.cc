// EVFILT_PROC: filt_proc* of Darwin's kern_event.c, over pidfds. Those of a kqueue stand in an
// epoll set, which is the filter's pump. Edge-triggered: a pidfd becomes readable when its process
// has ended, and hangs up when it was waited for.

#include <poll.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdint>
#include <mutex>
#include <new>
#include <optional>
#include <vector>

#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/kqueue/descriptors/internal_fds.h"
#include "kedge/runtime/kqueue/filter_table.h"
#include "kedge/runtime/kqueue/filters/process_exit.h"
#include "kedge/runtime/kqueue/libc/no_cancellation.h"

namespace kedge::kqueue {
namespace {

// Linux tells them to nobody but tracers and listeners of its process connector, which only the
// initial namespaces have.
constexpr std::uint32_t untold = NOTE_FORK | NOTE_EXEC | NOTE_SIGNAL;
constexpr std::uint32_t following = NOTE_TRACK | NOTE_TRACKERR | NOTE_CHILD;

struct watched_process {  // a knote's area, under the lock of `processes`
  int pidfd;
  std::uint32_t place;     // among `processes`
  std::uint32_t happened;  // NOTE_* not yet reported
  std::uint32_t status;    // not yet reported
  bool exit_seen;
  bool over;  // nothing more will happen
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

processes& processes_beside(const knote& note) noexcept {
  return *static_cast<processes*>(filter_state(note));
}

// What a change may ask for. Returns 0 or an errno.
int check_wishes(std::uint32_t fflags, int pidfd) noexcept {
  if ((fflags & untold) != 0) return ENOTSUP;
  if ((fflags & NOTE_REAP) != 0 && !reaping_is_told()) return ENOTSUP;
  if ((fflags & NOTE_EXITSTATUS) != 0 && !may_learn_status(pidfd)) return EACCES;
  return 0;
}

// A pidfd of a process that has not ended, or -1 with errno.
int open_process(std::uint64_t ident) noexcept {
  const no_cancellation here;
  if (ident == 0 || ident > INT_MAX) {
    errno = ESRCH;
    return -1;
  }
  const int pidfd = internal_fds::make(
      [ident] { return static_cast<int>(syscall(SYS_pidfd_open, static_cast<pid_t>(ident), 0)); });
  if (pidfd < 0) {
    // The number of a thread: no process.
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

// Puts the knote into the set. Returns 0 or an errno.
int enter(processes& all, knote& note) noexcept {
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
  if ((change.fflags & following) != 0) return {ENOTSUP, false};
  const int pidfd = open_process(note.ident);
  if (pidfd < 0) return {errno, false};
  process_of(note).pidfd = pidfd;
  int error = check_wishes(change.fflags, pidfd);
  if (error == 0) error = enter(processes_beside(note), note);
  if (error != 0) {
    internal_fds::close(pidfd);
    return {error, false};
  }
  note.flags |= EV_CLEAR;
  note.data = 0;
  return {};
}

void detach(knote& note) noexcept {
  processes& all = processes_beside(note);
  const watched_process& p = process_of(note);
  const std::lock_guard hold(all.lock);
  epoll_ctl(all.set, EPOLL_CTL_DEL, p.pidfd, nullptr);  // a child of fork may still have it open
  internal_fds::close(p.pidfd);
  knote* const last = all.notes.back();
  all.notes[p.place] = last;
  process_of(*last).place = p.place;
  all.notes.pop_back();
}

verdict touch(knote& note, const kevent64_s& change) {
  processes& all = processes_beside(note);
  const std::lock_guard hold(all.lock);
  watched_process& p = process_of(note);
  if (const int error = check_wishes(change.fflags & ~note.fflags, p.pidfd); error != 0)
    return {error, false};
  note.fflags = change.fflags;
  return {0, p.happened != 0};
}

// NOTE_EXIT of filt_procevent(). `reaped`: what the status is has been said, or never will be.
void notice_exit(const knote& note, watched_process& p, bool reaped) noexcept {
  if (p.exit_seen) return;
  if ((note.fflags & NOTE_EXITSTATUS) != 0) {
    const std::optional<std::uint32_t> status = exit_status(p.pidfd);
    if (!status && !reaped) return;  // to be told later
    if (status) {
      p.happened |= NOTE_EXITSTATUS;
      p.status = *status & NOTE_PDATAMASK;
    }
  }
  p.exit_seen = true;
  p.happened |= note.fflags & (NOTE_EXIT | NOTE_EXIT_DETAIL);  // no detail is known
  if ((note.fflags & NOTE_REAP) == 0) p.over = true;
}

void notice(knote& note, std::uint32_t events) noexcept {
  watched_process& p = process_of(note);
  const bool reaped = (events & EPOLLHUP) != 0;
  notice_exit(note, p, reaped);
  if (reaped) {
    p.happened |= note.fflags & NOTE_REAP;
    p.over = true;
  }
  if (p.happened != 0) activate(note);
}

void process(std::span<delivery> batch) noexcept {
  const std::lock_guard hold(processes_beside(*batch.front().note).lock);
  for (delivery& d : batch) {
    watched_process& p = process_of(*d.note);
    d.fired = p.happened != 0;
    d.event.fflags = p.happened;
    d.event.data = p.status;
    if (p.over) d.event.flags |= EV_EOF | EV_ONESHOT;
    p.happened = p.status = 0;
  }
}

// The set is looked at under the lock, so that no knote in the answer has left it.
void pump(void* state) noexcept {
  const no_cancellation here;
  processes& all = *static_cast<processes*>(state);
  constexpr int room = 64;
  epoll_event events[room];
  const std::lock_guard hold(all.lock);
  int n = room;
  while (n == room) {
    n = epoll_wait(all.set, events, room, 0);
    for (int i = 0; i < n; ++i) notice(*static_cast<knote*>(events[i].data.ptr), events[i].events);
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
