// Chooses the binding, and makes calls through it.
#include "kedge/mach/kernel/abi/current_binding.h"

#include <pthread.h>

#include <atomic>

namespace kedge::mach::kernel {
namespace {

// Runs at start-up, before any thread exists. In a fork's child the threads of another binding do
// not exist, and the default binding is a new one.
[[maybe_unused]] const int watch_forks = pthread_atfork(
    nullptr, nullptr, [] { binding_in_use.store(nullptr, std::memory_order_relaxed); });

}  // namespace

binding* bind(binding* chosen) noexcept {
  return binding_in_use.exchange(chosen);
}

binding& use_default_binding() {
  binding* none = nullptr;
  binding& found = default_binding();
  return binding_in_use.compare_exchange_strong(none, &found) ? found : *none;
}

const char* function_of(call_number number) noexcept {
  switch (number) {
    case call_number::message:
      return "mach_msg";
    case call_number::destruct:
      return "mach_port_destruct";
    case call_number::destroy:
      return "mach_port_destroy";
    case call_number::deallocate:
      return "mach_port_deallocate";
    case call_number::get_refs:
      return "mach_port_get_refs";
    case call_number::mod_refs:
      return "mach_port_mod_refs";
    case call_number::insert_right:
      return "mach_port_insert_right";
    case call_number::extract_right:
      return "mach_port_extract_right";
    case call_number::move_member:
      return "mach_port_move_member";
    case call_number::insert_member:
      return "mach_port_insert_member";
    case call_number::extract_member:
      return "mach_port_extract_member";
    case call_number::get_set_status:
      return "mach_port_get_set_status";
    case call_number::request_notification:
      return "mach_port_request_notification";
    case call_number::get_attributes:
      return "mach_port_get_attributes";
    case call_number::set_attributes:
      return "mach_port_set_attributes";
    case call_number::set_mscount:
      return "mach_port_set_mscount";
    case call_number::set_seqno:
      return "mach_port_set_seqno";
    case call_number::get_context:
      return "mach_port_get_context";
    case call_number::set_context:
      return "mach_port_set_context";
    case call_number::guard:
      return "mach_port_guard";
    case call_number::unguard:
      return "mach_port_unguard";
    case call_number::swap_guard:
      return "mach_port_swap_guard";
    case call_number::get_srights:
      return "mach_port_get_srights";
    case call_number::peek:
      return "mach_port_peek";
    case call_number::rename:
      return "mach_port_rename";
    case call_number::names:
      return "mach_port_names";
    case call_number::type:
      return "mach_port_type";
    case call_number::allocate:
      return "mach_port_allocate";
    case call_number::construct:
      return "mach_port_construct";
    case call_number::reply_port:
      return "mach_reply_port";
    case call_number::semaphore_create:
      return "semaphore_create";
    case call_number::semaphore_destroy:
      return "semaphore_destroy";
    case call_number::semaphore_signal:
      return "semaphore_signal";
    case call_number::semaphore_signal_all:
      return "semaphore_signal_all";
    case call_number::semaphore_signal_thread:
      return "semaphore_signal_thread";
    case call_number::semaphore_wait:
      return "semaphore_wait";
    case call_number::semaphore_wait_signal:
      return "semaphore_wait_signal";
    case call_number::bootstrap_check_in:
      return "bootstrap_check_in";
    case call_number::bootstrap_look_up:
      return "bootstrap_look_up";
    case call_number::bootstrap_create_service:
      return "bootstrap_create_service";
    case call_number::bootstrap_register:
      return "bootstrap_register";
    case call_number::allocate_full:
      return "mach_port_allocate_full";
    case call_number::assert_attributes:
      return "mach_port_assert_attributes";
    default:
      return "mach_port";
  }
}

void make_call(const any_request& request, any_reply& reply, attachment* file) {
  current_binding().call(task_of_thread().id, request, reply, own_memory(), file);
  if (reply.guard.code != 0) raise_guard_exception(reply.guard, function_of(request.number));
}

}  // namespace kedge::mach::kernel
