// A second binding: every call is turned into bytes and sent to another thread, which runs the
// kernel and asks, again by bytes, for the caller's memory. Nothing but bytes passes between the
// two, as if they were two processes. The kernel is the embedded one, so that EVFILT_MACHPORT
// reaches the same ports.
#pragma once

#include "kedge/mach/kernel/core/binding.h"

namespace kedge::mach::kernel {

// Starts the thread, once, and makes this the process's binding until it ends (a fork's child uses
// the default one).
void use_loopback();

}  // namespace kedge::mach::kernel
