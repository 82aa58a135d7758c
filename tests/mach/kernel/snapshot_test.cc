// kedge/mach/kernel/snapshot.h: what a snapshot says of names, ports, messages, sets and waiters.
#include <doctest/doctest.h>

#include <sys/event.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/kernel/snapshot.h"
#include "test_message.h"

using namespace test;

namespace {

using namespace kedge::mach::kernel;

const snapshot::space& space_of(const snapshot& all, task owner) {
  const auto found = std::find_if(all.spaces.begin(), all.spaces.end(),
                                  [owner](const auto& each) { return each.owner == owner; });
  REQUIRE(found != all.spaces.end());
  return *found;
}

const snapshot::right& right_of(const snapshot& all, mach_port_name_t name, task owner = {}) {
  const snapshot::space& in = space_of(all, owner);
  const auto found = std::find_if(in.rights.begin(), in.rights.end(),
                                  [name](const auto& each) { return each.name == name; });
  REQUIRE(found != in.rights.end());
  return *found;
}

const snapshot::port& port_of(const snapshot& all, snapshot::number id) {
  const auto found = std::find_if(all.ports.begin(), all.ports.end(),
                                  [id](const auto& each) { return each.id == id; });
  REQUIRE(found != all.ports.end());
  return *found;
}

const snapshot::port& port_named(const snapshot& all, mach_port_name_t name) {
  return port_of(all, right_of(all, name).of);
}

const snapshot::set& set_named(const snapshot& all, mach_port_name_t name) {
  const snapshot::number id = right_of(all, name).of;
  const auto found = std::find_if(all.sets.begin(), all.sets.end(),
                                  [id](const auto& each) { return each.id == id; });
  REQUIRE(found != all.sets.end());
  return *found;
}

// Counts the ports whose receive right is in a message.
std::ptrdiff_t count_in_transit(const snapshot& all) {
  return std::count_if(all.ports.begin(), all.ports.end(), [](const snapshot::port& each) {
    return each.serves.empty() && each.alive && each.name == MACH_PORT_NULL;
  });
}

// On Darwin a snapshot is empty.
const auto visible = doctest::skip(!has_many_tasks());

}  // namespace

TEST_CASE("a snapshot has every name of the task, with its rights, references and port" * visible) {
  const mach_port_name_t port = new_service(), dead = new_port(MACH_PORT_RIGHT_DEAD_NAME);
  const mach_port_name_t once = new_send_once(port);
  mach_port_mod_refs(mach_task_self(), port, MACH_PORT_RIGHT_SEND, 2);
  const snapshot all = take_snapshot();
  const snapshot::right& both = right_of(all, port);
  CHECK(both.type == MACH_PORT_TYPE_SEND_RECEIVE);
  CHECK(both.references == 3);
  CHECK(right_of(all, once).type == MACH_PORT_TYPE_SEND_ONCE);
  CHECK(right_of(all, once).of == both.of);
  CHECK(right_of(all, dead).type == MACH_PORT_TYPE_DEAD_NAME);
  CHECK(right_of(all, dead).of == 0);
  const snapshot::port& at = port_named(all, port);
  CHECK(at.name == port);
  CHECK(at.receiver == task{});
  CHECK(at.send_rights == 1);
  CHECK(at.send_once_rights == 1);
  CHECK(at.make_send_count == 1);
  CHECK(at.queue_limit == MACH_PORT_QLIMIT_DEFAULT);
  CHECK(at.queue.empty());
  CHECK(port_named(all, mach_task_self()).serves == "task");
  CHECK(std::is_sorted(all.spaces.front().rights.begin(), all.spaces.front().rights.end(),
                       [](const auto& one, const auto& other) { return one.name < other.name; }));
}

