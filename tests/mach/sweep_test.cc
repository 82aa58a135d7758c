// Every awaitable of the Mach library, interrupted at every point and short of memory at every
// allocation.
#include "tests/runtime/sweep.h"

#include <doctest/doctest.h>
#include <mach/mach.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <ostream>
#include <system_error>
#include <utility>
#include <vector>

#include "kedge/mach/call.h"
#include "kedge/mach/death_watch.h"
#include "kedge/mach/died.h"
#include "kedge/mach/error.h"
#include "kedge/mach/no_senders.h"
#include "kedge/mach/port_destroyed.h"
#include "kedge/mach/port_set.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"
#include "kedge/mach/send.h"
#include "kedge/mach/send_once_gone.h"
#include "kedge/mach/serve.h"
#include "kedge/mach/service.h"
#include "kedge/mach/service_names.h"
#include "kedge/mach/try_receive.h"
#include "kedge/mach/typed_call.h"
#include "kedge/runtime/event.h"
#include "kedge/runtime/with_timeout.h"
#include "space_names.h"
#include "tests/runtime/counted_new.h"

namespace kedge::mach {
namespace {

using namespace std::chrono_literals;

// A message that carries a right. A right that is lost on the way keeps its name in the space.
class message_world : public scenario {
 public:
  message_world(loop&, virtual_time&) {}
  bool means_no_memory(const std::error_code& e) const override {
    return e == kern_error(KERN_RESOURCE_SHORTAGE) || e == msg_error(KERN_RESOURCE_SHORTAGE) ||
           e == kern_error(KERN_NO_SPACE) || e == msg_error(MACH_SEND_NO_BUFFER) ||
           scenario::means_no_memory(e);
  }

 protected:
  message with_right() const { return message(1, right()); }
  send_right right() const { return carried_.make_send(); }

  // Takes a message out of the queue. Empty if there is none.
  static received take(const receive_right& from) {
    received m;
    std::size_t size = 256;
    if (from) static_cast<void>(try_receive(from.name(), size, m));
    return m;
  }
  static int queued_on(const receive_right& port) {
    return port ? static_cast<int>(port.status().mps_msgcount) : 0;
  }

 private:
  const receive_right carried_ = receive_right::make();
};

class receiving : public message_world {
 public:
  using message_world::message_world;
  auto awaited() { return port.receive(); }
  void complete() override {
    if (try_send(to_, with_right())) ++given_;
  }
  void close() override {
    given_ -= queued_on(port);
    port.destroy();
  }
  bool nothing_missing() override { return given_ == delivered + queued_on(port); }

 protected:
  receive_right port = receive_right::make();

 private:
  const send_right to_ = port.make_send();
  int given_ = 0;
};

class receiving_from_set : public receiving {
 public:
  receiving_from_set(loop& l, virtual_time& time) : receiving(l, time) { set_.insert(port); }
  auto awaited() { return set_.receive(); }
  void close() override { set_.destroy(); }

 private:
  port_set set_ = port_set::make();
};

// A port whose queue is full. It is not closed between the kernel's notification of room and the
// sender's turn: Darwin then gives the dead name a reference without a notification, since the
// port's receive right is in the sender's space.
class sending : public message_world {
 public:
  sending(loop& l, virtual_time& time) : message_world(l, time) {
    REQUIRE(try_send(to, with_right()));
  }
  auto awaited() { return send(to, with_right()); }
  void complete() override {
    if (!take(port)) return;
    ++drained_;
    has_room_ = true;
  }
  void close() override {
    if (std::exchange(has_room_, false)) return;
    drained_ += queued_on(port);
    port.destroy();
  }
  bool nothing_missing() override { return 1 + sent_ == drained_ + queued_on(port); }
  void took(const result<void, send_failure>& r) {
    has_room_ = false;
    if (r) {
      ++sent_;
      ++delivered;
    } else {
      error = r.error().code();
    }
  }

 protected:
  receive_right port = receive_right::make(1);
  const send_right to = port.make_send();

 private:
  int sent_ = 0;
  int drained_ = 0;
  bool has_room_ = false;
};

// The deadline passes, and the message comes back.
class sending_too_late : public sending {
 public:
  sending_too_late(loop& l, virtual_time& time) : sending(l, time), time_(time) {}
  auto awaited() { return with_timeout(1h, send(to, with_right())); }
  void complete() override { time_.advance(1h); }
  bool nothing_missing() override { return !port || queued_on(port) == 1; }
  void took(result<void, send_failure> r) {
    if (r) return;
    error = r.error().code();
    if (error == kedge::errc::timed_out && r.error().message().rights() == 1) {
      ++delivered;
      error = {};
    }
  }

