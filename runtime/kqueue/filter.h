// What a filter is to the Linux kqueue: a table of operations, one per EVFILT_* number, as the BSD
// kernels are built. READ, WRITE, EXCEPT, VNODE, PROC, TIMER, SIGNAL and USER are such tables in
// this folder; another folder adds its own with register_filter() (mach/kernel/embedded:
// EVFILT_MACHPORT).
//
// Knotes. EV_ADD of a new (filter, ident) makes a knote and calls `attach`; a later change of it
// calls `touch`; when it is active, a thread in kevent() calls `process`, which says what to
// report; EV_DELETE, a delivered EV_ONESHOT or the end of the kqueue call `detach`, after which the
// filter must not use the knote again unless it holds a reference.
//
// Threads and locks.
// - Operations run with no kqueue lock held. They may block, take the filter's own locks, and fail.
//   No thread may be cancelled in one, since kevent() is no cancellation point.
// - Operations on one knote never overlap: the second caller waits. Operations on different knotes,
//   also of one kqueue, may run at the same time in several threads.
// - activate() may be called from any thread, also inside an operation and under the filter's own
//   locks. Lock order: filter, then kqueue; so never call kevent() under a lock that activate() is
//   called under or an operation takes.
// - `detach` is the end: the filter unlinks the knote under its own lock there, so that no later
//   activate() can reach it. A filter that activates outside that lock takes a reference first
//   (hold/release); activating a detached knote that is held does nothing.
//
// Active. A knote becomes active by a verdict of attach or touch, or by activate(); it stays so,
// once, until a kevent() call takes it (activations do not count up). Taking it clears the state,
// then calls `process`; an activation during `process` is not lost. If `process` reports an event,
// EV_ONESHOT drops the knote, EV_DISPATCH disables it, EV_CLEAR leaves it inactive until the next
// activation, and without these it is level-triggered: it is made active again (after `peek`, where
// the answer matters) and so asked again by the next call. If `process` reports nothing, it is left
// inactive.
//
// After fork() the child has no kqueues; no operation is called for the old ones there.
#pragma once

#include <sys/event.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace kedge::kqueue {

// The part of a knote that its filter sees. Made and freed by the kqueue.
struct knote {
  // Constant from attach to detach.
  std::uint64_t ident;
  std::int16_t filter;

  // EV_* of the change that made it, which every event repeats but for EV_VANISHED: that one says
  // that the program wants to hear of the source's end so. `attach` may add EV_CLEAR or EV_ONESHOT.
  std::uint16_t flags;

  // The change's words as last accepted. Set before `attach`; `touch` stores what it accepts
  // itself. (kevent() has no ext: zeros.)
  std::uint32_t fflags;
  std::int64_t data;
  std::uint64_t ext[2];

  // The filter's own, zero before `attach`; reused memory, never destroyed: trivial types only.
  static constexpr std::size_t area_size = 48;
  alignas(8) std::byte area[area_size];
};

// The answer of attach and touch. error: an errno that becomes the change's EV_ERROR; after a
// failed attach there is no knote and no detach, after a failed touch the knote is as before.
// active: there is something to report now.
struct verdict {
  int error = 0;
  bool active = false;
};

// One knote's place in a `process` call. The kqueue fills `event` with ident, filter, flags, udata
// and ext of the knote, fflags and data 0; the filter completes it and sets `fired`. It may add
// EV_EOF and EV_ONESHOT to event.flags; EV_ONESHOT there drops the knote like the knote's own.
// EV_VANISHED, where note->flags has it, makes it the event of a source that is gone; no other
// operation but detach follows.
struct delivery {
  knote* note;
  kevent64_s event;
  bool fired;
};

class queue;  // one kqueue, as filters see it: an address, valid while it has knotes of the filter

struct filter_operations {
  // A new knote. `change` is what the program passed, flags masked as Darwin does.
  verdict (*attach)(knote&, const kevent64_s& change) = nullptr;

  // The knote's end. Called once per successful attach, never with another operation on it running.
  void (*detach)(knote&) noexcept = nullptr;

  // A change to an existing knote, whatever its action (EV_ADD again, EV_ENABLE, EV_DISABLE). The
  // kqueue handles enabling and udata. active tells whether it is so now; false does not withdraw
  // an activation that is pending: `process` decides.
  verdict (*touch)(knote&, const kevent64_s& change) = nullptr;

  // Would `process` report it now? Changes nothing. Asked after a level-triggered delivery when
  // somebody sleeps in or polls the kqueue. May be null: yes.
  bool (*peek)(knote&) noexcept = nullptr;

  // All knotes of this filter that this kevent() call takes, at most max_batch at a time: a filter
  // that asks another process needs one round trip for them.
  void (*process)(std::span<delivery>) noexcept = nullptr;

  // Optional, together: state and pump of this filter in one kqueue. open runs before the filter's
  // first attach there and stores its state; it returns an errno, which fails that change. *pump_fd
  // stays -1 or becomes a descriptor that the kqueue watches (level-triggered read interest; the
  // filter keeps owning it). When it is readable, a thread in kevent() calls pump, which empties it
  // and activates knotes; several threads may do so at once. close runs after the last detach, when
  // the kqueue ends.
  int (*open)(queue&, void** state, int* pump_fd) noexcept = nullptr;
  void (*pump)(void* state) noexcept = nullptr;
  void (*close)(void* state) noexcept = nullptr;
};

inline constexpr std::size_t max_batch = 64;

// Adds a filter to the table of every kqueue. `operations` is kept by address. False: no such
// EVFILT_* number, or it is taken. Any thread, static initialisation included.
bool register_filter(std::int16_t filter, const filter_operations& operations) noexcept;

// Makes the knote active and wakes a thread that sleeps in its kqueue. O(1), allocates nothing; at
// most one write(2), none if the kqueue is already known to be active.
void activate(knote&) noexcept;

// References on a knote's memory, for a filter that activates outside its own lock.
void hold(knote&) noexcept;
void release(knote&) noexcept;

// The owner of the knote's kqueue: what the owner hook returned in the kqueue() call; null without
// one.
void* owner(const knote&) noexcept;

// The state that open() stored for this filter in the knote's kqueue; null without open().
void* filter_state(const knote&) noexcept;

// How a kqueue comes to an owner (the Mach kernel: the task that was current, since knotes resolve
// names there). capture runs in kqueue(), in the calling thread; disown, if any, when the kqueue
// ends, after all detaches. There is one hook: a second one is refused with false. kqueues made
// before it have no owner.
struct owner_hook {
  void* (*capture)() noexcept = nullptr;
  void (*disown)(void*) noexcept = nullptr;
};
bool set_owner_hook(const owner_hook&) noexcept;

}  // namespace kedge::kqueue
