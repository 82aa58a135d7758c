// allocations(): how often this program has called operator new. Linking it replaces the global
// operators by ones that count.
#pragma once

#include <cstdint>

std::uint64_t allocations() noexcept;
