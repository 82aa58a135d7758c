// filter: the contract between the Linux kqueue and a filter. A filter is a table of operations,
// one table per EVFILT_*, as in the BSD kernels.
//
//   constexpr filter_operations operations{.attach = attach, .detach = detach, .touch = touch,
//                                          .process = process};
//   register_filter(EVFILT_MACHPORT, operations);
//
// READ, WRITE, EXCEPT, VNODE, PROC, TIMER, SIGNAL and USER are such tables in filters/. Another
// folder adds its own by register_filter() (mach/kernel/embedded: EVFILT_MACHPORT).
//
// Life of a knote. EV_ADD of a new (filter, ident) makes a knote and calls `attach`. A later change
// calls `touch`. When the knote is active, a thread in kevent() calls `process`, which fills in the
// event. EV_DELETE, a delivered EV_ONESHOT and the end of the kqueue call `detach`. After `detach`
// the filter must not use the knote, unless it holds a reference.
//
// Threads and locks.
// - Operations run with no kqueue lock held. They may block, take the filter's own locks, and fail.
//   A thread must not be cancelled in an operation, because kevent() is not a cancellation point.
// - Operations on one knote never overlap: the second caller waits. Operations on different knotes,
//   also of one kqueue, may run at the same time in several threads.
// - activate() may be called from any thread, also inside an operation and under the filter's own
//   locks. Lock order: filter, then kqueue. So never call kevent() under a lock that is held around
//   activate() or taken by an operation.
// - `detach` is the end. The filter unlinks the knote under its own lock there, so that no later
//   activate() can reach it. A filter that activates outside of that lock takes a reference first
//   (hold/release). Activating a detached knote that is held has no effect.
//
// Active knotes. `attach` and `touch` make a knote active by their verdict; activate() does so at
// any time. A knote is active once, until a kevent() call takes it: activations do not count up.
// Taking it clears the state, then calls `process`; an activation during `process` is not lost.
//
// If `process` reports an event, the knote's flags decide what follows:
// - EV_ONESHOT drops the knote.
// - EV_DISPATCH disables it.
// - EV_CLEAR leaves it inactive until the next activation.
// - Without these it is level-triggered: the kqueue makes it active again (after `peek`, where the
//   answer matters), so that the next call asks `process` again.
// If `process` reports nothing, the knote is left inactive.
//
// After fork() the child has no kqueues. No operation is called there for the parent's.
#pragma once

#include <sys/event.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace kedge::kqueue {

// The part of a knote that its filter sees. The kqueue makes and frees it.
struct knote {
  // Constant from attach to detach.
  std::uint64_t ident;
  std::int16_t filter;

  // EV_* of the change that made the knote. Every event repeats them, except for EV_VANISHED, by
  // which the program asks for an event when the source ends. `attach` may add EV_CLEAR or
  // EV_ONESHOT.
  std::uint16_t flags;

  // The fields of the last accepted change (zeros for ext, which kevent() does not have). The
  // kqueue sets them before `attach`. `touch` stores what it accepts.
  std::uint32_t fflags;
  std::int64_t data;
  std::uint64_t ext[2];

  // The filter's own data: zero before `attach`. The memory is reused and never destroyed, so only
  // trivial types may lie there.
  static constexpr std::size_t area_size = 48;
  alignas(8) std::byte area[area_size];
};

// The result of attach and touch. `error` is an errno, which becomes the change's EV_ERROR. After a
// failed attach there is no knote and no detach; after a failed touch the knote is unchanged.
// `active`: there is an event to report now.
struct verdict {
  int error = 0;
  bool active = false;
};

// One knote in a `process` call. The kqueue fills `event` with ident, filter, flags, udata and ext
// of the knote; fflags and data are 0. The filter completes the event and sets `fired`.
//
// The filter may add EV_EOF and EV_ONESHOT to event.flags; EV_ONESHOT drops the knote like its own
// flag. If note->flags has EV_VANISHED, the filter may add that too: the event then says that the
// source is gone, and no operation but detach follows.
struct delivery {
  knote* note;
  kevent64_s event;
  bool fired;
};

