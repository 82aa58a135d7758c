// errc: how an awaited operation can end besides success and the system's errors.
//
// The values make std::error_codes (category "kedge"), which a result<T> reports. Compare with
// `r.error() == errc::timed_out`. Any thread.
#pragma once

#include <system_error>

namespace kedge {

enum class errc {
  end_of_file = 1,  // the stream has ended: no more bytes will arrive
  timed_out,        // the deadline of this wait has passed; equals std::errc::timed_out
  closed,           // the source was closed, before or during the wait
  already_awaited,  // an exclusive source has a waiter already
  loop_gone,        // the loop of the source has been destroyed
  cancelled,        // scope::cancel(), or the end of drain(), came before the body had a value
  forked,           // the loop or thread pool belongs to the parent of this process
  abandoned,        // the result will not come: all its completers were dropped
};

// The category of these codes, named "kedge".
const std::error_category& kedge_category() noexcept;

inline std::error_code make_error_code(errc e) noexcept {
  return {static_cast<int>(e), kedge_category()};
}

}  // namespace kedge

template <>
struct std::is_error_code_enum<kedge::errc> : std::true_type {};
