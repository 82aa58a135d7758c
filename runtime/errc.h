// What can end an awaited operation besides success and the errors of the system.
//
// These are values of std::error_code (category "kedge"), reported in a result<T>; compare with
// `r.error() == errc::timed_out`.
#pragma once

#include <system_error>

namespace kedge {

enum class errc {
  end_of_file = 1,  // the stream has ended; nothing more will come
  timed_out,        // the deadline given to this wait has passed
  closed,           // the source was closed under its waiter
  already_awaited,  // an exclusive source has a waiter already
  loop_gone,        // the loop that the source belonged to has been destroyed
};

const std::error_category& kedge_category() noexcept;

inline std::error_code make_error_code(errc e) noexcept {
  return {static_cast<int>(e), kedge_category()};
}

}  // namespace kedge

template <>
struct std::is_error_code_enum<kedge::errc> : std::true_type {};
