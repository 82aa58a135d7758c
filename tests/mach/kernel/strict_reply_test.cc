// MACH_MSG_STRICT_REPLY. It is enforced only on request: on Linux by enforce_strict_replies(), on
// Darwin by a boot argument.
#include <doctest/doctest.h>

#include "kedge/mach/kernel/extension.h"
#include "test_message.h"

using namespace test;
namespace extension = kedge::mach::kernel;

namespace {

// While an object lives, strict replies are enforced and guard exceptions are recorded.
class strict {
 public:
  strict() {
    extension::enforce_strict_replies(true);
    extension::set_guard_behaviour({}, extension::guard_behaviour::record);
    extension::take_guard_exceptions({});  // of earlier cases
  }
  ~strict() {
    extension::set_guard_behaviour({}, extension::guard_behaviour::ordinary);
    extension::enforce_strict_replies(false);
  }
};

mach_msg_return_t send(mach_port_name_t to, mach_port_name_t reply,
                       mach_msg_type_name_t disposition, mach_msg_option_t option = 0) {
  message m(to, MACH_MSG_TYPE_COPY_SEND);
  return m.reply_to(reply, disposition).send(MACH_MSG_STRICT_REPLY | option);
}

}  // namespace

TEST_CASE("by default MACH_MSG_STRICT_REPLY has no effect") {
  const mach_port_name_t to = new_service(), reply = new_service();
  CHECK(send(to, reply, MACH_MSG_TYPE_COPY_SEND) == MACH_MSG_SUCCESS);
  CHECK(send(to, MACH_PORT_NULL, MACH_MSG_TYPE_PORT_NONE) == MACH_MSG_SUCCESS);
}

#if !defined(__APPLE__)

namespace {

// Checks that one violation, at this right, was recorded since the last call. Returns its subcode.
std::uint64_t violation_of(mach_port_name_t name) {
  const auto raised = extension::take_guard_exceptions({});
  REQUIRE(raised.size() == 1);
  CHECK(raised[0].code == kGUARD_EXC_STRICT_REPLY);
  CHECK(raised[0].name == name);
  CHECK(raised[0].always_fatal);
  return raised[0].subcode;
}

constexpr auto bad_disposition = MPG_FLAGS_STRICT_REPLY_INVALID_REPLY_DISP;
constexpr auto bad_port = MPG_FLAGS_STRICT_REPLY_INVALID_REPLY_PORT | KERN_INVALID_CAPABILITY;

}  // namespace

TEST_CASE("a strict send accepts a reply port named by make-send-once or move-send-once") {
  const strict enforced;
  const mach_port_name_t to = new_service(), reply = new_port();
  CHECK(send(to, reply, MACH_MSG_TYPE_MAKE_SEND_ONCE) == MACH_MSG_SUCCESS);
  message got;
  REQUIRE(got.receive(to) == MACH_MSG_SUCCESS);
  mach_msg_destroy(&got.header());
  CHECK(next_id(reply) == MACH_NOTIFY_SEND_ONCE);
  CHECK(send(to, new_send_once(reply), MACH_MSG_TYPE_MOVE_SEND_ONCE) == MACH_MSG_SUCCESS);
  CHECK(extension::take_guard_exceptions({}).empty());
}

TEST_CASE("class 1: a strict send refuses a missing reply port and other dispositions") {
  const strict enforced;
  const mach_port_name_t to = new_service(), reply = new_service();
  CHECK(send(to, MACH_PORT_NULL, MACH_MSG_TYPE_PORT_NONE) == MACH_SEND_INVALID_REPLY);
  CHECK(violation_of(MACH_PORT_NULL) == bad_disposition);
  CHECK(send(to, reply, MACH_MSG_TYPE_COPY_SEND) == MACH_SEND_INVALID_REPLY);
  CHECK(violation_of(reply) == (bad_disposition | MACH_MSG_TYPE_COPY_SEND));
  CHECK(refs_of(reply, MACH_PORT_RIGHT_SEND) == 1);
  CHECK(status_of(to).mps_msgcount == 0);
}

TEST_CASE("class 2: a strict send refuses a reply port to which another send-once right exists") {
  const strict enforced;
  const mach_port_name_t to = new_service(), reply = new_port();
  const mach_port_name_t other = new_send_once(reply);
  CHECK(send(to, reply, MACH_MSG_TYPE_MAKE_SEND_ONCE) == MACH_SEND_INVALID_REPLY);
  CHECK(violation_of(reply) == bad_port);
  CHECK(next_id(reply) == MACH_NOTIFY_SEND_ONCE);  // the right made for the message is destroyed
  CHECK(mach_port_deallocate(mach_task_self(), other) == KERN_SUCCESS);
  CHECK(next_id(reply) == MACH_NOTIFY_SEND_ONCE);
  CHECK(send(to, reply, MACH_MSG_TYPE_MAKE_SEND_ONCE) == MACH_MSG_SUCCESS);
}

TEST_CASE("class 2: with MACH_RCV_GUARDED_DESC a strict send refuses a movable reply port") {
  const strict enforced;
  const mach_port_name_t to = new_service(), reply = new_port();
  CHECK(send(to, reply, MACH_MSG_TYPE_MAKE_SEND_ONCE, MACH_RCV_GUARDED_DESC) ==
        MACH_SEND_INVALID_REPLY);
  CHECK(violation_of(reply) == bad_port);
  mach_port_options_t options{};
  options.flags = MPO_CONTEXT_AS_GUARD | MPO_IMMOVABLE_RECEIVE;
  mach_port_name_t immovable = MACH_PORT_NULL;
  REQUIRE(mach_port_construct(mach_task_self(), &options, 5, &immovable) == KERN_SUCCESS);
  CHECK(send(to, immovable, MACH_MSG_TYPE_MAKE_SEND_ONCE, MACH_RCV_GUARDED_DESC) ==
        MACH_MSG_SUCCESS);
}

TEST_CASE("a strict send accepts a send-once right whose port is dead") {
  const strict enforced;
  const mach_port_name_t to = new_service(), reply = new_port();
  const mach_port_name_t once = new_send_once(reply);
  CHECK(end_receive(reply) == KERN_SUCCESS);
  CHECK(send(to, once, MACH_MSG_TYPE_MOVE_SEND_ONCE) == MACH_MSG_SUCCESS);
}

#endif
