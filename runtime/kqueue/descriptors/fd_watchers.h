// What kqueues have to do when a descriptor number is closed, before it goes: knote_fdclose() for
// those that have knotes about it, and the end of the kqueue whose number it is. The calls that
// close numbers (close_calls.cc) come here first.
//
// One word per number says whether a kqueue cares; for a number that none does, closing costs one
// look at it. A process that shares our memory but not our descriptors (the child of vfork) closes
// nothing of ours.
#pragma once

#include <atomic>
#include <cstdint>

#include "kedge/runtime/kqueue/descriptors/fd_table.h"

namespace kedge::kqueue {

class queue;

class fd_watchers {
 public:
  // Whether a kqueue may care for the number.
  static bool concerns(int number) noexcept {
    const std::atomic<std::uintptr_t>* const place = cares_.find(number);
    return place != nullptr && place->load(std::memory_order_relaxed) != 0;
  }

  // The number is about to go. Keeps errno. What it must wait for: operations on its knotes, and if
  // it is a kqueue's last number, the threads in that kqueue.
  static void announce(int number) noexcept {
    if (concerns(number)) tell(number);
  }
  // The same for all numbers in [first, last].
  static void announce_all(unsigned first, unsigned last) noexcept;

  // Its connection sends no more (shutdown()). Keeps errno.
  static void announce_end_of_sending(int number) noexcept;
  // Its offset is another one (lseek()). Keeps errno.
  static void announce_new_offset(int number) noexcept;

  // From now on `q` cares: it has a knote about the number. Called with q's lock held, which
  // announce() takes afterwards. False: no memory.
  static bool note_knote(int number, const queue& q) noexcept;
  // The number is a kqueue's. False: no memory.
  static bool note_kqueue(int number) noexcept;

  // The number is another file's now, by the kqueue's own doing: knotes about it are renewed.
  static void renew(int number) noexcept;

  // Not so in the child of a vfork, which has the kqueues' memory but numbers of its own.
  static bool in_own_process() noexcept;

  static void after_fork_in_child() noexcept;

 private:
  static void tell(int number) noexcept;
  static void tell_watchers(int number, void (queue::*what)(int) noexcept) noexcept;

  // 0: nobody. Else the address of the kqueue that has, or had, a knote about the number, or
  // `several`; and is_kqueue.
  static constexpr std::uintptr_t is_kqueue = 1;
  static constexpr std::uintptr_t several = 2;
  static fd_table<std::uintptr_t> cares_;
};

}  // namespace kedge::kqueue
