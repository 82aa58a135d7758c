// Wakes waiters and destroys messages, with every right in them (Darwin: ipc_kmsg_reap_delayed,
// ipc_kmsg_clean).
#include "kedge/mach/kernel/core/deferred_work.h"

#include <cstdint>

#include "kedge/mach/kernel/core/port.h"

namespace kedge::mach::kernel {

void deferred_work::wake_all() noexcept {
  while (pending_call* next = first_to_wake_) {
    first_to_wake_ = next->next_to_wake;
    next->wake();
  }
}

void deferred_work::reap() noexcept {
  if (reaping_) return;
  reaping_ = true;
  while (kmsg* message = first_) {
    first_ = message->next;
    if (!first_) last_ = nullptr;
    release_right(message->destination, *this);
    release_right(message->reply, *this);
    release_right(message->voucher, *this);
    for (std::uint32_t index = 0; index < message->right_count; ++index) {
      release_right(message->rights()[index], *this);
    }
    kmsg_pool::give_back(message);
  }
  reaping_ = false;
}

}  // namespace kedge::mach::kernel
