// The plan of faults, and what the fault points of the kernel do to the calls other than mach_msg
// (mach/kernel/README.md), in both profiles.
#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

#include "failing.h"
#include "test_message.h"

using namespace test;

TEST_CASE("death_before: the calls on a right find a dead name" * with_faults) {
  in_each_profile([](kernel_profile profile) {
    const mach_port_t self = mach_task_self();
    const mach_port_name_t notify = new_port();
    {
      peer other;
      failing plan(fault::death_before);
      CHECK(mach_port_mod_refs(self, other.to, MACH_PORT_RIGHT_SEND, -1) == KERN_INVALID_RIGHT);
      CHECK(plan.end());
      CHECK(refs_of(other.to, MACH_PORT_RIGHT_DEAD_NAME) == 1);
    }
    {
      peer other;
      failing plan(fault::death_before);
      CHECK(mach_port_deallocate(self, other.to) == KERN_SUCCESS);
      CHECK(plan.end());
      CHECK(type_of(other.to) == 0);
    }
    {
      peer other;
      failing plan(fault::death_before);
      CHECK(type_of(other.to) == MACH_PORT_TYPE_DEAD_NAME);
      CHECK(plan.end());
    }
    {
      peer other;
      failing plan(fault::death_before);
      CHECK(refs_of(other.to, MACH_PORT_RIGHT_SEND) == 0);
      CHECK(plan.end());
    }
    {
      peer other;
      failing plan(fault::death_before);
      CHECK(request(other.to, MACH_NOTIFY_SEND_POSSIBLE, 0, notify) == KERN_SUCCESS);
      CHECK(plan.end());
      CHECK(next_id(notify) == MACH_NOTIFY_DEAD_NAME);
      CHECK(refs_of(other.to, MACH_PORT_RIGHT_DEAD_NAME) == 2);
      mach_port_deallocate(self, other.to);
    }
    {
      peer other;
      failing plan(fault::death_before);
      const bool fires = profile == kernel_profile::macos11;
      CHECK(request(other.to, MACH_NOTIFY_DEAD_NAME, 1, notify) ==
            (fires ? KERN_SUCCESS : KERN_INVALID_ARGUMENT));
      CHECK(plan.end());
      CHECK(next_id(notify) == (fires ? MACH_NOTIFY_DEAD_NAME : MACH_NOTIFY_SEND_ONCE));
      if (fires) mach_port_deallocate(self, other.to);
    }
  });
}

TEST_CASE("death_after: a request for a notification is answered at once" * with_faults) {
  in_each_profile([](kernel_profile) {
    const mach_port_name_t notify = new_port();
    peer other;
    failing plan(fault::death_after);
    CHECK(request(other.to, MACH_NOTIFY_DEAD_NAME, 0, notify) == KERN_SUCCESS);
    CHECK(plan.end());
    CHECK(next_id(notify) == MACH_NOTIFY_DEAD_NAME);
    CHECK(refs_of(other.to, MACH_PORT_RIGHT_DEAD_NAME) == 2);
    mach_port_deallocate(mach_task_self(), other.to);
  });
}

TEST_CASE("insert_right loses its right when the port dies before it or during it" * with_faults) {
  in_each_profile([](kernel_profile) {
    for (const fault point : {fault::death_before, fault::death_during}) {
      CAPTURE(static_cast<int>(point));
      peer other;
      const task third = create_task();
      const mach_port_t self_of_third = task_self_port(third);
      failing plan(point);
      CHECK(mach_port_insert_right(self_of_third, 0x123403, other.to, MACH_MSG_TYPE_COPY_SEND) ==
            KERN_INVALID_CAPABILITY);
      CHECK(plan.end());
      CHECK(refs_of(other.to, MACH_PORT_RIGHT_DEAD_NAME) == 1);
      mach_port_type_t type = 0;
      CHECK(mach_port_type(self_of_third, 0x123403, &type) == KERN_INVALID_NAME);
      mach_port_deallocate(mach_task_self(), self_of_third);
      terminate_task(third);
    }
  });
}

