// time_source: where a loop takes its time from, if not from kedge::clock.
//
//     class game_time final : public kedge::time_source {
//      public:
//       kedge::clock::time_point now() const noexcept override { return time_.load(); }
//       void show_frame() { time_.store(time_.load() + 16ms); moved(); }
//       ...
//     };
//     game_time time;
//     kedge::loop loop(time);             // its sleeps and deadlines follow `time`
//
// For simulations; tests use virtual_time (virtual_time.h). With such a source nothing in the loop
// waits for real time: a loop that waits sleeps until an event comes, or until moved() is called
// and a deadline has been reached. A source may serve several loops, on several threads.
//
// Lifetime: the source outlives its loops. The kernel reads it in a signal handler too if a loop
// has a signal_set: a source of such a loop lives until the process ends.
// Only kernels of this project follow such a source. On Darwin making the loop fails.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "kedge/runtime/reactor/clock.h"

namespace kedge {

class loop;
class reactor;

// What learns of a time_source's moves beside its loops: a part of the program with timers of its
// own, such as mach::kernel_clock.
class time_follower {
 public:
  // The time has moved. Called before the loops notice, on the thread that moves the time, under a
  // lock of the source: must not call add() and remove().
  virtual void time_moved() noexcept = 0;

 protected:
  time_follower() = default;
  ~time_follower() = default;
};

class time_source {
 public:
  time_source(const time_source&) = delete;
  time_source& operator=(const time_source&) = delete;

  // Returns the time, which never goes back. Called on any thread, under locks of the kernel, and
  // in signal handlers: must be async-signal-safe, and must not call the kernel about kqueues.
  virtual clock::time_point now() const noexcept = 0;

  // Returns the wall clock's time, which may step: by default the system's. For waits until a time
  // of the wall clock (sleep.h). Called on the threads of the source's loops.
  virtual std::chrono::system_clock::time_point wall_now() const noexcept {
    return std::chrono::system_clock::now();
  }

  // now() in nanoseconds, of the time_source `source`: as the kernels' use_clock() takes a clock.
  static std::uint64_t read(void* source) noexcept;

  // `f` follows this source until remove(), which waits for a call of time_moved(). Any thread.
  // add() throws std::bad_alloc.
  void add(time_follower& f);
  void remove(time_follower& f) noexcept;

 protected:
  time_source() = default;
  // A source that jumps has an idle() of its own.
  enum class jumping : bool { no, yes };
  explicit time_source(jumping j) noexcept : jumps_(j == jumping::yes) {}
  ~time_source() = default;

  // To be called after the time has moved. When it returns, every loop of the source that waits for
  // a deadline which has been reached is awake, and its native_handle() is readable. Any thread.
  void moved() noexcept;

  // Returns the i-th of its loops, in the order in which they were made, or null. Any thread.
  loop* loop_at(std::size_t i) noexcept;
  // Returns whether a time_hold of one of its loops lives. Any thread.
  bool is_held() const noexcept { return holds_.load(std::memory_order_relaxed) != 0; }

 private:
  friend class loop;
  friend class reactor;
  friend class time_hold;
  struct loop_entry {
    reactor* owner;
    int kq;
  };

  // `kq` is the kqueue of the loop `r`. It follows this source from add_loop() on, until it is
  // closed; remove_loop() comes before that. add_loop() throws std::system_error if the kernel
  // cannot follow a source.
  void add_loop(reactor& r, int kq);
  void remove_loop(const reactor& r) noexcept;

  // `l`, which run() drives, has nothing to do. Returns false if it is to wait for the kernel.
  virtual bool idle(loop& l) {
    static_cast<void>(l);
    return false;
  }

  std::mutex mutex_;
  std::vector<loop_entry> loops_;
  std::vector<time_follower*> followers_;
  std::atomic<unsigned> holds_{0};
  const bool jumps_ = false;
};

}  // namespace kedge
