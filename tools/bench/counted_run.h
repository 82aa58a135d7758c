// Runs of a program that are counted from outside: system calls and instructions, from its start to
// its end. Nothing if that cannot be counted here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

// By tracing it (ptrace); on Linux.
std::optional<std::uint64_t> count_system_calls(const std::vector<std::string>& command);

// By valgrind's callgrind, where there is one; instructions outside of the kernel.
std::optional<std::uint64_t> count_instructions(const std::vector<std::string>& command);
