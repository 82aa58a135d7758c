#pragma once

// All kqueues of the process, by descriptor number, and the unused queue objects.

#include <atomic>

#include "kedge/kqueue/queue.h"

namespace kedge::kqueue {

class kqueue_numbers {
 public:
  // The queue that kqueue() last made with this number, or null. It may have ended: enter() tells.
  static queue* find(int number) noexcept {
    const std::atomic<queue*>* const slot = slot_of(number);
    return slot != nullptr ? slot->load(std::memory_order_acquire) : nullptr;
  }

  // True if the descriptor is a kqueue now.
  static bool is_kqueue(int number) noexcept;

  // A new kqueue: its number, or -1 with errno. A queue that had the number has ended by that.
  static int make() noexcept;

  // An ended queue that no thread is in any more.
  static void recycle(queue& q) noexcept;

 private:
  // Two levels, so that a look-up is two loads and a number of a million costs little.
  static constexpr unsigned page_size = 1024;
  static constexpr unsigned page_count = 16384;
  struct page {
    std::atomic<queue*> at[page_size];
  };

  static std::atomic<queue*>* slot_of(int number) noexcept {
    const unsigned n = static_cast<unsigned>(number);  // a negative one is beyond every page
    if (n / page_size >= page_count) return nullptr;
    page* const p = pages_[n / page_size].load(std::memory_order_acquire);
    return p != nullptr ? &p->at[n % page_size] : nullptr;
  }
  static std::atomic<queue*>* make_slot(int number) noexcept;
  static queue* take_unused() noexcept;
  static void after_fork_in_child() noexcept;

  static std::atomic<page*> pages_[page_count];
};

}  // namespace kedge::kqueue
