// Implements port_source.
#include "kedge/mach/port_source.h"

#include "kedge/mach/try_receive.h"

namespace kedge::mach {

std::error_code port_source::link(listener& l, reactor& r) {
  if (name_ == MACH_PORT_NULL) return kedge::errc::closed;
  if (table_ != r.registrations()) {
    // Another loop keeps the registration as long as an operation waits there.
    if (awaited()) return kedge::errc::already_awaited;
    registration_ = registration(r, sharing::exclusive, EVFILT_MACHPORT, name_);
    table_ = r.registrations();
  }
  return registration_.link(l);
}

mach_msg_return_t port_source::take(received& into) noexcept {
  if (name_ == MACH_PORT_NULL) return MACH_RCV_INVALID_NAME;
  const mach_msg_return_t code = try_receive(name_, expected_size_, into);
  if (code == MACH_RCV_TIMED_OUT) found_empty();
  return code;
}

void port_source::close(std::error_code why) noexcept {
  registration_.close(why);
  name_ = MACH_PORT_NULL;
}

}  // namespace kedge::mach
