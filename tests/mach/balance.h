// balance: two tasks that talk, with faults of the kernel at every point, and the balance of their
// rights, ports and bytes afterwards.
//
//     sweep_faults({.client = &ask_twice, .server = &answer});
//
// A *dialogue* is a coroutine of a client and one of a server, each in a space and a loop of its
// own. Each must end by itself, whatever fails: with the other's end at the latest. The sweep runs
// a dialogue again and again: in run k the kernel fails at the kth fault point that the two pass
// (kedge/mach/kernel/extension.h), until a run passes fewer points. After each run no task waits,
// each space has the names, references and requests that it had, both still work, no call has
// released a right twice (which raises a guard exception), and the process has the memory that it
// had. A fault that ends a task ends its space: then the other one is held to all this.
//
// A send that fails with errc::rights_lost leaks what the kernel has not consumed, unless the
// kernel had no memory for an array. A dialogue reports it by note(), and its task may then have
// more names than before.
#pragma once

#include <cstdint>
#include <system_error>

#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/send_right.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"

namespace kedge::mach {

struct dialogue {
  task<> (*client)(loop& own, send_right to_server);
  task<> (*server)(receive_right requests);
  mach_port_msgcount_t queue_limit = MACH_PORT_QLIMIT_DEFAULT;  // of the server's port
  // It sends out-of-line memory in pieces of 1 MiB or more. Only then the bytes are compared, which
  // takes time.
  bool has_memory = false;
  std::uint32_t points = kernel::fault_plan::all;
};

// Reports how a send of the current task has ended.
void note(std::error_code error) noexcept;

// With every fault that a dialogue can meet, in both profiles. Returns the number of runs in which
// one was caused.
int sweep_faults(const dialogue& of);
// With faults by chance, in one run. The seed chooses the profile, how frequent the faults are, and
// which passages they are.
void draw_faults(const dialogue& of, std::uint64_t seed);

}  // namespace kedge::mach
