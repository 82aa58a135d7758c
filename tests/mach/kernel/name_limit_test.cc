// Calls of a task whose table of names is full (ipc_entry.c: KERN_NO_SPACE).
#include <doctest/doctest.h>

#include "kedge/mach/kernel/extension.h"
#include "test_message.h"

using namespace test;

namespace {

using namespace kedge::mach::kernel;

// On Darwin a table is full only after some 300,000 names.
const auto limited = doctest::skip(!has_many_tasks());

// Makes a new task the current one, with room for `count` names.
class small_task {
 public:
  explicit small_task(std::uint32_t count) : task_(create_task()), there_(task_) {
    limit_names(task_, count);
  }
  ~small_task() {
    const current_task_guard back({});
    terminate_task(task_);
  }
  void room(std::uint32_t count) { limit_names(task_, count); }

 private:
  task task_;
  current_task_guard there_;
};

kern_return_t allocate(mach_port_right_t right) {
  mach_port_name_t name = MACH_PORT_NULL;
  return mach_port_allocate(mach_task_self(), right, &name);
}

}  // namespace

TEST_CASE("allocate and construct fail with KERN_NO_SPACE until a name is free" * limited) {
  small_task here(2);
  const mach_port_name_t port = new_port();
  REQUIRE(new_port() != MACH_PORT_NULL);
  CHECK(allocate(MACH_PORT_RIGHT_RECEIVE) == KERN_NO_SPACE);
  CHECK(allocate(MACH_PORT_RIGHT_PORT_SET) == KERN_NO_SPACE);
  CHECK(allocate(MACH_PORT_RIGHT_DEAD_NAME) == KERN_NO_SPACE);
  mach_port_options_t options{};
  mach_port_name_t name = MACH_PORT_NULL;
  CHECK(mach_port_construct(mach_task_self(), &options, 0, &name) == KERN_NO_SPACE);
  REQUIRE(end_receive(port) == KERN_SUCCESS);
  CHECK(allocate(MACH_PORT_RIGHT_RECEIVE) == KERN_SUCCESS);
}

TEST_CASE("insert_right and extract_right fail with KERN_NO_SPACE and release the right" *
          limited) {
  small_task here(1);
  const mach_port_name_t port = new_port();
  CHECK(mach_port_insert_right(mach_task_self(), 0x00abcd03, port, MACH_MSG_TYPE_MAKE_SEND_ONCE) ==
        KERN_NO_SPACE);
  CHECK(next_id(port) == MACH_NOTIFY_SEND_ONCE);
  CHECK(mach_port_insert_right(mach_task_self(), port, port, MACH_MSG_TYPE_MAKE_SEND) ==
        KERN_SUCCESS);
  mach_port_t once = MACH_PORT_NULL;
  mach_msg_type_name_t type = 0;
  CHECK(mach_port_extract_right(mach_task_self(), port, MACH_MSG_TYPE_MAKE_SEND_ONCE, &once,
                                &type) == KERN_NO_SPACE);
  CHECK(next_id(port) == MACH_NOTIFY_SEND_ONCE);
}

TEST_CASE("a message whose reply right finds no name is destroyed (MACH_RCV_HEADER_ERROR)" *
          limited) {
  small_task here(2);
  const mach_port_name_t port = new_service(), reply_to = new_port();
  message m(port, MACH_MSG_TYPE_COPY_SEND, 5);
  REQUIRE(m.reply_to(reply_to, MACH_MSG_TYPE_MAKE_SEND_ONCE).send() == MACH_MSG_SUCCESS);
  message got;
  CHECK(got.receive(port) == (MACH_RCV_HEADER_ERROR | MACH_MSG_IPC_SPACE));
  CHECK(status_of(port).mps_msgcount == 0);
  CHECK(next_id(reply_to) == MACH_NOTIFY_SEND_ONCE);
}

TEST_CASE("a right in the body that finds no name is destroyed, and the rest arrives" * limited) {
  small_task here(3);
  const mach_port_name_t port = new_service(), first = new_port(), second = new_port();
  REQUIRE(message(port, MACH_MSG_TYPE_COPY_SEND, 5,
                  {{first, MACH_MSG_TYPE_MAKE_SEND_ONCE}, {second, MACH_MSG_TYPE_MAKE_SEND}})
              .send() == MACH_MSG_SUCCESS);
  message got;
  CHECK(got.receive(port) == (MACH_RCV_BODY_ERROR | MACH_MSG_IPC_SPACE));
  CHECK(got.header().msgh_id == 5);
  CHECK(got.port_at(0) == MACH_PORT_NULL);
  CHECK(got.port_at(1) == second);
  CHECK(next_id(first) == MACH_NOTIFY_SEND_ONCE);
  CHECK(type_of(second) == MACH_PORT_TYPE_SEND_RECEIVE);
}

TEST_CASE("the rights of a body get their names from the last to the first" * limited) {
  const task owner = create_task();
  mach_port_name_t names[2]{};
  {
    const current_task_guard there(owner);
    for (mach_port_name_t& each : names) each = new_port();
  }
  {
    small_task here(4);
    const mach_port_t owner_port = task_self_port(owner);
    const mach_port_name_t port = new_service();
    mach_port_t rights[2]{};
    for (int each = 0; each < 2; ++each) {
      mach_msg_type_name_t type = 0;
      REQUIRE(mach_port_extract_right(owner_port, names[each], MACH_MSG_TYPE_MAKE_SEND,
                                      &rights[each], &type) == KERN_SUCCESS);
    }
    REQUIRE(message(port, MACH_MSG_TYPE_COPY_SEND, 5,
                    {{rights[0], MACH_MSG_TYPE_COPY_SEND}, {rights[1], MACH_MSG_TYPE_COPY_SEND}})
                .send() == MACH_MSG_SUCCESS);
    for (const mach_port_t each : rights) mach_port_deallocate(mach_task_self(), each);
    here.room(3);
    message got;
    CHECK(got.receive(port) == (MACH_RCV_BODY_ERROR | MACH_MSG_IPC_SPACE));
    CHECK(got.port_at(0) == MACH_PORT_NULL);
    CHECK(type_of(got.port_at(1)) == MACH_PORT_TYPE_SEND);
    CHECK(mach_port_deallocate(mach_task_self(), got.port_at(1)) == KERN_SUCCESS);
  }
  {
    const current_task_guard there(owner);
    for (const mach_port_name_t each : names) {
      CAPTURE(each);
      CHECK_FALSE(status_of(each).mps_srights);
    }
  }
  terminate_task(owner);
}

TEST_CASE("a full space still sends, receives and counts references by its existing names" *
          limited) {
  small_task here(1);
  const mach_port_name_t port = new_service();
  here.room(0);
  CHECK(message(port, MACH_MSG_TYPE_COPY_SEND, 6).send() == MACH_MSG_SUCCESS);
  CHECK(next_id(port) == 6);
  CHECK(mach_port_mod_refs(mach_task_self(), port, MACH_PORT_RIGHT_SEND, 1) == KERN_SUCCESS);
}