TEST_CASE("no_name: new names fail with KERN_NO_SPACE, and receives lose rights" * with_faults) {
  in_each_profile([](kernel_profile) {
    mach_port_name_t name = MACH_PORT_NULL;
    for (const mach_port_right_t right :
         {MACH_PORT_RIGHT_RECEIVE, MACH_PORT_RIGHT_PORT_SET, MACH_PORT_RIGHT_DEAD_NAME}) {
      CAPTURE(right);
      failing plan(fault::no_name);
      CHECK(mach_port_allocate(mach_task_self(), right, &name) == KERN_NO_SPACE);
      CHECK(plan.end());
    }
    const mach_port_name_t port = new_service(), reply = new_port();
    message m(port, MACH_MSG_TYPE_COPY_SEND, 9, {{reply, MACH_MSG_TYPE_MAKE_SEND_ONCE}});
    m.reply_to(reply, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    message got;
    {
      REQUIRE(message(m).send() == MACH_MSG_SUCCESS);
      failing header(fault::no_name);
      CHECK(got.receive(port) == (MACH_RCV_HEADER_ERROR | MACH_MSG_IPC_SPACE));
      CHECK(header.end());
      CHECK(next_id(reply) == MACH_NOTIFY_SEND_ONCE);
      CHECK(next_id(reply) == MACH_NOTIFY_SEND_ONCE);
    }
    {
      REQUIRE(message(m).send() == MACH_MSG_SUCCESS);
      failing body(fault::no_name, 2);
      CHECK(got.receive(port) == (MACH_RCV_BODY_ERROR | MACH_MSG_IPC_SPACE));
      CHECK(body.end());
      CHECK(next_id(reply) == MACH_NOTIFY_SEND_ONCE);
      CHECK(got.port_at(0) == MACH_PORT_NULL);
      CHECK(type_of(got.header().msgh_remote_port) == MACH_PORT_TYPE_SEND_ONCE);
      mach_port_deallocate(mach_task_self(), got.header().msgh_remote_port);
    }
  });
}

TEST_CASE("name_reuse: the name that was freed last comes again" * with_faults) {
  in_each_profile([](kernel_profile) {
    const mach_port_name_t gone = new_port(), kept = new_port();
    REQUIRE(end_receive(gone) == KERN_SUCCESS);
    failing plan(fault::name_reuse);
    const mach_port_name_t again = new_port();
    CHECK(plan.end());
    CHECK(again == gone);
    CHECK(type_of(again) == MACH_PORT_TYPE_RECEIVE);
    CHECK(new_port() != kept);
  });
}

TEST_CASE("port_memory: calls fail with KERN_RESOURCE_SHORTAGE and change nothing" * with_faults) {
  in_each_profile([](kernel_profile) {
    const mach_port_t self = mach_task_self();
    const mach_port_name_t port = new_service(), set = new_port(MACH_PORT_RIGHT_PORT_SET),
                           other = new_port(MACH_PORT_RIGHT_PORT_SET), notify = new_port();
    REQUIRE(mach_port_insert_member(self, port, other) == KERN_SUCCESS);
    const auto fails = [](auto call) {
      failing plan(fault::port_memory);
      const kern_return_t result = call();
      return plan.end() && result == KERN_RESOURCE_SHORTAGE;
    };
    mach_port_name_t name = MACH_PORT_NULL;
    mach_port_options_t options{};
    options.flags = MPO_INSERT_SEND_RIGHT;
    CHECK(fails([&] { return mach_port_allocate(self, MACH_PORT_RIGHT_RECEIVE, &name); }));
    CHECK(fails([&] { return mach_port_allocate(self, MACH_PORT_RIGHT_PORT_SET, &name); }));
    CHECK(fails([&] { return mach_port_construct(self, &options, 0, &name); }));
    CHECK(fails([&] { return mach_port_insert_member(self, port, set); }));
    CHECK(mach_port_extract_member(self, port, set) == KERN_NOT_IN_SET);
    CHECK(fails([&] { return mach_port_move_member(self, port, set); }));
    CHECK(fails([&] { return request(port, MACH_NOTIFY_DEAD_NAME, 0, notify); }));
    CHECK(next_id(notify) == MACH_NOTIFY_SEND_ONCE);
    CHECK((type_of(port) & MACH_PORT_TYPE_DNREQUEST) == 0);
  });
}

TEST_CASE("early_room: a request is answered though the queue is full" * with_faults) {
  in_each_profile([](kernel_profile) {
    const mach_port_name_t port = new_service(), notify = new_port();
    while (message(port, MACH_MSG_TYPE_MAKE_SEND).send() == MACH_MSG_SUCCESS) {
    }
    failing plan(fault::early_room);
    CHECK(request(port, MACH_NOTIFY_SEND_POSSIBLE, 1, notify) == KERN_SUCCESS);
    CHECK(plan.end());
    CHECK(next_id(notify) == MACH_NOTIFY_SEND_POSSIBLE);
    CHECK((type_of(port) & MACH_PORT_TYPE_DNREQUEST) == 0);
    // The second request waits.
    CHECK(request(port, MACH_NOTIFY_SEND_POSSIBLE, 1, notify) == KERN_SUCCESS);
    CHECK(next_id(notify) == -1);
  });
}

TEST_CASE("displaced_request: the right of a request is destroyed, and the request gone" *
          with_faults) {
  in_each_profile([](kernel_profile) {
    const mach_port_name_t port = new_service(), notify = new_port();
    for (const mach_msg_id_t id : {MACH_NOTIFY_DEAD_NAME, MACH_NOTIFY_NO_SENDERS}) {
      CAPTURE(id);
      failing plan(fault::displaced_request);
      CHECK(request(port, id, 0, notify) == KERN_SUCCESS);
      CHECK(plan.end());
      CHECK(next_id(notify) == MACH_NOTIFY_SEND_ONCE);
      mach_port_t previous = MACH_PORT_NULL;
      CHECK(request(port, id, 0, notify, &previous) == KERN_SUCCESS);
      CHECK(previous == MACH_PORT_NULL);
    }
    CHECK(end_receive(port) == KERN_SUCCESS);
    CHECK(next_id(notify) == MACH_NOTIFY_SEND_ONCE);  // of the no-senders request
    CHECK(next_id(notify) == MACH_NOTIFY_DEAD_NAME);
  });
}

TEST_CASE("a plan counts what its points pass, for one task or for all" * with_faults) {
  const task other = create_task();
  const auto allocate_two = [&] {
    new_port();
    const current_task_guard there(other);
    new_port();
  };
  plan_faults({.points = fault_plan::only(fault::port_memory)});
  allocate_two();
  CHECK(end_faults().passed == 2);
  plan_faults({.points = fault_plan::only(fault::port_memory), .nth = 1, .of = other});
  allocate_two();
  const fault_tally tally = end_faults();
  CHECK(tally.passed == 1);
  CHECK(tally.caused == 1);
  CHECK(end_faults().passed == 0);
  terminate_task(other);
}

TEST_CASE("a plan by chance fails the same passages for the same seed" * with_faults) {
  const auto failures = [](std::uint64_t seed) {
    plan_faults({.points = fault_plan::only(fault::port_memory), .one_in = 4, .seed = seed});
    std::vector<bool> failed;
    for (int each = 0; each < 64; ++each) failed.push_back(new_port() == MACH_PORT_NULL);
    end_faults();
    return failed;
  };
  const auto first = failures(1);
  CHECK((first == failures(1)));
  CHECK_FALSE((first == failures(2)));
}
