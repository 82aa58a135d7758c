// Waiting receivers and senders: the order in which they are served, and what ends their waits
// (ipc_mqueue.c, ipc_port.c). Where snapshots exist, each case goes on only when its threads wait.
#include <doctest/doctest.h>

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/kernel/snapshot.h"
#include "test_message.h"

using namespace test;

namespace {

using namespace kedge::mach::kernel;

enum class waits { to_receive, to_send };

std::uint32_t waiting_at(mach_port_name_t name, waits how) {
  const snapshot all = take_snapshot();
  snapshot::number id = 0;
  for (const snapshot::right& each : all.spaces.front().rights) {
    if (each.name == name) id = each.of;
  }
  for (const snapshot::port& each : all.ports) {
    if (each.id == id) return how == waits::to_send ? each.waiting_senders : each.waiting_receivers;
  }
  for (const snapshot::set& each : all.sets) {
    if (each.id == id) return each.waiting_receivers;
  }
  return 0;
}

// Waits until `count` threads wait at the port or set. On Darwin returns at once.
void await(mach_port_name_t at, waits how, std::uint32_t count) {
  while (has_many_tasks() && waiting_at(at, how) != count) std::this_thread::yield();
}

// A thread that makes one call and keeps its result.
class caller {
 public:
  explicit caller(std::function<mach_msg_return_t(message&)> call)
      : thread_([this, call = std::move(call)] { result_ = call(m); }) {}
  ~caller() {
    if (thread_.joinable()) thread_.join();
  }
  caller(const caller&) = delete;
  caller& operator=(const caller&) = delete;

  mach_msg_return_t result() {
    thread_.join();
    return result_;
  }
  message m;

 private:
  mach_msg_return_t result_ = MACH_MSG_SUCCESS;
  std::thread thread_;
};

std::function<mach_msg_return_t(message&)> receive_from(mach_port_name_t from) {
  return [from](message& m) {
    return mach_msg(&m.header(), MACH_RCV_MSG, 0, sizeof m.bytes, from, 0, MACH_PORT_NULL);
  };
}

std::function<mach_msg_return_t(message&)> send_to(mach_port_name_t to, mach_msg_id_t id,
                                                   mach_msg_timeout_t timeout = 0) {
  return [to, id, timeout](message& m) {
    m = message(to, MACH_MSG_TYPE_COPY_SEND, id);
    return mach_msg(&m.header(), MACH_SEND_MSG | (timeout > 0 ? MACH_SEND_TIMEOUT : 0), m.size, 0,
                    MACH_PORT_NULL, timeout, MACH_PORT_NULL);
  };
}

void send(mach_port_name_t to, mach_msg_id_t id) {
  REQUIRE(message(to, MACH_MSG_TYPE_COPY_SEND, id).send() == MACH_MSG_SUCCESS);
}

// Makes a service with a queue limit of 1, and queues a message with id 0.
mach_port_name_t new_full() {
  const mach_port_name_t port = new_service();
  REQUIRE(set_limit(port, 1) == KERN_SUCCESS);
  send(port, 0);
  return port;
}

}  // namespace

TEST_CASE("two waiting receivers get one message each, in the order in which they began to wait") {
  const mach_port_name_t port = new_service();
  caller first(receive_from(port));
  await(port, waits::to_receive, 1);
  caller second(receive_from(port));
  await(port, waits::to_receive, 2);
  send(port, 1);
  send(port, 2);
  CHECK(first.result() == MACH_MSG_SUCCESS);
  CHECK(second.result() == MACH_MSG_SUCCESS);
  const mach_msg_id_t one = first.m.header().msgh_id, two = second.m.header().msgh_id;
  CHECK(one + two == 3);
  if (has_many_tasks()) CHECK(one == 1);
}

TEST_CASE("a receiver on a port and one on its set get one message each") {
  const mach_port_name_t port = new_service(), set = new_port(MACH_PORT_RIGHT_PORT_SET);
  REQUIRE(mach_port_insert_member(mach_task_self(), port, set) == KERN_SUCCESS);
  caller on_set(receive_from(set)), on_port(receive_from(port));
  await(set, waits::to_receive, 1);
  await(port, waits::to_receive, 1);
  send(port, 1);
  send(port, 2);
  CHECK(on_port.result() == MACH_MSG_SUCCESS);
  CHECK(on_set.result() == MACH_MSG_SUCCESS);
  CHECK(on_port.m.header().msgh_id + on_set.m.header().msgh_id == 3);
}

