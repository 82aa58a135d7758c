// kedge::cancelled: the exception that a wait throws in a cancelled context.
//
// It is not a std::exception, so that `catch (const std::exception&)` does not swallow it. Let it
// pass: destructors do the unwinding. Cancellation is a level, not an edge: in a task that catches
// it and continues, every further wait throws again. The 1,000th throw ends the program
// (std::terminate) with the task's name.
#pragma once

namespace kedge {

enum class cancel_cause : unsigned char {
  requested,   // cancel() was called on the scope or on the loop
  failure,     // a sibling in the scope or in the same when_all failed
  superseded,  // another branch of the same when_any finished first
  deadline,    // the deadline of a with_timeout passed
};

class cancelled {
 public:
  explicit cancelled(cancel_cause cause) noexcept : cause_(cause) {}
  cancel_cause cause() const noexcept { return cause_; }

 private:
  cancel_cause cause_;
};

}  // namespace kedge
