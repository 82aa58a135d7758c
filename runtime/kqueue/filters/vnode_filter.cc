// EVFILT_VNODE: vn_kqfilter() and filt_vnode_common() of Darwin's vfs_vnops.c. file_changes posts
// what happened. It accumulates in the knote until it is delivered, and without EV_CLEAR after that
// too.
#include <linux/magic.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <new>

#include "kedge/runtime/kqueue/descriptors/internal_fds.h"
#include "kedge/runtime/kqueue/filter_table.h"
#include "kedge/runtime/kqueue/filters/file_changes.h"

namespace kedge::kqueue {
namespace {

// Linux does not report these. (NOTE_REVOKE never happens: Linux has no revoke(2), and does not
// unmount a file system while a file in it is open.)
constexpr std::uint32_t unsupported = NOTE_FUNLOCK | NOTE_LEASE_DOWNGRADE | NOTE_LEASE_RELEASE;

file_changes& changes_of(const knote& note) noexcept {
  return *static_cast<file_changes*>(filter_state(note));
}

bool asks_only_for_unsupported(std::uint32_t fflags) noexcept {
  return fflags != 0 && (fflags & ~unsupported) == 0;
}

// Returns 0 for a file that has a name in a file system, else an errno.
int check_file(int fd) noexcept {
  struct stat status{};
  if (fstat(fd, &status) != 0) return EBADF;
  switch (status.st_mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFCHR:
    case S_IFBLK:
      return 0;
    case S_IFIFO: {
      struct statfs system{};
      return fstatfs(fd, &system) == 0 && system.f_type != PIPEFS_MAGIC ? 0 : EINVAL;
    }
    default:
      return EINVAL;
  }
}

verdict attach(knote& note, const kevent64_s& change) {
  int error = check_file(static_cast<int>(note.ident));
  if (error == 0 && asks_only_for_unsupported(change.fflags)) error = ENOTSUP;
  if (error == 0) error = changes_of(note).watch(note, change.fflags);
  return {error, false};
}

void detach(knote& note) noexcept {
  changes_of(note).unwatch(note);
}

verdict touch(knote& note, const kevent64_s& change) {
  if (asks_only_for_unsupported(change.fflags)) return {ENOTSUP, false};
  const int error = changes_of(note).watch(note, change.fflags);
  return {error, error == 0 && changes_of(note).pending_of(note, false) != 0};
}

bool peek(knote& note) noexcept {
  return changes_of(note).pending_of(note, false) != 0;
}

void process(std::span<delivery> batch) noexcept {
  for (delivery& d : batch) {
    d.event.fflags = changes_of(*d.note).pending_of(*d.note, (d.note->flags & EV_CLEAR) != 0);
    d.fired = d.event.fflags != 0;
  }
}

int open(queue&, void** state, int* pump_fd) noexcept {
  const int inotify = internal_fds::make([] { return inotify_init1(IN_CLOEXEC | IN_NONBLOCK); });
  if (inotify < 0) return errno;
  file_changes* const changes = new (std::nothrow) file_changes(inotify);
  if (changes == nullptr) {
    internal_fds::close(inotify);
    return ENOMEM;
  }
  *state = changes;
  *pump_fd = inotify;
  return 0;
}

void pump(void* state) noexcept {
  static_cast<file_changes*>(state)->pump();
}

void close(void* state) noexcept {
  delete static_cast<file_changes*>(state);
}

}  // namespace

constinit const filter_operations vnode_filter{.attach = attach,
                                               .detach = detach,
                                               .touch = touch,
                                               .peek = peek,
                                               .process = process,
                                               .open = open,
                                               .pump = pump,
                                               .close = close};

}  // namespace kedge::kqueue
