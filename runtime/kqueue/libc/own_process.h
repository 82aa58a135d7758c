// own_process: whether this code runs in the process that the tables of kqueues are about. The
// child of a fork may have a copy of them, and the child of vfork() has them themselves, but both
// have descriptors of their own.
//
// Every close of a watched fd asks, so the answer takes no system call where that is possible. A
// page that Linux clears in the child of any fork (MADV_WIPEONFORK) tells the first kind. vfork(),
// which own_process.cc defines, marks the second kind. Where vfork() is not defined (processors
// other than x86_64, sanitizers), the system is asked for the pid. The child of
// clone(CLONE_VM) that shares no descriptors and is not made by vfork() or posix_spawn() is not
// noticed.
//
// Threads: any.
#pragma once

#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>

#if defined(__x86_64__) && defined(__LP64__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define KEDGE_DEFINES_VFORK 1
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#undef KEDGE_DEFINES_VFORK
#endif
#endif
#endif

namespace kedge::kqueue {

#if defined(KEDGE_DEFINES_VFORK)
// Set in the child of vfork() until its parent continues. The two share it: they are one thread to
// the C library.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local bool in_vfork_child;
#endif

// The process by the system: a simulation defines a getpid() of its own.
inline pid_t real_pid() noexcept {
  return static_cast<pid_t>(syscall(SYS_getpid));
}

class own_process {
 public:
  // The tables are about the calling process from now on.
  static void claim() noexcept;

  // In the child of a fork, which may be that of the child of a vfork.
  static void after_fork_in_child() noexcept;

  // Returns false without claim().
  static bool is_current() noexcept {
#if defined(KEDGE_DEFINES_VFORK)
    const std::atomic<bool>* const mark = mark_.load(std::memory_order_acquire);
    if (mark != nullptr) [[likely]]
      return mark->load(std::memory_order_relaxed) && !in_vfork_child;
#endif
    return is_claimed_by_pid();
  }

 private:
  static std::atomic<bool>* find_mark() noexcept;
  static bool is_claimed_by_pid() noexcept;

  static std::atomic<std::atomic<bool>*> mark_;  // set, in a page that a fork clears. Or null
  static std::atomic<pid_t> pid_;                // if there is no mark
};

}  // namespace kedge::kqueue
