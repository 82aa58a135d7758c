// Implements kedge/mach/kernel/scheduling.h: a binding in front of the default one, which announces
// the calls.
#include "kedge/mach/kernel/scheduling.h"

#include <new>

#include "kedge/mach/kernel/abi/current_binding.h"
#include "kedge/runtime/base/outside_heap.h"
#include "kedge/runtime/base/parker.h"

namespace kedge::mach::kernel {
namespace {

constinit call_scheduler* scheduler = nullptr;

// Whether another task can notice the call, or the call can notice another task.
bool is_noticeable(call_number number) noexcept {
  switch (number) {
    case call_number::reply_port:
    case call_number::self:
    case call_number::names:
    case call_number::allocate:
    case call_number::construct:
    case call_number::get_set_status:
    case call_number::get_context:
    case call_number::set_context:
    case call_number::guard:
    case call_number::unguard:
    case call_number::swap_guard:
    case call_number::semaphore_create:
    case call_number::allocate_full:
    case call_number::space_info:
    case call_number::space_basic_info:
    case call_number::check_task:
    case call_number::get_special_port:
    case call_number::task_identity:
    case call_number::get_guard_behavior:
    case call_number::set_guard_behavior:
      return false;
    default:
      // What the binding does for the process's own memory, files and clocks.
      return number < first_of_binding;
  }
}

mach_port_name_t receive_name_of(const requests::message& m) noexcept {
  return m.option & MACH_RCV_MSG ? m.receive_name : mach_port_name_t{MACH_PORT_NULL};
}

class announcing final : public binding {
 public:
  void call(std::uint64_t caller, const any_request& request, any_reply& reply, copyio& memory,
            attachment* file) override {
    const base::parker* const parked = base::parker::of_thread();
    // Calls that the scheduler makes itself come from its own task.
    if (parked == nullptr || caller == 0) {
      return default_binding().call(caller, request, reply, memory, file);
    }
    const auto* const m =
        request.number == call_number::message ? &request.as<requests::message>() : nullptr;
    constexpr mach_msg_option_t both = MACH_SEND_MSG | MACH_RCV_MSG;
    if (m == nullptr || (m->option & both) != both) {
      return call_seen(caller, request, m, reply, memory, file);
    }
    // The kernel sends, then receives: others can run in between, and see the message first.
    requests::message half = *m;
    half.option = m->option & ~MACH_RCV_MSG;
    call_seen(caller, any_request(half, request.target), &half, reply, memory, file);
    if (reply.result != MACH_MSG_SUCCESS) return;
    half.option = m->option & ~MACH_SEND_MSG;
    call_seen(caller, any_request(half, request.target), &half, reply, memory, file);
  }

 private:
  // `m`: the request, if it is one for a message.
  static void call_seen(std::uint64_t caller, const any_request& request,
                        const requests::message* m, any_reply& reply, copyio& memory,
                        attachment* file) {
    const base::outside_heap of_kernel;
    scheduled_call seen{};
    seen.caller = {caller};
    seen.function = function_of(request.number);
    seen.is_noticeable = is_noticeable(request.number);
    if (m != nullptr) {
      seen.options = m->option;
      seen.receive_name = receive_name_of(*m);
      if (m->option & MACH_SEND_MSG) {
        seen.sent = reinterpret_cast<const mach_msg_header_t*>(m->send);
        seen.sent_size = m->send_size;
      }
    }
    scheduler->before(seen);
    default_binding().call(caller, request, reply, memory, file);
    seen.result = reply.result;
    if (m != nullptr && (m->option & MACH_RCV_MSG) && reply.result == MACH_MSG_SUCCESS) {
      seen.received = reinterpret_cast<const mach_msg_header_t*>(m->receive);
    }
    scheduler->after(seen);
  }
};

announcing announced;

}  // namespace

bool set_call_scheduler(call_scheduler* chosen) noexcept {
  scheduler = chosen;
  bind(chosen != nullptr ? &announced : nullptr);
  return true;
}

task create_task(const task_options& options) {
  const auto answer = call(requests::task_create{.name_seed = options.name_seed,
                                                 .pid = options.pid,
                                                 .pid_version = options.pid_version,
                                                 .is_seeded = 1});
  if (answer.result != KERN_SUCCESS) throw std::bad_alloc();
  return {answer.fields.id};
}

std::uint64_t port_number(task within, mach_port_name_t name) noexcept {
  const auto answer = call(requests::task_port_number{.id = within.id, .name = name});
  return answer.result == KERN_SUCCESS ? answer.fields.number : 0;
}

std::uint64_t next_timer() noexcept {
  return call(requests::next_timer{}).fields.deadline;
}

}  // namespace kedge::mach::kernel
