// entry_port: the memory entry that a port stands for, from the side of this process.
//
// Threads: any. Ownership: a named_memory holds the file open. The port holds it open by itself.
// Errors: each function returns those that it names.
#pragma once

#include <mach/mach_types.h>
#include <mach/vm_prot.h>

#include <cstdint>

#include "kedge/mach/kernel/abi/memory_file.h"

namespace kedge::mach::kernel {

// A part of a file in memory (Darwin: vm_named_entry).
struct named_memory {
  ref<memory_file> file;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  vm_prot_t permission = VM_PROT_NONE;
  std::uint32_t data_offset = 0;  // of the data in the first page (MAP_MEM_USE_DATA_ADDR)
  bool is_whole = false;          // every mapping has all of it (MAP_MEM_VM_SHARE, MAP_MEM_VM_COPY)
};

// What a port argument is, when the message that carries it has arrived.
enum class port_kind { none, entry, other };

// Finds what the caller's name refers to, and opens an entry. A null or dead name is `none`.
// MACH_SEND_INVALID_RIGHT: the caller has no send right of the name. KERN_RESOURCE_SHORTAGE.
kern_return_t open_entry(mem_entry_name_port_t name, port_kind& kind, named_memory& found);

// Makes a port that stands for the memory, and gives a send right to it. KERN_RESOURCE_SHORTAGE,
// KERN_NO_SPACE.
kern_return_t name_entry(const named_memory& made, mach_port_t* name);

}  // namespace kedge::mach::kernel
