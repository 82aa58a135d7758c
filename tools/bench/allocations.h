// allocations: how often this program has called operator new, and the memory in use.
//
// A program that links allocations.cc has global operators that count. Any thread.
#pragma once

#include <cstdint>

// The number of calls of operator new so far.
std::uint64_t allocations() noexcept;

// The largest number of bytes in use at one time since start_peak(), malloc's overhead per block
// included.
std::uint64_t peak_bytes() noexcept;
// Begins a new peak. Returns the bytes in use.
std::uint64_t start_peak() noexcept;
