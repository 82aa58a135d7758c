// parker: what a thread does where one of the kernels would block it, if a scheduler runs the
// thread. The scheduler of a simulation lets other simulated processes go on meanwhile.
//
// Both kernels ask parker::of_thread() where they are about to sleep, and nowhere else. They give
// the parker a place, the address of what they sleep on. Whoever would wake the sleeper calls
// unpark() with it. No lock of a kernel is held in these calls, but in unpark() and now().
//
// Threads: of_thread() and set_of_thread() are about the calling thread. unpark() is called on
// whichever thread wakes the sleeper.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

namespace kedge::base {

class parker {
 public:
  enum class ended {
    woken,        // unpark() was called
    timed_out,    // the deadline has passed
    interrupted,  // as by a signal
  };
  static constexpr std::uint64_t never = ~std::uint64_t{0};

  parker(const parker&) = delete;
  parker& operator=(const parker&) = delete;

  // Returns the calling thread's, or null, which is what every thread begins with.
  static parker* of_thread() noexcept { return of_thread_; }
  // Returns the one before.
  static parker* set_of_thread(parker* next) noexcept { return std::exchange(of_thread_, next); }

  // Suspends the caller until unpark(place), or until now() has reached the deadline.
  virtual ended park(const void* place, std::uint64_t deadline) noexcept = 0;
  // Has no effect if no thread is parked there.
  virtual void unpark(const void* place) noexcept = 0;
  // The caller's wait was interrupted, and its call has left the kernel: it holds nothing of the
  // kernel's any more. If the scheduler has ended the process, this does not return.
  virtual void leave() noexcept = 0;

  // The caller is about to wait for an event that no kernel of ours causes, such as one of a file
  // or of a child: `source` of EVFILT_*, and its ident. It goes on to wait.
  virtual void note_outside(int source, std::uint64_t ident) noexcept = 0;
  // Likewise in a call of the C library, of this name. Does not return.
  [[noreturn]] virtual void stop_outside(const char* call) noexcept = 0;
  // Instead of starting a thread: calls run(job) once, later, as if on a thread of its own. Throws
  // std::bad_alloc.
  using work = void(const std::shared_ptr<void>& job) noexcept;
  virtual void run_later(work* run, std::shared_ptr<void> job) = 0;

  // Returns where memory of `size` bytes is to be mapped, so that it is at the same address in
  // every run, or 0: anywhere.
  virtual std::uint64_t next_address(std::uint64_t size) noexcept = 0;

  // Nanoseconds of the clock that the deadlines are measured by, and all time of the process.
  virtual std::uint64_t now() const noexcept = 0;
  // now() of the parker `p`, as the kernels' use_clock() takes a clock.
  static std::uint64_t read_clock(void* p) noexcept { return static_cast<parker*>(p)->now(); }

 protected:
  parker() = default;
  ~parker() = default;

 private:
  static inline constinit thread_local parker* of_thread_ = nullptr;
};

}  // namespace kedge::base
