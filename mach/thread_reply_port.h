// thread_reply_port: the calling thread's idle reply port, for calls that block (call_blocking).
//
// The thread keeps one port between its calls, so that in the steady state a call makes none. It is
// destroyed when the thread ends. A thread that calls in several spaces keeps the port of the last
// one. In a forked child the parent's port is forgotten.
#pragma once

#include "kedge/mach/receive_right.h"

namespace kedge::mach::thread_reply_port {

// Takes the idle port of the current space, or makes one (queue limit 1). Throws std::system_error
// and std::bad_alloc.
receive_right take();
// Keeps the port for the next call of this thread. Requires that no right to it exists, that its
// queue is empty, and that its space is current.
void give_back(receive_right&& port) noexcept;

}  // namespace kedge::mach::thread_reply_port
