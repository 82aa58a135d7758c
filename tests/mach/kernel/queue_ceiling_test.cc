// A queue holds at most MACH_PORT_QLIMIT_KERNEL messages, whatever its limit and however they come
// (ipc_mqueue_send_locked, ipc_notify_send_once_and_unlock).
#include <doctest/doctest.h>

#include <mach/mach.h>

#include "test_message.h"

using namespace test;

namespace {

constexpr mach_port_msgcount_t most = 65534;

// Fills the queue with messages by send-once rights, which ignore the limit.
void fill(mach_port_name_t port) {
  message m(port, MACH_MSG_TYPE_MAKE_SEND_ONCE);
  for (mach_port_msgcount_t each = 0; each < most; ++each) REQUIRE(m.send() == MACH_MSG_SUCCESS);
}

// Would wait, if the queue were at its limit alone.
mach_msg_return_t send_patiently(message& m) {
  return mach_msg(&m.header(), MACH_SEND_MSG | MACH_SEND_TIMEOUT, m.size, 0, MACH_PORT_NULL, 1,
                  MACH_PORT_NULL);
}

// A port whose queue is full.
struct full_port {
  full_port() { fill(name); }
  ~full_port() { mach_port_destroy(mach_task_self(), name); }
  full_port(const full_port&) = delete;
  full_port& operator=(const full_port&) = delete;

  void check_full() const { CHECK(status_of(name).mps_msgcount == most); }

  const mach_port_name_t name = new_service();
};

}  // namespace

TEST_CASE("a full queue refuses messages by send-once and send rights, without waiting") {
  const full_port full;
  const mach_port_name_t once = new_send_once(full.name);
  message by_once(once, MACH_MSG_TYPE_MOVE_SEND_ONCE);
  CHECK(by_once.send() == MACH_SEND_TIMED_OUT);
  // The right has come back, perhaps under another name.
  CHECK(type_of(by_once.header().msgh_remote_port) == MACH_PORT_TYPE_SEND_ONCE);
  CHECK(send_patiently(by_once) == MACH_SEND_NO_BUFFER);
  CHECK(type_of(by_once.header().msgh_remote_port) == MACH_PORT_TYPE_SEND_ONCE);
  message by_send(full.name, MACH_MSG_TYPE_COPY_SEND);
  CHECK(by_send.send() == MACH_SEND_TIMED_OUT);
  by_send = message(full.name, MACH_MSG_TYPE_COPY_SEND);
  CHECK(send_patiently(by_send) == MACH_SEND_NO_BUFFER);
  full.check_full();

  // One message less is room for one more.
  REQUIRE(next_id(full.name) == 0);
  CHECK(send_patiently(by_once) == MACH_MSG_SUCCESS);
  full.check_full();
}

TEST_CASE("a full queue loses the kernel's notifications") {
  const full_port full;
  // Each would send one notification: send-once, dead-name, no-senders.
  const mach_port_name_t once = new_send_once(full.name);
  CHECK(mach_port_deallocate(mach_task_self(), once) == KERN_SUCCESS);
  const mach_port_name_t dying = new_service();
  CHECK(request(dying, MACH_NOTIFY_NO_SENDERS, 0, full.name) == KERN_SUCCESS);
  CHECK(mach_port_deallocate(mach_task_self(), dying) == KERN_SUCCESS);
  REQUIRE(mach_port_insert_right(mach_task_self(), dying, dying, MACH_MSG_TYPE_MAKE_SEND) ==
          KERN_SUCCESS);
  CHECK(request(dying, MACH_NOTIFY_DEAD_NAME, 0, full.name) == KERN_SUCCESS);
  CHECK(end_receive(dying) == KERN_SUCCESS);
  CHECK(type_of(dying) == MACH_PORT_TYPE_DEAD_NAME);
  full.check_full();
  // Their rights are gone.
  CHECK(status_of(full.name).mps_sorights == most);

  // Port-destroyed: the receive right is destroyed with its notification.
  const mach_port_name_t port = new_port();
  const mach_port_name_t to_port = new_send_once(port);
  mach_port_t previous = MACH_PORT_NULL;
  REQUIRE(mach_port_request_notification(mach_task_self(), port, MACH_NOTIFY_PORT_DESTROYED, 0,
                                         full.name, MACH_MSG_TYPE_MAKE_SEND_ONCE,
                                         &previous) == KERN_SUCCESS);
  CHECK(end_receive(port) == KERN_SUCCESS);
  CHECK(type_of(to_port) == MACH_PORT_TYPE_DEAD_NAME);
  full.check_full();
}
