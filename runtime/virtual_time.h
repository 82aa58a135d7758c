// virtual_time: a time that jumps to the next deadline when its loops have nothing to do. For
// tests: a day passes in a moment, and what happens does not depend on the machine.
//
//     kedge::virtual_time world;
//     kedge::loop server(world), client(world);
//     server.spawn(serve());
//     client.spawn(ask());
//     CHECK(world.run() == 0);          // until nothing is left to do; no task waits
//     CHECK(world.now() - start == 3s);
//
// A jump happens when no loop has a ready task, posted work or a due timer, each kernel that was
// asked with a time-out of zero has had no event, and no time_hold lives (time_hold.h). While
// there is a hold, the loops wait for events in real time. Between jumps the time stands still.
// loop.run(x) jumps too: it then drives the other loops besides its own, and throws the failures of
// their tasks as well, whereupon x is destroyed. Once no deadline is left, it waits in real time
// for what comes to any of them.
//
// The wall clock moves with the time, and can be stepped. It begins at 2000-01-01 00:00 UTC.
//
// Threads: run(), run_for() and a run() of a loop belong to one thread, which drives all loops of
// the world, in the order in which the loops were made. They throw std::logic_error if one of them
// is being driven already, by another thread or by the task that calls. Other threads are part of
// the world only by holds: a thread that merely posts is not waited for. now() and wall_now() may
// be called on any thread, and so may advance() and step_wall(), by one thread at a time.
//
// A forked child cannot drive the world of its parent's loops (errc::forked). It makes its own.
//
// Lifetime: see time_source.h. Only kernels of this project can follow it: on Darwin making the
// loops fails. The Mach kernel's own timers follow it by mach/kernel_clock.h.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>

#include "kedge/runtime/reactor/clock.h"
#include "kedge/runtime/time_source.h"

namespace kedge {

class virtual_time final : public time_source {
 public:
  virtual_time() noexcept : time_source(jumping::yes) {}

  clock::time_point now() const noexcept override { return clock::time_point(time_.load()); }
  std::chrono::system_clock::time_point wall_now() const noexcept override;

  // Drives the loops until nothing is left to do: no loop has a ready task, an event or a timer,
  // and no time_hold lives. A timer at the end of time (sleep_for(clock::duration::max())) is none.
  // Returns how many spawned tasks of the loops have not ended: they wait for what nothing in the
  // world can bring. A task that sleeps again and again keeps run() from returning, as does one
  // that waits for a FIFO (descriptor.h): use run_for(). A task that yields again and again lets no
  // time pass, so that run_for() does not return either. Throws what the loops' poll() throws; the
  // loops can be driven further then.
  std::size_t run() { return drive_until(clock::time_point::max()); }
  // The same, until `d` has passed: timers that are due by then have expired. The time is then
  // later by exactly `d`. It does not return while a time_hold lives: that of a child process does
  // as long as the process. Throws std::invalid_argument if `d` is negative or not a number.
  template <class Rep, class Period>
  std::size_t run_for(std::chrono::duration<Rep, Period> d) {
    return drive_until(later_by(saturate(d)));
  }

  // Moves the time at once, as if the machine had been busy for `d`: what becomes due is late, and
  // happens when its loop is driven next. Resumes nothing, and may be called by a task. Throws
  // std::invalid_argument if `d` is negative or not a number.
  template <class Rep, class Period>
  void advance(std::chrono::duration<Rep, Period> d) {
    move_to(later_by(saturate(d)));
  }

  // Sets the wall clock forward or back by `d`. Wakes no loop, as no kernel does: waits for a time
  // of the wall clock notice it within 2^30 ns (wall_clock.h).
  void step_wall(clock::duration d) noexcept { wall_offset_.store(wall_offset_.load() + d); }

 private:
  clock::time_point later_by(clock::duration d) const;
  void move_to(clock::time_point t) noexcept;
  std::size_t drive_until(clock::time_point end);
  bool idle(loop& driven) override;
  bool step(loop* driven, clock::time_point end);
  bool poll_all(const loop* driven, bool asks_kernel);
  bool can_wake_beside(const loop& driven) noexcept;
  bool wait(loop* driven);
  clock::time_point next_deadline() noexcept;

  // Not at zero, so that there is a past.
  std::atomic<clock::duration> time_{std::chrono::hours(1)};
  std::atomic<clock::duration> wall_offset_{clock::duration::zero()};
};

}  // namespace kedge
