// What happens to files: what Darwin's kernel posts to a vnode's knotes (KNOTE() in bsd/vfs), told
// by inotify here. Serves EVFILT_VNODE and READ and WRITE of regular files. A kqueue that has such
// knotes has one of these and one inotify instance, as the state of EVFILT_VNODE.
//
// inotify has one watch per inode, whatever descriptors lead to it: so one watch here, too, with
// all knotes of it. Its mask only grows, until the last of them goes. inotify tells that an
// attribute changed, not which: the file's status is compared with what it was.
//
// A directory that is removed while it is open tells its own watch nothing: the directory that it
// was in is watched for that, and counts such `children`.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <vector>

#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/kqueue/filter.h"

namespace kedge::kqueue {

// The beginning of a watched knote's area.
struct file_interest {
  int watch;           // inotify's number of it; 0: none
  std::uint32_t news;  // EVFILT_VNODE: NOTE_* that happened
};
inline file_interest& interest_of(knote& note) noexcept {
  return reinterpret_cast<file_interest&>(note.area);
}

class file_changes {
 public:
  explicit file_changes(int inotify) noexcept : inotify_(inotify) {}
  file_changes(const file_changes&) = delete;
  file_changes& operator=(const file_changes&) = delete;
  ~file_changes();

  // From now on the knote, whose ident is the descriptor of a file, is activated by what it asks
  // for: READ and WRITE by writes, VNODE by its fflags. Also for a knote that is watched already
  // and whose fflags, or file, shall be others: what happened before counts by the old ones.
  // Returns 0 or an errno, after which all is as before: EACCES no right to read the file; ENOSPC
  // the user has too many watches; ENOMEM.
  int watch(knote& note, std::uint32_t fflags) noexcept;
  // Nothing if it is not watched.
  void unwatch(knote& note) noexcept;

  // What happened that a VNODE knote asks for. With `taken` it is forgotten.
  std::uint32_t news(knote& note, bool taken) noexcept;

  // Reads off what happened and activates. Any thread.
  void pump() noexcept;

 private:
  struct file_watch {
    std::vector<knote*> knotes;
    struct stat known{};     // the file's status at the last look; kept while there are knotes
    int parent = 0;          // the watch of the directory above, if removal is to be told
    unsigned children = 0;   // watches whose parent this is
    unsigned seen = 0;       // what inotify told since the last look, as bits
    int moved_in = 0;        // directories, since then; negative: moved out
    bool has_moved = false;  // its parent may be another
    file_watch* next_touched = nullptr;
  };

  int add(const knote& note, const char* suffix, std::uint32_t events) const noexcept;
  int join(knote& note, std::uint32_t fflags);
  void leave(knote& note) noexcept;
  void forget_if_unused(int number) noexcept;
  int find_parent(file_watch& w, const knote& note) noexcept;
  void leave_parent(file_watch& w) noexcept;
  void follow(file_watch& w) noexcept;

  void take_events() noexcept;
  void sort(int number, std::uint32_t events, bool of_entry) noexcept;
  void touched(file_watch& w, unsigned what) noexcept;
  void look_at_touched() noexcept;
  void look(file_watch& w, unsigned seen) noexcept;
  static void post(const file_watch& w, std::uint32_t hint) noexcept;

  base::mutex lock_;  // activate() is called under it
  int inotify_;
  std::map<int, file_watch> watches_;  // by inotify's number
  file_watch* touched_ = nullptr;      // those with `seen`, chained
};

}  // namespace kedge::kqueue
