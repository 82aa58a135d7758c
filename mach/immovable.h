// immovable: a receive right to be sent, which its receiver cannot pass on.
//
//     m.append(mach::immovable(std::move(requests)));
//
// The kernel guards the right for the receiver (MACH_MSG_GUARDED_PORT_DESCRIPTOR,
// MACH_MSG_GUARD_FLAGS_IMMOVABLE_RECEIVE). received::take_receive() takes it like any other. A
// message that would move it further fails with errc::rights_lost. A receiver that does not know
// guarded descriptors gets an empty right, and the port is destroyed.
#pragma once

#include <utility>

#include "kedge/mach/receive_right.h"

namespace kedge::mach {

class immovable {
 public:
  explicit immovable(receive_right&& right) noexcept : right_(std::move(right)) {}

 private:
  friend class message;
  receive_right right_;
};

}  // namespace kedge::mach
