// vnode: awaits what happens to an open file or directory.
//
//     const int fd = ::open("app.log", O_EVTONLY);       // O_RDONLY where there is no O_EVTONLY
//     kedge::vnode log(loop, fd);
//     const kedge::vnode_event e = (co_await log.next()).value();
//     if (e.renamed || e.deleted) reopen();
//
// A vnode is the file, whatever its name is: it follows renames, and goes on with the old file when
// another one takes its name. watch_file.h follows the name instead. What happens is collected from
// the constructor on, so nothing between two calls of next() is lost; what happens several times is
// reported once. Each vnode of an fd receives all of it.
//
// The kernel says what it can. A directory reports that its entries have changed, not which ones.
// Writes through a mapping may not be reported. On Linux the user needs the right to read the file,
// for a directory the one above it too; runtime/kqueue/README.md has the rest.
//
// Threads: the loop's thread only. A vnode may outlive its loop: waits then end with
// errc::loop_gone, as in the child of a fork.
#pragma once

#include <memory>

#include "kedge/runtime/awaiting/event_source.h"

namespace kedge {

// What has happened since the event before, at least one of these.
struct vnode_event {
  bool written;     // bytes of the file, or entries of the directory
  bool extended;    // the file has grown
  bool attributes;  // permissions, owner, times
  bool links;       // the number of names
  bool renamed;
  bool deleted;  // the last name is gone; the file is there while it is open
  bool revoked;  // by revoke(2) or an unmount
};

class vnode {
 public:
  // `r` is the loop. The caller owns `fd`, and keeps it open while this object lives. Returns when
  // the kernel watches the file. Throws std::system_error with the kernel's answer (EBADF; EINVAL
  // for a pipe or a socket; EACCES, EMFILE and ENOSPC on Linux), and std::bad_alloc.
  vnode(reactor& r, int fd);
  vnode(const vnode&) = delete;
  vnode& operator=(const vnode&) = delete;
  // Ends a wait in progress, and the awaitables that have not been awaited, with errc::closed.
  ~vnode();

  // Waits until something has happened, and takes all of it. One task may wait at a time; a second
  // one gets errc::already_awaited. Cancellation loses nothing: the task takes at its turn.
  event_awaitable<vnode_event> next() const noexcept;

 private:
  class state;
  std::shared_ptr<state> state_;
};

}  // namespace kedge
