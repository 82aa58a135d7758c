// kedge::cancelled: what loop::run() throws if the awaitable that it runs was cancelled.
//
// Nothing is thrown inside of coroutines: a cancelled wait never returns, and the coroutines that
// wait for it are destroyed, innermost first. It is not a std::exception, so that
// `catch (const std::exception&)` around run() does not swallow it. loop::try_run() reports the
// cancellation as a value instead.
#pragma once

namespace kedge {

enum class cancel_cause : unsigned char {
  requested,   // cancel() was called on the scope or on the loop
  failure,     // a sibling in the scope or in the same when_all failed
  superseded,  // another branch of the same when_any finished first
  deadline,    // the deadline of a with_timeout passed
};

// Returns the name of the cause, for reports.
constexpr const char* to_string(cancel_cause cause) noexcept {
  switch (cause) {
    case cancel_cause::requested:
      return "requested";
    case cancel_cause::failure:
      return "failure";
    case cancel_cause::superseded:
      return "superseded";
    case cancel_cause::deadline:
      return "deadline";
  }
  return "unknown";
}

class cancelled {
 public:
  explicit cancelled(cancel_cause cause) noexcept : cause_(cause) {}
  cancel_cause cause() const noexcept { return cause_; }

 private:
  cancel_cause cause_;
};

}  // namespace kedge
