#pragma once

// Tells READ knotes of regular files that their file was written to: what Darwin's kernel posts to
// a vnode's knotes, from inotify here. One inotify instance for a kqueue that has such knotes, one
// watch per file.
//
// It stands in the table of filters (filter_table.h) for its pump, under a number that has no
// knotes.

#include <utility>
#include <vector>

#include "kedge/kqueue/filter.h"
#include "kedge/kqueue/lock.h"

namespace kedge::kqueue {

class file_changes {
 public:
  explicit file_changes(int inotify) noexcept : inotify_(inotify) {}
  file_changes(const file_changes&) = delete;
  file_changes& operator=(const file_changes&) = delete;
  ~file_changes();

  // From now on the knote, whose ident is the descriptor of a file, is activated by writes. Returns
  // 0 or an errno.
  int watch(knote& note) noexcept;
  // Nothing if it is not watched.
  void unwatch(const knote& note) noexcept;

  int descriptor() const noexcept { return inotify_; }

  // Reads off what happened and activates. Any thread.
  void pump() noexcept;

 private:
  word_lock lock_;  // activate() is called under it
  int inotify_;
  std::vector<std::pair<int, knote*>> watched_;  // by inotify's watch descriptor: one per file
};

}  // namespace kedge::kqueue
