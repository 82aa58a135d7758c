// kqueue_registry: all kqueues of the process by fd, and the unused queue objects. A kqueue has one
// fd, and one more for each duplicate.
//
// Threads: any. Ownership: queue objects are never freed, they are recycled.
#pragma once

#include <atomic>

#include "kedge/runtime/kqueue/descriptors/fd_table.h"
#include "kedge/runtime/kqueue/queue.h"

namespace kedge::kqueue {

class kqueue_registry {
 public:
  // Returns the queue of this fd, or null. It may have ended; queue::enter() checks that.
  static queue* find(int fd) noexcept {
    const std::atomic<queue*>* const place = queues_.find(fd);
    return place != nullptr ? place->load(std::memory_order_acquire) : nullptr;
  }

  // Returns whether the descriptor is a kqueue. Unlike find() it notices if the fd was closed by a
  // raw system call.
  static bool is_kqueue(int fd) noexcept;

  // Makes a kqueue. Returns its fd, or -1 with errno. A queue that the registry still names for
  // this fd loses it.
  static int make() noexcept;

  // `fresh` is a duplicate of `fd`: if `fd` is a kqueue, both are. Returns false without memory.
  static bool duplicate(int fd, int fresh) noexcept;

  // The fd is about to be closed, or is closed: its queue loses it, and ends if it was the last.
  static void forget(int fd) noexcept;
  // forget() for a thread inside `q`, with its lock held: changes only the table.
  static void erase(int fd, queue& q) noexcept;
  // Returns any fd of a queue, -1 if it has none.
  static int any_fd_of(const queue& q) noexcept;

  // Calls visit(queue) for every queue object, ended ones too.
  template <class Visit>
  static void each_queue(Visit visit) noexcept {
    for (queue* q = all_.load(std::memory_order_acquire); q != nullptr; q = q->next_of_all) {
      visit(*q);
    }
  }
  // Calls visit(fd) for every fd of a queue.
  template <class Visit>
  static void each_fd_of(const queue& q, Visit visit) noexcept {
    queues_.each(0, ~0u, [&](int fd, const std::atomic<queue*>& place) {
      if (place.load(std::memory_order_acquire) == &q) visit(fd);
    });
  }

  // Takes back an ended queue that no thread is in any more.
  static void recycle(queue& q) noexcept;

 private:
  static queue* take_unused() noexcept;
  static void set(std::atomic<queue*>& place, int fd, queue& q) noexcept;
  [[gnu::constructor]] static void install_fork_handlers() noexcept;
  static void after_fork_in_child() noexcept;

  static fd_table<queue*> queues_;
  static std::atomic<queue*> all_;
};

}  // namespace kedge::kqueue
