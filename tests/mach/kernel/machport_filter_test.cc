// EVFILT_MACHPORT (kqueue-on-darwin.md, mach-on-darwin.md).
#include <doctest/doctest.h>

#include <errno.h>
#include <sys/event.h>
#include <unistd.h>

#include <thread>

#include "kedge/mach/kernel/extension.h"
#include "test_message.h"

using namespace test;

namespace {

class queue {
 public:
  ~queue() { close(fd_); }

  // 0, or the error of the change.
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
  // The next event, without waiting; filter 0 if there is none.
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

TEST_CASE("attach: what can be watched") {
  queue q;
  CHECK(q.change(new_port(), EV_ADD) == 0);
  CHECK(q.change(new_port(MACH_PORT_RIGHT_PORT_SET), EV_ADD) == 0);
  CHECK(q.change(0x00fff703, EV_ADD) == ENOENT);
  CHECK(q.change(new_port(MACH_PORT_RIGHT_DEAD_NAME), EV_ADD) == ENOENT);
  CHECK(q.change(new_send_once(new_port()), EV_ADD) == ENOTSUP);
}

TEST_CASE("peek: level-triggered, tells the name") {
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

TEST_CASE("peek on a set tells the member") {
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

TEST_CASE("EV_CLEAR fires only from empty to non-empty") {
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

TEST_CASE("EV_DISPATCH disables after each event") {
  queue q;
  const mach_port_name_t port = new_service();
  REQUIRE(q.change(port, EV_ADD | EV_DISPATCH) == 0);
  send(port);
  CHECK(fired(q.poll()));
  CHECK_FALSE(fired(q.poll()));
  REQUIRE(q.change(port, EV_ENABLE | EV_DISPATCH) == 0);
  CHECK(fired(q.poll()));
}

TEST_CASE("direct: the message is received by the event") {
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
  SUBCASE("too large: it stays, and is told without its trailer") {
    REQUIRE(q.change(port, EV_ADD, options, buffer.bytes, 30) == 0);
    send(port, 10);
    event = q.poll();
    REQUIRE(fired(event));
    CHECK(event.fflags == MACH_RCV_TOO_LARGE);
    CHECK(event.ext[1] == 24);
    CHECK(event.data == port);
    CHECK(next_id(port) == 10);
  }
  SUBCASE("the mode cannot be changed") {
    CHECK(q.change(port, EV_ADD, 0) == EINVAL);
  }
}

TEST_CASE("the end of what is watched") {
  queue q;
  const mach_port_name_t port = new_service(), set = new_port(MACH_PORT_RIGHT_PORT_SET);
  SUBCASE("a receive right that dies") {
    REQUIRE(q.change(port, EV_ADD) == 0);
    end_receive(port);
  }
  SUBCASE("one that moves away") {
    REQUIRE(q.change(port, EV_ADD) == 0);
    message(new_service(), MACH_MSG_TYPE_COPY_SEND, 0, {{port, MACH_MSG_TYPE_MOVE_RECEIVE}}).send();
  }
  SUBCASE("a set") {
    REQUIRE(q.change(set, EV_ADD) == 0);
    mach_port_deallocate(mach_task_self(), set);
  }
  const kevent64_s event = q.poll();
  REQUIRE(fired(event));
  CHECK((event.flags & (EV_EOF | EV_ONESHOT)) == (EV_EOF | EV_ONESHOT));
  CHECK_FALSE(fired(q.poll()));
}

TEST_CASE("a dead member does not end the set's knote") {
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

TEST_CASE("a thread in kevent is woken by a message from another") {
  queue q;
  const mach_port_name_t port = new_service();
  REQUIRE(q.change(port, EV_ADD | EV_CLEAR) == 0);
  std::thread sender([port] { message(port, MACH_MSG_TYPE_COPY_SEND).send(); });
  CHECK(fired(q.wait()));
  sender.join();
}

TEST_CASE("several kqueues on one port") {
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
