// memory_entry: memory that a port stands for, a part of a file in memory (Darwin: vm_named_entry).
#pragma once

#include <cstdint>

#include "kedge/mach/kernel/core/object.h"
#include "kedge/mach/kernel/core/requests.h"
#include "kedge/mach/kernel/embedded/held_file.h"

namespace kedge::mach::kernel {

class memory_entry final : public object {
 public:
  // Takes the fd over.
  memory_entry(int fd, const requests::memory_entry_make& request)
      : object(object_kind::memory_entry),
        offset(request.offset),
        size(request.size),
        permission(request.permission),
        data_offset(request.data_offset),
        is_whole(request.is_whole),
        file_(ref<held_file>::adopt(new held_file(fd))) {}

  // Returns an fd that is none of the three standard ones: the library uses it, not the program.
  int open() const noexcept { return file_->open_again(3); }

  const std::uint64_t offset;
  const std::uint64_t size;
  const int permission;             // VM_PROT_*
  const std::uint32_t data_offset;  // of the data in its first page
  const std::uint32_t is_whole;     // 0 or 1: every mapping has all of the entry

 private:
  ~memory_entry() override = default;

  const ref<held_file> file_;
};

}  // namespace kedge::mach::kernel