TEST_CASE("a receiver keeps waiting while its port joins and leaves a set") {
  const mach_port_name_t port = new_service(), set = new_port(MACH_PORT_RIGHT_PORT_SET);
  caller receiver(receive_from(port));
  await(port, waits::to_receive, 1);
  REQUIRE(mach_port_insert_member(mach_task_self(), port, set) == KERN_SUCCESS);
  REQUIRE(mach_port_extract_member(mach_task_self(), port, set) == KERN_SUCCESS);
  send(port, 4);
  CHECK(receiver.result() == MACH_MSG_SUCCESS);
  CHECK(receiver.m.header().msgh_id == 4);
}

TEST_CASE("a receiver on a set keeps waiting when a member dies") {
  const mach_port_name_t dying = new_service(), other = new_service(),
                         set = new_port(MACH_PORT_RIGHT_PORT_SET);
  REQUIRE(mach_port_insert_member(mach_task_self(), dying, set) == KERN_SUCCESS);
  caller receiver(receive_from(set));
  await(set, waits::to_receive, 1);
  REQUIRE(end_receive(dying) == KERN_SUCCESS);
  REQUIRE(mach_port_insert_member(mach_task_self(), other, set) == KERN_SUCCESS);
  send(other, 5);
  CHECK(receiver.result() == MACH_MSG_SUCCESS);
  CHECK(receiver.m.header().msgh_id == 5);
}

TEST_CASE("a port with a queued message that joins a set wakes a receiver there") {
  const mach_port_name_t port = new_service(), set = new_port(MACH_PORT_RIGHT_PORT_SET);
  send(port, 6);
  caller receiver(receive_from(set));
  await(set, waits::to_receive, 1);
  REQUIRE(mach_port_insert_member(mach_task_self(), port, set) == KERN_SUCCESS);
  CHECK(receiver.result() == MACH_MSG_SUCCESS);
  CHECK(receiver.m.header().msgh_local_port == port);
}

TEST_CASE("a message that a receiver of a second set takes is no longer ready in the first") {
  const mach_port_name_t port = new_service(), first = new_port(MACH_PORT_RIGHT_PORT_SET),
                         second = new_port(MACH_PORT_RIGHT_PORT_SET);
  REQUIRE(mach_port_insert_member(mach_task_self(), port, first) == KERN_SUCCESS);
  send(port, 7);
  caller receiver(receive_from(second));
  await(second, waits::to_receive, 1);
  REQUIRE(mach_port_insert_member(mach_task_self(), port, second) == KERN_SUCCESS);
  CHECK(receiver.result() == MACH_MSG_SUCCESS);
  CHECK(receiver.m.header().msgh_id == 7);
  message m;
  CHECK(m.receive(first) == MACH_RCV_TIMED_OUT);
  send(port, 8);
  CHECK(m.receive(first) == MACH_MSG_SUCCESS);
  CHECK(m.receive(first) == MACH_RCV_TIMED_OUT);
}

// On Darwin await() cannot wait, and a call may begin after the port's end.
TEST_CASE("every waiting receiver fails when its port dies or moves away" *
          doctest::skip(!has_many_tasks())) {
  const mach_port_name_t port = new_service();
  caller first(receive_from(port)), second(receive_from(port));
  await(port, waits::to_receive, 2);
  mach_msg_return_t expected = MACH_RCV_PORT_DIED;
  SUBCASE("the port dies") {
    REQUIRE(end_receive(port) == KERN_SUCCESS);
  }
  SUBCASE("the receive right is moved away") {
    expected = MACH_RCV_PORT_CHANGED;
    REQUIRE(message(new_service(), MACH_MSG_TYPE_COPY_SEND, 0, {{port, MACH_MSG_TYPE_MOVE_RECEIVE}})
                .send() == MACH_MSG_SUCCESS);
  }
  CHECK(first.result() == expected);
  CHECK(second.result() == expected);
}

TEST_CASE("three blocked senders are served in the order in which they began to wait") {
  const mach_port_name_t port = new_full();
  caller first(send_to(port, 1));
  await(port, waits::to_send, 1);
  caller second(send_to(port, 2));
  await(port, waits::to_send, 2);
  caller third(send_to(port, 3));
  await(port, waits::to_send, 3);
  std::vector<mach_msg_id_t> order;
  message m;
  for (int each = 0; each < 4; ++each) {
    CAPTURE(each);
    REQUIRE(receive_from(port)(m) == MACH_MSG_SUCCESS);
    order.push_back(m.header().msgh_id);
  }
  CHECK(order.front() == 0);
  if (has_many_tasks()) CHECK(order == std::vector<mach_msg_id_t>{0, 1, 2, 3});
  CHECK(first.result() == MACH_MSG_SUCCESS);
  CHECK(second.result() == MACH_MSG_SUCCESS);
  CHECK(third.result() == MACH_MSG_SUCCESS);
}

