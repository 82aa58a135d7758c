// Reply ports, and the other kinds of ports that mach_port_construct makes (xnu-8792 and later).
#include <doctest/doctest.h>

#include <servers/bootstrap.h>

#include <mach/mig.h>

#include "kedge/mach/kernel/extension.h"
#include "test_message.h"

using namespace test;

namespace {

using namespace kedge::mach::kernel;

kern_return_t construct(std::uint32_t flags, mach_port_name_t& name,
                        mach_port_name_t service = MACH_PORT_NULL) {
  mach_port_options_t options{};
  options.flags = flags;
  options.service_port_name = service;
  return mach_port_construct(mach_task_self(), &options, 0, &name);
}

mach_port_name_t new_kind(std::uint32_t flags, mach_port_name_t service = MACH_PORT_NULL) {
  mach_port_name_t name = MACH_PORT_NULL;
  REQUIRE(construct(flags, name, service) == KERN_SUCCESS);
  return name;
}

kern_return_t result_of(std::uint32_t flags, mach_port_name_t service = MACH_PORT_NULL) {
  mach_port_name_t name = MACH_PORT_NULL;
  return construct(flags, name, service);
}

kern_return_t extract(mach_port_name_t name, mach_msg_type_name_t disposition) {
  mach_port_t right = MACH_PORT_NULL;
  mach_msg_type_name_t type = 0;
  return mach_port_extract_right(mach_task_self(), name, disposition, &right, &type);
}

// Records the guard exceptions of the current task while an object lives.
class recorder {
 public:
  recorder() {
    set_guard_behaviour(task_of_thread(), guard_behaviour::record);
    take_guard_exceptions(task_of_thread());  // of earlier cases
  }
  ~recorder() { set_guard_behaviour(task_of_thread(), guard_behaviour::ordinary); }
  recorder(const recorder&) = delete;
  recorder& operator=(const recorder&) = delete;
  // Returns the code of the last exception since the last call, 0 if there was none.
  std::uint32_t code() const {
    const std::vector<guard_exception> raised = take_guard_exceptions(task_of_thread());
    return raised.empty() ? 0 : raised.back().code;
  }
};

// Sends a request with a reply port.
mach_msg_return_t ask(mach_port_name_t service, mach_port_name_t reply_to,
                      mach_msg_type_name_t disposition = MACH_MSG_TYPE_MAKE_SEND_ONCE) {
  return message(service, MACH_MSG_TYPE_COPY_SEND, 7).reply_to(reply_to, disposition).send();
}

}  // namespace

TEST_CASE("construct refuses contradictory flags, and those reserved for launchd (KERN_DENIED)") {
  CHECK(result_of(MPO_SERVICE_PORT | MPO_CONNECTION_PORT) == KERN_INVALID_ARGUMENT);
  CHECK(result_of(MPO_TG_BLOCK_TRACKING | MPO_CONNECTION_PORT) == KERN_INVALID_ARGUMENT);
  CHECK(result_of(MPO_REPLY_PORT | MPO_ENFORCE_REPLY_PORT_SEMANTICS) == KERN_INVALID_ARGUMENT);
  CHECK(result_of(MPO_REPLY_PORT | MPO_PROVISIONAL_REPLY_PORT) == KERN_INVALID_ARGUMENT);
  CHECK(result_of(MPO_EXCEPTION_PORT | MPO_REPLY_PORT) == KERN_INVALID_ARGUMENT);
  CHECK(result_of(MPO_SERVICE_PORT) == KERN_DENIED);
  CHECK(result_of(MPO_TG_BLOCK_TRACKING) == KERN_DENIED);
}