TEST_CASE("a snapshot has queued messages, and ports whose receive right is in a message" *
          visible) {
  // Messages of other cases may hold receive rights too.
  const auto before = count_in_transit(take_snapshot());
  const mach_port_name_t port = new_service(), carried = new_port();
  REQUIRE(message(port, MACH_MSG_TYPE_COPY_SEND, 5).send() == MACH_MSG_SUCCESS);
  REQUIRE(
      message(port, MACH_MSG_TYPE_COPY_SEND, -6, {{carried, MACH_MSG_TYPE_MOVE_RECEIVE}}).send() ==
      MACH_MSG_SUCCESS);
  const snapshot all = take_snapshot();
  const snapshot::port& at = port_named(all, port);
  REQUIRE(at.queue.size() == 2);
  CHECK(at.queue[0].id == 5);
  CHECK(at.queue[0].size == sizeof(mach_msg_header_t));
  CHECK(at.queue[1].id == -6);
  CHECK(at.queue[1].size == 40);
  CHECK(at.send_rights == 3);
  CHECK(count_in_transit(all) == before + 1);
}

TEST_CASE("a snapshot has guards, requested notifications, set members and knotes" * visible) {
  const mach_port_name_t port = new_service(), notify = new_port(), other = new_port(),
                         set = new_port(MACH_PORT_RIGHT_PORT_SET);
  REQUIRE(request(port, MACH_NOTIFY_NO_SENDERS, 0, notify) == KERN_SUCCESS);
  REQUIRE(request(port, MACH_NOTIFY_PORT_DESTROYED, 0, notify) == KERN_SUCCESS);
  REQUIRE(request(port, MACH_NOTIFY_SEND_POSSIBLE, 0, notify) == KERN_SUCCESS);
  REQUIRE(mach_port_guard(mach_task_self(), other, 77, FALSE) == KERN_SUCCESS);
  REQUIRE(mach_port_insert_member(mach_task_self(), port, set) == KERN_SUCCESS);
  REQUIRE(mach_port_insert_member(mach_task_self(), other, set) == KERN_SUCCESS);
  const int queue = kqueue();
  kevent64_s change{};
  change.ident = set;
  change.filter = EVFILT_MACHPORT;
  change.flags = EV_ADD;
  REQUIRE(kevent64(queue, &change, 1, nullptr, 0, 0, nullptr) == 0);
  const snapshot all = take_snapshot();
  const snapshot::number notified = right_of(all, notify).of;
  const snapshot::port& at = port_named(all, port);
  CHECK(at.no_senders == notified);
  CHECK(at.port_destroyed == notified);
  CHECK(right_of(all, port).notify == notified);
  CHECK((right_of(all, port).type & MACH_PORT_TYPE_SPREQUEST) != 0);
  CHECK(port_named(all, other).guarded);
  CHECK(port_named(all, other).context == 77);
  const snapshot::set& members = set_named(all, set);
  CHECK(members.name == set);
  CHECK(members.members ==
        std::vector<snapshot::number>{right_of(all, port).of, right_of(all, other).of});
  CHECK(members.knotes == 1);
  CHECK(at.knotes == 0);
  change.flags = EV_DELETE;
  REQUIRE(kevent64(queue, &change, 1, nullptr, 0, 0, nullptr) == 0);
  CHECK(set_named(take_snapshot(), set).knotes == 0);
  close(queue);
}

TEST_CASE("a snapshot has the rights of another task until that ends" * visible) {
  const task other = create_task();
  const mach_port_name_t port = new_port();
  const mach_port_t self = task_self_port(other);
  REQUIRE(mach_port_insert_right(self, 0x00abcd03, port, MACH_MSG_TYPE_MAKE_SEND) == KERN_SUCCESS);
  mach_port_deallocate(mach_task_self(), self);
  {
    const snapshot all = take_snapshot();
    CHECK(right_of(all, 0x00abcd03, other).of == right_of(all, port).of);
    CHECK(port_named(all, port).receiver == task{});
  }
  terminate_task(other);
  const snapshot all = take_snapshot();
  CHECK(std::none_of(all.spaces.begin(), all.spaces.end(),
                     [other](const auto& each) { return each.owner == other; }));
  CHECK(port_named(all, port).send_rights == 0);
}

