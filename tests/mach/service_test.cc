// service: a client that finds its service by name, and finds it again.
#include "kedge/mach/service.h"

#include <doctest/doctest.h>
#include <mach/mach.h>
#include <mach/mig_errors.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kedge/mach/error.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/serve.h"
#include "kedge/mach/service_names.h"
#include "kedge/runtime/event.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/yield.h"
#include "tests/runtime/drain.h"

namespace kedge::mach {
namespace {

using namespace std::chrono_literals;

struct rest {
  static constexpr mach_msg_id_t id = 5100;
  std::uint32_t number;
  struct reply {
    std::uint32_t number;
  };
};
struct keep {
  static constexpr mach_msg_id_t id = 5101;
  send_right right;
  struct reply {};
};
struct note {  // one-way
  static constexpr mach_msg_id_t id = 5102;
  std::uint32_t number;
};

constexpr const char* name = "org.kedge.service_test";

// Services that are made and end, and clients of them, on one loop in virtual time.
struct world {
  virtual_time time;
  loop l{time};
  receive_right port;
  std::optional<serve_control> control;
  event go;
  int asked = 0;
  std::vector<std::uint32_t> notes;
  std::vector<send_right> kept;
  // What the calls have given, in order.
  std::vector<std::uint32_t> numbers;
  std::vector<std::error_code> errors;
  std::vector<bool> sent;
  std::string text;

