// EVFILT_MACHPORT over the embedded kernel.
#pragma once

namespace kedge::mach::kernel {

// Adds the filter to every kqueue of the process, and has each kqueue know the task that was
// current when it was made. To be called once, before a kqueue is made; false if another filter of
// this number is there.
bool register_machport_filter() noexcept;

}  // namespace kedge::mach::kernel
