// stall_watch: reports when a task keeps its loop busy for too long.
//
//     kedge::loop loop;
//     kedge::stall_watch watch(loop, std::chrono::milliseconds(100));
//
// A thread of the watch samples which step the loop is at, four times in the limit. A step is the
// resumption of one task, or what the loop does between them: posted work, timers, events. A step
// that lasts for the limit is reported while it still lasts, and again when it is over. A task that
// never gives the loop back is so reported too. Durations are those of kedge::clock, as sampled.
//
// Costs: without a watch the loop stores nothing. With one, a resumption costs two virtual calls,
// three stores, and in a branch the way up to its task; a turn two or three readings of the clock.
//
// Threads: a watch is made and destroyed on the loop's thread, outside of a drive or by a task. The
// report is called on the watch's thread.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <utility>

#include "kedge/runtime/reactor/clock.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/reactor/stall_probe.h"

namespace kedge {

class stall_watch {
 public:
  // `s` is valid during the call. Must not throw.
  using reporter = std::function<void(const stall& s)>;

  // Prints one line to standard error, such as
  // "kedge: a task has kept its loop busy for 120 ms: from main.cc:12, resumed at main.cc:31".
  static void print(const stall& s) noexcept;

  // Watches the loop `r`, which must outlive the watch. Throws std::invalid_argument if `limit` is
  // not positive, std::logic_error if the loop is watched already, and std::system_error if the
  // system allows no further thread.
  template <class Rep, class Period>
  stall_watch(reactor& r, std::chrono::duration<Rep, Period> limit, reporter report = print)
      : stall_watch(r, saturate(limit), std::move(report)) {}
  stall_watch(reactor& r, clock::duration limit, reporter report);
  stall_watch(const stall_watch&) = delete;
  stall_watch& operator=(const stall_watch&) = delete;
  // Blocks until a report in progress has returned. In a forked child it frees nothing.
  ~stall_watch();

 private:
  struct state;

  reactor& reactor_;
  std::unique_ptr<state> state_;
};

}  // namespace kedge