TEST_CASE("a request by make-send-once to a reply port gets its reply there") {
  const mach_port_name_t service = new_service(), reply_to = new_kind(MPO_REPLY_PORT);
  CHECK(type_of(reply_to) == MACH_PORT_TYPE_RECEIVE);
  REQUIRE(ask(service, reply_to) == MACH_MSG_SUCCESS);
  message request;
  REQUIRE(request.receive(service) == MACH_MSG_SUCCESS);
  const mach_port_name_t once = request.header().msgh_remote_port;
  CHECK(type_of(once) == MACH_PORT_TYPE_SEND_ONCE);
  REQUIRE(message(once, MACH_MSG_TYPE_MOVE_SEND_ONCE, 107).send() == MACH_MSG_SUCCESS);
  CHECK(next_id(reply_to) == 107);
}

TEST_CASE("every other right to a reply port is refused with a guard exception") {
  const recorder records;
  const mach_port_name_t reply_to = new_kind(MPO_REPLY_PORT);
  CHECK(extract(reply_to, MACH_MSG_TYPE_MAKE_SEND) == KERN_INVALID_CAPABILITY);
  CHECK(records.code() == kGUARD_EXC_INVALID_RIGHT);
  CHECK(extract(reply_to, MACH_MSG_TYPE_MAKE_SEND_ONCE) == KERN_INVALID_CAPABILITY);
  CHECK(mach_port_insert_right(mach_task_self(), reply_to, reply_to, MACH_MSG_TYPE_MAKE_SEND) ==
        KERN_INVALID_CAPABILITY);
  records.code();
  const mach_port_name_t service = new_service();
  CHECK(message(service, MACH_MSG_TYPE_COPY_SEND, 0, {{reply_to, MACH_MSG_TYPE_MAKE_SEND_ONCE}})
            .send() == MACH_SEND_INVALID_RIGHT);
  CHECK(records.code() == kGUARD_EXC_INVALID_RIGHT);
  CHECK(message(service, MACH_MSG_TYPE_COPY_SEND, 0, {{reply_to, MACH_MSG_TYPE_MOVE_RECEIVE}})
            .send() == MACH_SEND_INVALID_RIGHT);
  CHECK(records.code() == kGUARD_EXC_IMMOVABLE);
  CHECK(status_of(reply_to).mps_sorights == 0);
}

TEST_CASE(
    "the send-once right to a reply port can be a destination, and is not sent in a message") {
  const recorder records;
  const mach_port_name_t service = new_service(), reply_to = new_kind(MPO_REPLY_PORT);
  REQUIRE(ask(service, reply_to) == MACH_MSG_SUCCESS);
  message request;
  REQUIRE(request.receive(service) == MACH_MSG_SUCCESS);
  const mach_port_name_t once = request.header().msgh_remote_port;
  CHECK(
      message(service, MACH_MSG_TYPE_COPY_SEND, 0, {{once, MACH_MSG_TYPE_MOVE_SEND_ONCE}}).send() ==
      MACH_SEND_INVALID_RIGHT);
  CHECK(records.code() == kGUARD_EXC_INVALID_RIGHT);
  CHECK(ask(service, once, MACH_MSG_TYPE_MOVE_SEND_ONCE) == MACH_SEND_INVALID_REPLY);
  CHECK(type_of(once) == MACH_PORT_TYPE_SEND_ONCE);
  CHECK(mach_port_deallocate(mach_task_self(), once) == KERN_SUCCESS);
  CHECK(next_id(reply_to) == MACH_NOTIFY_SEND_ONCE);
}

TEST_CASE("a message with a reply port needs MAKE_SEND_ONCE") {
  const mach_port_name_t service = new_service(), reply_to = new_kind(MPO_REPLY_PORT);
  CHECK(ask(service, reply_to, MACH_MSG_TYPE_MAKE_SEND) == MACH_SEND_INVALID_REPLY);
  CHECK(status_of(reply_to).mps_srights == 0);
}

