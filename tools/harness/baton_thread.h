// baton_thread: a thread that runs functions for another one, which waits meanwhile. So only one of
// the two runs at a time.
//
// Threads: run() and the destructor are called on one thread.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace kedge::harness {

class baton_thread {
 public:
  // Throws std::system_error.
  baton_thread();
  baton_thread(const baton_thread&) = delete;
  baton_thread& operator=(const baton_thread&) = delete;
  // Ends the thread, which destroys its thread_local variables.
  ~baton_thread();

  // Returns once the thread has run `what`, which must not throw.
  void run(const std::function<void()>& what);
  // At its end the thread leaves its thread_local variables as they are: no destructor runs.
  void abandon() noexcept { is_abandoned_ = true; }

 private:
  void serve() noexcept;

  std::mutex mutex_;
  std::condition_variable changed_;
  const std::function<void()>* next_ = nullptr;
  bool is_over_ = false;
  bool is_abandoned_ = false;
  std::thread thread_;  // the last: it uses the others
};

}  // namespace kedge::harness
