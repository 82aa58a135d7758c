// readable_pages: pages that are made readable for a while, to be copied.
#pragma once

#include <sys/mman.h>

#include <vector>

#include "kedge/mach/kernel/abi/memory_map.h"

namespace kedge::mach::kernel::address_space {

// Lets this process read the pages that it must copy, whatever their protection: a kernel does not
// ask for it. Other threads can read them too meanwhile. `parts` must outlive this.
class readable_pages {
 public:
  explicit readable_pages(const std::vector<mapping>& parts) noexcept : parts_(&parts) {
    protect([](int protection) { return protection | PROT_READ; });
  }
  ~readable_pages() {
    if (parts_) protect([](int protection) { return protection; });
  }
  readable_pages(const readable_pages&) = delete;
  readable_pages& operator=(const readable_pages&) = delete;

  // The pages are no longer there.
  void forget() noexcept { parts_ = nullptr; }

 private:
  template <typename Wanted>
  void protect(Wanted&& wanted) noexcept {
    for (const mapping& each : *parts_) {
      if (each.protection & PROT_READ) continue;
      mprotect(reinterpret_cast<void*>(each.start), each.end - each.start, wanted(each.protection));
    }
  }

  const std::vector<mapping>* parts_;
};

}  // namespace kedge::mach::kernel::address_space
