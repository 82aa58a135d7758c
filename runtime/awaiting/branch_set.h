// branch_set<Group>: starts branches together, cancels them together, and ends when all have ended;
// the base of when_all and when_any.
//
// Group holds the branches: a branch_group or a branch_range. It has a `count`, and a for_each(f)
// that calls f on every branch, in order.
//
// Threads: the loop's thread only.
#pragma once

#include <cstddef>
#include <exception>

#include "kedge/runtime/awaiting/branch.h"

namespace kedge {

template <class Group>
class branch_set : public Group {
 public:
  static constexpr operation_kind kind = operation_kind::composite;

  bool await_ready() const noexcept { return false; }
  bool await_cancel(cancel_cause cause) noexcept {
    this->for_each([&](auto& b) {
      if (b.is_started()) b.cancel(cause);
    });
    return false;
  }
  std::exception_ptr await_failure() noexcept {
    return failed_ != nullptr ? failed_->failure() : nullptr;
  }

 protected:
  using Group::Group;
  ~branch_set() = default;

  // Starts the branches in order, until stop() returns true. Returns false if all branches that
  // were started have ended.
  template <class Stop>
  bool start(waiter& w, Stop stop) noexcept {
    waiter_ = &w;
    running_ = this->count + 1;
    this->for_each([&](auto& b) {
      if (stop()) {
        --running_;
      } else {
        b.start(w.owner_context());
      }
    });
    return --running_ != 0;
  }

  // For branch_done(): cancels the other branches that were started.
  void cancel_beside(const branch_base& ended, cancel_cause cause) noexcept {
    this->for_each([&](auto& b) {
      if (&b != &ended && b.is_started() && b.cancel_quietly(cause)) --running_;
    });
  }

  // To be called by each branch_done(), first with its branch. Returns true for the first failure.
  bool note_failure(branch_base& b) noexcept {
    if (b.ended() != outcome::failed || failed_ != nullptr) [[likely]]
      return false;
    failed_ = &b;
    return true;
  }
  // And last. Returns what branch_done() returns.
  waiter* one_done() noexcept { return --running_ == 0 ? waiter_ : nullptr; }

  bool has_failed() const noexcept { return failed_ != nullptr; }

  // Throws the first failure.
  void require_values() {
    if (has_failed()) std::rethrow_exception(failed_->failure());
  }

 private:
  branch_base* failed_ = nullptr;  // the first one
  // Set by start().
  waiter* waiter_;
  std::size_t running_;
};

}  // namespace kedge
