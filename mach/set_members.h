// set_members: the ports that are in a port set of the current space, as the kernel lists them.
//
// The list is the kernel's memory, which the object releases. Any thread; a member may leave the
// set at any time.
#pragma once

#include <mach/mach.h>
#include <mach/vm_map.h>

#include <span>

namespace kedge::mach {

class set_members {
 public:
  explicit set_members(mach_port_name_t set) noexcept
      : is_known_(mach_port_get_set_status(mach_task_self(), set, &names_, &count_) ==
                  KERN_SUCCESS) {}
  set_members(const set_members&) = delete;
  set_members& operator=(const set_members&) = delete;
  ~set_members() {
    if (names_ == nullptr) return;
    vm_deallocate(mach_task_self(), reinterpret_cast<vm_address_t>(names_),
                  count_ * sizeof *names_);
  }

  // False if the name is none of a port set.
  explicit operator bool() const noexcept { return is_known_; }
  std::span<const mach_port_name_t> names() const noexcept { return {names_, count_}; }

 private:
  mach_port_name_array_t names_ = nullptr;
  mach_msg_type_number_t count_ = 0;
  const bool is_known_;
};

}  // namespace kedge::mach
