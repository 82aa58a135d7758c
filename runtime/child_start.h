// start_child(): forks, and executes a program in the child. For process.cc.
//
// By fork() rather than posix_spawn(), which changes neither the user nor, everywhere, the
// directory, and does not say which step failed; and rather than vfork(), whose child shares the
// memory and the stack of this process. The child calls only functions that are safe in a signal
// handler, and a program with threads may start children.
#pragma once

#include <sys/types.h>

#include <array>

#include "kedge/runtime/command.h"
#include "kedge/runtime/process.h"

namespace kedge {

// `streams` are the files of the child's standard streams; the number of the stream itself: that of
// this program. Throws as the constructor of process does. When it throws, no child is left.
pid_t start_child(command& what, const process_options& options, const std::array<int, 3>& streams);

}  // namespace kedge
