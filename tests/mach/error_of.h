// error_of(action): the code of the std::system_error that the action throws; no error if none.
#pragma once

#include <system_error>

namespace kedge::mach {

std::error_code error_of(auto&& action) {
  try {
    action();
  } catch (const std::system_error& e) {
    return e.code();
  }
  return {};
}

}  // namespace kedge::mach
