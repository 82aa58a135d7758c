// Implements the reports of misuse.
#include "kedge/mach/misuse.h"

#include <mach/mach_error.h>

#include <cstdio>

#include "kedge/mach/space_incarnation.h"

namespace kedge::mach {

#ifdef NDEBUG

void report_failed_release(const char*, mach_port_name_t, kern_return_t) noexcept {}
void report_other_space(const char*, mach_port_name_t, std::uint32_t) noexcept {}

#else

namespace {

// Returns whether the space of the incarnation lives, in this process.
bool is_alive(std::uint32_t space) noexcept {
  if ((space & made_task) == 0) return space == space_incarnation_of(kernel::task());
  const mach_port_t self = kernel::task_self_port(kernel::task{space & ~made_task});
  if (!MACH_PORT_VALID(self)) return false;
  mach_port_deallocate(mach_task_self(), self);
  return true;
}

}  // namespace

void report_failed_release(const char* what, mach_port_name_t name, kern_return_t code) noexcept {
  if (code == KERN_TERMINATED || code == KERN_INVALID_TASK) return;
  std::fprintf(stderr,
               "kedge::mach: releasing %s, 0x%x: %s; other code has released the name, or has "
               "changed its guard\n",
               what, name, mach_error_string(code));
}

void report_other_space(const char* what, mach_port_name_t name, std::uint32_t space) noexcept {
  if (!is_alive(space)) return;
  std::fprintf(stderr,
               "kedge::mach: %s, 0x%x, was destroyed while another space than its own was "
               "current: it is not released\n",
               what, name);
}

#endif

}  // namespace kedge::mach
