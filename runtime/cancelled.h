// kedge::cancelled: what a wait throws in a scope that has been cancelled.
//
// It is not a std::exception, so that `catch (const std::exception&)` does not swallow it. Let it
// pass: destructors do the unwinding. Cancellation is a level, not an edge: whoever catches it and
// goes on has every further wait throw again, and is stopped (std::terminate, with its name) at the
// 1,000th.
#pragma once

namespace kedge {

enum class cancel_cause : unsigned char {
  requested,  // somebody called cancel() on the scope, or stopped the loop
  failure,    // a sibling in the scope or in the same when_all failed
  decided,    // another branch of the same when_any finished first
  deadline,   // the deadline of a with_timeout passed
};

class cancelled {
 public:
  explicit cancelled(cancel_cause cause) noexcept : cause_(cause) {}
  cancel_cause cause() const noexcept { return cause_; }

 private:
  cancel_cause cause_;
};

}  // namespace kedge