TEST_CASE("a snapshot counts threads that wait to receive and to send" * visible) {
  const mach_port_name_t port = new_service(), full = new_service();
  REQUIRE(set_limit(full, 1) == KERN_SUCCESS);
  REQUIRE(message(full, MACH_MSG_TYPE_COPY_SEND).send() == MACH_MSG_SUCCESS);
  std::thread receiver([port] {
    message m;
    mach_msg(&m.header(), MACH_RCV_MSG, 0, sizeof m.bytes, port, 0, MACH_PORT_NULL);
  });
  std::thread sender([full] {
    message m(full, MACH_MSG_TYPE_COPY_SEND, 9);
    mach_msg(&m.header(), MACH_SEND_MSG, m.size, 0, MACH_PORT_NULL, 0, MACH_PORT_NULL);
  });
  for (snapshot all = take_snapshot();
       port_named(all, port).waiting_receivers != 1 || port_named(all, full).waiting_senders != 1;
       all = take_snapshot()) {
    std::this_thread::yield();
  }
  CHECK(message(port, MACH_MSG_TYPE_COPY_SEND).send() == MACH_MSG_SUCCESS);
  receiver.join();
  CHECK(next_id(full) == 0);
  sender.join();
  CHECK(next_id(full) == 9);
}

TEST_CASE("to_string gives the same text for two snapshots of the same state, with Darwin's names" *
          visible) {
  const mach_port_name_t port = new_service();
  REQUIRE(message(port, MACH_MSG_TYPE_COPY_SEND, 5).send() == MACH_MSG_SUCCESS);
  const snapshot all = take_snapshot();
  const std::string text = to_string(all);
  CHECK(text == to_string(take_snapshot()));
  CHECK(text.substr(0, 7) == "task 0\n");
  char line[128];
  std::snprintf(line, sizeof line, "  0x%08x send+receive x1 of #%u\n", port,
                right_of(all, port).of);
  CHECK(text.find(line) != std::string::npos);
  std::snprintf(line, sizeof line,
                "port #%u received by task 0 as 0x%08x: send 2, send-once 0, make-send 1, "
                "queued 1 of 5\n  message 5, 24 bytes\n",
                right_of(all, port).of, port);
  CHECK(text.find(line) != std::string::npos);
}

TEST_CASE("200 snapshots during sends each count a consistent number of rights and messages" *
          visible) {
  const mach_port_name_t port = new_service();
  std::atomic<bool> done{false};
  std::thread sender([&] {
    while (!done) {
      message(port, MACH_MSG_TYPE_COPY_SEND).send();
      next_id(port);
    }
  });
  for (int each = 0; each < 200; ++each) {
    const snapshot all = take_snapshot();
    // The name has one send right and each message one. The sender may hold another in between.
    const snapshot::port& at = port_named(all, port);
    CHECK(at.send_rights >= 1 + at.queue.size());
    CHECK(at.send_rights <= 2 + at.queue.size());
  }
  done = true;
  sender.join();
}

TEST_CASE("a reply of the kernel to one of its own ports is destroyed" * visible) {
  const mach_port_name_t host = mach_host_self();
  message m(host, MACH_MSG_TYPE_COPY_SEND);
  REQUIRE(m.reply_to(host, MACH_MSG_TYPE_COPY_SEND).send() == MACH_MSG_SUCCESS);
  CHECK(port_named(take_snapshot(), host).queue.empty());
}

TEST_CASE("a right to a dead port has no notification any more" * visible) {
  const task owner = create_task();
  const mach_port_name_t port = new_service();
  mach_port_name_t right = MACH_PORT_NULL;
  REQUIRE(place_right(owner, port, &right) == KERN_SUCCESS);
  {
    const current_task_guard inside(owner);
    REQUIRE(request(right, MACH_NOTIFY_DEAD_NAME, 0, new_port()) == KERN_SUCCESS);
  }
  CHECK(right_of(take_snapshot(), right, owner).notify != 0);
  mach_port_mod_refs(mach_task_self(), port, MACH_PORT_RIGHT_RECEIVE, -1);
  CHECK(right_of(take_snapshot(), right, owner).notify == 0);
  terminate_task(owner);
}
