// descriptor_pool: fds to watch. The first ten are always ready to be read, the others never.
//
// The fds are duplicates, made on first use, and stay open.
#pragma once

#include <cstddef>
#include <span>
#include <string>

// The largest size of the pool: 100,000, or 200 less than RLIMIT_NOFILE allows.
std::size_t most_descriptors();
// Returns a message if most_descriptors() is less than 100,000, else an empty string.
std::string too_few_descriptors();

// Returns `size` fds of the pool, of which the first `ready` (at most 10) are ready.
std::span<const int> descriptors(std::size_t size, std::size_t ready);

// Throws errno as std::system_error.
[[noreturn]] void throw_errno(const char* what);
