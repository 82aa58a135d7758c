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

// What a watch has seen, as bits.
constexpr unsigned written = 1;          // the file
constexpr unsigned changed = 2;          // its attributes, links among them
constexpr unsigned moved = 4;            // its name
constexpr unsigned entries = 8;          // those of the directory
constexpr unsigned subdirectories = 16;  // their number
constexpr unsigned removals = 32;        // a directory was removed from this one
constexpr unsigned anything = written | changed | moved | entries | subdirectories | removals;

constexpr std::uint32_t entry_events = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO;

bool wants_parent(std::uint32_t fflags) noexcept {
  return (fflags & (NOTE_DELETE | NOTE_LINK)) != 0;
}

// What inotify has to tell of a file for a knote with these fflags. READ and WRITE are asked
// whatever happens, which makes a difference to EV_CLEAR only.
std::uint32_t events_for(const knote& note, std::uint32_t fflags, bool directory) noexcept {
  if (note.filter != EVFILT_VNODE)
    return (note.flags & EV_CLEAR) != 0 ? IN_MODIFY | IN_ATTRIB | IN_MOVE_SELF : IN_MODIFY;
  std::uint32_t events = 0;
  if ((fflags & NOTE_RENAME) != 0) events |= IN_MOVE_SELF;
  if (directory) {
    if ((fflags & (NOTE_WRITE | NOTE_LINK)) != 0) events |= entry_events;
    if ((fflags & NOTE_ATTRIB) != 0) events |= IN_ATTRIB;
    // That it was removed is told of the one above it; that another took its name, of itself.
    if (wants_parent(fflags)) events |= IN_MOVE_SELF | IN_ATTRIB;
  } else {
    // Truncation changes an attribute, on Darwin, and is a modification to inotify.
    if ((fflags & (NOTE_WRITE | NOTE_EXTEND | NOTE_ATTRIB)) != 0) events |= IN_MODIFY;
    if ((fflags & (NOTE_ATTRIB | NOTE_DELETE | NOTE_LINK)) != 0) events |= IN_ATTRIB;
  }
  return events;
}

}  // namespace

file_changes::~file_changes() {
  internal_fds::close(inotify_);
}

// The number of the watch, its mask being at least `events`, or -1 with errno.
int file_changes::add(const knote& note, const char* suffix, std::uint32_t events) const noexcept {
  char path[40];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d%s", static_cast<int>(note.ident), suffix);
  return inotify_add_watch(inotify_, path, events | IN_MASK_ADD);
}

int file_changes::watch(knote& note, std::uint32_t fflags) noexcept {
  const std::lock_guard hold(lock_);
  take_events();
  try {
    return join(note, fflags);
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
}

int file_changes::join(knote& note, std::uint32_t fflags) {
  file_interest& interest = interest_of(note);
  struct stat status{};
  if (fstat(static_cast<int>(note.ident), &status) != 0) return EBADF;
  const bool directory = S_ISDIR(status.st_mode);
  const std::uint32_t events = events_for(note, fflags, directory);
  if (events == 0) {
    note.fflags = fflags;
    return 0;
  }
  const int number = add(note, "", events);
  if (number < 0) return errno;

  int error = 0;
  try {
    file_watch& w = watches_[number];
    if (w.knotes.empty()) {
      // Once more, now that nothing can be missed.
      if (fstat(static_cast<int>(note.ident), &w.known) != 0) w.known = status;
      w.moved_in = 0;
    } else {
      look(w, 0);
    }
    w.knotes.reserve(w.knotes.size() + 1);
    if (directory && wants_parent(fflags) && w.parent == 0) error = find_parent(w, note);
    if (error == 0 && interest.watch != number) {
      w.knotes.push_back(&note);
      leave(note);
      interest = {number, 0};
    }
  } catch (const std::bad_alloc&) {
    error = ENOMEM;
  }
  if (error == 0) {
    note.fflags = fflags;
  } else {
    forget_if_unused(number);
  }
  return error;
}

void file_changes::unwatch(knote& note) noexcept {
  const std::lock_guard hold(lock_);
  leave(note);
}

void file_changes::leave(knote& note) noexcept {
  const auto place = watches_.find(std::exchange(interest_of(note).watch, 0));
  if (place == watches_.end()) return;
  std::erase(place->second.knotes, &note);
  forget_if_unused(place->first);
}

void file_changes::forget_if_unused(int number) noexcept {
  const auto place = watches_.find(number);
  if (place == watches_.end()) {
    inotify_rm_watch(inotify_, number);  // there was no memory to make one
    return;
  }
  file_watch& w = place->second;
  if (!w.knotes.empty()) return;
  leave_parent(w);
  if (w.children != 0) return;
  watches_.erase(place);
  inotify_rm_watch(inotify_, number);
}

int file_changes::find_parent(file_watch& w, const knote& note) noexcept {
  if (w.known.st_nlink == 0) return 0;  // it is removed already
  const int number = add(note, "/..", IN_DELETE | IN_ONLYDIR);
  if (number < 0) return errno;
  try {
    file_watch& parent = watches_[number];
    if (&parent == &w) return 0;  // the root
    w.parent = number;
    ++parent.children;
    return 0;
  } catch (const std::bad_alloc&) {
    inotify_rm_watch(inotify_, number);
    return ENOMEM;
  }
}

void file_changes::leave_parent(file_watch& w) noexcept {
  const auto place = watches_.find(std::exchange(w.parent, 0));
  if (place == watches_.end()) return;
  --place->second.children;
  forget_if_unused(place->first);
}

std::uint32_t file_changes::news(knote& note, bool taken) noexcept {
  const std::lock_guard hold(lock_);
  std::uint32_t& news = interest_of(note).news;
  return taken ? std::exchange(news, 0) : news;
}

void file_changes::pump() noexcept {
  const std::lock_guard hold(lock_);
  take_events();
}

// All that has happened by now, and then one look at each file.
void file_changes::take_events() noexcept {
  const no_cancellation here;
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
      sort(event.wd, event.mask, event.len != 0);
    }
    left -= static_cast<int>(size);
  }
  look_at_touched();
}

