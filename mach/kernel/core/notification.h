// notification: how the kernel's notifications are requested, deferred and sent (Darwin:
// mach_port_request_notification, ipc_notify.c).
#pragma once

#include <mach/message.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "kedge/mach/kernel/core/deferred_work.h"
#include "kedge/mach/kernel/core/kmsg.h"

namespace kedge::mach::kernel {

class object;
class port;
struct right_context;

// What mach_port_request_notification asks for.
struct notification_request {
  mach_msg_id_t id;          // MACH_NOTIFY_*
  mach_port_mscount_t sync;  // what it means depends on the id
  port* notify;              // a send-once right, or null to cancel
};

// Registers the request at the right under `name`. The send-once right that was registered before
// goes to `previous`. Success consumes `requested.notify`. The space must not be locked.
kern_return_t request_notification_at(const right_context& context, mach_port_name_t name,
                                      const notification_request& requested, port*& previous);

// Notifications to be sent, and ports and sets to be destroyed, in order, once no lock is held.
// There is room for what four rights cause. A caller that releases more flushes whenever the list
// is full.
class deferred_notifications {
 public:
  enum class kind : std::uint8_t {
    no_senders,
    port_deleted,
    dead_name,
    send_possible,
    send_once,
    destroy_port,
    destroy_set
  };

  deferred_notifications() = default;
  deferred_notifications(const deferred_notifications&) = delete;
  deferred_notifications& operator=(const deferred_notifications&) = delete;

  // Consumes `target`: the send-once right to be notified, or a reference to the port or set to be
  // destroyed. `word`: the name or the count that the notification reports. Any lock may be held.
  void add(kind which, object* target, natural_t word = 0) noexcept {
    list_[count_++] = {target, word, which};
  }
  bool full() const noexcept { return count_ == list_.size(); }
  // No lock may be held.
  void flush(deferred_work& cleanup) noexcept {
    if (count_) flush_all(cleanup);
  }

 private:
  struct deferred {
    object* target;
    natural_t word;
    kind which;
  };
  void flush_all(deferred_work& cleanup) noexcept;

  std::size_t count_ = 0;
  std::array<deferred, 4> list_;
};

// Each sends one notification and consumes the send-once right `notify`. Notifications ignore queue
// limits, but are lost at a queue that holds MACH_PORT_QLIMIT_KERNEL messages. No lock may be held.
void notify_port_deleted(port* notify, mach_port_name_t name, deferred_work& cleanup) noexcept;
void notify_send_possible(port* notify, mach_port_name_t name, deferred_work& cleanup) noexcept;
void notify_dead_name(port* notify, mach_port_name_t name, deferred_work& cleanup) noexcept;
void notify_no_senders(port* notify, mach_port_mscount_t count, deferred_work& cleanup) noexcept;
void notify_send_once(port* notify, deferred_work& cleanup) noexcept;
// Also consumes the receive right with its reference.
void notify_port_destroyed(port* notify, port* receive_right, deferred_work& cleanup) noexcept;

// Queues a message that the kernel made at its destination, or destroys the message if the
// destination is dead or at its ceiling. No lock may be held.
void post_from_kernel(kmsg* message, deferred_work& cleanup) noexcept;

}  // namespace kedge::mach::kernel