TEST_CASE("a sender that times out leaves no trace, and the next one is served") {
  const mach_port_name_t port = new_full();
  caller hasty(send_to(port, 1, 1));
  CHECK(hasty.result() == MACH_SEND_TIMED_OUT);
  caller patient(send_to(port, 2));
  await(port, waits::to_send, 1);
  CHECK(next_id(port) == 0);
  CHECK(patient.result() == MACH_MSG_SUCCESS);
  CHECK(next_id(port) == 2);
  CHECK(next_id(port) == -1);
}

TEST_CASE("the room that a receive makes goes to the waiting sender, not to a new one") {
  const mach_port_name_t port = new_full();
  caller waiting(send_to(port, 1));
  await(port, waits::to_send, 1);
  CHECK(next_id(port) == 0);
  CHECK(waiting.result() == MACH_MSG_SUCCESS);
  CHECK(message(port, MACH_MSG_TYPE_COPY_SEND, 2).send() == MACH_SEND_TIMED_OUT);
  CHECK(next_id(port) == 1);
}

TEST_CASE("a message by a send-once right and a notification are queued beyond the limit") {
  const mach_port_name_t port = new_full(), dying = new_service();
  const mach_port_name_t once = new_send_once(port);
  REQUIRE(request(dying, MACH_NOTIFY_DEAD_NAME, 0, port) == KERN_SUCCESS);
  CHECK(message(once, MACH_MSG_TYPE_MOVE_SEND_ONCE, 8).send() == MACH_MSG_SUCCESS);
  REQUIRE(end_receive(dying) == KERN_SUCCESS);
  CHECK(next_id(port) == 0);
  CHECK(next_id(port) == 8);
  CHECK(next_id(port) == MACH_NOTIFY_DEAD_NAME);
}

TEST_CASE("a queue limit of 0 blocks every sender until it is raised") {
  const mach_port_name_t port = new_service();
  REQUIRE(set_limit(port, 0) == KERN_SUCCESS);
  CHECK(message(port, MACH_MSG_TYPE_COPY_SEND).send() == MACH_SEND_TIMED_OUT);
  caller sender(send_to(port, 7));
  await(port, waits::to_send, 1);
  REQUIRE(set_limit(port, 1) == KERN_SUCCESS);
  CHECK(sender.result() == MACH_MSG_SUCCESS);
  CHECK(next_id(port) == 7);
}

TEST_CASE("lowering the queue limit keeps the queued messages") {
  const mach_port_name_t port = new_service();
  for (const mach_msg_id_t id : {1, 2, 3}) send(port, id);
  REQUIRE(set_limit(port, 1) == KERN_SUCCESS);
  CHECK(message(port, MACH_MSG_TYPE_COPY_SEND).send() == MACH_SEND_TIMED_OUT);
  for (const mach_msg_id_t id : {1, 2, 3}) {
    CAPTURE(id);
    CHECK(next_id(port) == id);
  }
  send(port, 4);
}

TEST_CASE("a blocked sender keeps waiting while the receive right is moved") {
  const mach_port_name_t port = new_full(), carrier = new_service();
  caller sender(send_to(port, 3));
  await(port, waits::to_send, 1);
  REQUIRE(
      message(carrier, MACH_MSG_TYPE_COPY_SEND, 0, {{port, MACH_MSG_TYPE_MOVE_RECEIVE}}).send() ==
      MACH_MSG_SUCCESS);
  message m;
  REQUIRE(m.receive(carrier) == MACH_MSG_SUCCESS);
  CHECK(m.port_at(0) == port);
  CHECK(next_id(port) == 0);
  CHECK(sender.result() == MACH_MSG_SUCCESS);
  CHECK(next_id(port) == 3);
}

TEST_CASE("a blocked sender whose port dies gets success, and its message is destroyed") {
  const mach_port_name_t port = new_full(), cargo = new_service(), notify = new_port();
  REQUIRE(request(cargo, MACH_NOTIFY_NO_SENDERS, 1, notify) == KERN_SUCCESS);
  caller sender([port, cargo](message& m) {
    m = message(port, MACH_MSG_TYPE_COPY_SEND, 1, {{cargo, MACH_MSG_TYPE_MOVE_SEND}});
    return mach_msg(&m.header(), MACH_SEND_MSG, m.size, 0, MACH_PORT_NULL, 0, MACH_PORT_NULL);
  });
  await(port, waits::to_send, 1);
  REQUIRE(end_receive(port) == KERN_SUCCESS);
  const mach_msg_return_t result = sender.result();
  if (has_many_tasks()) CHECK(result == MACH_MSG_SUCCESS);
  if (result == MACH_MSG_SUCCESS) CHECK(next_id(notify) == MACH_NOTIFY_NO_SENDERS);
}
