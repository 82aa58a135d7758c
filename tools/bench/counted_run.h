// counted_run: counts the system calls or instructions of a program, from its start to its end.
//
// Both functions run the command to its end, and return nothing if this machine cannot count or the
// program fails.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

// Traces the program with ptrace. On Linux only.
std::optional<std::uint64_t> count_system_calls(const std::vector<std::string>& command);

// Counts instructions outside of the kernel, with valgrind's callgrind.
std::optional<std::uint64_t> count_instructions(const std::vector<std::string>& command);
