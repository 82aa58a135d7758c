// mutex: a lock that one task holds across its waits.
//
//     kedge::mutex m;
//     const auto held = (co_await m.lock()).value();
//     co_await write_all(line);                // unlocks at the end of the block, however that
//     ends
//
// Tasks get the lock in the order in which they asked for it: unlocking hands the lock to the task
// that has waited longest, and no other task can come between. Not recursive: a task that locks
// what it holds waits for itself. Code that does not wait needs no mutex: no other task runs
// meanwhile.
//
// Threads: the loop's thread only.
#pragma once

#include "kedge/runtime/awaiting/source.h"

namespace kedge {

class mutex {
  struct state : queue_state {
    void serve() noexcept {
      if (is_locked) return;
      if (queued_operation* const op = waiting.first()) {
        is_locked = true;
        waiting.grant(*op);
      }
    }
    void unlock() noexcept {
      is_locked = false;
      serve();
    }
    bool is_locked = false;
  };

 public:
  // Holds the lock, which its destructor unlocks. May outlive the mutex.
  class guard {
   public:
    guard(guard&&) noexcept = default;
    guard& operator=(guard other) noexcept {
      std::swap(held_, other.held_);
      return *this;
    }
    ~guard() {
      if (held_) held_->unlock();
    }
    // Throws std::system_error (EPERM) if this guard does not hold the lock: it has unlocked, or
    // was moved from. There is no other way to unlock what another task has locked.
    void unlock() {
      if (!held_) refuse_argument(std::errc::operation_not_permitted, "kedge::mutex: unlock");
      std::exchange(held_, {})->unlock();
    }
    explicit operator bool() const noexcept { return static_cast<bool>(held_); }

   private:
    friend class mutex;
    explicit guard(source_hold<state>&& s) noexcept : held_(std::move(s)) {}
    source_hold<state> held_;
  };

  class lock_request : public request<state> {
   public:
    static constexpr const char* aim = "a mutex";
    explicit lock_request(source_hold<state> s) noexcept : request(std::move(s)) {}
    bool try_take() noexcept {
      return !source_->is_closed() && !std::exchange(source_->is_locked, true);
    }
    void give_back() noexcept { source_->unlock(); }
    result<guard> take() noexcept { return guard(std::move(source_)); }
    result<guard> refusal() noexcept { return closed("mutex::lock"); }
  };

  // Throws std::bad_alloc.
  mutex() : state_(std::in_place) {}
  mutex(const mutex&) = delete;
  mutex& operator=(const mutex&) = delete;
  // Ends waits in progress, and awaitables that have not been awaited, with errc::closed.
  ~mutex() = default;

  // Waits until no other task holds the lock. Gives a guard, or errc::closed if the mutex is
  // destroyed first. Cancellation loses nothing: a lock that was handed over goes to the next task.
  source_awaitable<lock_request> lock() noexcept {
    return source_awaitable(lock_request(state_.hold()));
  }
  bool is_locked() const noexcept { return state_->is_locked; }

 private:
  source_owner<state> state_;
};

}  // namespace kedge
