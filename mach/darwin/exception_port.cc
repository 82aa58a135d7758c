// Implements exception_port with task_swap_exception_ports().
#include "kedge/mach/darwin/exception_port.h"

#include <exception>
#include <utility>

#include "kedge/mach/error.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"

namespace kedge::mach::darwin {

void exception::answer(kern_return_t code) noexcept {
  if (!message_) return;
  received m = std::move(message_);
  try {
    mach::reply(
        m, code == KERN_SUCCESS ? encode_reply<exception_raise>({}) : encode_error(m.id(), code));
  } catch (const std::exception&) {
    // Without a reply the kernel passes the exception on.
  }
}

exception_port::exception_port(exception_mask_t mask, mach_port_t task) : task_(task) {
  const send_right own = port_.make_send();
  check(task_swap_exception_ports(
            task_, mask, own.name(),
            static_cast<exception_behavior_t>(EXCEPTION_DEFAULT | MACH_EXCEPTION_CODES),
            THREAD_STATE_NONE, masks_.data(), &count_, ports_.data(), behaviors_.data(),
            flavors_.data()),
        "task_swap_exception_ports");
}

exception_port::~exception_port() {
  for (mach_msg_type_number_t i = 0; i < count_; ++i) {
    task_set_exception_ports(task_, masks_[i], ports_[i], behaviors_[i], flavors_[i]);
    if (MACH_PORT_VALID(ports_[i])) mach_port_deallocate(mach_task_self(), ports_[i]);
  }
}

kedge::task<result<exception>> exception_port::next() {
  for (;;) {
    result<received> m = co_await port_.receive();
    if (!m) co_return m.failure();
    if (!m->from_kernel()) continue;
    auto raised = decode<exception_raise>(*m);
    if (raised) co_return exception(std::move(*m), std::move(*raised));
  }
}

}  // namespace kedge::mach::darwin
