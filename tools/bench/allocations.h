// How often this program has called operator new, and how much memory it has had from it. Linking
// it replaces the global operators by ones that count.
#pragma once

#include <cstdint>

std::uint64_t allocations() noexcept;

// The most bytes that were in use at a time since start_peak(), with what malloc adds to each
// block.
std::uint64_t peak_bytes() noexcept;
// From now on; returns what is in use now.
std::uint64_t start_peak() noexcept;
