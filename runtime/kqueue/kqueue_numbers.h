#pragma once

// All kqueues of the process, by descriptor number, and the unused queue objects.

#include "kedge/kqueue/queue.h"

namespace kedge::kqueue {

class kqueue_numbers {
 public:
  // The queue that kqueue() last made with this number, or null. It may have ended: enter() tells.
  static queue* find(int number) noexcept;

  // True if the descriptor is a kqueue now.
  static bool is_kqueue(int number) noexcept;

  // A new kqueue: its number, or -1 with errno. A queue that had the number has ended by that.
  static int make() noexcept;

  // An ended queue that no thread is in any more.
  static void recycle(queue& q) noexcept;
};

}  // namespace kedge::kqueue
