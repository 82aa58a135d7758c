// take_snapshot: all spaces, ports, sets and messages of the kernel at one moment, as words: a
// sequence of records.
//
// Locks: it holds those of all spaces, ports and sets at once, taken in that order. No other call
// holds more than one of each kind, so the snapshot and another call cannot wait for each other.
#pragma once

#include <cstdint>
#include <vector>

namespace kedge::mach::kernel {

class kernel;

// Each record begins with its kind, and has the words that are listed here. Ports and sets have
// numbers, from 1 in the order in which they are found; 0 stands for none.
enum class record_kind : std::uint64_t {
  task,  // id
  // Of the task before it: name, type with the bits of its request, references, number, number of
  // the port to be notified.
  right,
  // Number, kernel_object, id of the receiving task, name, alive, guarded, context, queue limit,
  // send rights, send-once rights, make-send count, sequence number, numbers of the ports to be
  // notified of no senders and of destruction, waiting receivers and senders, knotes.
  port,
  message,  // of the port before it: id, size
  set,      // number, id of the task, name, waiting receivers, knotes
  member,   // of the set before it: number
};

// Throws std::bad_alloc.
std::vector<std::uint64_t> take_snapshot(kernel& of);

}  // namespace kedge::mach::kernel
