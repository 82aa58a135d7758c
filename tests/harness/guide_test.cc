// The program of docs/harness.md.
#include <doctest/doctest.h>

#include <mach/mach.h>
#include <servers/bootstrap.h>
#include <unistd.h>

#include <string>

#include "kedge/tools/harness/doctest.h"
#include "kedge/tools/harness/explore.h"

namespace {

namespace harness = kedge::harness;

constexpr mach_msg_id_t put = 1, take = 2, taken = 102;

// Sends a message of this id. With a `reply_to`, the receiver can answer there.
mach_msg_return_t post(mach_port_t to, mach_msg_type_name_t right, mach_msg_id_t id,
                       mach_port_t reply_to = MACH_PORT_NULL) {
  mach_msg_header_t m{};
  m.msgh_bits = MACH_MSGH_BITS(right, reply_to != 0 ? MACH_MSG_TYPE_MAKE_SEND_ONCE : 0);
  m.msgh_size = sizeof m;
  m.msgh_remote_port = to;
  m.msgh_local_port = reply_to;
  m.msgh_id = id;
  return mach_msg(&m, MACH_SEND_MSG, sizeof m, 0, MACH_PORT_NULL, 0, MACH_PORT_NULL);
}

struct request {
  mach_msg_header_t header;
  mach_msg_trailer_t trailer;
};

// A box of things. A taker that finds it empty waits for its answer.
int box_main() {
  mach_port_t port = MACH_PORT_NULL;
  bootstrap_check_in(bootstrap_port, "box", &port);
  int things = 0;
  mach_port_t waiting = MACH_PORT_NULL;
  for (;;) {
    request r;
    mach_msg(&r.header, MACH_RCV_MSG, 0, sizeof r, port, 0, MACH_PORT_NULL);
    if (r.header.msgh_id == put) ++things;
    if (r.header.msgh_id == take) waiting = r.header.msgh_remote_port;
    if (things == 0 || waiting == MACH_PORT_NULL) continue;
    post(waiting, MACH_MSG_TYPE_MOVE_SEND_ONCE, taken);
    waiting = MACH_PORT_NULL;
    --things;
  }
}

mach_port_t find_box() {
  mach_port_t box = MACH_PORT_NULL;
  while (bootstrap_look_up(bootstrap_port, "box", &box) != KERN_SUCCESS) usleep(1000);
  return box;
}

int take_one() {
  mach_port_t reply = MACH_PORT_NULL;
  mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &reply);
  post(find_box(), MACH_MSG_TYPE_COPY_SEND, take, reply);
  request r;
  return mach_msg(&r.header, MACH_RCV_MSG, 0, sizeof r, reply, 0, MACH_PORT_NULL);
}

int put_two() {
  const mach_port_t box = find_box();
  post(box, MACH_MSG_TYPE_COPY_SEND, put);
  return post(box, MACH_MSG_TYPE_COPY_SEND, put);
}

void test_two_takers(harness::world& w) {
  w.name(put, "put");
  w.name(take, "take");
  w.name(taken, "taken");
  w.start("box", box_main);
  auto& first = w.start("first", take_one);
  auto& second = w.start("second", take_one);
  w.start("giver", put_two);
  w.calm();
  CHECK(first.status() == 0);
  CHECK(second.status() == 0);
}

TEST_CASE("the test of the guide finds its fault") {
  std::string report;
  try {
    harness::explore(test_two_takers);
  } catch (const harness::failure& f) {
    report = f.what();
  }
  CAPTURE(report);
  CHECK(report.find("waits for ever") != std::string::npos);
  CHECK(report.find("left at the end") != std::string::npos);
  CHECK(report.find("  box        send once ") != std::string::npos);
}

}  // namespace
