// Implements open_entry() and name_entry() by the kernel's calls on memory entries.
#include "kedge/mach/kernel/abi/entry_port.h"

#include <mach/mach.h>

#include "kedge/mach/kernel/abi/current_binding.h"
#include "kedge/mach/kernel/abi/file_calls.h"

namespace kedge::mach::kernel {
namespace {

// Finds the kind of a name that is not an entry's.
kern_return_t kind_of(mach_port_name_t name, port_kind& kind) {
  const mach_port_type_t rights = rights_under(name);
  kind = rights & MACH_PORT_TYPE_SEND_RIGHTS ? port_kind::other : port_kind::none;
  return rights & (MACH_PORT_TYPE_SEND_RIGHTS | MACH_PORT_TYPE_DEAD_NAME) ? KERN_SUCCESS
                                                                          : MACH_SEND_INVALID_RIGHT;
}

}  // namespace

kern_return_t open_entry(mem_entry_name_port_t name, port_kind& kind, named_memory& found) {
  kind = port_kind::none;
  if (!MACH_PORT_VALID(name)) return KERN_SUCCESS;
  const auto range = call(requests::memory_entry_range{name});
  if (range.result != KERN_SUCCESS) return kind_of(name, kind);
  attachment file;
  const auto opened = call(requests::memory_entry_open{name}, mach_task_self(), &file);
  if (opened.result != KERN_SUCCESS) return kind_of(name, kind);
  if (!file) return KERN_RESOURCE_SHORTAGE;
  kind = port_kind::entry;
  found = {
      memory_file::adopt(file.release()), range.fields.offset,       range.fields.size,
      opened.fields.permission,           opened.fields.data_offset, opened.fields.is_whole != 0};
  return found.file ? KERN_SUCCESS : KERN_RESOURCE_SHORTAGE;
}

kern_return_t name_entry(const named_memory& made, mach_port_t* name) {
  const int fd = made.file->open_again();
  if (fd < 0) return KERN_RESOURCE_SHORTAGE;
  attachment file(fd, close_file);
  return store(call(requests::memory_entry_make{.offset = made.offset,
                                                .size = made.size,
                                                .permission = made.permission,
                                                .data_offset = made.data_offset,
                                                .is_whole = made.is_whole},
                    mach_task_self(), &file),
               &replies::memory_entry_make::name, name);
}

}  // namespace kedge::mach::kernel
