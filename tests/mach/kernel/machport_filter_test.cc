// EVFILT_MACHPORT: events for ports and sets, with and without a receive (Darwin:
// filt_machportprocess in ipc_pset.c).
#include <doctest/doctest.h>

#include <errno.h>
#include <sys/event.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "kedge/mach/kernel/extension.h"
#include "test_message.h"

using namespace test;

namespace {

// A kqueue that watches ports.
class queue {
 public:
  ~queue() { close(fd_); }

  // Submits one change. Returns 0 or its error.
  int change(mach_port_name_t name, std::uint16_t flags, std::uint32_t fflags = 0,
             void* buffer = nullptr, std::uint64_t size = 0) {
    kevent64_s one{};
    one.ident = name;
    one.filter = EVFILT_MACHPORT;
    one.flags = static_cast<std::uint16_t>(flags | EV_RECEIPT);
    one.fflags = fflags;
    one.ext[0] = reinterpret_cast<std::uintptr_t>(buffer);
    one.ext[1] = size;
    kevent64_s receipt{};
    return kevent64(fd_, &one, 1, &receipt, 1, 0, nullptr) == 1 ? static_cast<int>(receipt.data)
                                                                : -1;
  }
  // Returns the next event without waiting; its filter is 0 if there is none.
  kevent64_s poll() {
    kevent64_s event{};
    const timespec now{};
    if (kevent64(fd_, nullptr, 0, &event, 1, 0, &now) != 1) event.filter = 0;
    return event;
  }
  kevent64_s wait() {
    kevent64_s event{};
    if (kevent64(fd_, nullptr, 0, &event, 1, 0, nullptr) != 1) event.filter = 0;
    return event;
  }

  // Returns up to 8 events of one call.
  std::vector<kevent64_s> poll_all() {
    std::vector<kevent64_s> events(8);
    const timespec now{};
    const int count = kevent64(fd_, nullptr, 0, events.data(), 8, 0, &now);
    events.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    return events;
  }

 private:
  int fd_ = kqueue();
};

bool fired(const kevent64_s& event) {
  return event.filter == EVFILT_MACHPORT;
}

void send(mach_port_name_t port, mach_msg_id_t id = 0) {
  REQUIRE(message(port, MACH_MSG_TYPE_COPY_SEND, id).send() == MACH_MSG_SUCCESS);
}

}  // namespace

TEST_CASE("EV_ADD accepts receive rights and port sets, and refuses other names") {
  queue q;
  CHECK(q.change(new_port(), EV_ADD) == 0);
  CHECK(q.change(new_port(MACH_PORT_RIGHT_PORT_SET), EV_ADD) == 0);
  CHECK(q.change(0x00fff703, EV_ADD) == ENOENT);
  CHECK(q.change(new_port(MACH_PORT_RIGHT_DEAD_NAME), EV_ADD) == ENOENT);
  CHECK(q.change(new_send_once(new_port()), EV_ADD) == ENOTSUP);
}

TEST_CASE("without MACH_RCV_MSG the event is level-triggered, and its data is the port") {
  queue q;
  const mach_port_name_t port = new_service();
  send(port);
  REQUIRE(q.change(port, EV_ADD) == 0);
  for (int each = 0; each < 2; ++each) {
    const kevent64_s event = q.poll();
    REQUIRE(fired(event));
    CHECK(event.data == port);
    CHECK(event.ident == port);
  }
  next_id(port);
  CHECK_FALSE(fired(q.poll()));
  send(port);
  CHECK(fired(q.poll()));
}

TEST_CASE("an event of a set has the member in its data") {
  queue q;
  const mach_port_name_t port = new_service(), set = new_port(MACH_PORT_RIGHT_PORT_SET);
  mach_port_insert_member(mach_task_self(), port, set);
  REQUIRE(q.change(set, EV_ADD) == 0);
  CHECK_FALSE(fired(q.poll()));
  send(port);
  const kevent64_s event = q.poll();
  REQUIRE(fired(event));
  CHECK(event.ident == set);
  CHECK(event.data == port);
}

