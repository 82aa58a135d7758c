// use_loopback: a second binding, which turns every call into bytes for another thread. That thread
// runs the kernel, and asks for the caller's memory by bytes too. Only bytes and attachments pass
// between the two threads, as if they were two processes. The kernel is the embedded one, so that
// EVFILT_MACHPORT reaches the same ports.
#pragma once

#include "kedge/mach/kernel/core/binding.h"

namespace kedge::mach::kernel {

// Starts the thread, once, and makes this the process's binding until it ends (a fork's child uses
// the default one).
void use_loopback();

}  // namespace kedge::mach::kernel