 private:
  virtual_time& time_;
};

// A service whose queue is full, so the call waits for room and then for the reply. It is not
// closed after it has made room, as above.
class calling : public message_world {
 public:
  calling(loop& l, virtual_time& time) : message_world(l, time) {
    REQUIRE(try_send(to_, message(0)));
  }
  auto awaited() { return call(to_, with_right()); }
  void complete() override {
    received request = take(port_);
    if (request) has_room_ = true;
    if (reply_right reply = request.take_reply()) {
      static_cast<void>(try_send(destination(std::move(reply)), with_right()));
    }
  }
  void close() override {
    if (!std::exchange(has_room_, false)) port_.destroy();
  }
  void took(const result<received, send_failure>& r) {
    has_room_ = false;
    if (r) {
      ++delivered;
    } else {
      error = r.error().code();
    }
  }

 private:
  receive_right port_ = receive_right::make(1);
  const send_right to_ = port_.make_send();
  bool has_room_ = false;
};

struct exchange_rights {
  static constexpr mach_msg_id_t id = 1;
  send_right offered;
  struct reply {
    std::uint32_t number;
    send_right first;
    std::vector<send_right> others;
  };
};

class calling_typed : public message_world {
 public:
  calling_typed(loop& l, virtual_time& time) : message_world(l, time) {
    REQUIRE(try_send(to_, message(0)));
  }
  // There may be no memory for the array of the reply.
  bool means_no_memory(const std::error_code& e) const override {
    return e == errc::message_lost || message_world::means_no_memory(e);
  }
  auto awaited() { return call<exchange_rights>(to_, right()); }
  void complete() override {
    received request = take(port_);
    if (request) has_room_ = true;
    if (reply_right to = request.take_reply()) {
      exchange_rights::reply answer{7, right(), {}};
      answer.others.push_back(right());
      static_cast<void>(
          try_send(destination(std::move(to)), encode_reply<exchange_rights>(std::move(answer))));
    }
  }
  void close() override {
    if (!std::exchange(has_room_, false)) port_.destroy();
  }
  void took(const result<exchange_rights::reply, send_failure>& r) {
    has_room_ = false;
    if (r) {
      CHECK(r->number == 7);
      CHECK(r->others.size() == 1);
      ++delivered;
    } else {
      error = r.error().code();
    }
  }

 private:
  receive_right port_ = receive_right::make(1);
  const send_right to_ = port_.make_send();
  bool has_room_ = false;
};

class noticing_death : public message_world {
 public:
  using message_world::message_world;
  auto awaited() { return died(to_); }
  void complete() override { port_.destroy(); }

 private:
  receive_right port_ = receive_right::make();
  const send_right to_ = port_.make_send();
};

class noticing_no_senders : public message_world {
 public:
  using message_world::message_world;
  auto awaited() { return no_senders(port_); }
  void complete() override { client_.reset(); }
  void close() override { port_.destroy(); }

 private:
  receive_right port_ = receive_right::make();
  std::optional<send_right> client_ = port_.make_send();
};

class noticing_one_of_deaths : public message_world {
 public:
  noticing_one_of_deaths(loop& l, virtual_time& time) : message_world(l, time), deaths_(l) {
    REQUIRE(deaths_.add(other_.make_send(), 1));
  }
  auto awaited() {
    if (!port_) {
      receive_right made = receive_right::make();
      REQUIRE(deaths_.add(made.make_send(), 2));
      port_ = std::move(made);
    }
    return deaths_.next();
  }
  void complete() override { port_.destroy(); }

 private:
  receive_right port_;
  const receive_right other_ = receive_right::make();
  death_watch<int> deaths_;
};

class noticing_return : public message_world {
 public:
  using message_world::message_world;
  auto awaited() {
    if (!port_) {
      receive_right made = receive_right::make();
      back_.emplace(made);
      port_ = std::move(made);
    }
    return back_->wait();
  }
  void complete() override { port_.destroy(); }

 private:
  receive_right port_;
  std::optional<port_destroyed> back_;
};

class noticing_send_once : public message_world {
 public:
  using message_world::message_world;
  auto awaited() {
    if (!right_ && token_) right_ = token_.make_send_once();
    return send_once_gone(token_);
  }
  void complete() override { right_ = {}; }
  void close() override { token_.destroy(); }

 private:
  receive_right token_ = receive_right::make();
  send_once_right right_;
};

struct keep_right {
  static constexpr mach_msg_id_t id = 5200;
  send_right right;
  struct reply {
    send_right right;
  };
};

// A server that gets a request, opens a connection for it, waits in its handler, and is stopped.
class serving : public message_world {
 public:
  struct state {};

  using message_world::message_world;
  auto awaited() {
    return serve(port_, options_, [this](keep_right&, client& c) -> task<keep_right::reply> {
      send_right connection = c.open<state>();
      (void)co_await go_.wait();
      co_return keep_right::reply{std::move(connection)};
    });
  }
  void complete() override {
    if (!std::exchange(is_asked_, true)) {
      message m = encode<keep_right>(replies_.make_send());
      m.reply_to(replies_.make_send_once());
      static_cast<void>(try_send(to_, std::move(m)));
    } else if (!go_.is_set()) {
      go_.set();
    } else {
      control_.stop();
    }
  }
  void close() override { port_.destroy(); }
  void took(const serve_report& r) {
    if (r.error) {
      error = r.error;
    } else {
      ++delivered;
    }
  }

