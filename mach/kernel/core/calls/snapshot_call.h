// What there is in the kernel at one moment, as words: records one behind the other. All locks of
// spaces, ports and sets are held at once, which nobody else does, and in their order: so nobody
// whom the snapshot waits for waits for it.
#pragma once

#include <cstdint>
#include <vector>

namespace kedge::mach::kernel {

class kernel;

// Each record begins with its kind, and has the words that follow here. Ports and sets are
// numbered from 1 on in the order in which they come; 0: none.
enum class record_kind : std::uint64_t {
  task,  // id
  // Of the task before: name, type with the bits of its request, references, number, number of the
  // port to be notified.
  right,
  // Number, kernel_object, id of the receiving task, name, alive, guarded, context, queue limit,
  // send rights, send-once rights, make-send count, sequence number, numbers of the ports to be
  // notified of no senders and of destruction, waiting receivers and senders, knotes.
  port,
  message,  // of the port before: id, size
  set,      // number, id of the task, name, waiting receivers, knotes
  member,   // of the set before: number
};

std::vector<std::uint64_t> take_snapshot(kernel& of);

}  // namespace kedge::mach::kernel
