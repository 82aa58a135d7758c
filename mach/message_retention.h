// message_retention: keeps what a message with an array of rights owns while the kernel may consume
// an unknown part of the message.
//
// Kernels before macOS 15 report a lack of memory for an array after they have consumed the header
// and the descriptors ahead of the array, with the code of a message of which nothing was consumed
// (MACH_SEND_NO_BUFFER). So what is ahead of the last array is sent as a copy where that is
// possible: send rights, memory and arrays. Send-once rights and receive rights can only be moved,
// but each has its name alone, so the space shows which of them the kernel has consumed.
//
//     message_retention own(m);    // m is what is sent now
//     ... send m ...
//     own.release();               // the kernel has taken m, or given all of m back
//     own.restore(m);              // m is what the kernel has left
//
// Costs a copy of the message's bytes, and the release of what was copied.
#pragma once

#include <cstddef>

#include "kedge/mach/message.h"
#include "kedge/mach/message_buffer.h"

namespace kedge::mach {

class message_retention {
 public:
  // Replaces the contents of `m` by the copy that is to be sent. Throws std::bad_alloc; `m` is
  // then as before.
  explicit message_retention(message& m);
  message_retention(const message_retention&) = delete;
  message_retention& operator=(const message_retention&) = delete;

  // Releases what was sent as a copy.
  void release() noexcept;
  // Puts the contents back into `m`, which still has the copy. If the kernel has consumed a part of
  // them, releases the rest instead; `m` is then empty.
  void restore(message& m) noexcept;

 private:
  // Calls f with the place of each descriptor ahead of the last array.
  template <class F>
  void for_each_ahead(const message::buffer& buffer, F f) const noexcept;

  message::buffer own_;
  std::size_t ahead_ = 0;  // the number of descriptors ahead of the last array
};

}  // namespace kedge::mach