class queue;  // one kqueue. To a filter: an address, valid while the kqueue has its knotes.

struct filter_operations {
  // A new knote. `change` is what the program passed, its flags masked as Darwin masks them.
  verdict (*attach)(knote&, const kevent64_s& change) = nullptr;

  // The end of a knote. Called once per successful attach, never while another operation on the
  // knote runs.
  void (*detach)(knote&) noexcept = nullptr;

  // A change to an existing knote, whatever its action (EV_ADD again, EV_ENABLE, EV_DISABLE). The
  // kqueue itself handles enabling and udata. A verdict that is not active does not withdraw a
  // pending activation: `process` decides.
  verdict (*touch)(knote&, const kevent64_s& change) = nullptr;

  // Returns whether `process` would report an event now. Changes nothing. The kqueue calls it after
  // a level-triggered delivery if a thread sleeps in the kqueue or the kqueue can be polled. Null
  // stands for "yes".
  bool (*peek)(knote&) noexcept = nullptr;

  // All knotes of this filter that the kevent() call takes, at most max_batch at a time: so a
  // filter that asks another process needs one round trip for all of them.
  void (*process)(std::span<delivery>) noexcept = nullptr;

  // Optional, all three together: the filter's state in one kqueue, and a descriptor that drives
  // it.
  //
  // `open` runs before the filter's first attach in the kqueue. It stores the state and returns 0,
  // or returns an errno, which fails the change. *pump_fd stays -1, or becomes a descriptor that
  // the kqueue watches for reading, level-triggered. The filter keeps owning the descriptor.
  //
  // `pump` runs in a thread in kevent() when the descriptor is readable. It empties the descriptor
  // and activates knotes. Several threads may call it at once.
  //
  // `is_due` is optional beside them. It returns whether `pump` would activate a knote, as far as
  // that is known without a system call. The kqueue calls it, with its lock held, before it puts
  // into the list a knote that a change has activated: what has happened earlier comes first.
  //
  // `next_due` is optional too: when `is_due` will be true, in nanoseconds of the kqueue's clock,
  // as far as time alone decides; the largest value: never. Called with the kqueue's lock held.
  //
  // `close` runs after the last detach, when the kqueue ends.
  int (*open)(queue&, void** state, int* pump_fd) noexcept = nullptr;
  void (*pump)(void* state) noexcept = nullptr;
  bool (*is_due)(void* state) noexcept = nullptr;
  std::uint64_t (*next_due)(void* state) noexcept = nullptr;
  void (*close)(void* state) noexcept = nullptr;
};

inline constexpr std::size_t max_batch = 64;

// Adds a filter to every kqueue. Keeps the address of `operations`. Returns false if there is no
// such EVFILT_*, or if it has a filter. Any thread may call it, also during static initialisation.
bool register_filter(std::int16_t filter, const filter_operations& operations) noexcept;

// Makes the knote active and wakes a thread that sleeps in its kqueue. O(1). Allocates nothing.
// Costs at most one write(2), and none if the kqueue is already known to be active.
void activate(knote&) noexcept;

// References on a knote's memory, for a filter that activates outside of its own lock.
void hold(knote&) noexcept;
void release(knote&) noexcept;

// Returns the owner of the knote's kqueue: what the owner hook returned in the kqueue() call, or
// null without a hook.
void* owner(const knote&) noexcept;

// Returns the state that open() stored for this filter in the knote's kqueue, or null without
// open().
void* filter_state(const knote&) noexcept;

// Gives each kqueue an owner. (The Mach kernel: the task that is current in the kqueue() call,
// since knotes resolve port names in its space.) `capture` runs in kqueue(), in the calling thread.
// `disown` is optional; it runs when the kqueue ends, after all detaches. kqueues made before the
// hook is set have no owner. There is one hook: returns false if it is already set.
struct owner_hook {
  void* (*capture)() noexcept = nullptr;
  void (*disown)(void*) noexcept = nullptr;
};
bool set_owner_hook(const owner_hook&) noexcept;

}  // namespace kedge::kqueue
