// file_changes: what happens to files, as inotify reports it, posted to knotes as Darwin's kernel
// posts it to the knotes of a vnode (KNOTE() in bsd/vfs). It serves EVFILT_VNODE, and READ and
// WRITE of regular files. A kqueue with such knotes has one file_changes, the state of
// EVFILT_VNODE, and in it one inotify instance.
//
// inotify has one watch per inode, whatever descriptors lead to it. So there is one file_watch per
// inode too, with all its knotes. Its mask only grows, until the last of its knotes leaves. inotify
// reports that an attribute changed, but not which: the file's status is compared with the last
// known one.
//
// inotify reports nothing to the watch of a directory that is removed while it is open. So the
// directory above it, its parent, is watched too, and counts such children.
//
// Threads: any. activate() is called under the lock of this class.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <vector>

#include "kedge/runtime/base/list.h"
#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/kqueue/filter.h"

namespace kedge::kqueue {

// The beginning of the area of a watched knote.
struct file_interest {
  int wd;                 // inotify's watch descriptor, 0: none
  std::uint32_t pending;  // EVFILT_VNODE: the NOTE_* that happened
};
inline file_interest& file_interest_of(knote& note) noexcept {
  return reinterpret_cast<file_interest&>(note.area);
}

class file_changes {
 public:
  explicit file_changes(int inotify) noexcept : inotify_(inotify) {}
  file_changes(const file_changes&) = delete;
  file_changes& operator=(const file_changes&) = delete;
  ~file_changes();

  // Watches the file of a knote, whose ident is the file's descriptor. After this call the knote is
  // activated by what it asks for: READ and WRITE by writes, VNODE by its fflags. Also changes the
  // fflags, or the file, of a knote that is watched already; what happened before counts by the old
  // ones.
  //
  // Returns 0, or an errno and then has changed nothing: EACCES without the right to read the file;
  // ENOSPC if the user has too many watches; ENOMEM.
  int watch(knote& note, std::uint32_t fflags) noexcept;
  // Has no effect on a knote that is not watched.
  void unwatch(knote& note) noexcept;

  // Returns the NOTE_* that happened and that a VNODE knote asks for. With `take` forgets them.
  std::uint32_t pending_of(knote& note, bool take) noexcept;

  // Reads inotify's events and activates knotes.
  void pump() noexcept;

 private:
  struct file_watch {
    std::vector<knote*> knotes;
    struct stat known{};     // the file's last known status. Kept while there are knotes.
    int parent = 0;          // the wd of the directory above, if removal is to be reported
    unsigned children = 0;   // watches whose parent this is
    unsigned changes = 0;    // what inotify reported since `known`, as bits
    int moved_in = 0;        // directories since then. Negative: moved out
    bool has_moved = false;  // its parent may be another directory
    base::list_link<file_watch> changed_link;
  };

  int add_inotify_watch(const knote& note, const char* suffix, std::uint32_t events) const noexcept;
  int add(knote& note, std::uint32_t fflags);
  int add_to_watch(knote& note, int wd, const struct stat& status, bool needs_parent);
  void remove(knote& note) noexcept;
  void forget_if_unused(int wd) noexcept;
  int watch_parent(file_watch& w, const knote& note) noexcept;
  void unwatch_parent(file_watch& w) noexcept;
  void update_parent(file_watch& w) noexcept;

  void take_events() noexcept;
  void record_event(int wd, std::uint32_t events, bool is_of_entry) noexcept;
  void record_change(file_watch& w, unsigned change) noexcept;
  void post_changes() noexcept;
  void compare_status(file_watch& w, unsigned changes) noexcept;
  static struct stat status_of(const file_watch& w) noexcept;
  static void post_directory(file_watch& w, const struct stat& old, unsigned changes) noexcept;
  static void post_file(const file_watch& w, const struct stat& old, unsigned changes) noexcept;
  static void post(const file_watch& w, std::uint32_t hint) noexcept;

  base::mutex lock_;
  int inotify_;
  std::map<int, file_watch> watches_;                          // by wd
  base::list<file_watch, &file_watch::changed_link> changed_;  // those with `changes`
};

}  // namespace kedge::kqueue
