// What Linux tells about the end of a process, through a pidfd.
#pragma once

#include <cstdint>
#include <optional>

namespace kedge::kqueue {

// Whether this process is told how the process of the pidfd ends (once it has): as its parent, or
// because it may signal it and Linux keeps the status for everybody, from 6.15 on.
bool may_learn_status(int pidfd) noexcept;

// The status as wait(2) has it, of a process that has ended; does not take it from whoever waits
// for it. Nothing if it is not to be had, or not yet: to others than the parent Linux tells it when
// the parent has taken it.
std::optional<std::uint32_t> exit_status(int pidfd) noexcept;

// Whether a pidfd tells that its process was waited for: from Linux 6.9 on.
bool reaping_is_told() noexcept;

}  // namespace kedge::kqueue
