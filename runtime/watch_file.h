// watch_file: follows a path, whatever file it names.
//
//     kedge::watch_file config(loop, "/etc/daemon.conf");
//     while (const auto change = co_await config.next()) {     // a result<file_change>
//       if (change->exists) reload();
//     }
//
// It goes on when an editor renames another file over the path (an atomic save), when the file is
// deleted and comes back, when a directory above it is renamed, replaced or removed, and when a
// symbolic link on the way to it points elsewhere. A relative path is followed from the directory
// that is the current one in the constructor. What happens is collected from the constructor on, so
// no state of the path that lasts is missed; what happens several times is reported once. A file
// that is moved away and back between two waits has not changed.
//
// A path that names nothing is an error, since it is a mistake more often than not. With
// {.may_be_missing = true} it is waited for, with any of its directories.
//
// It watches the file and the directories on the way, an fd for each. On Linux the user needs the
// right to read the file, else the constructor throws EACCES. A directory that cannot be read is
// not watched: what is renamed within it is not noticed. See vnode.h for what the kernel reports.
// An entry that comes or goes in a directory on the way makes the wait walk the path again, so a
// path below a busy directory costs a walk per turn of the loop at most.
//
// Threads: the loop's thread only. A watch_file may outlive its loop: waits then end with
// errc::loop_gone, as in the child of a fork.
#pragma once

#include <memory>
#include <string_view>

#include "kedge/runtime/awaiting/event_source.h"

namespace kedge {

// The path now, and what has happened since the change before.
struct file_change {
  bool exists;      // the path names a file
  bool replaced;    // that is another one than before, or there was none
  bool written;     // bytes of the file, or entries of a directory
  bool attributes;  // permissions, owner, times
};

struct watch_options {
  bool may_be_missing = false;
};

class watch_file {
 public:
  // `r` is the loop. Returns when the path is watched. Throws std::system_error, whose message
  // names the path: ENOENT if it names nothing and may not be missing, EINVAL if it is empty or has
  // a NUL, and what the system answers (EACCES, ELOOP, EMFILE; ENOSPC on Linux). Throws
  // std::bad_alloc.
  watch_file(reactor& r, std::string_view path, watch_options options = {});
  watch_file(const watch_file&) = delete;
  watch_file& operator=(const watch_file&) = delete;
  // Ends a wait in progress, and the awaitables that have not been awaited, with errc::closed.
  ~watch_file();

  // Waits for a change, and takes all of it. Gives the system's error if the path cannot be watched
  // any more (EMFILE); the next wait tries again. One task may wait at a time; a second one gets
  // errc::already_awaited. Cancellation loses nothing: the task takes at its turn.
  event_awaitable<file_change> next() const noexcept;

 private:
  class state;
  std::shared_ptr<state> state_;
};

}  // namespace kedge
