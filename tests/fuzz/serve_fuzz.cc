// A fuzz target: a sender whose input says what it sends to a server with a handler for every kind
// of member. The server must answer its well-formed clients, end the connections and the requests
// of the sender, release no right twice, and be left with no right.
#include <mach/mach.h>
#include <mach/notify.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <utility>
#include <vector>

#include "byte_source.h"
#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/serve.h"
#include "kedge/mach/space.h"
#include "kedge/mach/typed_call.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/yield.h"
#include "tests/mach/hostile_sender.h"
#include "tests/runtime/drain.h"

namespace kedge::mach {
namespace {

using fuzz::byte_source;
using fuzz::require;

constexpr std::size_t most_messages = 32;

// The sender likes ids of notifications.
template <int Nth, class Member>
struct with {
  static constexpr mach_msg_id_t id = MACH_NOTIFY_FIRST + Nth;
  Member member;
  struct reply {
    Member member;
  };
};
using with_number = with<0, std::uint32_t>;
using with_text = with<1, text<20>>;
using with_array = with<2, array<std::uint16_t, 9>>;
using with_send = with<3, send_right>;
using with_send_once = with<4, send_once_right>;
using with_receive = with<5, receive_right>;
using with_any = with<6, any_right>;
using with_reply = with<7, reply_right>;
using with_rights = with<8, std::vector<send_right>>;
using with_ports = with<9, std::vector<receive_right>>;
using with_memory = with<10, memory_region>;

struct open {
  static constexpr mach_msg_id_t id = hostile_question;
  send_right from;
  struct reply {
    send_right connection;
  };
};
struct session {
  explicit session(send_right r) : from(std::move(r)) {}
  send_right from;
};
struct question {
  static constexpr mach_msg_id_t id = 1'000'000;
  std::uint32_t number;
  struct reply {
    std::uint32_t number;
  };
};

// Gives back what it gets: at once, or as a task.
template <class T>
typename T::reply echo(T& q) {
  return {std::move(q.member)};
}
template <class T>
task<typename T::reply> echo_later(T& q) {
  co_await yield();
  co_return typename T::reply{std::move(q.member)};
}

void ignore(mach_msg_id_t, const audit_token_t&, const std::exception_ptr&) noexcept {}

std::uint32_t names_here() {
  ipc_info_space_basic_t info{};
  require(mach_port_space_basic_info(mach_task_self(), &info) == KERN_SUCCESS, "no space info");
  return info.iisb_table_inuse;
}

task<> run(const receive_right& port, serve_control& control) {
  const auto admit = [](open& q, client& c) {
    return open::reply{c.open<session>(std::move(q.from))};
  };
  const auto answer = [](question& q) { return question::reply{q.number + 1}; };
  const serve_options options{
      .concurrency = 3, .peers = same_user(), .control = &control, .on_failure = ignore};
  const serve_report report =
      co_await serve(port, options, &echo<with_number>, &echo_later<with_text>, &echo<with_array>,
                     &echo_later<with_send>, &echo<with_send_once>, &echo_later<with_receive>,
                     &echo<with_any>, &echo_later<with_reply>, &echo<with_rights>,
                     &echo_later<with_ports>, &echo<with_memory>, admit, answer);
  require(!report.error && report.stuck == 0, "the server has ended by itself");
}

task<> ask(const send_right& service, bool& is_answered) {
  const auto r = co_await call<question>(service, std::uint32_t{7});
  is_answered = r && r->number == 8;
}

void play(byte_source input) {
  space of_service;
  const scoped_space inside(of_service);
  const kernel::task service = kernel::task_of_thread();
  kernel::set_guard_behaviour(service, kernel::guard_behaviour::record);
  const std::uint32_t before = names_here();
  {
    loop l;
    serve_control control;
    const receive_right port = receive_right::make();
    const send_right to_service = port.make_send();
    std::optional<space> of_sender(std::in_place);
    hostile_sender<byte_source> hostile(*of_sender, of_sender->give(port.make_send()));
    l.spawn(run(port, control));
    for (std::size_t i = 0; i < most_messages && !input.empty(); ++i) {
      hostile.send(input);
      settle(l);
    }
    bool is_answered = false;
    l.spawn(ask(to_service, is_answered));
    settle(l);
    require(is_answered, "a client has no answer");
    of_sender.reset();
    settle(l);
    require(control.counters().running == 0, "a request has not ended");
    require(control.counters().connections == 0, "a connection has not ended");
    control.stop();
    settle(l);
    require(l.size() == 0, "the server has not ended");
  }
  require(names_here() == before, "the service has other names than before");
  require(kernel::take_guard_exceptions(service).empty(), "a right was released twice");
}

}  // namespace
}  // namespace kedge::mach

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // On Darwin a process is one task, and the sender would destroy the service's rights.
  if (kedge::mach::kernel::has_many_tasks()) kedge::mach::play(fuzz::byte_source({data, size}));
  return 0;
}
