#pragma once

// The clock of EVFILT_TIMER, see use_clock() in extension.h.

#include <cstdint>

#include "kedge/kqueue/extension.h"

namespace kedge::kqueue {

std::uint64_t timer_now() noexcept;
bool clock_is_virtual() noexcept;

}  // namespace kedge::kqueue
