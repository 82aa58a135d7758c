// fd_watchers: which kqueues have to be notified of an fd, and the notifications. Before an fd is
// closed, kqueues drop their knotes about it (knote_fdclose() in Darwin's kernel), and the kqueue
// whose own fd it is ends. The calls in libc/close_calls.cc come here first.
//
// There is one word per fd. For an fd without a watcher, closing costs one look at that word. A
// process that shares our memory but not our descriptors (the child of vfork) notifies no kqueue.
//
// Threads: any. The notifications keep errno.
#pragma once

#include <atomic>
#include <cstdint>

#include "kedge/runtime/kqueue/descriptors/fd_table.h"

namespace kedge::kqueue {

class queue;

class fd_watchers {
 public:
  // Returns whether a kqueue may have to be notified of the fd.
  static bool has_watcher(int fd) noexcept {
    const std::atomic<std::uintptr_t>* const word = words_.find(fd);
    return word != nullptr && word->load(std::memory_order_relaxed) != 0;
  }

  // Requires that the fd is still open. Waits for operations on its knotes and, if it is the last
  // fd of a kqueue, for the threads in that kqueue.
  static void before_close(int fd) noexcept {
    if (has_watcher(fd)) notify_close(fd);
  }
  // before_close() for all fds in [first, last].
  static void before_close_range(unsigned first, unsigned last) noexcept;

  // shutdown(): the connection of the fd sends no more.
  static void after_shutdown(int fd) noexcept;
  // lseek(): the file of the fd has another offset.
  static void after_seek(int fd) noexcept;
  // A kqueue has made its fd name another epoll set.
  static void after_replace(int fd) noexcept;

  // Makes `q` a watcher of the fd: it has a knote about it. Requires q's lock, which before_close()
  // takes. Returns false without memory.
  static bool add_watcher(int fd, const queue& q) noexcept;
  // Notes that the fd is a kqueue's own. Returns false without memory.
  static bool add_kqueue(int fd) noexcept;

  static void after_fork_in_child() noexcept;

 private:
  static void notify_close(int fd) noexcept;
  static void notify(int fd, void (queue::*notification)(int) noexcept) noexcept;

  // A word is 0; or the address of the kqueue that has, or had, a knote about the fd; or `several`
  // for more than one such kqueue. The bit is_kqueue is added for a kqueue's own fd.
  static constexpr std::uintptr_t is_kqueue = 1;
  static constexpr std::uintptr_t several = 2;
  static fd_table<std::uintptr_t> words_;
};

}  // namespace kedge::kqueue