TEST_CASE("a reply port refuses no-senders and port-destroyed requests with a guard exception") {
  const mach_port_name_t reply_to = new_kind(MPO_REPLY_PORT), notify = new_port();
  const task owner = task_of_thread();
  set_guard_behaviour(owner, guard_behaviour::record);
  for (const mach_msg_id_t id : {MACH_NOTIFY_NO_SENDERS, MACH_NOTIFY_PORT_DESTROYED}) {
    CAPTURE(id);
    take_guard_exceptions(owner);
    CHECK(request(reply_to, id, 0, notify) == KERN_INVALID_RIGHT);
    if (!has_many_tasks()) continue;
    const auto raised = take_guard_exceptions(owner);
    REQUIRE(raised.size() == 1);
    CHECK(raised[0].code == kGUARD_EXC_INVALID_RIGHT);
    CHECK(raised[0].name == reply_to);
  }
  set_guard_behaviour(owner, guard_behaviour::ordinary);
  // Both calls have destroyed the right made for the request.
  CHECK(next_id(notify) == MACH_NOTIFY_SEND_ONCE);
  CHECK(next_id(notify) == MACH_NOTIFY_SEND_ONCE);
}

TEST_CASE("a send that is given back has the reply port with MAKE_SEND_ONCE, to be sent again") {
  const mach_port_name_t service = new_service(), reply_to = new_kind(MPO_REPLY_PORT);
  REQUIRE(set_limit(service, 1) == KERN_SUCCESS);
  REQUIRE(ask(service, reply_to) == MACH_MSG_SUCCESS);
  message m(service, MACH_MSG_TYPE_COPY_SEND, 8);
  m.reply_to(reply_to, MACH_MSG_TYPE_MAKE_SEND_ONCE);
  REQUIRE(m.send() == MACH_SEND_TIMED_OUT);
  CHECK(m.header().msgh_local_port == reply_to);
  CHECK(MACH_MSGH_BITS_LOCAL(m.header().msgh_bits) == MACH_MSG_TYPE_MAKE_SEND_ONCE);
  CHECK(status_of(reply_to).mps_sorights == 1);
  CHECK(next_id(service) == 7);
  CHECK(m.send() == MACH_MSG_SUCCESS);
}

TEST_CASE("a port with MPO_ENFORCE_REPLY_PORT_SEMANTICS refuses requests without a reply port") {
  const recorder records;
  const mach_port_name_t service =
      new_kind(MPO_ENFORCE_REPLY_PORT_SEMANTICS | MPO_INSERT_SEND_RIGHT);
  CHECK(ask(service, new_port()) == MACH_SEND_INVALID_REPLY);
  CHECK(records.code() == kGUARD_EXC_REQUIRE_REPLY_PORT_SEMANTICS);
  CHECK(ask(service, new_service(), MACH_MSG_TYPE_COPY_SEND) == MACH_SEND_INVALID_REPLY);
  CHECK(ask(service, new_kind(MPO_REPLY_PORT)) == MACH_MSG_SUCCESS);
  CHECK(ask(service, new_kind(MPO_PROVISIONAL_REPLY_PORT)) == MACH_MSG_SUCCESS);
  CHECK(message(service, MACH_MSG_TYPE_COPY_SEND).send() == MACH_MSG_SUCCESS);
  CHECK(status_of(service).mps_msgcount == 3);
}

TEST_CASE("a provisional reply port allows send rights, requests and moves") {
  const mach_port_name_t port = new_kind(MPO_PROVISIONAL_REPLY_PORT);
  CHECK(mach_port_insert_right(mach_task_self(), port, port, MACH_MSG_TYPE_MAKE_SEND) ==
        KERN_SUCCESS);
  CHECK(request(port, MACH_NOTIFY_NO_SENDERS, 0, new_port()) == KERN_SUCCESS);
  CHECK(message(new_service(), MACH_MSG_TYPE_COPY_SEND, 0, {{port, MACH_MSG_TYPE_MOVE_RECEIVE}})
            .send() == MACH_MSG_SUCCESS);
}

