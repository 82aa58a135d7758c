// any_request, any_reply: a call as plain data, whichever call it is. They are what crosses the
// boundary between a caller and the kernel, wherever the kernel runs.
//
// Each is a tagged union of the structs in requests.h and replies.h, and call_number is the tag.
// std::variant would dispatch no faster, but its layout is the library's: a request could not be
// sent as bytes, nor be made of bytes that have arrived.
//
// Threads: a value; no sharing. Ownership: none. Errors: as() of another call than the request's is
// undefined; assign() checks what has arrived from outside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <span>
#include <type_traits>

#include "kedge/mach/kernel/core/call_number.h"
#include "kedge/mach/kernel/core/extension_requests.h"
#include "kedge/mach/kernel/core/guard_violation.h"
#include "kedge/mach/kernel/core/replies.h"
#include "kedge/mach/kernel/core/requests.h"

namespace kedge::mach::kernel {

// A struct that can be sent as the bytes that it is.
template <typename T>
inline constexpr bool is_plain_data =
    std::is_trivially_copyable_v<T> && alignof(T) <= alignof(std::uint64_t) &&
    (std::is_empty_v<T> || std::has_unique_object_representations_v<T>);

template <typename... Requests>
struct request_list {
  static constexpr std::size_t count = sizeof...(Requests);

  // Bytes of each request, by its call_number.
  static constexpr std::size_t sizes[] = {std::is_empty_v<Requests> ? 0 : sizeof(Requests)...};

  static constexpr bool is_in_order() noexcept {
    std::uint32_t index = 0;
    return ((Requests::number == static_cast<call_number>(index++)) && ...);
  }
  static constexpr bool is_plain() noexcept {
    return ((is_plain_data<Requests> && is_plain_data<typename Requests::reply>) && ...);
  }
  template <typename T>
  static constexpr bool has = (std::is_same_v<T, Requests> || ...);
  template <typename T>
  static constexpr bool has_reply = (std::is_same_v<T, typename Requests::reply> || ...);
};

// In the order of call_number.
using all_requests = request_list<
    requests::message, requests::reply_port, requests::self, requests::names, requests::type,
    requests::allocate, requests::construct, requests::destruct, requests::destroy,
    requests::deallocate, requests::get_refs, requests::mod_refs, requests::insert_right,
    requests::extract_right, requests::move_member, requests::insert_member,
    requests::extract_member, requests::get_set_status, requests::request_notification,
    requests::get_attributes, requests::set_attributes, requests::set_mscount, requests::set_seqno,
    requests::get_context, requests::set_context, requests::guard, requests::unguard,
    requests::swap_guard, requests::semaphore_create, requests::semaphore_destroy,
    requests::semaphore_signal, requests::semaphore_signal_all, requests::semaphore_signal_thread,
    requests::semaphore_wait, requests::semaphore_wait_signal, requests::get_srights,
    requests::peek, requests::rename, requests::allocate_full, requests::assert_attributes,
    requests::dnrequest_info, requests::kobject, requests::space_info, requests::space_basic_info,
    requests::service_port_info, requests::connection_policy, requests::check_task,
    requests::get_special_port, requests::set_special_port, requests::register_ports,
    requests::look_up_ports, requests::bootstrap_check_in, requests::bootstrap_look_up,
    requests::bootstrap_create_service, requests::bootstrap_register, requests::bootstrap_status,
    requests::voucher_create, requests::task_identity, requests::get_guard_behavior,
    requests::set_guard_behavior, requests::fileport_make, requests::fileport_open,
    requests::memory_entry_make, requests::memory_entry_open, requests::memory_entry_range,
    requests::timer_create, requests::timer_destroy, requests::timer_arm, requests::timer_cancel,
    requests::clock_service, requests::clock_id, requests::task_create, requests::task_terminate,
    requests::task_self_port, requests::task_place_right, requests::task_set_guards,
    requests::task_take_guard, requests::task_limit_names, requests::task_port_number,
    requests::next_timer, requests::snapshot, requests::set_profile, requests::set_strict_replies,
    requests::plan_faults>;
static_assert(all_requests::is_in_order(), "a request is not where call_number has it");
static_assert(all_requests::is_plain(), "a request or a reply has padding, or is not plain data");
static_assert(all_requests::count ==
              std::size_t{static_cast<std::uint32_t>(call_number::plan_faults)} + 1);

class any_request {
 public:
  static constexpr std::size_t max_size = sizeof(requests::message);

  any_request() = default;
  template <typename Request>
  any_request(const Request& request, mach_port_name_t acts_on) noexcept
      : number(Request::number), target(acts_on) {
    static_assert(all_requests::has<Request> && sizeof(Request) <= max_size);
    ::new (static_cast<void*>(body_)) Request(request);
  }

  call_number number = call_number::message;
  // The caller's name for the task that the call acts on, which is the first argument of
  // mach_port_*; or for the bootstrap port.
  mach_port_name_t target = MACH_PORT_NULL;

  template <typename Request>
  const Request& as() const noexcept {
    static_assert(all_requests::has<Request>);
    return *std::launder(reinterpret_cast<const Request*>(body_));
  }

  // What of the request has to be sent, beside number and target.
  std::span<const std::byte> body() const noexcept {
    return {body_, all_requests::sizes[static_cast<std::size_t>(number)]};
  }
  // Makes the request of what has arrived. Returns false, and changes nothing, if there is no such
  // call, or its request is not as long.
  bool assign(std::uint32_t arrived_number, mach_port_name_t arrived_target,
              std::span<const std::byte> arrived_body) noexcept {
    if (arrived_number >= all_requests::count ||
        arrived_body.size() != all_requests::sizes[arrived_number]) {
      return false;
    }
    number = static_cast<call_number>(arrived_number);
    target = arrived_target;
    if (!arrived_body.empty()) std::memcpy(body_, arrived_body.data(), arrived_body.size());
    return true;
  }

 private:
  alignas(std::uint64_t) std::byte body_[max_size];
};
static_assert(std::is_trivially_copyable_v<any_request>);

class any_reply {
 public:
  static constexpr std::size_t max_size = 16;

  kern_return_t result = KERN_SUCCESS;
  // The guard exception that the call has raised and that is to be delivered; code 0: none.
  guard_violation guard;

  // The struct of the call's answer, zero until the call writes it.
  template <typename Reply>
  Reply& as() noexcept {
    static_assert(all_requests::has_reply<Reply> && sizeof(Reply) <= max_size);
    return *std::launder(reinterpret_cast<Reply*>(body_));
  }

  // All replies are sent at full size.
  std::span<std::byte, max_size> body() noexcept { return std::span<std::byte, max_size>(body_); }

 private:
  alignas(std::uint64_t) std::byte body_[max_size]{};
};
static_assert(std::is_trivially_copyable_v<any_reply>);

}  // namespace kedge::mach::kernel