TEST_CASE("EV_CLEAR fires only when the queue becomes non-empty") {
  queue q;
  const mach_port_name_t port = new_service();
  REQUIRE(q.change(port, EV_ADD | EV_CLEAR) == 0);
  send(port);
  CHECK(fired(q.poll()));
  CHECK_FALSE(fired(q.poll()));
  send(port);
  CHECK_FALSE(fired(q.poll()));
  next_id(port);
  next_id(port);
  send(port);
  CHECK(fired(q.poll()));
}

TEST_CASE("EV_DISPATCH disables the knote after each event, until EV_ENABLE") {
  queue q;
  const mach_port_name_t port = new_service();
  REQUIRE(q.change(port, EV_ADD | EV_DISPATCH) == 0);
  send(port);
  CHECK(fired(q.poll()));
  CHECK_FALSE(fired(q.poll()));
  REQUIRE(q.change(port, EV_ENABLE | EV_DISPATCH) == 0);
  CHECK(fired(q.poll()));
}

TEST_CASE("with MACH_RCV_MSG the event receives the message into the knote's buffer") {
  queue q;
  const mach_port_name_t port = new_service();
  message buffer;
  constexpr auto options =
      static_cast<std::uint32_t>(MACH_RCV_MSG | MACH_RCV_LARGE | MACH_RCV_LARGE_IDENTITY);
  REQUIRE(q.change(port, EV_ADD, options, buffer.bytes, sizeof buffer.bytes) == 0);
  send(port, 8);
  send(port, 9);
  kevent64_s event = q.poll();
  REQUIRE(fired(event));
  CHECK(event.fflags == MACH_MSG_SUCCESS);
  CHECK(event.ext[1] == 24 + 8);
  CHECK(buffer.header().msgh_id == 8);
  CHECK(buffer.header().msgh_local_port == port);
  event = q.poll();
  REQUIRE(fired(event));
  CHECK(buffer.header().msgh_id == 9);
  CHECK_FALSE(fired(q.poll()));
  SUBCASE(
      "too large with MACH_RCV_LARGE: the message stays, and ext[1] is its size without trailer") {
    REQUIRE(q.change(port, EV_ADD, options, buffer.bytes, 30) == 0);
    send(port, 10);
    event = q.poll();
    REQUIRE(fired(event));
    CHECK(event.fflags == MACH_RCV_TOO_LARGE);
    CHECK(event.ext[1] == 24);
    CHECK(event.data == port);
    CHECK(next_id(port) == 10);
  }
  SUBCASE("without a buffer: the message stays, with MACH_RCV_TOO_LARGE") {
    REQUIRE(q.change(port, EV_ADD, MACH_RCV_MSG) == 0);
    send(port, 11);
    event = q.poll();
    REQUIRE(fired(event));
    CHECK(event.fflags == MACH_RCV_TOO_LARGE);
    CHECK(event.data == port);
    CHECK(next_id(port) == 11);
  }
  SUBCASE("too large without MACH_RCV_LARGE: the message is destroyed") {
    REQUIRE(q.change(port, EV_ADD, MACH_RCV_MSG, buffer.bytes, 30) == 0);
    send(port, 12);
    event = q.poll();
    REQUIRE(fired(event));
    CHECK(event.fflags == MACH_RCV_TOO_LARGE);
    CHECK(event.data == MACH_PORT_NULL);
    CHECK(status_of(port).mps_msgcount == 0);
  }
  SUBCASE("no change can switch MACH_RCV_MSG off (EINVAL)") {
    CHECK(q.change(port, EV_ADD, 0) == EINVAL);
    CHECK(q.change(port, EV_ENABLE, 0) == EINVAL);
    CHECK(q.change(port, EV_DISABLE, 0) == EINVAL);
    CHECK(q.change(port, EV_DISABLE, options, buffer.bytes, sizeof buffer.bytes) == 0);
    CHECK(q.change(port, EV_DELETE) == 0);
  }
}

