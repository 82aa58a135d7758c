#include "kedge/kqueue/file_changes.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <new>

#include "kedge/kqueue/filter_table.h"

namespace kedge::kqueue {

file_changes::~file_changes() {
  ::close(inotify_);
}

int file_changes::watch(knote& note) noexcept {
  char path[32];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", static_cast<int>(note.ident));
  const std::lock_guard hold(lock_);
  try {
    watched_.reserve(watched_.size() + 1);
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
  const int file = inotify_add_watch(inotify_, path, IN_MODIFY);
  if (file < 0) return errno;
  watched_.emplace_back(file, &note);
  return 0;
}

void file_changes::unwatch(const knote& note) noexcept {
  const std::lock_guard hold(lock_);
  const auto place = std::find_if(watched_.begin(), watched_.end(),
                                  [&](const auto& w) { return w.second == &note; });
  if (place == watched_.end()) return;
  const int file = place->first;
  watched_.erase(place);
  const bool last = std::none_of(watched_.begin(), watched_.end(),
                                 [&](const auto& w) { return w.first == file; });
  if (last) inotify_rm_watch(inotify_, file);
}

void file_changes::pump() noexcept {
  alignas(inotify_event) char bytes[4096];
  const std::lock_guard hold(lock_);
  const ssize_t size = read(inotify_, bytes, sizeof bytes);
  for (ssize_t at = 0; at < size;) {
    inotify_event event;
    std::memcpy(&event, bytes + at, sizeof event);
    at += static_cast<ssize_t>(sizeof event + event.len);
    for (const auto& [file, note] : watched_) {
      if (file == event.wd || (event.mask & IN_Q_OVERFLOW) != 0) activate(*note);
    }
  }
}

namespace {

verdict refuse(knote&, const kevent64_s&) {
  return {ENOTSUP, false};
}

int open(queue&, void** state, int* pump_fd) noexcept {
  const int inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (inotify < 0) return errno;
  file_changes* const changes = new (std::nothrow) file_changes(inotify);
  if (changes == nullptr) {
    ::close(inotify);
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

void abandon(void* state) noexcept {
  ::close(static_cast<file_changes*>(state)->descriptor());
}

}  // namespace

constinit const filter_operations file_change_source{
    .attach = refuse, .open = open, .pump = pump, .close = close, .abandon = abandon};

}  // namespace kedge::kqueue
