// Implements port_source.
#include "kedge/mach/port_source.h"

#include <stdexcept>

#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/try_receive.h"
#include "kedge/runtime/reactor/drive_hook.h"

namespace kedge::mach {
namespace {

// The kqueue looks names up in the space that it was made in. A wait for a name of another space
// would fail, or never end.
void check_space(const reactor& r) {
  if (!kernel::has_many_tasks() || r.made_within() == drive_hook::current()) return;
  throw std::logic_error(
      "kedge::mach: this loop was made in another space than the current one: loop::set_hook() "
      "makes the loop's coroutines run in its space");
}

}  // namespace

std::error_code port_source::link(listener& l, reactor& r) {
  if (name_ == MACH_PORT_NULL) return kedge::errc::closed;
  if (table_ != r.registrations()) {
    // Another loop keeps the registration as long as an operation waits there.
    if (awaited()) return kedge::errc::already_awaited;
    check_space(r);
    registration_ = registration(r, sharing::exclusive, EVFILT_MACHPORT, name_);
    table_ = r.registrations();
  }
  const std::error_code error = registration_.link(l);
  if (!error || error.category() != std::system_category()) return error;
  // The kernel has refused the registration to an earlier wait. This wait tries again.
  registration_.close();
  table_.reset();
  return link(l, r);
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
