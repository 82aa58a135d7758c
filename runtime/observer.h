// observer: sees what a loop's tasks do, and decides which of them runs next.
//
//     struct random_order : kedge::observer {
//       std::size_t choose(std::size_t count) override { return generator() % count; }
//     };
//     loop.set_observer(&order);
//
// For the schedulers of simulations, tracers, and tests that cancel or destroy at every suspension.
// An observer that wraps another one passes the calls on to what set_observer() has returned.
//
// While a loop has an observer, choosing costs time linear in the number of ready tasks. Without
// one each resumption costs one predicted branch more.
//
// Threads: the loop's thread only. The functions of an observer must not drive the loop, resume or
// destroy coroutines, or throw, but for choose().
#pragma once

#include <cstddef>

namespace kedge {

class context;
class waiter;

enum class happening : unsigned char {
  spawned,    // a context was made, below its parent
  ready,      // the waiter was put into the ready queue
  completed,  // the waiter has its turn: its operation has ended, or begins if it had to wait
  resumed,    // the loop resumes a coroutine of the context; those it enters are part of that
  suspended,  // it has suspended, on the waiter
  withdrawn,  // the wait was cancelled
  destroyed,  // the context's coroutines were destroyed, before they had ended
  ended,      // the context has ended
  asleep,     // the loop is about to ask the kernel, and may wait
  awake,      // the kernel has answered
};

class observer {
 public:
  // Returns the index of the waiter that has its turn next, of the `count` ready ones in the order
  // in which they became ready. An index that is not below `count` makes the drive throw
  // std::out_of_range; so does an exception of this function.
  virtual std::size_t choose(std::size_t count) {
    static_cast<void>(count);
    return 0;
  }

  // Reports what happened. `c` or `w` is null where the description names none.
  virtual void at(happening what, const context* c, const waiter* w) noexcept {
    static_cast<void>(what);
    static_cast<void>(c);
    static_cast<void>(w);
  }

 protected:
  observer() = default;
  ~observer() = default;
};

}  // namespace kedge