TEST_CASE("with MACH_RCV_MSG each knote receives one message per kevent call") {
  queue q;
  const mach_port_name_t port = new_service(), other = new_service();
  message first, second;
  REQUIRE(q.change(port, EV_ADD, MACH_RCV_MSG, first.bytes, sizeof first.bytes) == 0);
  REQUIRE(q.change(other, EV_ADD, MACH_RCV_MSG, second.bytes, sizeof second.bytes) == 0);
  for (const mach_msg_id_t id : {1, 2}) send(port, id);
  send(other, 3);
  CHECK(q.poll_all().size() == 2);
  CHECK(first.header().msgh_id == 1);
  CHECK(second.header().msgh_id == 3);
  CHECK(q.poll_all().size() == 1);
  CHECK(first.header().msgh_id == 2);
}

TEST_CASE("with MACH_RCV_MSG a set receives from its members, with the requested trailer") {
  queue q;
  const mach_port_name_t port = new_service(), set = new_port(MACH_PORT_RIGHT_PORT_SET);
  mach_port_insert_member(mach_task_self(), port, set);
  message buffer;
  REQUIRE(q.change(set, EV_ADD,
                   static_cast<std::uint32_t>(MACH_RCV_MSG |
                                              MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT)),
                   buffer.bytes, sizeof buffer.bytes) == 0);
  send(port, 4);
  const kevent64_s event = q.poll();
  REQUIRE(fired(event));
  CHECK(event.ident == set);
  CHECK(event.ext[0] == reinterpret_cast<std::uintptr_t>(buffer.bytes));
  CHECK(event.ext[1] == sizeof(mach_msg_header_t) + sizeof(mach_msg_audit_trailer_t));
  CHECK(buffer.header().msgh_local_port == port);
  CHECK(buffer.trailer().msgh_audit.val[5] == static_cast<unsigned>(getpid()));
}

TEST_CASE("with MACH_RCV_MSG a knote ignores MACH_RCV_GUARDED_DESC and destroys guarded rights") {
  queue q;
  const mach_port_name_t port = new_service();
  mach_port_options_t options{};
  options.flags = MPO_CONTEXT_AS_GUARD | MPO_INSERT_SEND_RIGHT;
  mach_port_name_t guarded = MACH_PORT_NULL;
  REQUIRE(mach_port_construct(mach_task_self(), &options, 7, &guarded) == KERN_SUCCESS);
  message buffer;
  REQUIRE(q.change(port, EV_ADD, static_cast<std::uint32_t>(MACH_RCV_MSG | MACH_RCV_GUARDED_DESC),
                   buffer.bytes, sizeof buffer.bytes) == 0);
  message m(port, MACH_MSG_TYPE_COPY_SEND);
  REQUIRE(m.with(guarded_descriptor(guarded, MACH_MSG_GUARD_FLAGS_IMMOVABLE_RECEIVE, 7)).send() ==
          MACH_MSG_SUCCESS);
  CHECK(fired(q.poll()));
  CHECK(buffer.at<mach_msg_guarded_port_descriptor_t>().name == MACH_PORT_NULL);
  CHECK(type_of(guarded) == MACH_PORT_TYPE_DEAD_NAME);
}

TEST_CASE("with MACH_RCV_MSG and EV_DISPATCH, EV_ENABLE sets options and buffer again") {
  queue q;
  const mach_port_name_t port = new_service();
  message first, second;
  REQUIRE(q.change(port, EV_ADD | EV_DISPATCH, MACH_RCV_MSG, first.bytes, sizeof first.bytes) == 0);
  send(port, 1);
  send(port, 2);
  CHECK(fired(q.poll()));
  CHECK(first.header().msgh_id == 1);
  CHECK_FALSE(fired(q.poll()));
  REQUIRE(q.change(port, EV_ENABLE | EV_DISPATCH, MACH_RCV_MSG, second.bytes,
                   sizeof second.bytes) == 0);
  CHECK(fired(q.poll()));
  CHECK(second.header().msgh_id == 2);
}

