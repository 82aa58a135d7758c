// memory_entry: memory that a port stands for, a part of a file in memory (Darwin: vm_named_entry).
#pragma once

#include <cstdint>

#include "kedge/mach/kernel/core/object.h"
#include "kedge/mach/kernel/embedded/held_file.h"

namespace kedge::mach::kernel {

class memory_entry final : public object {
 public:
  // Takes the descriptor over.
  memory_entry(int descriptor, std::uint64_t start, std::uint64_t length, int may)
      : object(object_kind::memory_entry),
        offset(start),
        size(length),
        permission(may),
        file_(ref<held_file>::adopt(new held_file(descriptor))) {}

  int open() const noexcept { return file_->open_again(); }

  const std::uint64_t offset;
  const std::uint64_t size;
  const int permission;  // VM_PROT_*

 private:
  ~memory_entry() override = default;

  const ref<held_file> file_;
};

}  // namespace kedge::mach::kernel
