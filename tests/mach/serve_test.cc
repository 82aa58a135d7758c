// serve(): handlers, refusals, limits, connections and the end of a server.
#include "kedge/mach/serve.h"

#include <doctest/doctest.h>
#include <mach/mach.h>
#include <mach/mig_errors.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "kedge/mach/call.h"
#include "kedge/mach/error.h"
#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/ledger.h"
#include "kedge/mach/space.h"
#include "kedge/mach/typed_call.h"
#include "kedge/runtime/event.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/scope_guard.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/with_cleanup.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/yield.h"
#include "tests/runtime/drain.h"
#include "tests/runtime/in_child_process.h"

namespace kedge::mach {
namespace {

using namespace std::chrono_literals;

struct count_letters {
  static constexpr mach_msg_id_t id = 5000;
  text<64> word;
  struct reply {
    std::uint64_t letters;
  };
};
struct log_line {  // one-way
  static constexpr mach_msg_id_t id = 5001;
  text<64> line;
};
struct rest {
  static constexpr mach_msg_id_t id = 5002;
  std::uint32_t number;
  struct reply {};
};
struct open_sum {
  static constexpr mach_msg_id_t id = 5003;
  struct reply {
    send_right connection;
  };
};
struct add {
  static constexpr mach_msg_id_t id = 5004;
  std::uint32_t number;
  struct reply {
    std::uint64_t total;
  };
};

count_letters::reply count(count_letters& q) {
  return {q.word.size()};
}

// A server and its clients, on one loop in virtual time.
struct world {
  virtual_time time;
  loop l{time};
  receive_right port = receive_right::make();
  send_right to = port.make_send();
  serve_control control;
  serve_options options{.peers = anyone(), .control = &control};
  std::optional<serve_report> report;

  template <class... Handlers>
  void begin(Handlers&&... handlers) {
    l.spawn(keep(serve(port, options, std::forward<Handlers>(handlers)...)));
    settle(l);
  }
  task<> keep(task<serve_report> served) { report = co_await std::move(served); }

