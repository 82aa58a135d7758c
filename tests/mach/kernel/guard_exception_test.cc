// Guard exceptions (SEMANTICS 25, 40), through the handler that only the kernel for Linux has: on
// Darwin they are fatal, or not delivered.
#include <doctest/doctest.h>

#include "kedge/mach/kernel/abi/guard_exception.h"
#include "test_message.h"

using namespace test;

namespace {

kedge::mach::kernel::guard_violation last_violation;

// Records guard exceptions instead of ending the process.
class recorder {
 public:
  recorder() {
    last_violation = {};
    previous_ =
        kedge::mach::kernel::set_guard_handler([](const kedge::mach::kernel::guard_violation& what,
                                                  const char*) { last_violation = what; });
  }
  ~recorder() { kedge::mach::kernel::set_guard_handler(previous_); }

 private:
  kedge::mach::kernel::guard_handler previous_;
};

mach_port_name_t new_guarded(mach_port_context_t guard, std::uint32_t flags = 0) {
  mach_port_options_t options{};
  options.flags = MPO_CONTEXT_AS_GUARD | flags;
  mach_port_name_t name = MACH_PORT_NULL;
  mach_port_construct(mach_task_self(), &options, guard, &name);
  return name;
}

}  // namespace

TEST_CASE("a guarded right is released with its guard") {
  const recorder records;
  const mach_port_name_t port = new_guarded(7, MPO_STRICT);
  CHECK(status_of(port).mps_flags ==
        (MACH_PORT_STATUS_FLAG_GUARDED | MACH_PORT_STATUS_FLAG_STRICT_GUARD));
  mach_port_context_t context = 1;
  CHECK(mach_port_get_context(mach_task_self(), port, &context) == KERN_SUCCESS);
  CHECK(context == 0);
  CHECK(mach_port_destruct(mach_task_self(), port, 0, 8) == KERN_INVALID_ARGUMENT);
  CHECK(last_violation.code == kGUARD_EXC_DESTROY);
  CHECK(last_violation.name == port);
  CHECK(last_violation.subcode == 7);
  CHECK(mach_port_destruct(mach_task_self(), port, 0, 7) == KERN_SUCCESS);
}

TEST_CASE("guards: each violation") {
  const recorder records;
  const mach_port_name_t port = new_guarded(7), strict = new_guarded(7, MPO_STRICT),
                         fixed = new_guarded(7, MPO_IMMOVABLE_RECEIVE);
  CHECK(end_receive(port) == KERN_INVALID_RIGHT);
  CHECK(last_violation.code == kGUARD_EXC_DESTROY);
  CHECK(mach_port_destroy(mach_task_self(), port) == KERN_INVALID_RIGHT);
  CHECK(mach_port_unguard(mach_task_self(), port, 8) == KERN_INVALID_ARGUMENT);
  CHECK(last_violation.code == kGUARD_EXC_INCORRECT_GUARD);
  CHECK(mach_port_unguard(mach_task_self(), new_port(), 8) == KERN_INVALID_ARGUMENT);
  CHECK(last_violation.code == kGUARD_EXC_UNGUARDED);
  CHECK(mach_port_set_context(mach_task_self(), strict, 8) == KERN_INVALID_ARGUMENT);
  CHECK(last_violation.code == kGUARD_EXC_SET_CONTEXT);
  last_violation = {};
  CHECK(mach_port_insert_right(mach_task_self(), fixed, fixed, MACH_MSG_TYPE_MOVE_RECEIVE) ==
        KERN_INVALID_CAPABILITY);
  CHECK(last_violation.code == kGUARD_EXC_IMMOVABLE);
  last_violation = {};
  const mach_port_name_t to = new_service();
  CHECK(message(to, MACH_MSG_TYPE_COPY_SEND, 0, {{fixed, MACH_MSG_TYPE_MOVE_RECEIVE}}).send() ==
        MACH_SEND_INVALID_RIGHT);
  CHECK(last_violation.code == kGUARD_EXC_IMMOVABLE);
}