TEST_CASE("EV_ADD fires for messages that are queued already, on ports and sets") {
  queue q;
  const mach_port_name_t port = new_service(), set = new_port(MACH_PORT_RIGHT_PORT_SET);
  send(port);
  mach_port_insert_member(mach_task_self(), port, set);
  REQUIRE(q.change(set, EV_ADD | EV_CLEAR) == 0);
  CHECK(fired(q.poll()));
  REQUIRE(q.change(port, EV_ADD | EV_CLEAR) == 0);
  CHECK(fired(q.poll()));
  CHECK_FALSE(fired(q.poll()));
}

TEST_CASE("a port with a queued message that joins a watched set makes the set fire") {
  queue q;
  const mach_port_name_t port = new_service(), set = new_port(MACH_PORT_RIGHT_PORT_SET);
  REQUIRE(q.change(set, EV_ADD | EV_CLEAR) == 0);
  send(port);
  CHECK_FALSE(fired(q.poll()));
  REQUIRE(mach_port_insert_member(mach_task_self(), port, set) == KERN_SUCCESS);
  CHECK(q.poll().data == port);
}

TEST_CASE("EV_CLEAR on a set fires for each member that becomes non-empty") {
  queue q;
  const mach_port_name_t one = new_service(), two = new_service(),
                         set = new_port(MACH_PORT_RIGHT_PORT_SET);
  mach_port_insert_member(mach_task_self(), one, set);
  mach_port_insert_member(mach_task_self(), two, set);
  REQUIRE(q.change(set, EV_ADD | EV_CLEAR) == 0);
  send(one);
  CHECK(fired(q.poll()));
  send(one);
  CHECK_FALSE(fired(q.poll()));
  send(two);
  CHECK(fired(q.poll()));
}

TEST_CASE("a knote does not fire for a message that another receive has taken") {
  queue q;
  const mach_port_name_t port = new_service();
  message buffer;
  SUBCASE("without MACH_RCV_MSG") {
    REQUIRE(q.change(port, EV_ADD) == 0);
  }
  SUBCASE("with MACH_RCV_MSG") {
    REQUIRE(q.change(port, EV_ADD, MACH_RCV_MSG, buffer.bytes, sizeof buffer.bytes) == 0);
  }
  send(port, 3);
  CHECK(next_id(port) == 3);
  CHECK_FALSE(fired(q.poll()));
  send(port, 4);
  CHECK(fired(q.poll()));
}

TEST_CASE("a knote with EV_VANISHED reports the port's end by EV_VANISHED instead of EV_EOF") {
  queue q;
  const mach_port_name_t port = new_service();
  REQUIRE(q.change(port, EV_ADD | EV_DISPATCH2 | EV_VANISHED) == 0);
  SUBCASE("the port dies") {
    end_receive(port);
  }
  SUBCASE("the receive right is moved away") {
    message(new_service(), MACH_MSG_TYPE_COPY_SEND, 0, {{port, MACH_MSG_TYPE_MOVE_RECEIVE}}).send();
  }
  const kevent64_s event = q.poll();
  REQUIRE(fired(event));
  CHECK((event.flags & EV_VANISHED) != 0);
  CHECK((event.flags & EV_EOF) == 0);
  CHECK_FALSE(fired(q.poll()));
}

TEST_CASE("EV_VANISHED without EV_DISPATCH2 is refused (EINVAL)") {
  queue q;
  CHECK(q.change(new_service(), EV_ADD | EV_VANISHED) == EINVAL);
}

TEST_CASE("a receive right that was moved away and came back can be watched again") {
  queue q;
  const mach_port_name_t port = new_service(), carrier = new_service();
  REQUIRE(q.change(port, EV_ADD) == 0);
  REQUIRE(
      message(carrier, MACH_MSG_TYPE_COPY_SEND, 0, {{port, MACH_MSG_TYPE_MOVE_RECEIVE}}).send() ==
      MACH_MSG_SUCCESS);
  CHECK((q.poll().flags & EV_EOF) != 0);
  send(port, 6);
  CHECK_FALSE(fired(q.poll()));
  message m;
  REQUIRE(m.receive(carrier) == MACH_MSG_SUCCESS);
  REQUIRE(q.change(m.port_at(0), EV_ADD) == 0);
  CHECK(fired(q.poll()));
  CHECK(next_id(m.port_at(0)) == 6);
}

