// EVFILT_READ, EVFILT_WRITE and EVFILT_EXCEPT: filt_soread*(), filt_sowrite*(), filt_soexcept*()
// and the filters of pipes and vnodes in Darwin's kernel.
//
// epoll and the queue (queue_wait.cc) do nearly all of their work. `process` is left with knotes
// that epoll does not watch, which are regular files, and with knotes that need a probe: epoll
// knows too little about them (descriptor_state.h), or an earlier call had no room for their event.
#include <sys/epoll.h>
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

// The area of a knote.
struct descriptor_note {
  file_interest file;       // of file_changes
  bool always_needs_probe;  // it has a low-water mark, or asks for out-of-band data
  bool reports_marks;       // oob_marks of extension.h
  low_water_poller::place at;
};

descriptor_note& area_of(knote& note) noexcept {
  static_assert(sizeof(descriptor_note) <= knote::area_size);
  return reinterpret_cast<descriptor_note&>(note.area);
}

int fd_of(const knote& note) noexcept {
  return static_cast<int>(note.ident);
}

// Returns the amount of a regular file, or 1 for a device that is always ready. The knote is active
// if the amount is not 0.
std::int64_t file_amount(const knote& note) noexcept {
  struct stat status{};
  if (fstat(fd_of(note), &status) != 0) return 0;
  if (note.filter == EVFILT_WRITE || !S_ISREG(status.st_mode)) return 1;
  // Not lseek(), which this library defines to activate the knote.
  const off_t offset = syscall(SYS_lseek, fd_of(note), off_t{0}, SEEK_CUR);
  return offset < 0 ? 0 : status.st_size - offset;
}

file_changes& changes_of(const knote& note) noexcept {
  return *static_cast<file_changes*>(record_of(note).home->state_of(filter_index(EVFILT_VNODE)));
}

// A file that epoll does not watch: vn_kqfilter() and filt_specattach() of Darwin's kernel.
verdict attach_file(knote& note) noexcept {
  struct stat status{};
  if (fstat(fd_of(note), &status) != 0) return {EBADF, false};
  const bool always_ready_device =
      S_ISCHR(status.st_mode) && (note.fflags & NOTE_LOWAT) != 0 && note.data == 1;
  if (!S_ISREG(status.st_mode) && !always_ready_device) return {EINVAL, false};
  // WRITE is always ready. With EV_CLEAR each write to the file activates it again.
  const bool needs_changes = note.filter == EVFILT_READ || (note.flags & EV_CLEAR) != 0;
  if (S_ISREG(status.st_mode) && needs_changes) {
    int error = record_of(note).home->open_state(filter_index(EVFILT_VNODE));
    if (error == 0) error = changes_of(note).watch(note, note.fflags);
    if (error != 0) return {error, false};
  }
  return {0, file_amount(note) != 0};
}

// Stores and returns whether epoll's events are never enough. For attach and touch.
bool update_always_needs_probe(knote& note) noexcept {
  const bool needs_probe = (note.fflags & NOTE_OOB) != 0 || has_low_water_mark(note);
  area_of(note).always_needs_probe = needs_probe;
  return needs_probe;
}

// Returns the events of epoll that concern the knote.
std::uint32_t interest_of(knote& note) noexcept {
  return epoll_interest_of(note) | (area_of(note).reports_marks ? EPOLLPRI : 0u);
}

verdict attach(knote& note, const kevent64_s&) {
  knote_record& k = record_of(note);
  // A level-triggered registration would repeat the event of a mark that has no data before it.
  area_of(note).reports_marks =
      note.filter == EVFILT_READ && (note.flags & EV_CLEAR) != 0 && k.home->has_options(oob_marks);
  // epoll would accept that, but a kqueue can only be read.
  if (note.filter == EVFILT_WRITE && kqueue_registry::is_kqueue(fd_of(note)))
    return {EINVAL, false};
  const bool is_shut = note.filter == EVFILT_WRITE && is_shut_for_sending(fd_of(note));
  const bool needs_probe = update_always_needs_probe(note) || is_shut;
  const int error = k.home->watch(k, interest_of(note), needs_probe);
  if (error == EPERM) return attach_file(note);
  return {error == ELOOP ? EINVAL : error, error == 0 && is_shut};
}

// Only sockets have EVFILT_EXCEPT, which is a variant of EVFILT_READ.
verdict attach_except(knote& note, const kevent64_s& change) {
  int type = 0;
  socklen_t size = sizeof type;
  if (getsockopt(fd_of(note), SOL_SOCKET, SO_TYPE, &type, &size) != 0)
    return {errno == EBADF ? EBADF : EINVAL, false};
  return attach(note, change);
}

void detach(knote& note) noexcept {
  if (file_interest_of(note).wd != 0) changes_of(note).unwatch(note);
}

verdict touch(knote& note, const kevent64_s& change) {
  note.fflags = change.fflags;
  note.data = change.data;
  knote_record& k = record_of(note);
  if (!k.polled) return {0, file_amount(note) != 0};
  const bool needed_probe = area_of(note).always_needs_probe;
  const bool needs_probe = update_always_needs_probe(note);
  // `process` decides whether it still needs one.
  if (needed_probe || needs_probe) k.home->set_interest(k, interest_of(note), true);
  return {0, false};
}

bool peek(knote& note) noexcept {
  return !record_of(note).polled && file_amount(note) != 0;
}

// There is less room than the mark demands, and epoll will not report when there is enough. Without
// memory or a descriptor for the poller, epoll's events have to do.
void poll_again(knote& note) noexcept {
  queue& home = *record_of(note).home;
  const unsigned filter = filter_index(low_water_polls);
  if (home.open_state(filter) == 0)
    static_cast<low_water_poller*>(home.state_of(filter))->add(note, area_of(note).at);
}

// Returns whether the knote has an event, which is filled in then.
bool probe_polled(delivery& d) noexcept {
  knote_record& k = record_of(*d.note);
  const poll_result result =
      probe(k, d.event, !k.home->has_options(no_data), area_of(k).reports_marks);
  if (result.poll_again) poll_again(k);
  const bool needs_probe = result.unusual || area_of(k).always_needs_probe;
  k.home->set_interest(k, interest_of(k), needs_probe);
  return result.reported;
}

void process(std::span<delivery> batch) noexcept {
  for (delivery& d : batch) {
    if (record_of(*d.note).polled) {
      d.fired = probe_polled(d);
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
