// What the fault points of the kernel do to mach_msg (mach/kernel/README.md), in both profiles. The
// results, and what a failed call consumes, are those of the real failures.
#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "failing.h"
#include "test_message.h"

using namespace test;

namespace {

mach_port_msgcount_t queued_at(mach_port_name_t port) {
  return status_of(port).mps_msgcount;
}

void fill(mach_port_name_t port) {
  while (message(port, MACH_MSG_TYPE_MAKE_SEND).send() == MACH_MSG_SUCCESS) {
  }
}

// The message of the tests on sending: a reply port, and rights to be moved.
struct parcel {
  mach_port_name_t port = new_service(), first = new_service(), last = new_service(),
                   reply = new_port();
  std::vector<mach_port_name_t> names = {new_service(), new_service()};

  message make() {
    message m(port, MACH_MSG_TYPE_COPY_SEND, 9, {{first, MACH_MSG_TYPE_MOVE_SEND}});
    m.with(ports_descriptor(names.data(), 2, MACH_MSG_TYPE_MOVE_SEND));
    m.with(port_descriptor(last, MACH_MSG_TYPE_MOVE_SEND));
    m.reply_to(reply, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    return m;
  }
  bool has_all() const {
    return has_reply() && type_of(first) == MACH_PORT_TYPE_SEND_RECEIVE && has_array() &&
           has_last();
  }
  bool has_reply() const { return status_of(reply).mps_sorights == 0 && queued_at(reply) == 0; }
  bool has_array() const {
    return type_of(names[0]) == MACH_PORT_TYPE_SEND_RECEIVE &&
           type_of(names[1]) == MACH_PORT_TYPE_SEND_RECEIVE;
  }
  bool has_last() const { return type_of(last) == MACH_PORT_TYPE_SEND_RECEIVE; }
};

}  // namespace

TEST_CASE("message_memory: a send fails with NO_BUFFER and consumes nothing" * with_faults) {
  in_each_profile([](kernel_profile) {
    parcel p;
    message m = p.make();
    const message before = m;
    failing plan(fault::message_memory);
    CHECK(m.send() == MACH_SEND_NO_BUFFER);
    CHECK(plan.end());
    CHECK(std::memcmp(before.bytes, m.bytes, sizeof m.bytes) == 0);
    CHECK(p.has_all());
    CHECK(queued_at(p.port) == 0);
    CHECK(m.send() == MACH_MSG_SUCCESS);
  });
}

TEST_CASE("descriptor_memory: a send consumes nothing in macOS 15, and its header in macOS 11" *
          with_faults) {
  in_each_profile([](kernel_profile profile) {
    parcel p;
    message m = p.make();
    failing plan(fault::descriptor_memory);
    CHECK(m.send() ==
          (profile == kernel_profile::macos11 ? MACH_MSG_VM_KERNEL : MACH_SEND_NO_BUFFER));
    CHECK(plan.end());
    if (profile == kernel_profile::macos11) {
      CHECK(next_id(p.reply) == MACH_NOTIFY_SEND_ONCE);
    }
    CHECK(p.has_all());
    CHECK(refs_of(p.port, MACH_PORT_RIGHT_SEND) == 1);
    CHECK(status_of(p.port).mps_srights == 1);
  });
}

TEST_CASE("array_memory: a send loses its header and the descriptors before the array in macOS 11" *
          with_faults) {
  in_each_profile([](kernel_profile profile) {
    parcel p;
    message m = p.make();
    failing plan(fault::array_memory);
    if (profile == kernel_profile::macos15) {
      // The array needs no memory of its own.
      CHECK(m.send() == MACH_MSG_SUCCESS);
      CHECK_FALSE(plan.end());
      return;
    }
    CHECK(m.send() == MACH_SEND_NO_BUFFER);
    CHECK(plan.end());
    CHECK(next_id(p.reply) == MACH_NOTIFY_SEND_ONCE);
    CHECK(type_of(p.first) == MACH_PORT_TYPE_RECEIVE);
    CHECK(p.has_array());
    CHECK(p.has_last());
  });
}

TEST_CASE("sent_memory: a send loses its header and the descriptors before the memory" *
          with_faults) {
  in_each_profile([](kernel_profile) {
    parcel p;
    message m(p.port, MACH_MSG_TYPE_COPY_SEND, 9, {{p.first, MACH_MSG_TYPE_MOVE_SEND}});
    char text[] = "text";
    m.with(memory_descriptor(text, sizeof text));
    m.with(port_descriptor(p.last, MACH_MSG_TYPE_MOVE_SEND));
    m.reply_to(p.reply, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    failing plan(fault::sent_memory);
    CHECK(m.send() == MACH_MSG_VM_KERNEL);
    CHECK(plan.end());
    CHECK(next_id(p.reply) == MACH_NOTIFY_SEND_ONCE);
    CHECK(type_of(p.first) == MACH_PORT_TYPE_RECEIVE);
    CHECK(p.has_last());
    CHECK(queued_at(p.port) == 0);
  });
}

TEST_CASE("sent_right: the send fails at the kth descriptor, and later ones stay the sender's" *
          with_faults) {
  in_each_profile([](kernel_profile) {
    for (std::uint64_t nth = 1; nth <= 4; ++nth) {
      CAPTURE(nth);
      const mach_port_name_t port = new_service(), notify = new_port(), watched = new_service();
      std::vector<mach_port_name_t> cargo;
      message m(port, MACH_MSG_TYPE_COPY_SEND);
      for (int each = 0; each < 3; ++each) {
        cargo.push_back(new_send_once(notify));
        m.with(port_descriptor(cargo.back(), MACH_MSG_TYPE_MOVE_SEND_ONCE));
      }
      m.with(port_descriptor(watched, MACH_MSG_TYPE_MOVE_RECEIVE));
      failing plan(fault::sent_right, nth);
      CHECK(m.send() == MACH_SEND_INVALID_RIGHT);
      CHECK(plan.end());
      for (std::uint64_t each = 0; each < 3; ++each) {
        CAPTURE(each);
        const bool is_gone = each < nth;
        CHECK((type_of(cargo[each]) == 0) == is_gone);
        if (is_gone) CHECK(next_id(notify) == MACH_NOTIFY_SEND_ONCE);
      }
      CHECK(next_id(notify) == -1);
      CHECK(type_of(watched) ==
            (nth == 4 ? MACH_PORT_TYPE_DEAD_NAME : MACH_PORT_TYPE_SEND_RECEIVE));
      CHECK(queued_at(port) == 0);
    }
  });
}

TEST_CASE("sent_right: a right that something else of the task still needs is no fault point" *
          with_faults) {
  const mach_port_name_t port = new_service(), both = new_service();
  peer other;
  REQUIRE(mach_port_mod_refs(mach_task_self(), other.to, MACH_PORT_RIGHT_SEND, 1) == KERN_SUCCESS);
  failing plan(fault::sent_right);
  CHECK(message(port, MACH_MSG_TYPE_COPY_SEND, 0,
                {{both, MACH_MSG_TYPE_MOVE_SEND},
                 {both, MACH_MSG_TYPE_MAKE_SEND_ONCE},
                 {other.to, MACH_MSG_TYPE_MOVE_SEND},
                 {other.to, MACH_MSG_TYPE_COPY_SEND}})
            .send() == MACH_MSG_SUCCESS);
  CHECK(end_faults().passed == 0);
}

TEST_CASE("full_queue: a send that polls gives everything back in its buffer" * with_faults) {
  in_each_profile([](kernel_profile) {
    const mach_port_name_t port = new_service(), cargo = new_service(), reply = new_port();
    char text[] = "text";
    message m(port, MACH_MSG_TYPE_COPY_SEND, 9, {{cargo, MACH_MSG_TYPE_COPY_SEND}});
    m.with(memory_descriptor(text, sizeof text));
    m.reply_to(reply, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    failing plan(fault::full_queue);
    REQUIRE(m.send() == MACH_SEND_TIMED_OUT);
    CHECK(plan.end());
    CHECK(m.header().msgh_bits ==
          (MACH_MSGH_BITS(MACH_MSG_TYPE_MOVE_SEND, MACH_MSG_TYPE_MOVE_SEND_ONCE) |
           MACH_MSGH_BITS_COMPLEX));
    CHECK(m.header().msgh_remote_port == port);
    CHECK(refs_of(port, MACH_PORT_RIGHT_SEND) == 2);
    CHECK(type_of(m.header().msgh_local_port) == MACH_PORT_TYPE_SEND_ONCE);
    CHECK(m.port_at(0) == cargo);
    CHECK(refs_of(cargo, MACH_PORT_RIGHT_SEND) == 2);
    const auto back = m.at<mach_msg_ool_descriptor_t>(sizeof(mach_msg_port_descriptor_t));
    CHECK(back.address != text);
    CHECK(std::memcmp(back.address, text, sizeof text) == 0);
    CHECK(queued_at(port) == 0);
    // The buffer can be sent again as it is.
    CHECK(m.send() == MACH_MSG_SUCCESS);
  });
}

TEST_CASE("full_queue: a send that waits, and one by a send-once right, do not pass it" *
          with_faults) {
  const mach_port_name_t port = new_service();
  failing plan(fault::full_queue);
  message m(port, MACH_MSG_TYPE_COPY_SEND);
  CHECK(mach_msg(&m.header(), MACH_SEND_MSG, m.size, 0, MACH_PORT_NULL, 0, MACH_PORT_NULL) ==
        MACH_MSG_SUCCESS);
  CHECK(message(port, MACH_MSG_TYPE_MAKE_SEND_ONCE).send() == MACH_MSG_SUCCESS);
  CHECK(end_faults().passed == 0);
}

TEST_CASE("queue_ceiling: a message by a send-once right comes back" * with_faults) {
  in_each_profile([](kernel_profile) {
    for (const bool polls : {false, true}) {
      CAPTURE(polls);
      const mach_port_name_t port = new_port(), cargo = new_service();
      const mach_port_name_t once = new_send_once(port);
      message m(once, MACH_MSG_TYPE_MOVE_SEND_ONCE, 0, {{cargo, MACH_MSG_TYPE_MOVE_SEND}});
      failing plan(fault::queue_ceiling);
      const mach_msg_option_t option = MACH_SEND_MSG | (polls ? MACH_SEND_TIMEOUT : 0);
      CHECK(mach_msg(&m.header(), option, m.size, 0, MACH_PORT_NULL, 0, MACH_PORT_NULL) ==
            (polls ? MACH_SEND_TIMED_OUT : MACH_SEND_NO_BUFFER));
      CHECK(plan.end());
      CHECK(type_of(m.header().msgh_remote_port) == MACH_PORT_TYPE_SEND_ONCE);
      CHECK(type_of(cargo) == MACH_PORT_TYPE_SEND_RECEIVE);
      CHECK(queued_at(port) == 0);
      CHECK(m.send() == MACH_MSG_SUCCESS);
    }
  });
}

TEST_CASE("interruption: a call that begins to wait ends, and a send gives its message back" *
          with_faults) {
  in_each_profile([](kernel_profile) {
    const mach_port_name_t port = new_service(), cargo = new_service();
    fill(port);
    message m(port, MACH_MSG_TYPE_COPY_SEND, 9, {{cargo, MACH_MSG_TYPE_MOVE_SEND}});
    failing sending(fault::interruption);
    CHECK(mach_msg(&m.header(), MACH_SEND_MSG | MACH_SEND_INTERRUPT, m.size, 0, MACH_PORT_NULL, 0,
                   MACH_PORT_NULL) == MACH_SEND_INTERRUPTED);
    CHECK(sending.end());
    CHECK(m.header().msgh_remote_port == port);
    CHECK(type_of(cargo) == MACH_PORT_TYPE_SEND_RECEIVE);
    for (const mach_port_right_t right : {MACH_PORT_RIGHT_RECEIVE, MACH_PORT_RIGHT_PORT_SET}) {
      CAPTURE(right);
      failing receiving(fault::interruption);
      CHECK(mach_msg(&m.header(), MACH_RCV_MSG | MACH_RCV_INTERRUPT, 0, sizeof m.bytes,
                     new_port(right), 0, MACH_PORT_NULL) == MACH_RCV_INTERRUPTED);
      CHECK(receiving.end());
    }
  });
}

TEST_CASE("death_before: a send fails with INVALID_DEST and consumes nothing" * with_faults) {
  in_each_profile([](kernel_profile) {
    const mach_port_name_t cargo = new_service(), reply = new_port();
    peer other;
    message m(other.to, MACH_MSG_TYPE_COPY_SEND, 9, {{cargo, MACH_MSG_TYPE_MOVE_SEND}});
    m.reply_to(reply, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    failing plan(fault::death_before);
    CHECK(m.send() == MACH_SEND_INVALID_DEST);
    CHECK(plan.end());
    CHECK(other.has_ended());
    CHECK(type_of(other.to) == MACH_PORT_TYPE_DEAD_NAME);
    CHECK(type_of(cargo) == MACH_PORT_TYPE_SEND_RECEIVE);
    CHECK(status_of(reply).mps_sorights == 0);
  });
}

TEST_CASE("death_during and death_after: a send succeeds, and its message is destroyed" *
          with_faults) {
  in_each_profile([](kernel_profile) {
    for (const fault point : {fault::death_during, fault::death_after}) {
      CAPTURE(static_cast<int>(point));
      const mach_port_name_t cargo = new_service(), reply = new_port();
      peer other;
      message m(other.to, MACH_MSG_TYPE_COPY_SEND, 9, {{cargo, MACH_MSG_TYPE_MOVE_SEND}});
      m.reply_to(reply, MACH_MSG_TYPE_MAKE_SEND_ONCE);
      failing plan(point);
      CHECK(m.send() == MACH_MSG_SUCCESS);
      CHECK(plan.end());
      CHECK(other.has_ended());
      CHECK(type_of(cargo) == MACH_PORT_TYPE_RECEIVE);
      CHECK(next_id(reply) == MACH_NOTIFY_SEND_ONCE);
    }
  });
}

TEST_CASE("death_during: a send that waits for room succeeds, and its message is destroyed" *
          with_faults) {
  const mach_port_name_t cargo = new_service();
  peer other;
  while (message(other.to, MACH_MSG_TYPE_COPY_SEND).send() == MACH_MSG_SUCCESS) {
  }
  message m(other.to, MACH_MSG_TYPE_COPY_SEND, 9, {{cargo, MACH_MSG_TYPE_MOVE_SEND}});
  failing plan(fault::death_during, 2);  // the first is before it waits
  CHECK(mach_msg(&m.header(), MACH_SEND_MSG, m.size, 0, MACH_PORT_NULL, 0, MACH_PORT_NULL) ==
        MACH_MSG_SUCCESS);
  CHECK(plan.end());
  CHECK(type_of(cargo) == MACH_PORT_TYPE_RECEIVE);
}

TEST_CASE("received_room and received_memory: memory and an array are lost, the rest arrives" *
          with_faults) {
  in_each_profile([](kernel_profile) {
    for (const fault point : {fault::received_room, fault::received_memory}) {
      // From the last descriptor to the first: the array, then the memory.
      for (const std::uint64_t nth : {1u, 2u}) {
        CAPTURE(static_cast<int>(point));
        CAPTURE(nth);
        const mach_port_name_t port = new_service(), cargo = new_service(), plain = new_service();
        char text[] = "text";
        message m(port, MACH_MSG_TYPE_COPY_SEND, 9, {{plain, MACH_MSG_TYPE_MOVE_SEND}});
        m.with(memory_descriptor(text, sizeof text));
        m.with(ports_descriptor(&cargo, 1, MACH_MSG_TYPE_MOVE_SEND));
        REQUIRE(m.send() == MACH_MSG_SUCCESS);
        message got;
        failing plan(point, nth);
        CHECK(got.receive(port) ==
              (MACH_RCV_BODY_ERROR |
               (point == fault::received_room ? MACH_MSG_VM_SPACE : MACH_MSG_VM_KERNEL)));
        CHECK(plan.end());
        CHECK(got.port_at(0) == plain);
        const auto memory = got.at<mach_msg_ool_descriptor_t>(sizeof(mach_msg_port_descriptor_t));
        CHECK(memory.size == (nth == 2 ? 0 : sizeof text));
        CHECK((memory.address == nullptr) == (nth == 2));
        CHECK(type_of(cargo) == (nth == 1 ? MACH_PORT_TYPE_RECEIVE : MACH_PORT_TYPE_SEND_RECEIVE));
        const auto array = got.at<mach_msg_ool_ports_descriptor_t>(
            sizeof(mach_msg_port_descriptor_t) + sizeof(mach_msg_ool_descriptor_t));
        CHECK((array.address == nullptr) == (nth == 1));
        CHECK(array.count == 1);
        mach_msg_destroy(&got.header());
        CHECK(type_of(plain) == MACH_PORT_TYPE_RECEIVE);
        CHECK(type_of(cargo) == MACH_PORT_TYPE_RECEIVE);
      }
    }
  });
}

TEST_CASE("a send that times out and has no room for what comes back says so" * with_faults) {
  in_each_profile([](kernel_profile) {
    const mach_port_name_t port = new_service(), cargo = new_service();
    char text[] = "text";
    message m(port, MACH_MSG_TYPE_COPY_SEND, 9, {{cargo, MACH_MSG_TYPE_MOVE_SEND}});
    m.with(memory_descriptor(text, sizeof text));
    plan_faults(
        {.points = fault_plan::only(fault::full_queue) | fault_plan::only(fault::received_room),
         .one_in = 1});
    CHECK(m.send() == (MACH_SEND_TIMED_OUT | MACH_MSG_VM_SPACE));
    CHECK(end_faults().caused == 2);
    CHECK(type_of(cargo) == MACH_PORT_TYPE_SEND_RECEIVE);
    CHECK(m.at<mach_msg_ool_descriptor_t>(sizeof(mach_msg_port_descriptor_t)).size == 0);
  });
}