  void start() {
    port = register_service(name).value();
    control.emplace();
    go.set();
    l.spawn(run());
    settle(l);
  }
  task<> run() {
    const auto answer = [this](rest& q) -> task<rest::reply> {
      ++asked;
      (void)co_await go.wait();
      co_return rest::reply{q.number};
    };
    const auto take = [this](keep& q) { kept.push_back(std::move(q.right)); };
    const auto write = [this](note& q) { notes.push_back(q.number); };
    serve_options options{.peers = anyone(), .control = &*control};
    auto served = serve(port, options, answer, take, write);
    co_await std::move(served);
  }
  // Ends the service at once, and its name with it.
  void kill() {
    port.destroy();
    settle(l);
  }
  void settle_for(clock::duration d) {
    time.advance(d);
    settle(l);
  }
  void ask(service& s, std::uint32_t number) {
    l.spawn(wait(s.call<rest>(number)));
    settle(l);
  }
  task<> wait(task<result<rest::reply, service_error>> call) {
    const auto reply = co_await std::move(call);
    if (reply) {
      numbers.push_back(reply->number);
    } else {
      errors.push_back(reply.error().code());
      sent.push_back(reply.error().is_sent());
      text = reply.error().text();
    }
  }
};

TEST_CASE("a call of a service that exists is answered, and so is the next one") {
  world w;
  w.start();
  service s(name);
  w.ask(s, 1);
  w.ask(s, 2);
  CHECK(w.numbers == std::vector<std::uint32_t>{1, 2});
}

TEST_CASE("a call waits for a service that does not exist yet") {
  world w;
  service s(name);
  w.ask(s, 1);
  w.settle_for(5s);
  CHECK(w.numbers.empty());
  w.start();
  w.settle_for(1s);
  CHECK(w.numbers == std::vector<std::uint32_t>{1});
}

TEST_CASE("a call of a service that never exists ends at the deadline, and says why") {
  world w;
  service s(name, {.deadline = 3s});
  w.ask(s, 1);
  for (int i = 0; i < 29; ++i) w.settle_for(100ms);
  CHECK(w.errors.empty());
  w.settle_for(100ms);
  REQUIRE(w.errors == std::vector<std::error_code>{errc::unknown_service});
  CHECK(!w.sent[0]);
  CHECK(w.text == "service org.kedge.service_test: no service has this name");
}

TEST_CASE("a service that was restarted is found again, and the request is not lost") {
  world w;
  w.start();
  service s(name);
  w.ask(s, 1);
  SUBCASE("between the calls") {
    w.kill();
    w.start();
    w.ask(s, 2);
  }
  SUBCASE("after the call") {
    w.kill();
    w.ask(s, 2);
    w.settle_for(1s);
    w.start();
    w.settle_for(1s);
  }
  SUBCASE("three times") {
    for (int i = 0; i < 3; ++i) {
      w.kill();
      w.start();
    }
    w.ask(s, 2);
  }
  CHECK(w.numbers == std::vector<std::uint32_t>{1, 2});
  CHECK(w.asked == 2);
}

TEST_CASE("two calls at once find the restarted service") {
  world w;
  w.start();
  service s(name);
  w.ask(s, 1);
  w.kill();
  w.ask(s, 2);
  w.ask(s, 3);
  w.start();
  w.settle_for(1s);
  CHECK(w.numbers.size() == 3);
  CHECK(w.asked == 3);
}

TEST_CASE("a request that was sent is not sent again, whatever became of it") {
  world w;
  w.start();
  service s(name, {.deadline = 10s});
  w.go.reset();
  w.ask(s, 1);
  CHECK(w.asked == 1);
  SUBCASE("its service dies") {
    w.control->stop();
    w.settle_for(11s);  // the grace of serve(): the request is cancelled
    CHECK(w.errors.size() == 1);
    w.kill();
    w.start();
  }
  SUBCASE("its service is too slow") {
    w.settle_for(10s);
    CHECK(w.errors == std::vector{make_error_code(kedge::errc::timed_out)});
    w.go.set();
    settle(w.l);
  }
  CHECK(w.errors.size() == 1);
  CHECK(w.sent == std::vector<bool>{true});
  CHECK(w.asked == 1);
  CHECK(w.numbers.empty());
}

TEST_CASE("a service that drops a request gives no_reply, and it is not sent again") {
  world w;
  w.port = register_service(name).value();
  service s(name);
  w.ask(s, 1);
  CHECK(w.port.status().messages() == 1);
  w.port.destroy();
  settle(w.l);
  w.start();
  w.settle_for(1s);
  CHECK(w.errors == std::vector<std::error_code>{errc::no_reply});
  CHECK(w.asked == 0);
  w.ask(s, 2);
  CHECK(w.numbers == std::vector<std::uint32_t>{2});
}

TEST_CASE("the rights in a request that is tried again arrive once") {
  world w;
  const receive_right own = receive_right::make();
  service s(name);
  bool is_kept = false;
  const auto give = [&]() -> task<> {
    auto given = s.call<keep>(own.make_send());
    is_kept = (co_await std::move(given)).has_value();
  };
  w.l.spawn(give());
  settle(w.l);
  w.settle_for(1s);
  w.start();
  w.settle_for(1s);
  CHECK(is_kept);
  REQUIRE(w.kept.size() == 1);
  CHECK(w.kept[0].name() == own.name());
}

TEST_CASE("a refusal of the service is the error of the call") {
  world w;
  w.port = register_service(name).value();
  serve_options options{.peers = anyone()};
  const auto write = [](note&) {};
  const auto keep_serving = [&]() -> task<> { co_await serve(w.port, options, write); };
  w.l.spawn(keep_serving());
  service s(name);
  w.ask(s, 1);
  REQUIRE(w.errors.size() == 1);
  CHECK(w.errors[0] == kern_error(MIG_BAD_ID));
  CHECK(w.text.find(name) != std::string::npos);
}

TEST_CASE("a one-way request waits for its service too") {
  world w;
  service s(name);
  int done = 0;
  const auto write = [&](std::uint32_t n) -> task<> {
    auto sending = s.send<note>(n);
    const auto sent = co_await std::move(sending);
    if (sent) ++done;
  };
  w.l.spawn(write(4));
  settle(w.l);
  w.settle_for(1s);
  w.start();
  w.settle_for(1s);
  w.l.spawn(write(5));
  settle(w.l);
  CHECK(done == 2);
  CHECK(w.notes == std::vector<std::uint32_t>{4, 5});
}

TEST_CASE("a call goes on when its service object is gone") {
  world w;
  std::optional<service> s(std::in_place, service_names("org.kedge"), "service_test");
  w.ask(*s, 1);
  s.reset();
  w.start();
  w.settle_for(1s);
  CHECK(w.numbers == std::vector<std::uint32_t>{1});
}

}  // namespace
}  // namespace kedge::mach
