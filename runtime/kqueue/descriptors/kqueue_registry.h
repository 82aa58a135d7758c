// All kqueues of the process, by descriptor number, and the unused queue objects. A kqueue has one
// number, and one more for each duplicate.
#pragma once

#include <atomic>

#include "kedge/runtime/kqueue/descriptors/fd_table.h"
#include "kedge/runtime/kqueue/queue.h"

namespace kedge::kqueue {

class kqueue_registry {
 public:
  // The queue that has this number, or null. It may have ended: enter() tells.
  static queue* find(int number) noexcept {
    const std::atomic<queue*>* const place = numbers_.find(number);
    return place != nullptr ? place->load(std::memory_order_acquire) : nullptr;
  }

  // True if the descriptor is a kqueue now.
  static bool is_kqueue(int number) noexcept;

  // A new kqueue: its number, or -1 with errno. A queue that had the number has lost it.
  static int make() noexcept;

  // `fresh` is a duplicate of `number`: if that is a kqueue, both are now. False: no memory for it.
  static bool duplicate(int number, int fresh) noexcept;

  // The number is about to go, or gone: its queue loses it, and ends with the last one.
  static void forget(int number) noexcept;
  // The same for a thread inside `q`, with its lock held: only the table forgets it.
  static void remove(int number, queue& q) noexcept;
  // Any number of a queue, -1 if there is none.
  static int any_number_of(const queue& q) noexcept;

  // visit(queue) for all queue objects there are, ended ones too.
  template <class Visit>
  static void each_queue(Visit visit) noexcept {
    for (queue* q = all_.load(std::memory_order_acquire); q != nullptr; q = q->next_of_all) {
      visit(*q);
    }
  }
  // visit(number) for each number of a queue.
  template <class Visit>
  static void each_number_of(const queue& q, Visit visit) noexcept {
    numbers_.each(0, ~0u, [&](int number, const std::atomic<queue*>& place) {
      if (place.load(std::memory_order_acquire) == &q) visit(number);
    });
  }

  // An ended queue that no thread is in any more.
  static void recycle(queue& q) noexcept;

 private:
  static queue* take_unused() noexcept;
  static void set(std::atomic<queue*>& place, int number, queue& q) noexcept;
  [[gnu::constructor]] static void begin() noexcept;
  static void after_fork_in_child() noexcept;

  static fd_table<queue*> numbers_;
  static std::atomic<queue*> all_;
};

}  // namespace kedge::kqueue
