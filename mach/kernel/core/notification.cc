#include "kedge/mach/kernel/core/notification.h"

#include <mach/ndr.h>
#include <mach/notify.h>

#include <cstring>

#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/port.h"

namespace kedge::mach::kernel {
namespace {

constexpr security_token_t kernel_security_token = KERNEL_SECURITY_TOKEN_VALUE;
constexpr audit_token_t kernel_audit_token = KERNEL_AUDIT_TOKEN_VALUE;
constexpr NDR_record_t native_record{
    0, 0, 0, NDR_PROTOCOL_2_0, NDR_INT_LITTLE_ENDIAN, NDR_CHAR_ASCII, NDR_FLOAT_IEEE, 0};

// A message of `size` bytes to the send-once right, with a blank body. Without memory the right is
// merely released: then the notification is lost, as nobody could tell it from one that is late.
kmsg* make(port* to, mach_msg_id_t id, mach_msg_size_t size, deferred_work& after) noexcept {
  kmsg* message = after.kernel.messages().take(size);
  if (!message) {
    consume_send_once_right(to);
    return nullptr;
  }
  std::memset(message->bytes(), 0, size);
  message->destination = {to, MACH_MSG_TYPE_MOVE_SEND_ONCE, false};
  message->size = size;
  message->id = id;
  message->sender = kernel_security_token;
  message->audit = kernel_audit_token;
  return message;
}

void send_word(port* to, mach_msg_id_t id, natural_t word, deferred_work& after) noexcept {
  struct body {
    NDR_record_t record;
    natural_t word;
  } const contents{native_record, word};
  kmsg* message = make(to, id, sizeof(mach_msg_header_t) + sizeof contents, after);
  if (!message) return;
  std::memcpy(message->bytes() + sizeof(mach_msg_header_t), &contents, sizeof contents);
  post_from_kernel(message, after);
}

}  // namespace

void post_from_kernel(kmsg* message, deferred_work& after) noexcept {
  port& to = *message->destination.target;
  to.lock.lock();
  // Nobody receives from the kernel's own ports, which a caller may name for its answer.
  if (to.active && to.serves == kernel_object::none && to.queue().reserve(*message)) {
    post(to, message, after);
    to.lock.unlock();
    return;
  }
  to.lock.unlock();
  after.destroy_later(message);
  after.reap();
}

void notify_port_deleted(port* to, mach_port_name_t name, deferred_work& after) noexcept {
  send_word(to, MACH_NOTIFY_PORT_DELETED, name, after);
}

void notify_send_possible(port* to, mach_port_name_t name, deferred_work& after) noexcept {
  send_word(to, MACH_NOTIFY_SEND_POSSIBLE, name, after);
}

void notify_dead_name(port* to, mach_port_name_t name, deferred_work& after) noexcept {
  send_word(to, MACH_NOTIFY_DEAD_NAME, name, after);
}

void notify_no_senders(port* to, mach_port_mscount_t count, deferred_work& after) noexcept {
  send_word(to, MACH_NOTIFY_NO_SENDERS, count, after);
}

void notify_send_once(port* to, deferred_work& after) noexcept {
  if (kmsg* message = make(to, MACH_NOTIFY_SEND_ONCE, sizeof(mach_msg_header_t), after)) {
    post_from_kernel(message, after);
  }
}

void notify_port_destroyed(port* to, port* receive_right, deferred_work& after) noexcept {
  constexpr mach_msg_size_t size = sizeof(mach_msg_base_t) + sizeof(mach_msg_port_descriptor_t);
  kmsg* message = make(to, MACH_NOTIFY_PORT_DESTROYED, size, after);
  if (!message) {
    destroy_port(receive_right, after);
    return;
  }
  message->complex = true;
  message->reserve(1, 0);  // so few need no memory
  message->rights()[0] = {receive_right, MACH_MSG_TYPE_MOVE_RECEIVE, false};
  const mach_msg_body_t body{1};
  std::memcpy(message->bytes() + sizeof(mach_msg_header_t), &body, sizeof body);
  if (after.kernel.transit().bind(*receive_right, *to)) message->circular = true;
  if (message->circular) {
    after.destroy_later(message);
    after.reap();
    return;
  }
  post_from_kernel(message, after);
}

}  // namespace kedge::mach::kernel
