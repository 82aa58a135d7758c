// branch_range<A>: any number of branches of one type that run concurrently; what branch_group is
// to a fixed number.
//
// The branches lie in one block, which is allocated when the wait begins and released with the
// operation.
//
// Threads: the loop's thread only.
#pragma once

#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "kedge/runtime/awaiting/branch_group.h"

namespace kedge {

// The type of an awaitable's value in a container: std::monostate for void, a
// std::reference_wrapper for a reference.
template <awaitable A>
using any_value_t =
    std::conditional_t<std::is_reference_v<awaited_t<A>>,
                       std::reference_wrapper<std::remove_reference_t<awaited_t<A>>>,
                       tuple_value_t<A>>;

template <awaitable A>
class branch_range : protected branch_owner {
 protected:
  using held_branch = branch<operation_of<A>>;

  explicit branch_range(std::vector<A>&& awaitables) noexcept
      : count(awaitables.size()), awaitables_(std::move(awaitables)) {}
  // The latest first, as an array.
  ~branch_range() {
    while (made_ != 0) std::destroy_at(branches_ + --made_);
    if (branches_ != nullptr) std::allocator<held_branch>().deallocate(branches_, count);
  }

  // Calls f on every branch, in order.
  template <class F>
  void for_each(F f) {
    for (std::size_t i = 0; i < made_; ++i) f(branches_[i]);
  }

  // Makes the branches, then starts them in order, until stop() returns true. Returns false if all
  // branches that were started have ended. Throws std::bad_alloc; no branch was started then.
  template <class Stop>
  bool start(waiter& w, Stop stop) {
    make_branches();
    waiter_ = &w;
    running_ = 1;
    while (started_ < count && !stop()) {
      ++running_;
      branches_[started_++].start(w.owner_context());
    }
    return --running_ != 0;
  }

  // Cancels the branches that were started, but `except`.
  void cancel_branches(cancel_cause cause, const branch_base* except = nullptr) noexcept {
    for (std::size_t i = 0; i < started_; ++i) {
      if (&branches_[i] != except) branches_[i].cancel(cause);
    }
  }

  // Must be called once by each branch_done(), last. Returns what that returns.
  waiter* one_done() noexcept { return --running_ == 0 ? waiter_ : nullptr; }

  bool any_ended(outcome o) const noexcept {
    for (std::size_t i = 0; i < made_; ++i) {
      if (branches_[i].ended() == o) return true;
    }
    return false;
  }

  // Returns the exception of `failed`, one of the branches.
  std::exception_ptr failure_of(const branch_base* failed) noexcept {
    for (std::size_t i = 0; i < made_; ++i) {
      if (&branches_[i] == failed) return branches_[i].failure();
    }
    return nullptr;
  }

  const std::size_t count;

 public:
  static constexpr operation_kind kind = operation_kind::composite;

  branch_range(const branch_range&) = delete;
  branch_range& operator=(const branch_range&) = delete;

  bool await_ready() const noexcept { return false; }

 private:
  void make_branches() {
    branches_ = std::allocator<held_branch>().allocate(count);
    for (; made_ < count; ++made_) {
      std::construct_at(branches_ + made_, std::move(awaitables_[made_]),
                        static_cast<branch_owner&>(*this));
    }
  }

  std::vector<A> awaitables_;  // moved from once the branches are made
  held_branch* branches_ = nullptr;
  std::size_t made_ = 0;
  std::size_t started_ = 0;
  waiter* waiter_ = nullptr;
  std::size_t running_ = 0;
};

}  // namespace kedge