TEST_CASE("with MACH_RCV_MSG on two kqueues, each message goes to one of them") {
  queue one, two;
  const mach_port_name_t port = new_service();
  message first, second;
  REQUIRE(one.change(port, EV_ADD, MACH_RCV_MSG, first.bytes, sizeof first.bytes) == 0);
  REQUIRE(two.change(port, EV_ADD, MACH_RCV_MSG, second.bytes, sizeof second.bytes) == 0);
  send(port, 1);
  CHECK(fired(one.poll()));
  CHECK_FALSE(fired(two.poll()));
  send(port, 2);
  CHECK(fired(two.poll()));
  CHECK_FALSE(fired(one.poll()));
  CHECK(first.header().msgh_id == 1);
  CHECK(second.header().msgh_id == 2);
}

TEST_CASE("EV_ONESHOT deletes the knote after its event") {
  queue q;
  const mach_port_name_t port = new_service();
  REQUIRE(q.change(port, EV_ADD | EV_ONESHOT) == 0);
  send(port);
  CHECK(fired(q.poll()));
  CHECK_FALSE(fired(q.poll()));
  CHECK(q.change(port, EV_DELETE) == ENOENT);
}

TEST_CASE("a notification and the message of a blocked sender make a knote fire") {
  queue q;
  const mach_port_name_t port = new_service(), dying = new_service();
  REQUIRE(q.change(port, EV_ADD | EV_CLEAR) == 0);
  REQUIRE(request(dying, MACH_NOTIFY_DEAD_NAME, 0, port) == KERN_SUCCESS);
  end_receive(dying);
  CHECK(fired(q.poll()));
  CHECK(next_id(port) == MACH_NOTIFY_DEAD_NAME);
  REQUIRE(set_limit(port, 1) == KERN_SUCCESS);
  send(port, 1);
  CHECK(fired(q.poll()));
  std::thread sender([port] {
    message m(port, MACH_MSG_TYPE_COPY_SEND, 2);
    mach_msg(&m.header(), MACH_SEND_MSG, m.size, 0, MACH_PORT_NULL, 0, MACH_PORT_NULL);
  });
  CHECK(next_id(port) == 1);
  CHECK(fired(q.wait()));
  CHECK(next_id(port) == 2);
  sender.join();
}

TEST_CASE("a knote reports EV_EOF once when its port or set ends") {
  queue q;
  const mach_port_name_t port = new_service(), set = new_port(MACH_PORT_RIGHT_PORT_SET);
  SUBCASE("a receive right that dies") {
    REQUIRE(q.change(port, EV_ADD) == 0);
    end_receive(port);
  }
  SUBCASE("a receive right that is moved away") {
    REQUIRE(q.change(port, EV_ADD) == 0);
    message(new_service(), MACH_MSG_TYPE_COPY_SEND, 0, {{port, MACH_MSG_TYPE_MOVE_RECEIVE}}).send();
  }
  SUBCASE("a set that is deallocated") {
    REQUIRE(q.change(set, EV_ADD) == 0);
    mach_port_deallocate(mach_task_self(), set);
  }
  const kevent64_s event = q.poll();
  REQUIRE(fired(event));
  CHECK((event.flags & (EV_EOF | EV_ONESHOT)) == (EV_EOF | EV_ONESHOT));
  CHECK_FALSE(fired(q.poll()));
}

TEST_CASE("the death of a member does not end the set's knote") {
  queue q;
  const mach_port_name_t port = new_service(), other = new_service(),
                         set = new_port(MACH_PORT_RIGHT_PORT_SET);
  mach_port_insert_member(mach_task_self(), port, set);
  mach_port_insert_member(mach_task_self(), other, set);
  REQUIRE(q.change(set, EV_ADD) == 0);
  end_receive(port);
  CHECK_FALSE(fired(q.poll()));
  send(other);
  CHECK(q.poll().data == other);
}

