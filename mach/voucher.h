// voucher: a voucher of the kernel, which messages carry beside their rights (msgh_voucher_port).
//
//     mach::message m(work, batch);
//     m.carry(mach::voucher::of_user_data(trace_id));
//     co_await mach::send(worker, std::move(m));
//
//     mach::received request = (co_await requests.receive().with_voucher()).value();
//     next.carry(request.take_voucher());                        // passes it on
//
// A receiver gets the voucher only if it asks (receive().with_voucher()). Else the kernel drops it,
// and the message arrives without.
//
// A voucher is opaque, and so it stays here: what is in it is for the kernel and for Darwin's
// frameworks. On Linux the kernel keeps none of it. A copy refers to the same voucher, as a copy of
// a send_right does; the rules for spaces are those of a send_right.
#pragma once

#include <mach/mach.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "kedge/mach/send_right.h"

namespace kedge::mach {

class voucher {
 public:
  // None.
  voucher() = default;
  // Makes a voucher by a recipe: structures mach_voucher_attr_recipe_data_t, each with its content
  // behind it. An empty recipe gives none. Throws std::system_error (KERN_INVALID_ARGUMENT and
  // others for a malformed recipe, MIG_ARRAY_TOO_LARGE for more than 5120 bytes) and
  // std::bad_alloc.
  static voucher make(std::span<const std::byte> recipe, const place& where = place::current());
  // Makes a voucher that has `content` as its user data (MACH_VOUCHER_ATTR_KEY_USER_DATA).
  static voucher of_user_data(std::span<const std::byte> content,
                              const place& where = place::current());
  // Takes over one user reference of the caller to a voucher. MACH_PORT_NULL and MACH_PORT_DEAD
  // give none. Throws std::bad_alloc; the caller then still owns the reference. That `name` is a
  // voucher shows when it is sent: the send fails with MACH_SEND_INVALID_VOUCHER if it is not.
  static voucher adopt(mach_port_name_t name, const place& where = place::current()) {
    return voucher(send_right::adopt(name, where));
  }

  explicit operator bool() const noexcept { return static_cast<bool>(right_); }
  // The name, or MACH_PORT_NULL for none. The object keeps its reference.
  mach_port_name_t name() const noexcept { return right_.name(); }
  // The incarnation of the space in which the name has its meaning.
  std::uint32_t space() const noexcept { return right_.space(); }
  // Gives the caller a user reference, as send_right::release().
  mach_port_name_t release() && noexcept { return std::move(right_).release(); }

 private:
  explicit voucher(send_right&& right) noexcept : right_(std::move(right)) {}

  send_right right_;
};

}  // namespace kedge::mach
