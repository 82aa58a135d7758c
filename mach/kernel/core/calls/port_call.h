// port_call: the mach_port_* calls (Darwin: mach_port.c).
//
// The names of a request are names in the space of the target task. Rights that are passed or
// returned by name are in the caller's space. One object does one call.
//
// Files: port_call.cc (names, and new ports), port_rights_call.cc, port_members_call.cc,
// port_receive_call.cc, port_attributes_call.cc, port_notification_call.cc, port_info_call.cc.
#pragma once

#include <mach/port.h>

#include <cstdint>

#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/mach/kernel/core/deferred_work.h"
#include "kedge/mach/kernel/core/guard_violation.h"
#include "kedge/mach/kernel/core/ipc_task.h"
#include "kedge/mach/kernel/core/request.h"
#include "kedge/mach/kernel/core/right.h"

namespace kedge::mach::kernel {

class port;
class ipc_port_set;

inline bool is_null_or_dead(mach_port_name_t name) noexcept {
  return !MACH_PORT_VALID(name);
}

class port_call {
 public:
  port_call(ipc_task& caller, ipc_task& target, guard_violation& guard, copyio& memory,
            deferred_work& cleanup) noexcept
      : caller_(caller), space_(target.names), guard_(guard), memory_(memory), cleanup_(cleanup) {}

  // KERN_INVALID_ARGUMENT if it is not a call on ports. Throws nothing: KERN_RESOURCE_SHORTAGE.
  kern_return_t run(const any_request& request, any_reply& reply) noexcept;

 private:
  kern_return_t dispatch(const any_request& request, any_reply& reply);
  kern_return_t dispatch_to_port(const any_request& request, any_reply& reply);

  // Names, and new ports.
  kern_return_t names(const requests::names& request, replies::names& reply);
  kern_return_t type(const requests::type& request, replies::type& reply);
  kern_return_t reply_port(const requests::reply_port& request, replies::reply_port& reply);
  kern_return_t allocate(const requests::allocate& request, replies::allocate& reply);
  kern_return_t allocate_full(const requests::allocate_full& request,
                              replies::allocate_full& reply);
  kern_return_t allocate_right(mach_port_right_t right, mach_port_name_t& name);
  kern_return_t construct(const requests::construct& request, replies::construct& reply);
  kern_return_t check_kind(std::uint32_t flags, mach_port_name_t service);
  kern_return_t rename(const requests::rename& request);
  // Makes a name for `fresh`, whose reference the entry takes over: any name if `name` is
  // MACH_PORT_NULL, else this very one, with the errors of ipc_space::find_slot() and
  // KERN_NAME_EXISTS. Requires the space lock.
  kern_return_t new_name(object* fresh, mach_port_type_t type, entry*& made,
                         mach_port_name_t& name);
  kern_return_t make_entry(entry*& made, mach_port_name_t& name) noexcept;
  kern_return_t name_receive_right(port& fresh, entry*& made, mach_port_name_t& name);

  // Rights.
  kern_return_t destroy(const requests::destroy& request);
  kern_return_t deallocate(const requests::deallocate& request);
  kern_return_t get_refs(const requests::get_refs& request, replies::get_refs& reply);
  kern_return_t mod_refs(const requests::mod_refs& request);
  kern_return_t self(const requests::self& request);
  kern_return_t insert_right(const requests::insert_right& request);
  kern_return_t copy_in_to_insert(const requests::insert_right& request, carried_right& right);
  kern_return_t extract_right(const requests::extract_right& request,
                              replies::extract_right& reply);

  // Members of sets.
  kern_return_t move_member(const requests::move_member& request);
  kern_return_t leave_sets(mach_port_name_t name);
  kern_return_t insert_member(const requests::insert_member& request);
  kern_return_t extract_member(const requests::extract_member& request);
  kern_return_t get_set_status(const requests::get_set_status& request,
                               replies::get_set_status& reply);
  kern_return_t find_member_and_set(mach_port_name_t member_name, mach_port_name_t set_name,
                                    port*& member, ipc_port_set*& set) noexcept;
  kern_return_t find_member_and_set_to_join(mach_port_name_t member_name, mach_port_name_t set_name,
                                            port*& member, ipc_port_set*& set) noexcept;

