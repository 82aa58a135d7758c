// deadlock: run() would wait without end for what cannot happen any more.
//
//     kedge::event never_set;
//     (void)loop.run(never_set.wait());       // throws kedge::deadlock
//
// loop.run() and try_run() throw it before a wait without a time-out if nothing is left that could
// make a task ready: no timer, no posted work, no remote of the loop, completion or offload() (each
// of which has a remote), no time_hold, and no linked listener of the kernel's events that
// can_wake(): one of an awaited descriptor, process or port. In a virtual_time the other loops of
// the world are looked at too. what() has the tree of tasks that dump() prints, and the failures
// because of which they were to end. The awaitable of run() is destroyed; spawned tasks stay in the
// loop.
//
// A Mach port that has neither senders nor messages wakes no task. A port set whose members are
// such ports wakes none either. A thread that knows the name of the receive right could still make
// a send right, or send by MACH_MSG_TYPE_MAKE_SEND: let it keep a send right, or a remote of the
// loop. Let a thread that will insert members keep a remote. A full queue does not wake its
// senders if their own loop was the last to receive from the port: a thread that will receive from
// it then keeps a remote.
//
// If nothing but awaited signals is left, the loop waits for them: that is how a daemon looks which
// has nothing to do. The loop's observer learns of it, once (happening::only_signals_left).
//
// What is not found: tasks that wait for each other while a timer, an awaited descriptor or a
// remote is there, whatever that would lead to. Nor a Mach call whose service, on the same loop,
// never replies, and a send to a full queue from which no loop has received yet: what other threads
// do with a receive right or a reply right does not show. A completion that has been awaited counts
// as a remote for as long as it lives. A host that drives by poll(), run_once() or step() adds work
// by itself, and is never thrown at.
//
// Costs: nothing while the loop has something to do or a timer. Before a wait without a time-out,
// some twenty instructions.
#pragma once

#include <stdexcept>

namespace kedge {

// A logic_error: the program waits for what it cannot cause.
class deadlock : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

}  // namespace kedge
