// Loops inside a host's main loop, which knows of each only its handle. poll_host.cc, or a host of
// tests/consumers, is the main loop.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "host.h"
#include "kedge/runtime/runtime.h"
#include "stream_pair.h"

namespace {

using namespace std::chrono_literals;
using kedge::loop;
using kedge::make_host;
using kedge::task;
using kedge::virtual_time;

bool runs_until_done(kedge::host& h, loop& l) {
  return h.run_until([&] { return l.size() == 0; });
}

TEST_CASE("a host drives sleeps in the order of their deadlines") {
  loop l;
  const auto h = make_host();
  h->watch(l);
  std::vector<int> order;
  // Deadlines from one moment, so that the order holds however late the loop is driven.
  const auto start = l.now();
  const auto note_at = [&](std::chrono::milliseconds after, int n) -> task<> {
    co_await kedge::sleep_until(start + after);
    order.push_back(n);
  };
  l.spawn(note_at, 3ms, 3);
  l.spawn(note_at, 1ms, 1);
  l.spawn(note_at, 2ms, 2);
  CHECK(runs_until_done(*h, l));
  CHECK(order == std::vector{1, 2, 3});
}

TEST_CASE("a host is left alone while its loop's tasks wait, and woken when time has passed") {
  virtual_time time;
  loop l(time);
  const auto h = make_host();
  h->watch(l);
  l.spawn(kedge::sleep_for(1h));
  l.spawn(
      []() -> task<> { static_cast<void>(co_await kedge::with_timeout(2h, kedge::forever())); });
  h->settle();
  const int started = h->drives();
  h->settle();
  CHECK(h->drives() == started);
  time.advance(1h);
  h->settle();
  CHECK(l.size() == 1);
  time.advance(1h);
  h->settle();
  CHECK(l.size() == 0);
  CHECK(h->drives() <= started + 4);
}

TEST_CASE("a host goes on with its own work while a task yields without end") {
  loop l;
  const auto h = make_host();
  h->watch(l);
  bool stop = false;
  int yields = 0;
  l.spawn([&]() -> task<> {
    while (!stop) {
      co_await kedge::yield();
      ++yields;
    }
  });
  int rounds = 0;
  CHECK(h->run_until([&] { return ++rounds == 10; }));
  CHECK(yields > 0);
  stop = true;
  CHECK(runs_until_done(*h, l));
}

TEST_CASE("a host runs what was posted, by another thread and by itself") {
  loop l;
  const auto h = make_host();
  h->watch(l);
  const kedge::remote to = l.get_remote();
  h->settle();
  bool ran = false;
  std::thread poster([&] { to.post([&] { ran = true; }); });
  CHECK(h->run_until([&] { return ran; }));
  poster.join();
  ran = false;
  to.post([&] { ran = true; });
  h->settle();
  CHECK(ran);
}

TEST_CASE("a host drives a conversation over a socket, whose ends belong to two of its loops") {
  loop l, other;
  const auto h = make_host();
  h->watch(l);
  h->watch(other);
  const auto fds = kedge::socket_pair();
  kedge::descriptor a(l, fds[0], kedge::ownership::owned);
  kedge::descriptor b(other, fds[1], kedge::ownership::owned);
  static constexpr int rounds = 100;
  const auto ask = [](kedge::descriptor& d, int& answers) -> task<> {
    std::array<std::byte, 1> one{};
    for (int i = 0; i < rounds; ++i) {
      CHECK((co_await d.write_some(one)).value() == 1);
      answers += (co_await d.read_some(one)).value() == 1;
    }
    d.close();
  };
  const auto answer = [](kedge::descriptor& d) -> task<> {
    std::array<std::byte, 1> one{};
    while (co_await d.read_some(one)) static_cast<void>(co_await d.write_some(one));
  };
  int answers = 0;
  l.spawn(ask, std::ref(a), std::ref(answers));
  other.spawn(answer, std::ref(b));
  CHECK(h->run_until([&] { return l.size() + other.size() == 0; }));
  CHECK(answers == rounds);
  CHECK(h->drives() <= 4 * rounds);
}

TEST_CASE("a host drives a write that waits until the other end has read") {
  loop l;
  const auto h = make_host();
  h->watch(l);
  kedge::stream_pair p(l);
  const std::vector<std::byte> much(std::size_t{1} << 20);
  std::size_t count = 0;
  l.spawn([&]() -> task<> {
    for (std::span<const std::byte> left = much; !left.empty();) {
      left = left.subspan((co_await p.a.write_some(left)).value());
    }
    p.a.close();
  });
  l.spawn([&]() -> task<> {
    std::vector<std::byte> some(10'000);
    while (const auto n = co_await p.b.read_some(some)) count += *n;
  });
  CHECK(runs_until_done(*h, l));
  CHECK(count == much.size());
}

TEST_CASE("a host is woken by what its own code sets, sends, releases and destroys") {
  loop l;
  const auto h = make_host();
  h->watch(l);
  int ended = 0;
  const auto count = [&](auto wait) -> task<> {
    static_cast<void>(co_await std::move(wait));
    ++ended;
  };
  auto is_driven = [&, now = 0]() mutable {
    h->settle();
    return ended == ++now;
  };

  kedge::event e;
  l.spawn([&]() -> task<> {
    static_cast<void>(co_await e.wait());
    ++ended;
  });
  h->settle();
  e.set();
  CHECK(is_driven());

  auto items = std::make_unique<kedge::channel<int>>(1);
  l.spawn(count, items->receive());
  h->settle();
  CHECK(items->try_send(1));
  CHECK(is_driven());
  l.spawn(count, items->receive());
  h->settle();
  items.reset();  // destroyed under its waiter
  CHECK(is_driven());

  kedge::semaphore one(1);
  {
    const auto held = l.run(one.acquire()).value();
    l.spawn(count, one.acquire());
    h->settle();
  }  // the permit's destructor lets the task go
  CHECK(is_driven());

  kedge::stream_pair p(l);
  l.spawn(count, p.a.readable());
  h->settle();
  p.a.close();
  CHECK(is_driven());

  auto answer = std::make_unique<kedge::completion<int>>();
  l.spawn(count, answer->wait());
  h->settle();
  answer->get_completer().complete(1);
  CHECK(is_driven());
}

TEST_CASE("a host is woken when the grace ends of a scope that its own code drains") {
  virtual_time time;
  loop l(time);
  const auto h = make_host();
  h->watch(l);
  kedge::scope* inside = nullptr;
  l.spawn(kedge::with_scope([&](kedge::scope& s) -> task<> {
    inside = &s;
    co_await kedge::forever();
  }));
  h->settle();
  REQUIRE(inside != nullptr);
  SUBCASE("later") {
    inside->drain(1h);
    h->settle();
    CHECK(l.size() == 1);
    time.advance(1h);
  }
  SUBCASE("at once") {
    inside->drain(0s);
  }
  h->settle();
  CHECK(l.size() == 0);
}

TEST_CASE("a host is woken when its own code gives a full scope room") {
  loop l;
  const auto h = make_host();
  h->watch(l);
  kedge::scope* inside = nullptr;
  int ended = 0;
  l.spawn(kedge::with_scope([&](kedge::scope& s) -> task<> {
    inside = &s;
    s.set_limit(1);
    s.spawn(kedge::forever());
    s.spawn([&]() -> task<> {
      ++ended;
      co_return;
    });
    if (co_await s.room()) ++ended;
    co_await kedge::forever();
  }));
  h->settle();
  REQUIRE(inside != nullptr);
  CHECK(ended == 0);
  inside->set_limit(2);
  h->settle();
  CHECK(ended == 2);
  inside->cancel();
  h->settle();
  CHECK(l.size() == 0);
}

TEST_CASE("a host is woken when a destructor of a destroyed task lets another one go") {
  loop l;
  const auto h = make_host();
  h->watch(l);
  kedge::event freed;
  struct frees {
    explicit frees(kedge::event& e) noexcept : e_(&e) {}
    frees(frees&& other) noexcept : e_(std::exchange(other.e_, nullptr)) {}
    frees& operator=(frees&&) = delete;
    ~frees() {
      if (e_ != nullptr) e_->set();
    }
    kedge::event* e_;
  };
  bool is_let_go = false;
  l.spawn([&]() -> task<> {
    static_cast<void>(co_await freed.wait());
    is_let_go = true;
  });
  h->settle();
  SUBCASE("of one that was never started") {
    auto dropped = [](frees) -> task<> { co_return; }(frees(freed));
    {
      const auto now = std::move(dropped);
    }
  }
  SUBCASE("of one that run() has run") {
    const auto ends = [](frees) -> task<> { co_return; };
    l.run(ends(frees(freed)));
  }
  SUBCASE("of one that belongs to another loop, which is destroyed") {
    loop other;
    other.spawn([](const frees&) { return kedge::forever(); }, frees(freed));
    other.poll();
  }
  CHECK(runs_until_done(*h, l));
  CHECK(is_let_go);
}

TEST_CASE("run() may be called again and again, before, between and after the rounds of a host") {
  loop l;
  const auto twice = [](int n) -> task<int> {
    co_await kedge::yield();
    co_await kedge::sleep_for(1us);
    co_return 2 * n;
  };
  CHECK(l.run(twice(1)) == 2);
  CHECK(l.run(twice(2)) == 4);
  const auto h = make_host();
  h->watch(l);
  bool passed = false;
  l.spawn([&]() -> task<> {
    co_await kedge::sleep_for(1ms);
    passed = true;
  });
  CHECK(l.run(twice(3)) == 6);
  CHECK(runs_until_done(*h, l));
  CHECK(passed);
  CHECK(l.run(twice(4)) == 8);
  l.spawn(kedge::sleep_for(1ms));
  CHECK(runs_until_done(*h, l));
}

TEST_CASE("a tool without a main loop waits for one thing by one call of run()") {
  loop l;
  const auto fds = kedge::socket_pair();
  const kedge::descriptor writer(l, fds[1], kedge::ownership::owned);
  kedge::descriptor reader(l, fds[0], kedge::ownership::owned);
  std::thread late([&] { CHECK(::write(fds[1], "x", 1) == 1); });
  CHECK(l.run(reader.readable()));
  late.join();
  std::array<std::byte, 2> buffer{};
  CHECK(l.run(reader.read_some(buffer)).value() == 1);
  const auto silence = l.run(kedge::with_timeout(1us, reader.readable()));
  CHECK(silence.error() == kedge::errc::timed_out);
}

TEST_CASE("a failure leaves the host's C code behind it, and the loop goes on") {
  loop l;
  const auto h = make_host();
  h->watch(l);
  bool cleaned = false;
  for (int i = 0; i < 2; ++i) {
    l.spawn([]() -> task<> {
      co_await kedge::sleep_for(1us);
      throw std::runtime_error("of a task");
    });
    l.spawn([&]() -> task<> {
      const kedge::on_cancel at_end([&]() noexcept { cleaned = true; });
      co_await kedge::forever();
    });
    CHECK_THROWS_AS(runs_until_done(*h, l), std::runtime_error);
    CHECK(cleaned);
    CHECK(l.size() == 0);
    CHECK(l.failures().size() == 1);
  }
  bool passed = false;
  l.spawn([&]() -> task<> {
    co_await kedge::sleep_for(1us);
    passed = true;
  });
  CHECK(runs_until_done(*h, l));
  CHECK(passed);
}

TEST_CASE("a host may cancel its loop's tasks, and drives them to their ends") {
  loop l;
  const auto h = make_host();
  h->watch(l);
  bool cleaned = false;
  l.spawn([&]() -> task<> {
    const auto cleanup = [&]() -> task<> {
      co_await kedge::sleep_for(1us);
      cleaned = true;
    };
    co_await kedge::with_cleanup(kedge::forever(), cleanup, 1h);
  });
  h->settle();
  CHECK(l.size() == 1);
  l.cancel();
  CHECK(runs_until_done(*h, l));
  CHECK(cleaned);
}

TEST_CASE("a loop that is destroyed leaves its host, and another takes its place") {
  const auto h = make_host();
  for (int i = 0; i < 3; ++i) {
    auto l = std::make_unique<loop>();
    h->watch(*l);
    l->spawn(kedge::forever());
    l->spawn(kedge::sleep_for(1us));
    CHECK(h->run_until([&] { return l->size() == 1; }));
    h->forget(*l);
    l.reset();
    h->settle();
  }
}

TEST_CASE("a host drives signals, threads and child processes") {
  loop l;
  const auto h = make_host();
  h->watch(l);
  kedge::signal_set set(l, {SIGUSR1});
  bool came = false;
  l.spawn([&]() -> task<> { came = (co_await set.next()).value().number == SIGUSR1; });
  h->settle();
  ::raise(SIGUSR1);
  CHECK(runs_until_done(*h, l));
  CHECK(came);

  int given = 0;
  l.spawn([&]() -> task<> {
    const auto five = [] { return 5; };
    given = co_await kedge::offload(five);
  });
  CHECK(runs_until_done(*h, l));
  CHECK(given == 5);

  std::string said;
  l.spawn([&]() -> task<> { said = (co_await kedge::run({"echo", "hello"})).value().output; });
  CHECK(runs_until_done(*h, l));
  CHECK(said == "hello\n");
}

TEST_CASE("a child that the host's code drops between drives is reaped by the host's drives") {
  loop l;
  const auto h = make_host();
  h->watch(l);
  std::optional<kedge::process> p;
  p.emplace(l, kedge::command{"sleep", "1000"});
  const pid_t pid = p->pid();
  p.reset();
  CHECK(h->run_until([&] { return ::kill(pid, 0) != 0 && errno == ESRCH; }));
}

}  // namespace
