// EVFILT_READ, EVFILT_WRITE and EVFILT_EXCEPT. Almost all of their work is epoll's and the queue's
// (queue_wait.cc). What is left to `process` are the knotes that no epoll set reports: regular
// files; and those of which epoll knows too little (descriptor_state.h), or for which an earlier
// call had no room.

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "kedge/runtime/kqueue/descriptors/descriptor_state.h"
#include "kedge/runtime/kqueue/descriptors/kqueue_registry.h"
#include "kedge/runtime/kqueue/extension.h"
#include "kedge/runtime/kqueue/filter_table.h"
#include "kedge/runtime/kqueue/filters/file_changes.h"
#include "kedge/runtime/kqueue/filters/low_water_poller.h"
#include "kedge/runtime/kqueue/queue.h"

namespace kedge::kqueue {
namespace {

// In the area of a knote.
struct descriptor_note {
  file_interest file;  // file_changes's
  bool is_special;     // it has a mark, or out-of-band data is asked for: always examined
  low_water_poller::place mark;
};

descriptor_note& part_of(knote& note) noexcept {
  static_assert(sizeof(descriptor_note) <= knote::area_size);
  return reinterpret_cast<descriptor_note&>(note.area);
}

int descriptor_of(const knote& note) noexcept {
  return static_cast<int>(note.ident);
}

// The amount of a regular file, or 1 of a device that is always ready: not 0 means active.
std::int64_t file_amount(const knote& note) noexcept {
  struct stat status{};
  if (fstat(descriptor_of(note), &status) != 0) return 0;
  if (note.filter == EVFILT_WRITE || !S_ISREG(status.st_mode)) return 1;
  // Not the program's lseek(), which would be one more event.
  const off_t at = syscall(SYS_lseek, descriptor_of(note), off_t{0}, SEEK_CUR);
  return at < 0 ? 0 : status.st_size - at;
}

file_changes& changes_beside(const knote& note) noexcept {
  return *static_cast<file_changes*>(record_of(note).home->state_of(filter_index(EVFILT_VNODE)));
}

// A file that epoll does not watch, as vn_kqfilter() and filt_specattach() of Darwin's kernel see
// it.
verdict attach_file(knote& note) noexcept {
  struct stat status{};
  if (fstat(descriptor_of(note), &status) != 0) return {EBADF, false};
  const bool always_ready_device =
      S_ISCHR(status.st_mode) && (note.fflags & NOTE_LOWAT) != 0 && note.data == 1;
  if (!S_ISREG(status.st_mode) && !always_ready_device) return {EINVAL, false};
  // WRITE is always ready; with EV_CLEAR it is so anew after each write.
  const bool changes = note.filter == EVFILT_READ || (note.flags & EV_CLEAR) != 0;
  if (S_ISREG(status.st_mode) && changes) {
    int error = record_of(note).home->open_state(filter_index(EVFILT_VNODE));
    if (error == 0) error = changes_beside(note).watch(note, note.fflags);
    if (error != 0) return {error, false};
  }
  return {0, file_amount(note) != 0};
}

// Is epoll's word never enough? In attach and touch.
bool decide_special(knote& note) noexcept {
  return part_of(note).is_special = (note.fflags & NOTE_OOB) != 0 || has_mark(note);
}

verdict attach(knote& note, const kevent64_s&) {
  knote_record& k = record_of(note);
  // epoll would take that; a kqueue can only be read.
  if (note.filter == EVFILT_WRITE && kqueue_registry::is_kqueue(descriptor_of(note)))
    return {EINVAL, false};
  const bool is_shut = note.filter == EVFILT_WRITE && sending_is_shut(descriptor_of(note));
  const int error = k.home->watch(k, awaited_by(note), decide_special(note) || is_shut);
  if (error == EPERM) return attach_file(note);
  return {error == ELOOP ? EINVAL : error, error == 0 && is_shut};
}

// Only sockets have that filter, as one more EVFILT_READ.
verdict attach_except(knote& note, const kevent64_s& change) {
  int type = 0;
  socklen_t size = sizeof type;
  if (getsockopt(descriptor_of(note), SOL_SOCKET, SO_TYPE, &type, &size) != 0)
    return {errno == EBADF ? EBADF : EINVAL, false};
  return attach(note, change);
}

void detach(knote& note) noexcept {
  if (interest_of(note).watch != 0) changes_beside(note).unwatch(note);
}

verdict touch(knote& note, const kevent64_s& change) {
  note.fflags = change.fflags;
  note.data = change.data;
  knote_record& k = record_of(note);
  if (!k.polled) return {0, file_amount(note) != 0};
  const bool was_special = part_of(note).is_special;
  const bool is_special = decide_special(note);
  // `process` decides whether it goes on to be.
  if (was_special || is_special) k.home->examine(k, awaited_by(note), true);
  return {0, false};
}

bool peek(knote& note) noexcept {
  return !record_of(note).polled && file_amount(note) != 0;
}

// There is room, but less than the mark: nothing will tell when there is enough.
void look_again(knote& note) noexcept {
  queue& home = *record_of(note).home;
  const unsigned filter = filter_index(write_mark_number);
  // Without memory or a descriptor for that it is left to what epoll tells.
  if (home.open_state(filter) == 0)
    static_cast<low_water_poller*>(home.state_of(filter))->add(note, part_of(note).mark);
}

bool look_at_polled(delivery& d) noexcept {
  knote_record& k = record_of(*d.note);
  const sighting s = look_at(k, d.event, !k.home->leaves_out(no_data));
  if (s.look_again) look_again(k);
  k.home->examine(k, awaited_by(k), s.unusual || part_of(k).is_special);
  return s.reported;
}

void process(std::span<delivery> batch) noexcept {
  for (delivery& d : batch) {
    if (record_of(*d.note).polled) {
      d.fired = look_at_polled(d);
    } else {
      d.event.data = file_amount(*d.note);
      d.fired = d.event.data != 0;
    }
  }
}

constexpr filter_operations operations{
    .attach = attach, .detach = detach, .touch = touch, .peek = peek, .process = process};

}  // namespace

constinit const filter_operations read_filter = operations;
constinit const filter_operations write_filter = operations;
constinit const filter_operations except_filter{
    .attach = attach_except, .detach = detach, .touch = touch, .peek = peek, .process = process};

}  // namespace kedge::kqueue
