// thread_pool: a bounded number of threads that run what would block a loop; see offload.h.
//
//     kedge::thread_pool readers(4);
//     co_await kedge::offload(readers, read_it);
//
// Threads are started on demand, up to the bound, and stay until the pool is destroyed. What
// exceeds the bound waits, first in, first out. Signals are blocked in the threads, so that a
// signal of the process interrupts the program's own threads; a process that a function forks
// inherits this mask.
//
// In a process that a base::parker schedules a pool has no threads. The parker runs a function at a
// later step.
//
// After a fork a pool is the parent's: in the child offload() throws std::system_error
// (errc::forked), and the destructor frees nothing. The child may make pools of its own.
//
// Threads: any thread may use a pool; one thread destroys it.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>

#include "kedge/runtime/base/list.h"
#include "kedge/runtime/reactor/remote_wake.h"

namespace kedge {

class thread_pool {
 public:
  // The queue and the threads. Outlives the pool while operations hold it.
  class state;

  // One function that the pool runs, for offload.h. Held by a std::shared_ptr.
  class job : public remote_wake {
   protected:
    job() = default;
    ~job() = default;

   private:
    friend class state;
    enum class stage : unsigned char { idle, queued, running, ended };

    // Runs the function, and keeps how it ended. On a thread of the pool.
    virtual void call() noexcept = 0;

    // Runs it for a scheduler that has no threads.
    static void run_scheduled(const std::shared_ptr<void>& self) noexcept;

    // Guarded by the pool's mutex:
    stage stage_ = stage::idle;
    std::shared_ptr<job> queued_self_;
    std::shared_ptr<class state> scheduled_by_;  // a base::parker runs it
    base::list_link<job> link_;
  };

  // How far a job had come when leave() was called.
  enum class progress : unsigned char {
    withdrawn,  // it was queued, and is not any more
    running,
    ended,    // the post that wakes the waiter is on its way
    unknown,  // the pool belongs to the parent of this process
  };

  // At most `threads` threads, none of which is started yet. Throws std::invalid_argument if
  // `threads` is zero, and std::bad_alloc.
  explicit thread_pool(std::size_t threads);
  thread_pool(const thread_pool&) = delete;
  thread_pool& operator=(const thread_pool&) = delete;
  // Blocks until the functions that are running have returned. What is queued does not run: its
  // waits end with errc::closed, as do later ones.
  ~thread_pool();

  // Returns the pool of the process, of 32 threads, made by the first call. It is never destroyed:
  // the end of the process waits for none of its functions. A forked child gets one of its own.
  // Throws std::bad_alloc. Any thread.
  static thread_pool& of_process();

  const std::shared_ptr<state>& shared() const noexcept { return state_; }

  // --- For offload.h ----------------------------------------------------------------------------

  // Queues `j`, to which a waiter is attached. Posts its wake once it has run, or once the pool is
  // destroyed before that. Throws std::system_error: errc::closed, errc::forked, or EAGAIN if the
  // pool has no thread and the system allows none.
  static void submit(state& pool, std::shared_ptr<job> j);
  // Takes `j` out of the queue.
  static progress leave(state& pool, job& j) noexcept;
  // Blocks until `j` is not running.
  static void wait_for(state& pool, job& j) noexcept;

 private:
  friend class process_pool;
  bool is_of_parent() const noexcept;

  std::shared_ptr<state> state_;
};

// A pool of the process: made by its first use, and never destroyed. A forked child gets one of its
// own. For static objects: `constinit process_pool resolvers(8);`. Any thread.
class process_pool {
 public:
  explicit constexpr process_pool(std::size_t threads) noexcept : threads_(threads) {}
  // Throws std::bad_alloc.
  thread_pool& get();

 private:
  const std::size_t threads_;
  std::atomic<thread_pool*> pool_ = nullptr;
};

}  // namespace kedge
