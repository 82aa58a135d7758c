// replies: what each call answers, as plain data: one struct per call, named like it in `requests`.
// Unless its comment says otherwise a reply is valid only if the call has returned KERN_SUCCESS.
//
// The structs cross the boundary to a kernel in another process as the bytes that they are, so they
// have fields of fixed width and no padding (request.h asserts both).
#pragma once

#include <mach/message.h>
#include <mach/port.h>

#include <array>
#include <cstdint>

#include "kedge/mach/kernel/core/guard_violation.h"

namespace kedge::mach::kernel::replies {

struct nothing {};

struct message {
  // Of the received message and its trailer; with MACH_RCV_TOO_LARGE of the message that did not
  // fit, or of the error that was written in its place.
  mach_msg_size_t size;
  mach_port_name_t identity;  // of the port where a message that did not fit stays queued
  // Of a message that was sent to an empty queue: the sender's name for the receive right, or for a
  // port set that has the port. MACH_PORT_NULL if the sender's space does not have the receive
  // right, or if nothing watches the port or the set.
  mach_port_name_t awakened;
  // 1 if a message was received, and none was left at that moment in the port or the port set.
  std::uint32_t emptied;
};

struct reply_port {
  mach_port_name_t name;
};

struct names {
  std::uint32_t count;  // of the space's names; they have been copied only if all fit
};

struct type {
  mach_port_type_t value;
};

struct allocate {
  mach_port_name_t name;
};

struct construct {
  mach_port_name_t name;
};

struct get_refs {
  mach_port_urefs_t references;
};

struct extract_right {
  mach_port_name_t name;
  mach_msg_type_name_t disposition;  // with which the right has arrived
};

struct get_set_status {
  std::uint32_t count;  // of the set's members; they have been copied only if all fit
};

struct request_notification {
  mach_port_name_t previous;
};

struct get_attributes {
  mach_msg_type_number_t count;  // in words of 4 bytes
};

struct get_context {
  mach_port_context_t context;
};

struct get_srights {
  mach_port_rights_t count;
};

struct peek {
  mach_port_seqno_t sequence_number;
  mach_msg_size_t size;
  mach_msg_id_t id;
  mach_msg_type_number_t trailer_size;
};

struct get_special_port {
  mach_port_name_t name;
};

struct allocate_full {
  mach_port_name_t name;
};

struct dnrequest_info {
  std::uint32_t total;
  std::uint32_t used;
};

struct kobject {
  std::uint32_t type;  // IKOT_*
};

struct space_info {
  std::uint32_t count;  // of the table's slots; they have been copied only if all fit
};

struct space_basic_info {
  std::uint32_t size;  // of the table, in slots
  std::uint32_t in_use;
};

struct connection_policy {
  std::uint64_t id;
};

struct look_up_ports {
  std::array<mach_port_name_t, 3> names;
};

struct semaphore_create {
  mach_port_name_t name;
};

struct bootstrap_check_in {
  mach_port_name_t receive;
};

struct bootstrap_look_up {
  mach_port_name_t send;
};

struct bootstrap_create_service {
  mach_port_name_t send;
};

struct bootstrap_status {
  std::int32_t status;  // BOOTSTRAP_STATUS_*
};

struct voucher_create {
  mach_port_name_t name;
};

struct fileport_make {
  mach_port_name_t name;
};

// The file is the reply's attachment.
struct fileport_open {
  std::int32_t error;  // errno; there is no attachment then
};

struct memory_entry_make {
  mach_port_name_t name;
};

// The file is the reply's attachment.
struct memory_entry_open {
  std::int32_t error;       // errno; there is no attachment then
  std::int32_t permission;  // VM_PROT_*
  std::uint32_t data_offset;
  std::uint32_t is_whole;
};

struct memory_entry_range {
  std::uint64_t offset;
  std::uint64_t size;
};

struct get_guard_behavior {
  std::uint32_t behavior;  // TASK_EXC_GUARD_*
};

struct timer_create {
  mach_port_name_t name;
};

struct timer_cancel {
  std::uint64_t deadline;  // 0: the timer was not armed
};

struct clock_service {
  mach_port_name_t name;
};

struct clock_id {
  std::int32_t clock;  // SYSTEM_CLOCK, CALENDAR_CLOCK
};

struct task_create {
  std::uint64_t id;
};

struct task_self_port {
  mach_port_name_t name;
};

struct task_place_right {
  mach_port_name_t name;
};

struct task_port_number {
  std::uint64_t number;
};

struct next_timer {
  std::uint64_t deadline;  // nanoseconds; the largest value: none is armed
};

struct task_take_guard {
  guard_violation oldest;
};

struct snapshot {
  std::uint64_t words;  // of the whole snapshot; it has been copied only if all fit
};

// What has happened under the plan before.
struct plan_faults {
  std::uint64_t passed;
  std::uint32_t caused;
  std::uint32_t last;  // fault_point
};

}  // namespace kedge::mach::kernel::replies
