// file_changes over inotify. What is posted for which change follows the KNOTE() calls of Darwin's
// VFS and of its file systems.
#include "kedge/runtime/kqueue/filters/file_changes.h"

#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <new>
#include <utility>

#include "kedge/runtime/kqueue/descriptors/internal_fds.h"
#include "kedge/runtime/kqueue/libc/no_cancellation.h"

namespace kedge::kqueue {
namespace {

// What inotify reported of a watch, as bits.
constexpr unsigned written = 1;          // the file
constexpr unsigned attributes = 2;       // its attributes, the link count among them
constexpr unsigned moved = 4;            // its name
constexpr unsigned entries = 8;          // the entries of the directory
constexpr unsigned subdirectories = 16;  // the number of its subdirectories
constexpr unsigned removals = 32;        // a directory was removed from it
constexpr unsigned anything = written | attributes | moved | entries | subdirectories | removals;

constexpr std::uint32_t entry_events = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO;

bool wants_parent(std::uint32_t fflags) noexcept {
  return (fflags & (NOTE_DELETE | NOTE_LINK)) != 0;
}

// Returns the events of inotify that a knote with these fflags needs. READ and WRITE are asked
// after any change, which only makes a difference to EV_CLEAR.
std::uint32_t events_for(const knote& note, std::uint32_t fflags, bool is_directory) noexcept {
  if (note.filter != EVFILT_VNODE)
    return (note.flags & EV_CLEAR) != 0 ? IN_MODIFY | IN_ATTRIB | IN_MOVE_SELF : IN_MODIFY;
  std::uint32_t events = 0;
  if ((fflags & NOTE_RENAME) != 0) events |= IN_MOVE_SELF;
  if (is_directory) {
    if ((fflags & (NOTE_WRITE | NOTE_LINK)) != 0) events |= entry_events;
    if ((fflags & NOTE_ATTRIB) != 0) events |= IN_ATTRIB;
    // The directory above gets the event of its removal. It itself gets the event when another
    // directory is renamed over it.
    if (wants_parent(fflags)) events |= IN_MOVE_SELF | IN_ATTRIB;
  } else {
    // Truncation changes an attribute on Darwin, and is a modification to inotify.
    if ((fflags & (NOTE_WRITE | NOTE_EXTEND | NOTE_ATTRIB)) != 0) events |= IN_MODIFY;
    if ((fflags & (NOTE_ATTRIB | NOTE_DELETE | NOTE_LINK)) != 0) events |= IN_ATTRIB;
  }
  return events;
}

// Returns whether the permissions or the owner differ.
bool has_other_rights(const struct stat& a, const struct stat& b) noexcept {
  return a.st_mode != b.st_mode || a.st_uid != b.st_uid || a.st_gid != b.st_gid;
}

}  // namespace

file_changes::~file_changes() {
  internal_fds::close(inotify_);
}

// Makes the mask of a watch at least `events`. Returns the wd, or -1 with errno.
int file_changes::add_inotify_watch(const knote& note, const char* suffix,
                                    std::uint32_t events) const noexcept {
  char path[40];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d%s", static_cast<int>(note.ident), suffix);
  return inotify_add_watch(inotify_, path, events | IN_MASK_ADD);
}

int file_changes::watch(knote& note, std::uint32_t fflags) noexcept {
  const std::lock_guard hold(lock_);
  take_events();
  try {
    return add(note, fflags);
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
}

// watch(), under the lock.
int file_changes::add(knote& note, std::uint32_t fflags) {
  struct stat status{};
  if (fstat(static_cast<int>(note.ident), &status) != 0) return EBADF;
  const bool is_directory = S_ISDIR(status.st_mode);
  const std::uint32_t events = events_for(note, fflags, is_directory);
  if (events == 0) {
    note.fflags = fflags;
    return 0;
  }
  const int wd = add_inotify_watch(note, "", events);
  if (wd < 0) return errno;

  int error = 0;
  try {
    error = add_to_watch(note, wd, status, is_directory && wants_parent(fflags));
  } catch (const std::bad_alloc&) {
    error = ENOMEM;
  }
  if (error == 0) {
    note.fflags = fflags;
  } else {
    forget_if_unused(wd);
  }
  return error;
}

// Puts the knote into the file_watch of `wd`, made if need be. Returns 0 or an errno. Throws
// std::bad_alloc.
int file_changes::add_to_watch(knote& note, int wd, const struct stat& status, bool needs_parent) {
  file_watch& w = watches_[wd];
  if (w.knotes.empty()) {
    // Again, now that inotify watches the file and no change can be missed.
    if (fstat(static_cast<int>(note.ident), &w.known) != 0) w.known = status;
    w.moved_in = 0;
  } else {
    compare_status(w, 0);
  }
  w.knotes.reserve(w.knotes.size() + 1);
  if (needs_parent && w.parent == 0) {
    if (const int error = watch_parent(w, note); error != 0) return error;
  }
  if (file_interest_of(note).wd != wd) {
    w.knotes.push_back(&note);
    remove(note);
    file_interest_of(note) = {wd, 0};
  }
  return 0;
}

void file_changes::unwatch(knote& note) noexcept {
  const std::lock_guard hold(lock_);
  remove(note);
}

// Takes the knote out of its file_watch, if it is in one.
void file_changes::remove(knote& note) noexcept {
  const auto place = watches_.find(std::exchange(file_interest_of(note).wd, 0));
  if (place == watches_.end()) return;
  std::erase(place->second.knotes, &note);
  forget_if_unused(place->first);
}

void file_changes::forget_if_unused(int wd) noexcept {
  const auto place = watches_.find(wd);
  if (place == watches_.end()) {
    inotify_rm_watch(inotify_, wd);  // there was no memory for its file_watch
    return;
  }
  file_watch& w = place->second;
  if (!w.knotes.empty()) return;
  unwatch_parent(w);
  if (w.children != 0) return;
  watches_.erase(place);
  inotify_rm_watch(inotify_, wd);
}

// Watches the directory above, through the descriptor of the knote. Returns 0 or an errno.
int file_changes::watch_parent(file_watch& w, const knote& note) noexcept {
  if (w.known.st_nlink == 0) return 0;  // it is removed already
  const int wd = add_inotify_watch(note, "/..", IN_DELETE | IN_ONLYDIR);
  if (wd < 0) return errno;
  try {
    file_watch& parent = watches_[wd];
    if (&parent == &w) return 0;  // the root
    w.parent = wd;
    ++parent.children;
    return 0;
  } catch (const std::bad_alloc&) {
    inotify_rm_watch(inotify_, wd);
    return ENOMEM;
  }
}

void file_changes::unwatch_parent(file_watch& w) noexcept {
  const auto place = watches_.find(std::exchange(w.parent, 0));
  if (place == watches_.end()) return;
  --place->second.children;
  forget_if_unused(place->first);
}

std::uint32_t file_changes::pending_of(knote& note, bool take) noexcept {
  const std::lock_guard hold(lock_);
  std::uint32_t& pending = file_interest_of(note).pending;
  return take ? std::exchange(pending, 0) : pending;
}

void file_changes::pump() noexcept {
  const std::lock_guard hold(lock_);
  take_events();
}

// Reads all events that inotify has by now. Then compares the status of each changed file once.
void file_changes::take_events() noexcept {
  const no_cancellation guard;
  int left = 0;
  if (ioctl(inotify_, FIONREAD, &left) != 0) return;
  while (left > 0) {
    alignas(inotify_event) char bytes[4096];
    const ssize_t size = read(inotify_, bytes, sizeof bytes);
    if (size <= 0) break;
    for (ssize_t at = 0; at < size;) {
      inotify_event event;
      std::memcpy(&event, bytes + at, sizeof event);
      at += static_cast<ssize_t>(sizeof event + event.len);
      record_event(event.wd, event.mask, event.len != 0);
    }
    left -= static_cast<int>(size);
  }
  post_changes();
}

// `is_of_entry`: it happened to an entry of the watched directory.
void file_changes::record_event(int wd, std::uint32_t events, bool is_of_entry) noexcept {
  if ((events & IN_Q_OVERFLOW) != 0) {
    for (auto& [any, w] : watches_) record_change(w, anything);
    return;
  }
  const auto place = watches_.find(wd);
  if (place == watches_.end()) return;
  file_watch& w = place->second;
  if (!is_of_entry) {
    if ((events & IN_MODIFY) != 0) record_change(w, written);
    if ((events & IN_ATTRIB) != 0) record_change(w, attributes);
    if ((events & IN_MOVE_SELF) != 0) record_change(w, moved);
    return;
  }
  if ((events & entry_events) == 0) return;
  record_change(w, entries);
  if ((events & IN_ISDIR) == 0) return;
  if ((events & (IN_CREATE | IN_DELETE)) != 0) record_change(w, subdirectories);
  if ((events & IN_DELETE) != 0) record_change(w, removals);
  if ((events & IN_MOVED_TO) != 0) ++w.moved_in;
  if ((events & IN_MOVED_FROM) != 0) --w.moved_in;
}

void file_changes::record_change(file_watch& w, unsigned change) noexcept {
  if (!w.changed_link.is_linked()) changed_.push_back(w);
  w.changes |= change;
}

void file_changes::post_changes() noexcept {
  unsigned all_changes = 0;
  while (file_watch* const w = changed_.pop_back()) {
    const unsigned changes = std::exchange(w->changes, 0);
    if (!w->knotes.empty()) compare_status(*w, changes);
    w->has_moved = (changes & moved) != 0;
    all_changes |= changes;
  }
  if ((all_changes & (removals | moved)) == 0) return;
  for (auto& [wd, w] : watches_) {
    const bool has_moved = std::exchange(w.has_moved, false);
    if (w.parent == 0) continue;
    // A removed directory is found by its link count.
    if ((all_changes & removals) != 0) compare_status(w, 0);
    if (has_moved) update_parent(w);
  }
}

// The directory is in another directory now. If that may not be watched, its removal is not
// reported.
void file_changes::update_parent(file_watch& w) noexcept {
  const int old = std::exchange(w.parent, 0);
  watch_parent(w, *w.knotes.front());
  --watches_.find(old)->second.children;
  forget_if_unused(old);
}

// Posts what the operations of a vnode would have posted, by inotify's `changes` and by how the
// file's status differs from the known one.
void file_changes::compare_status(file_watch& w, unsigned changes) noexcept {
  const struct stat old = std::exchange(w.known, status_of(w));
  if ((changes & moved) != 0) post(w, NOTE_RENAME);
  S_ISDIR(w.known.st_mode) ? post_directory(w, old, changes) : post_file(w, old, changes);
}

// Returns the status of the file, or the known one if no descriptor leads to the file any more.
struct stat file_changes::status_of(const file_watch& w) noexcept {
  for (const knote* const note : w.knotes) {
    struct stat status{};
    if (fstat(static_cast<int>(note->ident), &status) != 0) continue;
    // Otherwise the fd was reused for another file.
    if (status.st_dev == w.known.st_dev && status.st_ino == w.known.st_ino) return status;
  }
  return w.known;
}

void file_changes::post_directory(file_watch& w, const struct stat& old,
                                  unsigned changes) noexcept {
  const bool links_differ = w.known.st_nlink != old.st_nlink;
  if ((changes & entries) != 0) {
    const bool moves = std::exchange(w.moved_in, 0) != 0;
    const bool is_linked = links_differ || moves || (changes & subdirectories) != 0;
    post(w, is_linked ? NOTE_WRITE | NOTE_LINK : NOTE_WRITE);
  }
  const bool is_removed = links_differ && w.known.st_nlink == 0;
  if (is_removed) post(w, NOTE_DELETE | NOTE_LINK);
  if (has_other_rights(w.known, old) || ((changes & attributes) != 0 && !is_removed)) {
    post(w, NOTE_ATTRIB);
  }
}

void file_changes::post_file(const file_watch& w, const struct stat& old,
                             unsigned changes) noexcept {
  const struct stat& now = w.known;
  if ((changes & written) != 0) post(w, NOTE_WRITE);
  if (now.st_size > old.st_size) post(w, NOTE_EXTEND);
  if (now.st_nlink > old.st_nlink) post(w, NOTE_LINK);
  if (now.st_nlink < old.st_nlink) post(w, NOTE_DELETE | NOTE_LINK);
  const bool links_differ = now.st_nlink != old.st_nlink;
  if (has_other_rights(now, old) || now.st_size < old.st_size ||
      ((changes & attributes) != 0 && !links_differ)) {
    post(w, NOTE_ATTRIB);
  }
}

// Follows filt_vnode_common(): a knote that asks for one of the bits gets all of them. READ and
// WRITE check the file themselves.
void file_changes::post(const file_watch& w, std::uint32_t hint) noexcept {
  for (knote* const note : w.knotes) {
    if (note->filter == EVFILT_VNODE) {
      if ((note->fflags & hint) == 0) continue;
      file_interest_of(*note).pending |= hint;
    }
    activate(*note);
  }
}

}  // namespace kedge::kqueue