  // Receive rights.
  // Finds the receive right under a name. KERN_INVALID_NAME, KERN_INVALID_RIGHT, or for a null or a
  // dead name `if_null_or_dead`. Requires the space lock.
  kern_return_t find_receive_right(mach_port_name_t name, port*& receive_right,
                                   kern_return_t if_null_or_dead = KERN_INVALID_RIGHT) noexcept;
  // The same, and returns what work(port&) returns under the locks of the space and the port. No
  // lock may be held.
  template <typename Work>
  kern_return_t with_receive_right(mach_port_name_t name, Work work,
                                   kern_return_t if_null_or_dead = KERN_INVALID_RIGHT);
  // The same for the calls on guards, which raise a guard exception for a name that is refused, but
  // not for a null or a dead one.
  template <typename Work>
  kern_return_t with_right_to_guard(mach_port_name_t name, Work work);
  kern_return_t destruct(const requests::destruct& request);
  kern_return_t set_mscount(const requests::set_mscount& request);
  kern_return_t set_seqno(const requests::set_seqno& request);
  kern_return_t get_srights(const requests::get_srights& request, replies::get_srights& reply);
  kern_return_t get_context(const requests::get_context& request, replies::get_context& reply);
  kern_return_t set_context(const requests::set_context& request);
  kern_return_t guard(const requests::guard& request);
  kern_return_t unguard(const requests::unguard& request);
  kern_return_t swap_guard(const requests::swap_guard& request);
  kern_return_t peek(const requests::peek& request, replies::peek& reply);

  // Attributes of a receive right.
  kern_return_t get_attributes(const requests::get_attributes& request,
                               replies::get_attributes& reply);
  kern_return_t set_attributes(const requests::set_attributes& request);

  kern_return_t assert_attributes(const requests::assert_attributes& request);

  // What a task can inspect.
  kern_return_t dnrequest_info(const requests::dnrequest_info& request,
                               replies::dnrequest_info& reply);
  kern_return_t kobject(const requests::kobject& request, replies::kobject& reply);
  kern_return_t space_info(const requests::space_info& request, replies::space_info& reply);
  kern_return_t space_basic_info(const requests::space_basic_info& request,
                                 replies::space_basic_info& reply);
  kern_return_t service_port_info(const requests::service_port_info& request);
  kern_return_t connection_policy(const requests::connection_policy& request,
                                  replies::connection_policy& reply);
  kern_return_t find_service_port(mach_port_name_t name, ref<port>& found) noexcept;

  // Notifications.
  kern_return_t request_notification(const requests::request_notification& request,
                                     replies::request_notification& reply);
  kern_return_t take_notify(mach_port_name_t notify, mach_msg_type_name_t disposition,
                            port*& right);

  // Throws std::bad_alloc if the plan of faults says so. Called where memory is allocated.
  void require_memory() const;
  // Ends the task that receives from the port to which the caller's name is a right, if the plan of
  // faults says so. No lock may be held.
  void end_receiver(mach_port_name_t name, fault_point at = fault_point::death_before);

  // Raises the guard exception for a name that was refused. Returns `result`.
  kern_return_t refuse(mach_port_name_t name, kern_return_t result) noexcept;
  // Raises a guard exception of the port under `name`. Returns KERN_INVALID_ARGUMENT.
  kern_return_t violate(std::uint32_t code, mach_port_name_t name, std::uint64_t subcode) noexcept;

  // The rights of a space, for the operations of copy_in.h and right_release.h.
  right_context rights_in(ipc_space& names) noexcept {
    return {names, deferred_, guard_, cleanup_};
  }

  ipc_task& caller_;
  ipc_space& space_;
  guard_violation& guard_;
  copyio& memory_;
  deferred_work& cleanup_;
  deferred_notifications deferred_;  // flushed once the space is unlocked
};

}  // namespace kedge::mach::kernel
