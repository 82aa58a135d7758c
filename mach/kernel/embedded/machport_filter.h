// register_machport_filter(): adds EVFILT_MACHPORT, over the embedded kernel, to the kqueue.
#pragma once

namespace kedge::mach::kernel {

// Adds the filter to every kqueue of the process. A kqueue made after that keeps the task that was
// current when it was made. To be called once, before a kqueue is made. Returns false if another
// filter is registered as EVFILT_MACHPORT.
bool register_machport_filter() noexcept;

}  // namespace kedge::mach::kernel