TEST_CASE("a message from another thread wakes a thread in kevent") {
  queue q;
  const mach_port_name_t port = new_service();
  REQUIRE(q.change(port, EV_ADD | EV_CLEAR) == 0);
  std::thread sender([port] { message(port, MACH_MSG_TYPE_COPY_SEND).send(); });
  CHECK(fired(q.wait()));
  sender.join();
}

TEST_CASE("two kqueues on one port both fire for a message") {
  queue one, two;
  const mach_port_name_t port = new_service();
  REQUIRE(one.change(port, EV_ADD) == 0);
  REQUIRE(two.change(port, EV_ADD) == 0);
  send(port);
  CHECK(fired(one.poll()));
  CHECK(fired(two.poll()));
  CHECK(one.change(port, EV_DELETE) == 0);
  CHECK_FALSE(fired(one.poll()));
  CHECK(fired(two.poll()));
}

// On Darwin a process is one task.
TEST_CASE("a kqueue looks names up in the task that made it" *
          doctest::skip(!kedge::mach::kernel::has_many_tasks())) {
  const auto other = kedge::mach::kernel::create_task();
  const mach_port_name_t ours = new_service();
  mach_port_name_t theirs = MACH_PORT_NULL;
  {
    const kedge::mach::kernel::current_task_guard there(other);
    queue q;
    theirs = new_service();
    const kedge::mach::kernel::current_task_guard back({});
    CHECK(q.change(theirs, EV_ADD) == 0);
    CHECK(q.change(ours, EV_ADD) == ENOENT);
  }
  kedge::mach::kernel::terminate_task(other);
}

TEST_CASE(
    "send() names the watched port or set that it fills, and receive() says when it is empty" *
    doctest::skip(!kedge::mach::kernel::has_many_tasks())) {
  namespace kernel = kedge::mach::kernel;
  const auto send_one = [](mach_port_name_t to) {
    mach_msg_header_t m{};
    m.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0u);
    m.msgh_remote_port = to;
    const kernel::sending sent = kernel::send(&m, MACH_SEND_TIMEOUT, sizeof m);
    REQUIRE(sent.code == MACH_MSG_SUCCESS);
    return sent.awakened;
  };
  const auto is_empty_after_one = [](mach_port_name_t from) {
    struct {
      mach_msg_header_t header;
      mach_msg_max_trailer_t trailer;
    } m;
    const kernel::receiving got = kernel::receive(&m.header, MACH_RCV_TIMEOUT, sizeof m, from);
    REQUIRE(got.code == MACH_MSG_SUCCESS);
    return got.emptied;
  };
  queue q;
  const mach_port_name_t port = new_service(), member = new_service();
  mach_port_name_t set = MACH_PORT_NULL;
  REQUIRE(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_PORT_SET, &set) == KERN_SUCCESS);
  CHECK(send_one(port) == MACH_PORT_NULL);  // not watched
  CHECK(is_empty_after_one(port));
  REQUIRE(q.change(port, EV_ADD | EV_CLEAR) == 0);
  CHECK(send_one(port) == port);
  CHECK(send_one(port) == MACH_PORT_NULL);  // its queue was not empty
  CHECK_FALSE(is_empty_after_one(port));
  CHECK(is_empty_after_one(port));
  CHECK_FALSE(fired(q.poll()));
  CHECK(send_one(port) == port);
  CHECK(fired(q.poll()));  // though it was sent while the kqueue had not looked

  REQUIRE(mach_port_insert_member(mach_task_self(), member, set) == KERN_SUCCESS);
  REQUIRE(mach_port_insert_member(mach_task_self(), port, set) == KERN_SUCCESS);
  CHECK(send_one(member) == set);
  CHECK_FALSE(is_empty_after_one(set));
  CHECK(is_empty_after_one(set));
  for (const mach_port_name_t each : {port, member}) mach_port_destroy(mach_task_self(), each);
  mach_port_mod_refs(mach_task_self(), set, MACH_PORT_RIGHT_PORT_SET, -1);
}
