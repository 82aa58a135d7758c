// EVFILT_USER: filt_user*() of Darwin's kern_event.c.
#include "kedge/runtime/kqueue/filter_table.h"

namespace kedge::kqueue {
namespace {

bool& triggered(knote& note) noexcept {
  return reinterpret_cast<bool&>(note.area);
}

verdict attach(knote& note, const kevent64_s& change) {
  // As on Darwin, the knote keeps and reports all of fflags, NOTE_TRIGGER included.
  triggered(note) = (change.fflags & NOTE_TRIGGER) != 0;
  return {0, triggered(note)};
}

verdict touch(knote& note, const kevent64_s& change) {
  const std::uint32_t operand = change.fflags & NOTE_FFLAGSMASK;
  switch (change.fflags & NOTE_FFCTRLMASK) {
    case NOTE_FFAND:
      note.fflags &= operand;
      break;
    case NOTE_FFOR:
      note.fflags |= operand;
      break;
    case NOTE_FFCOPY:
      note.fflags = operand;
      break;
    default:
      break;
  }
  note.data = change.data;
  if ((change.fflags & NOTE_TRIGGER) != 0) triggered(note) = true;
  return {0, triggered(note)};
}

bool peek(knote& note) noexcept {
  return triggered(note);
}

void process(std::span<delivery> batch) noexcept {
  for (delivery& d : batch) {
    d.fired = triggered(*d.note);
    d.event.fflags = d.note->fflags;
    d.event.data = d.note->data;
    if ((d.note->flags & EV_CLEAR) != 0) triggered(*d.note) = false;
  }
}

}  // namespace

constinit const filter_operations user_filter{
    .attach = attach, .touch = touch, .peek = peek, .process = process};

}  // namespace kedge::kqueue
