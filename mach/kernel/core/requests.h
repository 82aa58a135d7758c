// requests: what each call asks for, as plain data: one struct per call, with `number`, its
// call_number, and `reply`, the struct of its answer.
//
// Made for a kernel in another process. The structs cross the boundary as the bytes that they are,
// so they have fields of fixed width and no padding (request.h asserts both). The only addresses
// are user_address and user_buffer: the caller's, which the kernel reaches through copyio alone. No
// request says which task makes the call, and none holds an fd: the binding knows the caller
// and passes files as an attachment (binding.h).
//
// A name is looked up in the space of the call's target (any_request) if it names the right that
// the call works on, and in the caller's space otherwise. The two spaces differ only in a call on
// another task.
#pragma once

#include <mach/message.h>
#include <mach/port.h>

#include <array>
#include <cstdint>

#include "kedge/mach/kernel/core/call_number.h"
#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/mach/kernel/core/replies.h"

namespace kedge::mach::kernel {

// Memory of the caller's. The unit of `size` is the call's: bytes unless it says otherwise.
struct user_buffer {
  user_address at;
  std::uint64_t size;
};

namespace requests {

// mach_msg.
struct message {
  static constexpr auto number = call_number::message;
  using reply = replies::message;
  mach_msg_option_t option;
  mach_msg_size_t send_size;
  mach_msg_size_t receive_size;
  mach_port_name_t receive_name;
  mach_msg_timeout_t timeout;  // in milliseconds
  mach_port_name_t notify;
  user_address send;
  user_address receive;
};

// mach_reply_port. Acts on the caller, whatever the target.
struct reply_port {
  static constexpr auto number = call_number::reply_port;
  using reply = replies::reply_port;
};

// mach_host_self, mach_thread_self: one user reference more to a reserved name. Acts on the caller,
// whatever the target.
struct self {
  static constexpr auto number = call_number::self;
  using reply = replies::nothing;
  mach_port_name_t name;
};

struct names {
  static constexpr auto number = call_number::names;
  using reply = replies::names;
  user_address to_names;
  user_address to_types;
  std::uint64_t room;  // for so many names, and as many types
};

struct type {
  static constexpr auto number = call_number::type;
  using reply = replies::type;
  mach_port_name_t name;
};

struct allocate {
  static constexpr auto number = call_number::allocate;
  using reply = replies::allocate;
  mach_port_right_t right;
};

struct construct {
  static constexpr auto number = call_number::construct;
  using reply = replies::construct;
  std::uint32_t flags;  // MPO_*
  mach_port_msgcount_t queue_limit;
  mach_port_context_t context;
  mach_port_name_t service;  // of the caller's, for MPO_CONNECTION_PORT
  std::uint32_t reserved = 0;
};

struct destruct {
  static constexpr auto number = call_number::destruct;
  using reply = replies::nothing;
  mach_port_name_t name;
  mach_port_delta_t send_delta;
  mach_port_context_t guard;
};

struct destroy {
  static constexpr auto number = call_number::destroy;
  using reply = replies::nothing;
  mach_port_name_t name;
};

struct deallocate {
  static constexpr auto number = call_number::deallocate;
  using reply = replies::nothing;
  mach_port_name_t name;
};

struct get_refs {
  static constexpr auto number = call_number::get_refs;
  using reply = replies::get_refs;
  mach_port_name_t name;
  mach_port_right_t right;
};

struct mod_refs {
  static constexpr auto number = call_number::mod_refs;
  using reply = replies::nothing;
  mach_port_name_t name;
  mach_port_right_t right;
  mach_port_delta_t delta;
};

struct insert_right {
  static constexpr auto number = call_number::insert_right;
  using reply = replies::nothing;
  mach_port_name_t name;   // in the target's space, for the right
  mach_port_name_t right;  // in the caller's
  mach_msg_type_name_t disposition;
};

struct extract_right {
  static constexpr auto number = call_number::extract_right;
  using reply = replies::extract_right;
  mach_port_name_t name;
  mach_msg_type_name_t disposition;
};

struct move_member {
  static constexpr auto number = call_number::move_member;
  using reply = replies::nothing;
  mach_port_name_t member;
  mach_port_name_t set;  // MACH_PORT_NULL: the member only leaves its sets
};

struct insert_member {
  static constexpr auto number = call_number::insert_member;
  using reply = replies::nothing;
  mach_port_name_t member;
  mach_port_name_t set;
};

struct extract_member {
  static constexpr auto number = call_number::extract_member;
  using reply = replies::nothing;
  mach_port_name_t member;
  mach_port_name_t set;
};

struct get_set_status {
  static constexpr auto number = call_number::get_set_status;
  using reply = replies::get_set_status;
  user_buffer members;  // size in names
  mach_port_name_t name;
  std::uint32_t reserved = 0;
};

struct request_notification {
  static constexpr auto number = call_number::request_notification;
  using reply = replies::request_notification;
  mach_port_name_t name;
  mach_msg_id_t id;  // MACH_NOTIFY_*
  mach_port_mscount_t sync;
  mach_port_name_t notify;  // of the caller's
  mach_msg_type_name_t disposition;
};

struct get_attributes {
  static constexpr auto number = call_number::get_attributes;
  using reply = replies::get_attributes;
  mach_port_name_t name;
  mach_port_flavor_t flavor;
  user_buffer info;  // size in words of 4 bytes
};

struct set_attributes {
  static constexpr auto number = call_number::set_attributes;
  using reply = replies::nothing;
  mach_port_name_t name;
  mach_port_flavor_t flavor;
  user_buffer info;  // size in words of 4 bytes
};

struct set_mscount {
  static constexpr auto number = call_number::set_mscount;
  using reply = replies::nothing;
  mach_port_name_t name;
  mach_port_mscount_t count;
};

struct set_seqno {
  static constexpr auto number = call_number::set_seqno;
  using reply = replies::nothing;
  mach_port_name_t name;
  mach_port_seqno_t sequence_number;
};

struct get_context {
  static constexpr auto number = call_number::get_context;
  using reply = replies::get_context;
  mach_port_name_t name;
};

struct set_context {
  static constexpr auto number = call_number::set_context;
  using reply = replies::nothing;
  mach_port_context_t context;
  mach_port_name_t name;
  std::uint32_t reserved = 0;
};

struct guard {
  static constexpr auto number = call_number::guard;
  using reply = replies::nothing;
  mach_port_context_t context;
  std::uint64_t flags;  // MPG_*
  mach_port_name_t name;
  std::uint32_t reserved = 0;
};

struct unguard {
  static constexpr auto number = call_number::unguard;
  using reply = replies::nothing;
  mach_port_context_t context;
  mach_port_name_t name;
  std::uint32_t reserved = 0;
};

struct swap_guard {
  static constexpr auto number = call_number::swap_guard;
  using reply = replies::nothing;
  mach_port_context_t old_context;
  mach_port_context_t new_context;
  mach_port_name_t name;
  std::uint32_t reserved = 0;
};

struct semaphore_create {
  static constexpr auto number = call_number::semaphore_create;
  using reply = replies::semaphore_create;
  std::int32_t policy;  // SYNC_POLICY_*
  std::int32_t value;
};

struct semaphore_destroy {
  static constexpr auto number = call_number::semaphore_destroy;
  using reply = replies::nothing;
  mach_port_name_t name;
};

struct semaphore_signal {
  static constexpr auto number = call_number::semaphore_signal;
  using reply = replies::nothing;
  mach_port_name_t name;
};

struct semaphore_signal_all {
  static constexpr auto number = call_number::semaphore_signal_all;
  using reply = replies::nothing;
  mach_port_name_t name;
};

struct semaphore_signal_thread {
  static constexpr auto number = call_number::semaphore_signal_thread;
  using reply = replies::nothing;
  mach_port_name_t name;
  mach_port_name_t thread;  // MACH_PORT_NULL: any
};

struct semaphore_wait {
  static constexpr auto number = call_number::semaphore_wait;
  using reply = replies::nothing;
  std::uint64_t timeout;  // in nanoseconds, or pending_call::forever
  mach_port_name_t name;
  std::uint32_t reserved = 0;
};

struct semaphore_wait_signal {
  static constexpr auto number = call_number::semaphore_wait_signal;
  using reply = replies::nothing;
  std::uint64_t timeout;  // in nanoseconds, or pending_call::forever
  mach_port_name_t name;
  mach_port_name_t signal;
};

struct get_srights {
  static constexpr auto number = call_number::get_srights;
  using reply = replies::get_srights;
  mach_port_name_t name;
};

struct peek {
  static constexpr auto number = call_number::peek;
  using reply = replies::peek;
  user_buffer trailer;
  mach_port_name_t name;
  mach_msg_trailer_type_t elements;   // MACH_RCV_TRAILER_*
  mach_port_seqno_t sequence_number;  // 0: of the next message
  std::uint32_t reserved = 0;
};

struct rename {
  static constexpr auto number = call_number::rename;
  using reply = replies::nothing;
  mach_port_name_t old_name;
  mach_port_name_t new_name;
};

// mach_port_allocate_name, _qos and _full.
struct allocate_full {
  static constexpr auto number = call_number::allocate_full;
  using reply = replies::allocate_full;
  static constexpr std::uint32_t named = 1;        // `name` is of the caller's choice
  static constexpr std::uint32_t preallocate = 2;  // a message of `length` bytes
  static constexpr std::uint32_t must_not_name = 4;
  mach_port_right_t right;
  mach_port_name_t proto;  // of the caller's
  std::uint32_t flags;
  std::uint32_t length;
  mach_port_name_t name;
};

struct assert_attributes {
  static constexpr auto number = call_number::assert_attributes;
  using reply = replies::nothing;
  mach_port_name_t name;
  mach_port_flavor_t flavor;
  user_buffer info;  // size in words of 4 bytes
};

struct dnrequest_info {
  static constexpr auto number = call_number::dnrequest_info;
  using reply = replies::dnrequest_info;
  mach_port_name_t name;
};

struct kobject {
  static constexpr auto number = call_number::kobject;
  using reply = replies::kobject;
  mach_port_name_t name;
};

struct space_info {
  static constexpr auto number = call_number::space_info;
  using reply = replies::space_info;
  user_buffer table;  // size in ipc_info_name_t
};

struct space_basic_info {
  static constexpr auto number = call_number::space_basic_info;
  using reply = replies::space_basic_info;
};

struct service_port_info {
  static constexpr auto number = call_number::service_port_info;
  using reply = replies::nothing;
  user_address info;  // of one mach_service_port_info_data_t
  mach_port_name_t name;
  std::uint32_t reserved = 0;
};

struct connection_policy {
  static constexpr auto number = call_number::connection_policy;
  using reply = replies::connection_policy;
  mach_port_name_t connection;
  mach_port_name_t service;
};

// Whether the target is a task.
struct check_task {
  static constexpr auto number = call_number::check_task;
  using reply = replies::nothing;
};

struct get_special_port {
  static constexpr auto number = call_number::get_special_port;
  using reply = replies::get_special_port;
  std::int32_t which;  // TASK_*_PORT
};

struct set_special_port {
  static constexpr auto number = call_number::set_special_port;
  using reply = replies::nothing;
  std::int32_t which;  // TASK_*_PORT
  mach_port_name_t name;
};

struct register_ports {
  static constexpr auto number = call_number::register_ports;
  using reply = replies::nothing;
  std::array<mach_port_name_t, 3> names;
};

struct look_up_ports {
  static constexpr auto number = call_number::look_up_ports;
  using reply = replies::look_up_ports;
};

struct bootstrap_check_in {
  static constexpr auto number = call_number::bootstrap_check_in;
  using reply = replies::bootstrap_check_in;
  user_buffer service;
};

struct bootstrap_look_up {
  static constexpr auto number = call_number::bootstrap_look_up;
  using reply = replies::bootstrap_look_up;
  user_buffer service;
};

struct bootstrap_create_service {
  static constexpr auto number = call_number::bootstrap_create_service;
  using reply = replies::bootstrap_create_service;
  user_buffer service;
};

struct bootstrap_register {
  static constexpr auto number = call_number::bootstrap_register;
  using reply = replies::nothing;
  user_buffer service;
  mach_port_name_t send;
  std::uint32_t reserved = 0;
};

struct bootstrap_status {
  static constexpr auto number = call_number::bootstrap_status;
  using reply = replies::bootstrap_status;
  user_buffer service;
};

struct voucher_create {
  static constexpr auto number = call_number::voucher_create;
  using reply = replies::voucher_create;
  user_buffer recipes;
  mach_port_name_t host;
  std::uint32_t reserved = 0;
};

// task_info: the tokens of the target.
struct task_identity {
  static constexpr auto number = call_number::task_identity;
  using reply = replies::nothing;
  user_address security;  // of a security_token_t, or 0
  user_address audit;     // of an audit_token_t, or 0
};

struct get_guard_behavior {
  static constexpr auto number = call_number::get_guard_behavior;
  using reply = replies::get_guard_behavior;
};

struct set_guard_behavior {
  static constexpr auto number = call_number::set_guard_behavior;
  using reply = replies::nothing;
  std::uint32_t behavior;  // TASK_EXC_GUARD_*
};

// The file is the request's attachment.
struct fileport_make {
  static constexpr auto number = call_number::fileport_make;
  using reply = replies::fileport_make;
};

struct fileport_open {
  static constexpr auto number = call_number::fileport_open;
  using reply = replies::fileport_open;
  mach_port_name_t name;
};

// The file is the request's attachment.
struct memory_entry_make {
  static constexpr auto number = call_number::memory_entry_make;
  using reply = replies::memory_entry_make;
  std::uint64_t offset;
  std::uint64_t size;
  std::int32_t permission;    // VM_PROT_*
  std::uint32_t data_offset;  // of the data in its first page
  std::uint32_t is_whole;     // 0 or 1: every mapping has all of the entry
  std::uint32_t reserved = 0;
};

struct memory_entry_open {
  static constexpr auto number = call_number::memory_entry_open;
  using reply = replies::memory_entry_open;
  mach_port_name_t name;
};

struct memory_entry_range {
  static constexpr auto number = call_number::memory_entry_range;
  using reply = replies::memory_entry_range;
  mach_port_name_t name;
};

// mk_timer_create and the like: timers whose port is named by the receive right.
struct timer_create {
  static constexpr auto number = call_number::timer_create;
  using reply = replies::timer_create;
};

struct timer_destroy {
  static constexpr auto number = call_number::timer_destroy;
  using reply = replies::nothing;
  mach_port_name_t name;
};

struct timer_arm {
  static constexpr auto number = call_number::timer_arm;
  using reply = replies::nothing;
  std::uint64_t deadline;  // of mach_absolute_time()
  mach_port_name_t name;
  std::uint32_t reserved = 0;
};

struct timer_cancel {
  static constexpr auto number = call_number::timer_cancel;
  using reply = replies::timer_cancel;
  mach_port_name_t name;
};

struct clock_service {
  static constexpr auto number = call_number::clock_service;
  using reply = replies::clock_service;
  mach_port_name_t host;
  std::int32_t clock;  // SYSTEM_CLOCK, CALENDAR_CLOCK
};

struct clock_id {
  static constexpr auto number = call_number::clock_id;
  using reply = replies::clock_id;
  mach_port_name_t name;
};

}  // namespace requests
}  // namespace kedge::mach::kernel