 private:
  receive_right port_ = receive_right::make();
  const send_right to_ = port_.make_send();
  const receive_right replies_ = receive_right::make();
  serve_control control_;
  const serve_options options_{.peers = anyone(), .control = &control_, .on_failure = ignore};
  event go_;
  bool is_asked_ = false;

  static void ignore(mach_msg_id_t, const audit_token_t&, const std::exception_ptr&) noexcept {}
};

// A call that waits for its service to exist, and then for the reply.
class calling_service : public message_world {
 public:
  calling_service(loop& l, virtual_time& time) : message_world(l, time), time_(time) {}
  auto awaited() { return service_.call<keep_right>(own_.make_send()); }
  void complete() override {
    if (!port_) port_ = register_service("org.kedge.sweep").value();
    received request = take(port_);
    if (reply_right reply = request.take_reply()) {
      keep_right::reply made{own_.make_send()};
      static_cast<void>(mach::reply(std::move(reply), encode_reply<keep_right>(std::move(made))));
    } else {
      time_.advance(1s);
    }
  }
  void close() override { port_.destroy(); }
  void took(const result<keep_right::reply, service_error>& r) {
    if (r) {
      ++delivered;
    } else {
      error = r.error().code();
    }
  }

 private:
  virtual_time& time_;
  const receive_right own_ = receive_right::make();
  receive_right port_;
  service service_{"org.kedge.sweep"};
};

TEST_CASE("sweep: a receive that is interrupted loses no message and no right") {
  SUBCASE("from a right") {
    sweep<receiving>("receive_awaitable", names_in_space);
  }
  SUBCASE("from a set") {
    sweep<receiving_from_set>("receive_awaitable", names_in_space);
  }
}
TEST_CASE("sweep: a send that is interrupted has sent its message, or releases its rights") {
  SUBCASE("there will be room") {
    sweep<sending>("send_awaitable", names_in_space);
  }
  SUBCASE("it is too late") {
    sweep<sending_too_late>("with_timeout_awaitable", names_in_space);
  }
}
TEST_CASE("sweep: a call that is interrupted leaves no right behind") {
  sweep<calling>("call_awaitable", names_in_space);
}
TEST_CASE("sweep: a typed call that is interrupted leaves no right behind") {
  sweep<calling_typed>("typed_call_awaitable", names_in_space);
}
TEST_CASE("sweep: a wait for a death that is interrupted leaves no right behind") {
  sweep<noticing_death>("died_awaitable", names_in_space);
}
TEST_CASE("sweep: a wait for one of several deaths that is interrupted leaves no right behind") {
  sweep<noticing_one_of_deaths>("event_awaitable", names_in_space);
}
TEST_CASE("sweep: a wait for the return of a receive right leaves no right behind") {
  sweep<noticing_return>("port_destroyed_awaitable", names_in_space);
}
TEST_CASE("sweep: a wait for the end of a send-once right leaves no right behind") {
  sweep<noticing_send_once>("send_once_gone_awaitable", names_in_space);
}
TEST_CASE("sweep: a wait for the last sender that is interrupted leaves no request behind") {
  sweep<noticing_no_senders>("no_senders_awaitable", names_in_space);
}
TEST_CASE("sweep: a server that is interrupted leaves no right, connection or request behind") {
  sweep<serving>("task", names_in_space);
}
TEST_CASE("sweep: a call of a service that is interrupted leaves no right behind") {
  sweep<calling_service>("task", names_in_space);
}

TEST_CASE("a look-up and a check-in that get no memory leave no reference and no name behind") {
  if (!counts_allocations) return;
  const char* const looked_up = "org.kedge.sweep.looked_up";
  const char* const checked_in = "org.kedge.sweep.checked_in";
  const receive_right port = register_service(looked_up).value();
  static_cast<void>(look_up(looked_up).value());  // makes what the process keeps
  static_cast<void>(check_in(checked_in).value());
  const mach_port_urefs_t before = send_references(port.name());
  const std::size_t names = names_in_space();
  long last = 0;
  for (bool has_failed = true; has_failed; ++last) {
    CAPTURE(last);
    has_failed = false;
    for (const bool checks_in : {false, true}) {
      CAPTURE(checks_in);
      until_failure = last;
      try {
        if (checks_in) {
          static_cast<void>(check_in(checked_in).has_value());
        } else {
          static_cast<void>(look_up(looked_up).has_value());
        }
      } catch (const std::bad_alloc&) {
      }
      has_failed |= std::exchange(until_failure, -1) < 0;
      CHECK(send_references(port.name()) == before);
      CHECK(names_in_space() == names);
    }
  }
  CHECK(last > 2);
}

}  // namespace
}  // namespace kedge::mach
