// time_source: where a loop takes its time from, if not from kedge::clock.
//
//     class manual_time final : public kedge::time_source {
//      public:
//       kedge::clock::time_point now() const noexcept override { return time_.load(); }
//       void advance(kedge::clock::duration d) { time_.store(time_.load() + d); moved(); }
//       ...
//     };
//     manual_time time;
//     kedge::loop loop(time);             // its sleeps and deadlines follow `time`
//
// For simulations and tests. With such a source nothing in the loop waits for real time: a loop
// that waits sleeps until an event comes, or until moved() is called and a deadline has been
// reached. A source may serve several loops, on several threads.
//
// Lifetime: the source outlives its loops. The kernel reads it in a signal handler too if a loop
// has a signal_set: a source of such a loop lives until the process ends.
// Only kernels of this project follow such a source. On Darwin making the loop fails.
#pragma once

#include <mutex>
#include <vector>

#include "kedge/runtime/reactor/clock.h"

namespace kedge {

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

 protected:
  time_source() = default;
  ~time_source() = default;

  // To be called after the time has moved. When it returns, every loop of the source that waits for
  // a deadline which has been reached is awake, and its native_handle() is readable. Any thread.
  void moved() noexcept;

 private:
  friend class reactor;
  // `kq` is a loop's kqueue. It follows this source from add() on, until it is closed; remove()
  // comes before that. add() throws std::system_error if the kernel cannot follow a source.
  void add(int kq);
  void remove(int kq) noexcept;

  std::mutex mutex_;
  std::vector<int> kqueues_;
};

}  // namespace kedge
