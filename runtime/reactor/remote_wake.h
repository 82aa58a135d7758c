// remote_wake: the base of an object that another thread completes and that a task waits for.
//
//     loop's thread: object->attach(w);         other thread: object->post_wake(object);
//
// The post uses the object's own memory, so it allocates nothing. The object is held by a
// std::shared_ptr, which the post keeps alive until the loop has taken it.
//
// Threads: post_wake() may be called on any thread, all else belongs to the loop's.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "kedge/runtime/awaiting/waiter.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/remote.h"
#include "kedge/runtime/time_hold.h"

namespace kedge {

class remote_wake : private remote::work {
 public:
  remote_wake(const remote_wake&) = delete;
  remote_wake& operator=(const remote_wake&) = delete;

  // `w` waits for the post. Requires that no other thread can call post_wake() yet.
  void attach(waiter& w) noexcept {
    to_.emplace(w.owner_context().in_reactor().get_remote());
    waiter_ = &w;
  }
  // The waiter goes away. A post that is still to come has no effect. Returns the waiter, or null
  // if there is none.
  waiter* detach() noexcept {
    hold_.release();
    return std::exchange(waiter_, nullptr);
  }
  bool is_attached() const noexcept { return waiter_ != nullptr; }

  // Wakes the waiter, unless it is detached before the loop takes the post. No effect if the loop
  // is gone. At most once, after attach(). `self` owns this object.
  void post_wake(std::shared_ptr<remote_wake> self) noexcept {
    self_ = std::move(self);
    if (!to_->post(static_cast<remote::work&>(*this))) self_.reset();
  }

 protected:
  remote_wake() = default;
  virtual ~remote_wake() = default;

  // attach(), and holds a virtual time until the waiter goes away or is woken.
  void attach_and_hold(waiter& w) noexcept {
    attach(w);
    hold_ = time_hold(w.owner_context().in_reactor());
  }

 private:
  void run() noexcept final {
    const std::shared_ptr<remote_wake> keep = std::move(self_);
    if (waiter* const w = detach()) wake(*w);
  }
  void drop() noexcept final { const std::shared_ptr<remote_wake> keep = std::move(self_); }

  std::optional<remote> to_;
  std::shared_ptr<remote_wake> self_;  // while the post is on its way
  waiter* waiter_ = nullptr;
  time_hold hold_;
};

}  // namespace kedge
