// port_status: what the kernel knows of a port (MACH_PORT_RECEIVE_STATUS), with the fields of
// mach_port_status_t and names for them.
//
//     if (requests.status().messages() == requests.status().queue_limit()) ...
//
// The kernel's answer at one moment: another thread or task may change it at once.
#pragma once

#include <mach/mach.h>

namespace kedge::mach {

struct port_status : mach_port_status_t {
  // Zero of everything.
  port_status() : mach_port_status_t{} {}

  // Messages in the queue, and how many it takes before senders have to wait.
  mach_port_msgcount_t messages() const noexcept { return mps_msgcount; }
  mach_port_msgcount_t queue_limit() const noexcept { return mps_qlimit; }
  // How many messages have been received from the port.
  mach_port_seqno_t sequence() const noexcept { return mps_seqno; }

  // Whether there are send rights, in any space or message. The kernel does not say how many.
  bool has_senders() const noexcept { return mps_srights != 0; }
  // How many send-once rights there are, in all spaces and messages.
  mach_port_rights_t send_once_rights() const noexcept { return mps_sorights; }
  // How often the holder of the receive right has made a send right of it.
  mach_port_mscount_t made_send_rights() const noexcept { return mps_mscount; }

  bool is_in_set() const noexcept { return mps_pset != 0; }
  // Whether a notification has been requested: of the last sender's end (no_senders), and of the
  // receive right's own (port_destroyed).
  bool has_no_senders_request() const noexcept { return mps_nsrequest != 0; }
  bool has_port_destroyed_request() const noexcept { return mps_pdrequest != 0; }

  bool is_guarded() const noexcept { return has(MACH_PORT_STATUS_FLAG_GUARDED); }
  bool is_strictly_guarded() const noexcept { return has(MACH_PORT_STATUS_FLAG_STRICT_GUARD); }
  // Whether the receive right cannot be moved (immovable.h).
  bool is_immovable() const noexcept { return has(MACH_PORT_STATUS_FLAG_GUARD_IMMOVABLE_RECEIVE); }
  // See receive_right::accept_importance() and set_temporary_owner().
  bool accepts_importance() const noexcept { return has(MACH_PORT_STATUS_FLAG_IMP_DONATION); }
  bool is_temporarily_owned() const noexcept { return has(MACH_PORT_STATUS_FLAG_TEMPOWNER); }

 private:
  bool has(natural_t flag) const noexcept { return (mps_flags & flag) != 0; }
};

// Sets `status` to the status of the receive right `name`. Returns the kernel's code; `status` is
// unchanged with an error.
inline kern_return_t read_status(mach_port_name_t name, port_status& status) noexcept {
  mach_msg_type_number_t count = MACH_PORT_RECEIVE_STATUS_COUNT;
  mach_port_status_t* const to = &status;
  return mach_port_get_attributes(mach_task_self(), name, MACH_PORT_RECEIVE_STATUS,
                                  reinterpret_cast<mach_port_info_t>(to), &count);
}

}  // namespace kedge::mach
