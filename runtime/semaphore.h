// semaphore: a number of permits, which tasks take and give back.
//
//     kedge::semaphore connections(16);
//     const auto permit = (co_await connections.acquire()).value();
//     co_await fetch(url);                     // gives it back at the end, however that ends
//
// Tasks get their permits in the order in which they asked: one that asks for many is not overtaken
// by later ones that ask for few.
//
// Threads: the loop's thread only.
#pragma once

#include <cstddef>

#include "kedge/runtime/awaiting/source.h"

namespace kedge {

class semaphore {
  struct state : queue_state {
    state(std::size_t n, std::size_t m) noexcept : available(n), most(m) {}
    bool try_take(std::size_t n) noexcept {
      if (is_closed() || available < n) return false;
      available -= n;
      held += n;
      return true;
    }
    void give_back(std::size_t n) noexcept {
      held -= n;
      available += n;
      serve();
    }
    void serve() noexcept {
      for (queued_operation* op = nullptr; (op = waiting.first()) != nullptr;) {
        if (!try_take(static_cast<source_operation<acquire_request>&>(*op).wanted().count())) break;
        waiting.grant(*op);
      }
    }
    std::size_t available;
    std::size_t held = 0;  // by `permits`, and by tasks that have been handed some
    const std::size_t most;
  };

 public:
  // Permits that a task has acquired, which the destructor gives back. May outlive the semaphore.
  class permits {
   public:
    permits(permits&&) noexcept = default;
    permits& operator=(permits other) noexcept {
      std::swap(held_, other.held_);
      std::swap(count_, other.count_);
      return *this;
    }
    ~permits() {
      if (held_) held_->give_back(count_);
    }
    // 0 when moved from, and after forget().
    std::size_t count() const noexcept { return held_ ? count_ : 0; }
    // Takes the permits out of the semaphore for good, or until a release() puts them back.
    void forget() noexcept {
      if (held_) held_->held -= count_;
      held_ = {};
    }

   private:
    friend class semaphore;
    permits(source_hold<state>&& s, std::size_t n) noexcept : held_(std::move(s)), count_(n) {}
    source_hold<state> held_;
    std::size_t count_;
  };

  class acquire_request : public request<state> {
   public:
    static constexpr const char* aim = "permits of a semaphore";
    acquire_request(source_hold<state> s, std::size_t n) noexcept
        : request(std::move(s)), count_(n) {}
    std::size_t count() const noexcept { return count_; }
    bool try_take() noexcept {
      return source_->waiting.first() == nullptr && source_->try_take(count_);
    }
    void give_back() noexcept { source_->give_back(count_); }
    // Those behind it may ask for less.
    void left() noexcept { source_->serve(); }
    result<permits> take() noexcept { return permits(std::move(source_), count_); }
    result<permits> refusal() noexcept { return closed("semaphore::acquire"); }

   private:
    std::size_t count_;
  };

  // A semaphore of `most` permits, of which `available` can be acquired at first; by default all.
  // Throws std::system_error (EINVAL) if `most` is zero or less than `available`, and
  // std::bad_alloc.
  explicit semaphore(std::size_t most) : semaphore(most, most) {}
  semaphore(std::size_t available, std::size_t most) : state_(std::in_place, available, most) {
    if (most == 0 || available > most) {
      refuse_argument(std::errc::invalid_argument, "kedge::semaphore");
    }
  }
  semaphore(const semaphore&) = delete;
  semaphore& operator=(const semaphore&) = delete;
  // Ends waits in progress, and awaitables that have not been awaited, with errc::closed.
  ~semaphore() = default;

  // Waits until there are n permits, and takes them. Gives `permits`, or errc::closed if the
  // semaphore is destroyed first. Cancellation loses nothing: permits that were handed over go to
  // the next task. Throws std::system_error (EINVAL) if n is zero or more than the semaphore can
  // have.
  source_awaitable<acquire_request> acquire(std::size_t n = 1) {
    if (n == 0 || n > state_->most) {
      refuse_argument(std::errc::invalid_argument, "kedge::semaphore: acquire");
    }
    return source_awaitable(acquire_request(state_.hold(), n));
  }

  // Adds n permits. Throws std::system_error (EOVERFLOW), and adds none, if there would be more
  // than the maximum, together with those that are held.
  void release(std::size_t n = 1) {
    if (n > state_->most - state_->held - state_->available) {
      refuse_argument(std::errc::value_too_large, "kedge::semaphore: release");
    }
    state_->available += n;
    state_->serve();
  }
  std::size_t available() const noexcept { return state_->available; }

 private:
  source_owner<state> state_;
};

}  // namespace kedge
