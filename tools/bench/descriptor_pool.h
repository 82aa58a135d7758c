// Descriptors to be watched: ten that are always ready to be read, and behind them others that
// never are. They are duplicates, made when they are first asked for, and stay.
#pragma once

#include <cstddef>
#include <span>
#include <string>

// The most there can be: 100,000, or what RLIMIT_NOFILE allows and leaves some for everything else.
std::size_t most_descriptors();
// What is to be said if that is less; else empty.
std::string too_few_descriptors();

// `size` of them, of which the first `ready` are.
std::span<const int> descriptors(std::size_t size, std::size_t ready);

// Throws errno.
[[noreturn]] void fail(const char* what);