// `of_entry`: it happened to something in the directory that is watched.
void file_changes::sort(int number, std::uint32_t events, bool of_entry) noexcept {
  if ((events & IN_Q_OVERFLOW) != 0) {
    for (auto& [any, w] : watches_) touched(w, anything);
    return;
  }
  const auto place = watches_.find(number);
  if (place == watches_.end()) return;
  file_watch& w = place->second;
  if (!of_entry) {
    if ((events & IN_MODIFY) != 0) touched(w, written);
    if ((events & IN_ATTRIB) != 0) touched(w, changed);
    if ((events & IN_MOVE_SELF) != 0) touched(w, moved);
    return;
  }
  if ((events & entry_events) == 0) return;
  touched(w, entries);
  if ((events & IN_ISDIR) == 0) return;
  if ((events & (IN_CREATE | IN_DELETE)) != 0) touched(w, subdirectories);
  if ((events & IN_DELETE) != 0) touched(w, removals);
  if ((events & IN_MOVED_TO) != 0) ++w.moved_in;
  if ((events & IN_MOVED_FROM) != 0) --w.moved_in;
}

void file_changes::touched(file_watch& w, unsigned what) noexcept {
  if (w.seen == 0) {
    w.next_touched = touched_;
    touched_ = &w;
  }
  w.seen |= what;
}

void file_changes::look_at_touched() noexcept {
  unsigned all_seen = 0;
  while (touched_ != nullptr) {
    file_watch& w = *touched_;
    touched_ = w.next_touched;
    const unsigned seen = std::exchange(w.seen, 0);
    if (!w.knotes.empty()) look(w, seen);
    w.has_moved = (seen & moved) != 0;
    all_seen |= seen;
  }
  if ((all_seen & (removals | moved)) == 0) return;
  for (auto& [number, w] : watches_) {
    const bool has_moved = std::exchange(w.has_moved, false);
    if (w.parent == 0) continue;
    if ((all_seen & removals) != 0) look(w, 0);  // is it this one?
    if (has_moved) follow(w);
  }
}

// The directory is in another one now. (Where that may not be watched, its removal is not told.)
void file_changes::follow(file_watch& w) noexcept {
  const int old = std::exchange(w.parent, 0);
  find_parent(w, *w.knotes.front());
  --watches_.find(old)->second.children;
  forget_if_unused(old);
}

// Posts what a vnode's operations would have posted, by what inotify saw and how the file's status
// differs.
void file_changes::look(file_watch& w, unsigned seen) noexcept {
  struct stat now = w.known;
  for (knote* const note : w.knotes) {
    struct stat status{};
    if (fstat(static_cast<int>(note->ident), &status) != 0) continue;
    if (status.st_dev != now.st_dev || status.st_ino != now.st_ino) continue;  // a reused number
    now = status;
    break;
  }
  const struct stat old = std::exchange(w.known, now);
  const bool links = now.st_nlink != old.st_nlink;
  const bool rights =
      now.st_mode != old.st_mode || now.st_uid != old.st_uid || now.st_gid != old.st_gid;

  if ((seen & moved) != 0) post(w, NOTE_RENAME);
  if (S_ISDIR(now.st_mode)) {
    if ((seen & entries) != 0) {
      const bool moves = std::exchange(w.moved_in, 0) != 0;
      const bool linked = links || moves || (seen & subdirectories) != 0;
      post(w, linked ? NOTE_WRITE | NOTE_LINK : NOTE_WRITE);
    }
    const bool removed = links && now.st_nlink == 0;
    if (removed) post(w, NOTE_DELETE | NOTE_LINK);
    if (rights || ((seen & changed) != 0 && !removed)) post(w, NOTE_ATTRIB);
    return;
  }
  if ((seen & written) != 0) post(w, NOTE_WRITE);
  if (now.st_size > old.st_size) post(w, NOTE_EXTEND);
  if (now.st_nlink > old.st_nlink) post(w, NOTE_LINK);
  if (now.st_nlink < old.st_nlink) post(w, NOTE_DELETE | NOTE_LINK);
  if (rights || now.st_size < old.st_size || ((seen & changed) != 0 && !links)) {
    post(w, NOTE_ATTRIB);
  }
}

// As filt_vnode_common(): a knote that asks for one of the bits is told them all; READ and WRITE
// look themselves.
void file_changes::post(const file_watch& w, std::uint32_t hint) noexcept {
  for (knote* const note : w.knotes) {
    if (note->filter == EVFILT_VNODE) {
      if ((note->fflags & hint) == 0) continue;
      interest_of(*note).news |= hint;
    }
    activate(*note);
  }
}

}  // namespace kedge::kqueue
