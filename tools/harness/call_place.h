// call_place: where in its program a process has called a kernel, for reports.
#pragma once

#include <string>
#include <vector>

namespace kedge::harness {

// The return addresses of the calling stack, the innermost first.
std::vector<void*> capture_stack();

// "take_lock() at lock.c:26", of the innermost function that is none of this library's or of the
// C++ library's; empty: it cannot be told. Runs addr2line, if the machine has it. Without line
// tables it is the function alone.
std::string place_of(const std::vector<void*>& stack);

}  // namespace kedge::harness
