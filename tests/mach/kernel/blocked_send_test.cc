// A send to a full queue that is about to wait, while receivers take messages and other senders
// fill the room again (core/calls/message_send.cc), tested without the C interface.
#include <doctest/doctest.h>

#include <mach/message.h>

#include <cstdint>
#include <functional>
#include <utility>

#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/mach/kernel/core/ipc_space.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/request.h"

using namespace kedge::mach::kernel;

namespace {

class blocked_call final : public pending_call {
 public:
  void wake() noexcept override {}
};

// Runs a function when its last reference is released.
class on_release final : public object {
 public:
  static ref<object> make(std::function<void()> act) {
    return ref<object>::adopt(new on_release(std::move(act)));
  }

 private:
  explicit on_release(std::function<void()> act)
      : object(object_kind::semaphore), act_(std::move(act)) {}
  ~on_release() override { act_(); }

  std::function<void()> act_;
};

// Makes room in a port's queue whenever the call has found it full, and takes the room away when
// the call looks again. The call overwrites pending_call::waits_on at both moments, with no lock
// held, and so releases what was there.
class changing_room {
 public:
  changing_room(port& at, blocked_call& call, int rounds)
      : at_(at), call_(call), rounds_left_(rounds) {
    at_.queue_limit = 0;
    call_.waits_on = on_release::make([this] { found_full(); });
  }
  changing_room(const changing_room&) = delete;
  changing_room& operator=(const changing_room&) = delete;

  int rounds_left() const { return rounds_left_; }
  // How much of the stack all rounds took, in bytes.
  std::uintptr_t stack_used() const { return first_frame_ - last_frame_; }

 private:
  void found_full() {
    at_.queue_limit = 1;
    call_.waits_on = on_release::make([this] { found_room(); });
  }
  void found_room() {
    last_frame_ = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    if (first_frame_ == 0) first_frame_ = last_frame_;
    if (--rounds_left_ == 0) return;
    at_.queue_limit = 0;
    call_.waits_on = on_release::make([this] { found_full(); });
  }

  port& at_;
  blocked_call& call_;
  int rounds_left_;
  std::uintptr_t first_frame_ = 0;
  std::uintptr_t last_frame_ = 0;
};

}  // namespace

TEST_CASE("a send that finds room and loses it a thousand times is sent, on no more stack") {
  kernel whole;
  const ref<ipc_task> task = whole.create_task({}, {}, nullptr);
  const auto to = ref<port>::adopt(new port);
  mach_port_name_t name = MACH_PORT_NULL;
  REQUIRE(whole.name_receive_right(*task, to, name) == KERN_SUCCESS);
  mach_msg_header_t header{};
  header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND, 0);
  header.msgh_remote_port = name;
  requests::message sends{};
  sends.option = MACH_SEND_MSG;
  sends.send_size = sizeof header;
  sends.send = reinterpret_cast<user_address>(&header);
  any_reply reply;
  blocked_call call;
  const changing_room room(*to, call, 1000);
  CHECK(whole.begin(*task, any_request(sends, task_self_name), reply, own_memory(), call) ==
        status::done);
  CHECK(reply.result == MACH_MSG_SUCCESS);
  CHECK(to->queue().count() == 1);
  CHECK(room.rounds_left() == 0);
  CHECK(room.stack_used() == 0);
}
