// EVFILT_READ and EVFILT_WRITE. Almost all of their work is epoll's and the queue's
// (queue_wait.cc). What is left to `process` are the knotes that no epoll set reports: regular
// files, and those for which an earlier call had no room.

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "kedge/kqueue/descriptor_state.h"
#include "kedge/kqueue/file_changes.h"
#include "kedge/kqueue/filter_table.h"
#include "kedge/kqueue/kqueue_numbers.h"
#include "kedge/kqueue/queue.h"

namespace kedge::kqueue {
namespace {

int descriptor_of(const knote& note) noexcept {
  return static_cast<int>(note.ident);
}

// The amount of a regular file, or 1 of a device that is always ready: not 0 means active.
std::int64_t file_amount(const knote& note) noexcept {
  struct stat status{};
  if (fstat(descriptor_of(note), &status) != 0) return 0;
  if (note.filter == EVFILT_WRITE || !S_ISREG(status.st_mode)) return 1;
  const off_t at = lseek(descriptor_of(note), 0, SEEK_CUR);
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
  if (S_ISREG(status.st_mode) && note.filter == EVFILT_READ) {
    int error = record_of(note).home->open_state(filter_index(EVFILT_VNODE));
    if (error == 0) error = changes_beside(note).watch(note, note.fflags);
    if (error != 0) return {error, false};
  }
  return {0, file_amount(note) != 0};
}

// epoll knows no low-water mark but the smallest.
bool has_mark(const kevent64_s& change) noexcept {
  return (change.fflags & NOTE_LOWAT) != 0 && change.data > 1;
}

verdict attach(knote& note, const kevent64_s& change) {
  knote_record& k = record_of(note);
  if (has_mark(change)) return {ENOTSUP, false};
  // epoll would take that; a kqueue can only be read.
  if (note.filter == EVFILT_WRITE && kqueue_numbers::is_kqueue(descriptor_of(note)))
    return {EINVAL, false};
  const int error = k.home->watch(k);
  if (error == EPERM) return attach_file(note);
  return {error == ELOOP ? EINVAL : error, false};
}

void detach(knote& note) noexcept {
  if (interest_of(note).watch != 0) changes_beside(note).unwatch(note);
}

verdict touch(knote& note, const kevent64_s& change) {
  if (has_mark(change)) return {ENOTSUP, false};
  note.fflags = change.fflags;
  note.data = change.data;
  return {0, !record_of(note).polled && file_amount(note) != 0};
}

bool peek(knote& note) noexcept {
  return !record_of(note).polled && file_amount(note) != 0;
}

// A polled knote once more: is it still ready?
bool poll_again(delivery& d) noexcept {
  pollfd p{descriptor_of(*d.note), 0, 0};
  p.events = d.note->filter == EVFILT_READ ? POLLIN | POLLRDHUP : POLLOUT;
  if (poll(&p, 1, 0) <= 0 || (p.revents & POLLNVAL) != 0) return false;
  // poll's bits are epoll's.
  const auto events = static_cast<std::uint32_t>(static_cast<unsigned short>(p.revents));
  describe_end(events, d.event);
  d.event.data = amount_of(d.note->filter, p.fd);
  return true;
}

void process(std::span<delivery> batch) noexcept {
  for (delivery& d : batch) {
    if (record_of(*d.note).polled) {
      d.fired = poll_again(d);
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

}  // namespace kedge::kqueue