TEST_CASE("an exception port has an immovable receive right, and allows send rights") {
  const recorder records;
  const mach_port_name_t port = new_kind(MPO_EXCEPTION_PORT);
  CHECK(message(new_service(), MACH_MSG_TYPE_COPY_SEND, 0, {{port, MACH_MSG_TYPE_MOVE_RECEIVE}})
            .send() == MACH_SEND_INVALID_RIGHT);
  CHECK(records.code() == kGUARD_EXC_IMMOVABLE);
  CHECK(mach_port_insert_right(mach_task_self(), port, port, MACH_MSG_TYPE_MAKE_SEND) ==
        KERN_SUCCESS);
}

TEST_CASE("a connection port needs a service port, and its rights cannot be moved or copied") {
  const recorder records;
  CHECK(result_of(MPO_CONNECTION_PORT) == KERN_INVALID_ARGUMENT);
  CHECK(result_of(MPO_CONNECTION_PORT, MACH_PORT_DEAD) == KERN_INVALID_NAME);
  CHECK(result_of(MPO_CONNECTION_PORT, 0x00fff703) == KERN_INVALID_NAME);
  CHECK(result_of(MPO_CONNECTION_PORT, new_port()) == KERN_INVALID_RIGHT);
  CHECK(result_of(MPO_CONNECTION_PORT, new_service()) == KERN_INVALID_CAPABILITY);
  mach_port_t receive = MACH_PORT_NULL, service = MACH_PORT_NULL;
  REQUIRE(bootstrap_check_in(bootstrap_port, "org.kedge.test.connection", &receive) ==
          BOOTSTRAP_SUCCESS);
  REQUIRE(bootstrap_look_up(bootstrap_port, "org.kedge.test.connection", &service) ==
          BOOTSTRAP_SUCCESS);
  const mach_port_name_t connection =
      new_kind(MPO_CONNECTION_PORT | MPO_INSERT_SEND_RIGHT, service);
  records.code();
  CHECK(message(service, MACH_MSG_TYPE_COPY_SEND, 0, {{connection, MACH_MSG_TYPE_COPY_SEND}})
            .send() == MACH_SEND_INVALID_RIGHT);
  CHECK(records.code() == kGUARD_EXC_IMMOVABLE);
  CHECK(ask(service, connection, MACH_MSG_TYPE_COPY_SEND) == MACH_SEND_INVALID_REPLY);
  CHECK(records.code() == kGUARD_EXC_IMMOVABLE);
  CHECK(message(service, MACH_MSG_TYPE_COPY_SEND, 0, {{connection, MACH_MSG_TYPE_MOVE_RECEIVE}})
            .send() == MACH_SEND_INVALID_RIGHT);
  CHECK(message(connection, MACH_MSG_TYPE_COPY_SEND, 9).send() == MACH_MSG_SUCCESS);
  CHECK(next_id(connection) == 9);
  // The receive right of the service port is immovable too.
  records.code();
  CHECK(message(new_service(), MACH_MSG_TYPE_COPY_SEND, 0, {{receive, MACH_MSG_TYPE_MOVE_RECEIVE}})
            .send() == MACH_SEND_INVALID_RIGHT);
  CHECK(records.code() == kGUARD_EXC_IMMOVABLE);
}

TEST_CASE("MPO_IMMOVABLE_RECEIVE keeps its effect after unguard") {
  const recorder records;
  const mach_port_name_t port = new_kind(MPO_CONTEXT_AS_GUARD | MPO_IMMOVABLE_RECEIVE);
  CHECK(mach_port_unguard(mach_task_self(), port, 0) == KERN_SUCCESS);
  CHECK(message(new_service(), MACH_MSG_TYPE_COPY_SEND, 0, {{port, MACH_MSG_TYPE_MOVE_RECEIVE}})
            .send() == MACH_SEND_INVALID_RIGHT);
  CHECK(records.code() == kGUARD_EXC_IMMOVABLE);
}

TEST_CASE("mig_get_reply_port gives a reply port, to which no send right can be made") {
  const recorder records;
  CHECK(extract(mig_get_reply_port(), MACH_MSG_TYPE_MAKE_SEND) == KERN_INVALID_CAPABILITY);
  CHECK(records.code() == kGUARD_EXC_INVALID_RIGHT);
}