  // Gives the code with which a call has ended, or none.
  template <class T, class... Arguments>
  std::error_code error_of(const send_right& at, Arguments&&... arguments) {
    std::optional<std::error_code> code;
    auto asked = mach::call<T>(at, std::forward<Arguments>(arguments)...);
    const auto ask = [&]() -> task<> {
      const auto reply = co_await std::move(asked);
      code = reply ? std::error_code() : reply.error().code();
    };
    l.spawn(ask());
    settle(l);
    REQUIRE(code);
    return *code;
  }
  template <class T, class... Arguments>
  typename T::reply reply_of(const send_right& at, Arguments&&... arguments) {
    std::optional<typename T::reply> reply;
    auto asked = mach::call<T>(at, std::forward<Arguments>(arguments)...);
    const auto ask = [&]() -> task<> {
      auto got = co_await std::move(asked);
      reply = std::move(got).value();
    };
    l.spawn(ask());
    settle(l);
    REQUIRE(reply);
    return *std::move(reply);
  }
  void stop() {
    control.stop();
    settle(l);
  }
  const serve_counters& counters() const { return control.counters(); }
};

void keep_quiet(mach_msg_id_t, const audit_token_t&, const std::exception_ptr&) noexcept {}

TEST_CASE("serve answers a request by its handler") {
  world w;
  w.begin(&count);
  CHECK(w.reply_of<count_letters>(w.to, "kedge").letters == 5);
  w.stop();
  REQUIRE(w.report);
  CHECK(w.report->counters.received == 1);
  CHECK(w.report->counters.handled == 1);
  CHECK(w.report->counters.running == 0);
  CHECK(int(*w.report) == 0);
}

TEST_CASE("a handler gives a reply, a result, a task of either, or nothing") {
  world w;
  w.options.on_failure = keep_quiet;
  SUBCASE("a result") {
    w.begin([](count_letters& q) -> result<count_letters::reply, kern_return_t> {
      if (q.word.empty()) return unexpected(kern_return_t{KERN_INVALID_ARGUMENT});
      return count(q);
    });
  }
  SUBCASE("a task") {
    w.begin([](count_letters& q) -> task<count_letters::reply> {
      co_await yield();
      if (q.word.empty()) throw std::system_error(kern_error(KERN_INVALID_ARGUMENT));
      co_return count(q);
    });
  }
  SUBCASE("a task of a result") {
    w.begin([](count_letters& q) -> task<result<count_letters::reply, kern_return_t>> {
      co_await yield();
      if (q.word.empty()) co_return unexpected(kern_return_t{KERN_INVALID_ARGUMENT});
      co_return count(q);
    });
  }
  CHECK(w.reply_of<count_letters>(w.to, "anchor").letters == 6);
  CHECK(w.error_of<count_letters>(w.to, "") == kern_error(KERN_INVALID_ARGUMENT));
  CHECK(w.reply_of<count_letters>(w.to, "line").letters == 4);
}

TEST_CASE("a one-way request is handled, and a reply without members is sent") {
  world w;
  std::vector<std::string> lines;
  w.begin([&](log_line& q) { lines.emplace_back(q.line.view()); }, [](rest&) {});
  REQUIRE(try_send<log_line>(w.to, "first"));
  REQUIRE(try_send<log_line>(w.to, "second"));
  CHECK(w.error_of<rest>(w.to, 1u) == std::error_code());
  CHECK(lines == std::vector<std::string>{"first", "second"});
  CHECK(w.counters().handled == 3);
}

TEST_CASE("a message that no handler takes is answered by a MIG error") {
  world w;
  w.begin(&count);
  CHECK(w.error_of<add>(w.to, 1u) == kern_error(MIG_BAD_ID));
  std::error_code code;
  const auto ask = [&]() -> task<> {
    auto reply = co_await call(w.to, message(count_letters::id, std::uint32_t{1}));
    received got = std::move(reply).value();
    code = decode_reply<count_letters>(got).error();
  };
  w.l.spawn(ask());
  settle(w.l);
  CHECK(code == kern_error(MIG_BAD_ARGUMENTS));
  REQUIRE(try_send(w.to, message(1)));  // expects no reply
  CHECK(w.reply_of<count_letters>(w.to, "on").letters == 2);
  CHECK(w.counters().unknown == 2);
  CHECK(w.counters().malformed == 1);
  CHECK(w.counters().undelivered == 0);
}

TEST_CASE("a peer that the policy does not admit is refused before its request is read") {
  world w;
  int asked = 0;
  auto odd = [&asked](const audit_token_t&) { return ++asked % 2 == 0; };
  w.options.peers = std::ref(odd);
  w.begin(&count);
  CHECK(w.error_of<add>(w.to, 1u) == kern_error(KERN_NO_ACCESS));
  CHECK(w.reply_of<count_letters>(w.to, "word").letters == 4);
  CHECK(w.error_of<count_letters>(w.to, "word") == kern_error(KERN_NO_ACCESS));
  CHECK(w.counters().refused == 2);
  CHECK(w.counters().unknown == 0);
}

TEST_CASE("same_user admits this process, and user() and root() only theirs") {
  const auto token = [](uid_t id) {
    audit_token_t t{};
    t.val[1] = id;
    return t;
  };
  CHECK(same_user().admits(token(::geteuid())));
  CHECK(!same_user().admits(token(::geteuid() + 1)));
  CHECK(user(501).admits(token(501)));
  CHECK(!user(501).admits(token(502)));
  CHECK(root().admits(token(0)));
  CHECK(!root().admits(token(501)));
  const peer_policy own = [](const audit_token_t& t) { return process_of(t) == 7; };
  audit_token_t seven{};
  seven.val[5] = 7;
  CHECK(own.admits(seven));
  CHECK(!own.admits(token(501)));
}

TEST_CASE("a client cannot make the kernel ask, though the policy admits root") {
  world w;
  w.options.peers = anyone();
  w.begin(&count);
  // The kernel's answer to a request to a port of its own, with the server as the reply port.
  const send_right task = send_right::another(mach_task_self());
  message m(count_letters::id - reply_offset);
  m.reply_to(w.to);
  REQUIRE(try_send(task, std::move(m)));
  settle(w.l);
  CHECK(w.counters().received == 1);
  CHECK(w.counters().refused == 1);
}

TEST_CASE("a client cannot make the server ask itself, by its own token") {
  world w;
  int asked = 0;
  w.begin([&](rest&) { ++asked; });
  // The refusal of this request would be a request to rest, if it came to the server.
  message m(rest::id - reply_offset);
  m.reply_to(w.to);
  REQUIRE(try_send(w.to, std::move(m)));
  settle(w.l);
  CHECK(asked == 0);
  CHECK(w.counters().received == 1);
  CHECK(w.counters().unknown == 1);
  CHECK(w.counters().undelivered == 1);
}

TEST_CASE("a full server leaves messages in the queue") {
  world w;
  event go;
  w.options.concurrency = 2;
  w.begin([&](rest&) -> task<> { (void)co_await go.wait(); });
  int ended = 0;
  const auto ask = [&]() -> task<> {
    const auto reply = co_await call<rest>(w.to, 0u);
    if (reply) ++ended;
  };
  for (int i = 0; i < 5; ++i) w.l.spawn(ask());
  settle(w.l);
  CHECK(w.counters().running == 2);
  CHECK(w.port.status().messages() == 3);
  go.set();
  settle(w.l);
  CHECK(ended == 5);
  CHECK(w.counters().running == 0);
}

TEST_CASE("a handler that takes too long is cancelled, and its client gets an error") {
  world w;
  w.options.deadline = 5s;
  bool is_gone = false;
  w.begin([&](rest& q) -> task<> {
    const on_cancel gone([&] { is_gone = true; });
    co_await sleep_for(std::chrono::seconds(q.number));
  });
  std::vector<std::error_code> ends;
  const auto ask = [&](std::uint32_t seconds) -> task<> {
    const auto reply = co_await call<rest>(w.to, seconds);
    ends.push_back(reply ? std::error_code() : reply.error().code());
  };
  w.l.spawn(ask(4));
  w.l.spawn(ask(6));
  settle(w.l);
  w.time.advance(4s);
  settle(w.l);
  CHECK(ends == std::vector{std::error_code()});
  w.time.advance(1s);
  settle(w.l);
  REQUIRE(ends.size() == 2);
  CHECK(ends[1] == kern_error(KERN_OPERATION_TIMED_OUT));
  CHECK(is_gone);
  CHECK(w.counters().timed_out == 1);
  CHECK(w.counters().handled == 1);
}

std::vector<std::string> failures;
void note_failure(mach_msg_id_t id, const audit_token_t&,
                  const std::exception_ptr& failure) noexcept {
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& e) {
    failures.push_back(std::to_string(id) + " " + e.what());
  }
}

TEST_CASE("a handler that throws answers with an error and is reported, and the server goes on") {
  world w;
  failures.clear();
  w.options.on_failure = note_failure;
  w.begin(
      [](rest& q) {
        if (q.number == 1) throw std::runtime_error("one");
        if (q.number == 2) throw std::system_error(kern_error(KERN_NO_SPACE), "two");
      },
      [](count_letters&) -> task<count_letters::reply> {
        co_await yield();
        throw std::runtime_error("three");
      });
  CHECK(w.error_of<rest>(w.to, 1u) == kern_error(KERN_FAILURE));
  CHECK(w.error_of<rest>(w.to, 2u) == kern_error(KERN_NO_SPACE));
  CHECK(w.error_of<count_letters>(w.to, "x") == kern_error(KERN_FAILURE));
  CHECK(w.error_of<rest>(w.to, 0u) == std::error_code());
  REQUIRE(failures.size() == 3);
  CHECK(failures[0] == "5002 one");
  CHECK(failures[1].find("5002 two") == 0);
  CHECK(failures[2] == "5000 three");
  CHECK(w.counters().failed == 3);
}

TEST_CASE("the default report of a failure names the request, the process and the reason") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const int before = ::dup(STDERR_FILENO);
  REQUIRE(::dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
  audit_token_t peer{};
  peer.val[5] = 4711;
  print_failed_request(5000, peer, std::make_exception_ptr(std::runtime_error("no such word")));
  print_failed_request(5001, peer, std::make_exception_ptr(7));
  print_failed_request(5002, peer,
                       std::make_exception_ptr(std::runtime_error(std::string(5000, 'x'))));
  REQUIRE(::dup2(before, STDERR_FILENO) == STDERR_FILENO);
  ::close(before);
  ::close(ends[1]);
  std::string all(10'000, '\0');
  const ssize_t n = ::read(ends[0], all.data(), all.size());
  ::close(ends[0]);
  all.resize(static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
  const std::string first =
      "kedge: request 5000 of process 4711: no such word\n"
      "kedge: request 5001 of process 4711: an exception of an unknown type\n";
  CHECK(all.substr(0, first.size()) == first);
  CHECK(all.size() > first.size());
  CHECK(all.size() <= first.size() + 512);
  CHECK(all.back() == '\n');
}

TEST_CASE("the default report of a failure does not raise SIGPIPE where its reader has gone") {
  const program_end end = in_child_process([] {
    std::signal(SIGPIPE, SIG_DFL);
    int ends[2];
    if (::pipe(ends) != 0) std::_Exit(2);
    ::close(ends[0]);
    ::dup2(ends[1], STDERR_FILENO);
    print_failed_request(5000, {}, std::make_exception_ptr(std::runtime_error("no such word")));
  });
  CHECK(end.status == 0);
}

TEST_CASE("stop drains: queued requests are handled, and the running ones end") {
  world w;
  event go;
  w.options.concurrency = 1;
  w.begin([&](rest&) -> task<> { (void)co_await go.wait(); });
  std::vector<std::error_code> ends;
  const auto ask = [&]() -> task<> {
    const auto reply = co_await call<rest>(w.to, 0u);
    ends.push_back(reply ? std::error_code() : reply.error().code());
  };
  for (int i = 0; i < 3; ++i) w.l.spawn(ask());
  settle(w.l);
  w.stop();
  CHECK(!w.report);
  go.set();
  settle(w.l);
  CHECK(ends == std::vector<std::error_code>(3));
  REQUIRE(w.report);
  CHECK(w.report->stuck == 0);
  CHECK(w.report->counters.handled == 3);
  // A later request stays in the queue, which is the caller's.
  w.l.spawn(ask());
  settle(w.l);
  CHECK(w.port.status().messages() == 1);
  w.port.destroy();
  settle(w.l);
  REQUIRE(ends.size() == 4);
  CHECK(ends[3] == errc::no_reply);
}

TEST_CASE("requests that are left after the grace are cancelled, and reported") {
  world w;
  w.options.grace = 3s;
  w.begin([](rest&) -> task<> { co_await sleep_for(1h); });
  std::error_code end;
  const auto ask = [&]() -> task<> {
    const auto reply = co_await call<rest>(w.to, 0u);
    end = reply.error().code();
  };
  w.l.spawn(ask());
  settle(w.l);
  w.stop();
  w.time.advance(2s);
  settle(w.l);
  CHECK(!w.report);
  w.time.advance(1s);
  settle(w.l);
  REQUIRE(w.report);
  CHECK(w.report->stuck == 1);
  CHECK(w.report->where.find("3597.000 s to pass") != std::string::npos);
  CHECK(end == errc::no_reply);
}

TEST_CASE("a server that is stopped before it begins handles what is queued, and ends") {
  world w;
  w.control.stop();
  REQUIRE(try_send<log_line>(w.to, "early"));
  int lines = 0;
  w.begin([&](log_line&) { ++lines; });
  REQUIRE(w.report);
  CHECK(lines == 1);
}

TEST_CASE("a server ends when its port is destroyed") {
  world w;
  w.begin(&count);
  w.port.destroy();
  settle(w.l);
  REQUIRE(w.report);
  CHECK(!w.report->error);
}

TEST_CASE("serve on an empty right gives the error, and a failed exit status") {
  world w;
  w.port = {};
  w.begin(&count);
  REQUIRE(w.report);
  CHECK(w.report->error == errc::empty_right);
  CHECK(int(*w.report) == 1);
}

TEST_CASE("a second serve with one control throws, and so does a concurrency of 0") {
  world w;
  w.begin(&count);
  const receive_right other = receive_right::make();
  CHECK_THROWS_AS(w.l.run(serve(other, w.options, &count)), std::logic_error);
  w.options.control = nullptr;
  w.options.concurrency = 0;
  CHECK_THROWS_AS(w.l.run(serve(other, w.options, &count)), std::system_error);
  CHECK(w.reply_of<count_letters>(w.to, "on").letters == 2);
}

TEST_CASE("a set of ports has one server") {
  world w;
  port_set set = port_set::make();
  const receive_right second = receive_right::make();
  set.insert(w.port, 1);
  set.insert(second, 2);
  const auto keep = [&]() -> task<> {
    auto served = serve(set, w.options, &count);
    w.report = co_await std::move(served);
  };
  w.l.spawn(keep());
  CHECK(w.reply_of<count_letters>(w.to, "first").letters == 5);
  CHECK(w.reply_of<count_letters>(second.make_send(), "2").letters == 1);
  REQUIRE(try_send<log_line>(w.to, "queued"));
  w.stop();
  REQUIRE(w.report);
  CHECK(w.report->counters.received == 3);
}

struct sum {
  explicit sum(int& alive) : counted(alive) { ++counted; }
  sum(const sum&) = delete;
  ~sum() { --counted; }
  int& counted;
  std::uint64_t total = 0;
};

// A server with a sum for each connection.
struct sums : world {
  int alive = 0;
  event go;
  void begin_sums() {
    go.set();
    begin([this](open_sum&, client& c) { return open_sum::reply{c.open<sum>(alive)}; },
          [this](add& q, sum& s) -> task<add::reply> {
            (void)co_await go.wait();
            s.total += q.number;
            co_return add::reply{s.total};
          },
          &count);
  }
};

TEST_CASE("each connection has a state, which ends with the client's last right") {
  sums w;
  w.begin_sums();
  const std::size_t before = ledger::entries().size();
  {
    const send_right one = w.reply_of<open_sum>(w.to).connection;
    const send_right two = w.reply_of<open_sum>(w.to).connection;
    CHECK(w.alive == 2);
    CHECK(w.counters().connections == 2);
    CHECK(w.reply_of<add>(one, 2u).total == 2);
    CHECK(w.reply_of<add>(two, 5u).total == 5);
    CHECK(w.reply_of<add>(one, 3u).total == 5);
    // What takes no state is answered on every port, what takes one only on its own.
    CHECK(w.reply_of<count_letters>(two, "word").letters == 4);
    CHECK(w.error_of<add>(w.to, 1u) == kern_error(MIG_BAD_ID));
  }
  settle(w.l);
  CHECK(w.alive == 0);
  CHECK(w.counters().connections == 0);
  CHECK(ledger::entries().size() == before);
}

TEST_CASE("requests that were sent before the client dropped its connection are handled") {
  sums w;
  w.begin_sums();
  w.go.reset();
  send_right one = w.reply_of<open_sum>(w.to).connection;
  std::vector<std::uint64_t> totals;
  const auto ask = [&](send_right at, std::uint32_t n) -> task<> {
    auto asked = mach::call<add>(std::move(at), n);
    const auto reply = co_await std::move(asked);
    totals.push_back(reply.value().total);
  };
  w.l.spawn(ask(one, 1));
  w.l.spawn(ask(std::move(one), 2));
  settle(w.l);
  CHECK(w.alive == 1);
  w.go.set();
  settle(w.l);
  CHECK(totals == std::vector<std::uint64_t>{1, 3});
  CHECK(w.alive == 0);
}

TEST_CASE("a server opens no more connections than it may") {
  sums w;
  w.options.most_connections = 2;
  w.options.on_failure = keep_quiet;
  w.begin_sums();
  std::vector<send_right> held;
  held.push_back(w.reply_of<open_sum>(w.to).connection);
  held.push_back(w.reply_of<open_sum>(w.to).connection);
  CHECK(w.error_of<open_sum>(w.to) == kern_error(KERN_RESOURCE_SHORTAGE));
  CHECK(w.alive == 2);
  held.pop_back();
  settle(w.l);
  held.push_back(w.reply_of<open_sum>(w.to).connection);
  CHECK(w.counters().connections == 2);
}

TEST_CASE("a serve that its control refuses leaves the counters of the other one alone") {
  sums w;
  w.begin_sums();
  const send_right one = w.reply_of<open_sum>(w.to).connection;
  const receive_right other = receive_right::make();
  CHECK_THROWS_AS(w.l.run(serve(other, w.options, &count)), std::logic_error);
  CHECK(w.counters().connections == 1);
}

TEST_CASE("stop has no effect on a serve that is cancelled and cleans up") {
  world w;
  event cleaned;
  w.begin([&](rest&) -> task<> {
    const auto clean = [&]() -> task<> { (void)co_await cleaned.wait(); };
    co_await with_cleanup(sleep_for(1h), clean, 1h);
  });
  REQUIRE(w.error_of<add>(w.to, 1u) == kern_error(MIG_BAD_ID));
  const auto ask = [&]() -> task<> { (void)co_await call<rest>(w.to, 0u); };
  w.l.spawn(ask());
  settle(w.l);
  CHECK(w.counters().running == 1);
  w.l.cancel();
  settle(w.l);
  CHECK(w.counters().running == 1);
  w.stop();  // the scope in which requests were received has gone
  cleaned.set();
  settle(w.l);
  CHECK(w.counters().running == 0);
  CHECK(!w.report);
}

TEST_CASE("the states of open connections end with serve") {
  sums w;
  w.begin_sums();
  const send_right one = w.reply_of<open_sum>(w.to).connection;
  w.stop();
  REQUIRE(w.report);
  CHECK(w.alive == 0);
  CHECK(one.dead());
}

const auto several_tasks = doctest::skip(!kernel::has_many_tasks());

TEST_CASE("a server outlives a lack of names and ports at every point of opening a connection" *
          several_tasks) {
  for (std::uint64_t nth = 1;; ++nth) {
    CAPTURE(nth);
    sums w;
    w.options.on_failure = keep_quiet;
    w.begin_sums();
    const auto open = [&]() -> task<> {
      try {
        (void)co_await mach::call<open_sum>(w.to);
      } catch (const std::exception&) {
        // The client may lack a name too.
      }
    };
    w.l.spawn(open());
    kernel::plan_faults({.points = kernel::fault_plan::only(kernel::fault::no_name) |
                                   kernel::fault_plan::only(kernel::fault::port_memory),
                         .nth = nth});
    settle(w.l);
    const bool has_failed = kernel::end_faults().caused != 0;
    settle(w.l);
    CHECK(w.reply_of<count_letters>(w.to, "lives").letters == 5);
    CHECK(w.alive == 0);
    if (!has_failed) break;
  }
}

TEST_CASE("a client that dies at any step of its call leaves nothing behind" * several_tasks) {
  // The step at which the client dies: before it has sent, with its request in the queue, while the
  // request is being handled, with the reply in its queue, and with a connection that it has used.
  for (int step = 0; step < 5; ++step) {
    CAPTURE(step);
    sums w;
    w.begin_sums();
    const std::size_t before = ledger::entries().size();
    {
      std::optional<space> dying(std::in_place);
      const mach_port_name_t theirs = dying->give(send_right(w.to));
      std::optional<loop> l;
      {
        const scoped_space inside(*dying);
        l.emplace();
        l->set_hook(&*dying);
      }
      send_right connection;
      const auto use = [&]() -> task<> {
        const send_right server = send_right::adopt(theirs);
        if (step == 0) co_return;
        auto opened = co_await mach::call<open_sum>(server);
        connection = std::move(opened).value().connection;
        if (step == 4) co_return;
        auto added = mach::call<add>(connection, 3u);
        (void)co_await std::move(added);
      };
      if (step == 2) w.go.reset();
      l->spawn(use());
      settle(*l);
      if (step != 1) {
        settle(w.l);
        settle(*l);
      }
      if (step >= 2 && step != 3) settle(w.l);
      {
        const scoped_space inside(*dying);
        l.reset();
        connection = {};
      }
      dying.reset();
    }
    settle(w.l);
    w.go.set();
    settle(w.l);
    CHECK(w.alive == 0);
    CHECK(w.counters().connections == 0);
    CHECK(w.counters().running == 0);
    CHECK(ledger::entries().size() == before);
    CHECK(w.reply_of<count_letters>(w.to, "lives").letters == 5);
  }
}

TEST_CASE("1,000 clients come and go while the server drains") {
  sums w;
  w.options.concurrency = 8;
  w.begin_sums();
  const std::size_t before = ledger::entries().size();
  int answered = 0, lost = 0;
  const auto use = [&](std::uint32_t n) -> task<> {
    auto opened = co_await mach::call<open_sum>(w.to);
    if (!opened) {
      ++lost;
      co_return;
    }
    const send_right own = std::move(opened->connection);
    auto added = mach::call<add>(own, n);
    const auto total = co_await std::move(added);
    if (total) {
      ++answered;
      CHECK(total->total == n);
    } else {
      ++lost;
    }
  };
  for (std::uint32_t n = 0; n < 1000; ++n) {
    w.l.spawn(use(n));
    if (n == 500) w.control.stop();
    w.l.poll();
  }
  settle(w.l);
  REQUIRE(w.report);
  CHECK(w.report->stuck == 0);
  CHECK(w.alive == 0);
  CHECK(answered > 0);
  w.port.destroy();  // those that have come too late
  settle(w.l);
  CHECK(answered + lost == 1000);
  // Without the port and the set of the server.
  if (ledger::is_kept()) CHECK(ledger::entries().size() == before - 2);
}

TEST_CASE("an honest client beside a hostile one waits ten times as long as alone at most" *
          several_tasks) {
  sums w;
  w.begin_sums();
  const send_right honest = w.reply_of<open_sum>(w.to).connection;
  // Sends to the server and to a connection whenever there is room, and never reads its replies,
  // for which its queue is full.
  space hostile;
  const mach_port_name_t theirs[] = {hostile.give(send_right(w.to)),
                                     hostile.give(w.reply_of<open_sum>(w.to).connection)};
  std::optional<scoped_space> inside(std::in_place, hostile);
  std::vector<send_right> targets;
  for (const mach_port_name_t name : theirs) targets.push_back(send_right::adopt(name));
  receive_right deaf = receive_right::make(1);
  send_right to_deaf = deaf.make_send();
  REQUIRE(try_send(to_deaf, message(1)));
  std::optional<loop> floods(std::in_place);
  floods->set_hook(&hostile);
  inside.reset();
  const auto flood = [&](const send_right& target) -> task<> {
    for (;;) {
      message m = encode<count_letters>("hostile");
      m.reply_to(to_deaf);
      (void)co_await send(target, std::move(m));
    }
  };
  // Returns how often both loops were polled until a call of the honest client has ended.
  const auto rounds_of_call = [&] {
    bool is_answered = false;
    const auto ask = [&]() -> task<> {
      const auto reply = co_await mach::call<add>(honest, 0u);
      is_answered = reply.has_value();
    };
    w.l.spawn(ask());
    int rounds = 0;
    for (; !is_answered && rounds < 1000; ++rounds) {
      floods->poll();
      w.l.poll();
    }
    return rounds;
  };
  const int alone = rounds_of_call();
  for (std::size_t i = 0; i < 8; ++i) floods->spawn(flood(targets[i % 2]));
  for (int i = 0; i < 100; ++i) CHECK(rounds_of_call() <= 10 * alone);
  CHECK(w.counters().undelivered > 100);
  // What the floods hold belongs to their space.
  inside.emplace(hostile);
  floods.reset();
  deaf.destroy();
  to_deaf = {};
  targets.clear();
}

}  // namespace
}  // namespace kedge::mach
