// observer: sees what a loop's tasks do, and decides which of them runs next.
//
//     struct random_order : kedge::observer {
//       std::size_t choose(std::size_t count) override { return generator() % count; }
//     };
//     loop.set_observer(&order);
//
// For the schedulers of simulations, tracers, and tests that cancel or destroy at every suspension,
// or make every allocation fail.
// An observer that wraps another one passes the calls on to what set_observer() has returned.
//
// While a loop has an observer, choosing costs time linear in the number of ready tasks. Without
// one each resumption costs one predicted branch more, and so does entering a branch.
//
// Threads: the loop's thread only. The functions of an observer must not drive the loop, resume or
// destroy coroutines, or throw, but for choose().
#pragma once

#include <cstddef>

namespace kedge {

class context;
class waiter;

enum class happening : unsigned char {
  spawned,    // a context was made, below its parent: of a child, a branch or a scope
  ready,      // the waiter was put into the ready queue
  completed,  // the waiter has its turn: its operation has ended, or begins if it had to wait
  resumed,    // a coroutine of the context runs: the loop resumes it, or that of a context above
              // enters it as its body or branch
  suspended,  // it has suspended, on the waiter: to wait, or to enter that of another context
  withdrawn,  // the wait was cancelled
  destroyed,  // the context's coroutines were destroyed, before they had ended
  ended,      // the context has ended
  asleep,     // the loop is about to ask the kernel, and may wait
  awake,      // the kernel has answered
  only_signals_left,  // run() waits, and nothing but a signal can wake its loop. Once per loop
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

  // Returns true to make an allocation fail, by std::bad_alloc. Asked on the loop's thread, while
  // the loop is driven and by spawn(), cancel() and the destructor of the loop, before each
  // allocation of: a coroutine's frame, a child's record, the node of a post from the loop's own
  // thread, the first registration of a (filter, ident), an attachment of the loop, and more room
  // for timers. Meanwhile the thread does not recycle frames. Allocations by the program's own code
  // do not ask.
  virtual bool fail_allocation() noexcept { return false; }

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
