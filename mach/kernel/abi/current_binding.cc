// Chooses the binding, and makes calls through it.
#include "kedge/mach/kernel/abi/current_binding.h"

#include <pthread.h>

#include <array>
#include <atomic>
#include <cstddef>

namespace kedge::mach::kernel {
namespace {

// Runs at start-up, before any thread exists. In a fork's child the threads of another binding do
// not exist, and the default binding is a new one.
[[maybe_unused]] const int watch_forks = pthread_atfork(
    nullptr, nullptr, [] { binding_in_use.store(nullptr, std::memory_order_relaxed); });

struct named_call {
  call_number number;
  const char* function;
};
constexpr named_call named_calls[] = {
    {call_number::message, "mach_msg"},
    {call_number::destruct, "mach_port_destruct"},
    {call_number::destroy, "mach_port_destroy"},
    {call_number::deallocate, "mach_port_deallocate"},
    {call_number::get_refs, "mach_port_get_refs"},
    {call_number::mod_refs, "mach_port_mod_refs"},
    {call_number::insert_right, "mach_port_insert_right"},
    {call_number::extract_right, "mach_port_extract_right"},
    {call_number::move_member, "mach_port_move_member"},
    {call_number::insert_member, "mach_port_insert_member"},
    {call_number::extract_member, "mach_port_extract_member"},
    {call_number::get_set_status, "mach_port_get_set_status"},
    {call_number::request_notification, "mach_port_request_notification"},
    {call_number::get_attributes, "mach_port_get_attributes"},
    {call_number::set_attributes, "mach_port_set_attributes"},
    {call_number::set_mscount, "mach_port_set_mscount"},
    {call_number::set_seqno, "mach_port_set_seqno"},
    {call_number::get_context, "mach_port_get_context"},
    {call_number::set_context, "mach_port_set_context"},
    {call_number::guard, "mach_port_guard"},
    {call_number::unguard, "mach_port_unguard"},
    {call_number::swap_guard, "mach_port_swap_guard"},
    {call_number::get_srights, "mach_port_get_srights"},
    {call_number::peek, "mach_port_peek"},
    {call_number::rename, "mach_port_rename"},
    {call_number::names, "mach_port_names"},
    {call_number::type, "mach_port_type"},
    {call_number::allocate, "mach_port_allocate"},
    {call_number::construct, "mach_port_construct"},
    {call_number::reply_port, "mach_reply_port"},
    {call_number::semaphore_create, "semaphore_create"},
    {call_number::semaphore_destroy, "semaphore_destroy"},
    {call_number::semaphore_signal, "semaphore_signal"},
    {call_number::semaphore_signal_all, "semaphore_signal_all"},
    {call_number::semaphore_signal_thread, "semaphore_signal_thread"},
    {call_number::semaphore_wait, "semaphore_wait"},
    {call_number::semaphore_wait_signal, "semaphore_wait_signal"},
    {call_number::bootstrap_check_in, "bootstrap_check_in"},
    {call_number::bootstrap_look_up, "bootstrap_look_up"},
    {call_number::bootstrap_create_service, "bootstrap_create_service"},
    {call_number::bootstrap_register, "bootstrap_register"},
    {call_number::allocate_full, "mach_port_allocate_full"},
    {call_number::assert_attributes, "mach_port_assert_attributes"},
};

constexpr auto functions = [] {
  std::array<const char*, all_requests::count> by_number{};
  by_number.fill("mach_port");
  for (const named_call& each : named_calls) {
    by_number[static_cast<std::size_t>(each.number)] = each.function;
  }
  return by_number;
}();

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
  return functions[static_cast<std::size_t>(number)];
}

void make_call(const any_request& request, any_reply& reply, attachment* file) {
  current_binding().call(task_of_thread().id, request, reply, own_memory(), file);
  if (reply.guard.code != 0) raise_guard_exception(reply.guard, function_of(request.number));
}

}  // namespace kedge::mach::kernel
