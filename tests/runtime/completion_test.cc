#include "kedge/runtime/completion.h"

#include <doctest/doctest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "in_child_process.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"

namespace {

using namespace std::chrono_literals;
using kedge::completer;
using kedge::completion;
using kedge::errc;
using kedge::loop;
using kedge::result;
using kedge::task;

// Waits, and keeps what came.
template <class T>
task<> take(completion<T>& c, std::optional<result<T>>& got) {
  got.emplace(co_await c.wait());
}

TEST_CASE("a completion that another thread completes gives its value") {
  loop l;
  completion<std::unique_ptr<int>> c;
  std::thread other([to = c.get_completer()] { CHECK(to.complete(std::make_unique<int>(42))); });
  const auto got = l.run(c.wait());
  CHECK(*got.value() == 42);
  other.join();
}

TEST_CASE("a completion that has completed before its wait gives its value at once") {
  loop l;
  completion<int> c;
  CHECK(c.get_completer().complete(1));
  CHECK(l.run(c.wait()).value() == 1);
}

TEST_CASE("a completion of void, of a reference, and of an error of the completer's") {
  loop l;
  completion<void> nothing;
  nothing.get_completer().complete();
  CHECK(l.run(nothing.wait()));
  int object = 0;
  completion<int&> reference;
  reference.get_completer().complete(object);
  CHECK(&*l.run(reference.wait()) == &object);
  completion<int> refused;
  refused.get_completer().complete(kedge::unexpected(std::make_error_code(std::errc::io_error)));
  CHECK(l.run(refused.wait()).error() == std::errc::io_error);
}

TEST_CASE("a completion whose last completer is dropped is abandoned") {
  loop l;
  completion<int> c;
  std::optional<result<int>> got;
  std::optional<completer<int>> first = c.get_completer();
  std::optional<completer<int>> second = first;
  SUBCASE("during the wait") {
    l.spawn(take<int>, std::ref(c), std::ref(got));
    l.poll();
  }
  SUBCASE("before the wait") {}
  std::thread([&] { first.reset(); }).join();
  l.poll();
  CHECK_FALSE(got);
  std::thread([&] { second.reset(); }).join();
  if (l.size() == 0) l.spawn(take<int>, std::ref(c), std::ref(got));
  while (!got) l.run_once();
  CHECK(got->error() == errc::abandoned);
  CHECK_FALSE(c.get_completer().complete(1));
}

TEST_CASE("the message of an abandoned completion names it") {
  loop l;
  completion<int> c;
  static_cast<void>(c.get_completer());
  std::string said;
  try {
    l.run(c.wait()).value();
  } catch (const std::system_error& e) {
    said = e.what();
  }
  CHECK(said.find("completion::wait") == 0);
  CHECK(said.find("abandoned") != std::string::npos);
}

TEST_CASE("the first completer that completes gives the result, the others learn it") {
  loop l;
  completion<int> c;
  const completer<int> to = c.get_completer();
  completer<int> moved = c.get_completer();
  CHECK(to.complete(1));
  CHECK_FALSE(completer<int>(std::move(moved)).complete(2));
  CHECK_FALSE(moved.complete(3));  // NOLINT(bugprone-use-after-move): that it has no effect
  moved = to;
  CHECK_FALSE(moved.complete(4));
  CHECK(l.run(c.wait()).value() == 1);
  CHECK_FALSE(to.complete(5));
}

TEST_CASE("a result is taken once: a later wait ends with errc::closed") {
  loop l;
  completion<int> c;
  c.get_completer().complete(1);
  CHECK(l.run(c.wait()));
  CHECK(l.run(c.wait()).error() == errc::closed);
}

TEST_CASE("a second task that waits gets errc::already_awaited") {
  loop l;
  completion<int> c;
  const completer<int> to = c.get_completer();
  std::optional<result<int>> first, second;
  l.spawn(take<int>, std::ref(c), std::ref(first));
  l.spawn(take<int>, std::ref(c), std::ref(second));
  l.poll();
  CHECK(second->error() == errc::already_awaited);
  to.complete(1);
  l.poll();
  CHECK(first->value() == 1);
}

TEST_CASE("a completion that is destroyed ends its wait with errc::closed") {
  loop l;
  std::optional<completion<int>> c(std::in_place);
  const completer<int> to = c->get_completer();
  std::optional<result<int>> got;
  l.spawn(take<int>, std::ref(*c), std::ref(got));
  auto unawaited = c->wait();
  l.poll();
  c.reset();
  CHECK_FALSE(to.complete(1));
  l.poll();
  CHECK(got->error() == errc::closed);
  CHECK(l.run(std::move(unawaited)).error() == errc::closed);
}

TEST_CASE("a result that came before the completion was destroyed is delivered") {
  loop l;
  std::optional<completion<int>> c(std::in_place);
  const completer<int> to = c->get_completer();
  std::optional<result<int>> got;
  l.spawn(take<int>, std::ref(*c), std::ref(got));
  l.poll();
  CHECK(to.complete(1));
  c.reset();
  l.poll();
  CHECK(got->value() == 1);
}

TEST_CASE("a wait that times out loses nothing: the next one takes the result") {
  kedge::virtual_time time;
  loop l(time);
  completion<int> c;
  std::optional<result<int>> got;
  const auto wait = [&]() -> task<> { got.emplace(co_await kedge::with_timeout(1h, c.wait())); };
  l.spawn(wait);
  l.poll();
  time.advance(2h);
  l.poll();
  CHECK(got->error() == errc::timed_out);
  c.get_completer().complete(1);
  CHECK(l.run(c.wait()).value() == 1);
}

TEST_CASE("a result that comes before the cancellation is delivered") {
  loop l;
  completion<int> c;
  const completer<int> to = c.get_completer();
  std::optional<result<int>> got;
  l.spawn(take<int>, std::ref(c), std::ref(got));
  l.poll();
  to.complete(1);
  l.cancel();  // the post has not been taken
  l.poll();
  CHECK(got->value() == 1);
}

TEST_CASE("a loop that is destroyed between the completion and its turn loses no result") {
  completion<int> c;
  const completer<int> to = c.get_completer();
  std::optional<result<int>> got;
  {
    loop l;
    l.spawn(take<int>, std::ref(c), std::ref(got));
    l.poll();
    to.complete(1);
  }
  CHECK_FALSE(got);
  loop second;
  CHECK(second.run(c.wait()).value() == 1);
}

TEST_CASE("a branch that has its result keeps others from it until it is taken or dropped") {
  loop l;
  completion<int> c;
  c.get_completer().complete(1);
  std::optional<result<int>> second;
  const auto body = [&]() -> task<> {
    const auto [first, other] = co_await kedge::when_any(c.wait(), take<int>(c, second));
    CHECK(first->value() == 1);
  };
  l.run(body());
  if (second) CHECK(second->error() == errc::already_awaited);
}

TEST_CASE("a completer may outlive completion and loop, and its value dies with it") {
  const auto value = std::make_shared<int>(1);
  std::optional<completer<std::shared_ptr<int>>> to;
  {
    loop l;
    completion<std::shared_ptr<int>> c;
    to = c.get_completer();
    CHECK(to->complete(value));
  }
  CHECK(value.use_count() == 2);
  CHECK_FALSE(to->complete(value));
  to.reset();
  CHECK(value.use_count() == 1);
}

TEST_CASE("one of many threads completes, while the loop waits, sleeps and waits anew") {
  loop l;
  constexpr int rounds = 300, threads = 3;
  for (int i = 0; i < rounds; ++i) {
    CAPTURE(i);
    completion<int> c;
    std::atomic<int> accepted = 0;
    std::vector<std::thread> all;
    for (int t = 0; t < threads; ++t) {
      all.emplace_back([to = c.get_completer(), t, &accepted] {
        if (to.complete(t)) accepted.fetch_add(1);
      });
    }
    const auto body = [&]() -> task<int> {
      // Waits that are cancelled race with the completion.
      for (int round = 0; round < i % 7; ++round) {
        const auto [value, nothing] = co_await kedge::when_any(c.wait(), kedge::yield());
        if (value) co_return value->value();
      }
      co_return (co_await c.wait()).value();
    };
    CHECK(l.run(body()) < threads);
    for (std::thread& t : all) t.join();
    CHECK(accepted.load() == 1);
  }
}

TEST_CASE("a loop ends while a thread completes what its task waits for") {
  for (int i = 0; i < 200; ++i) {
    CAPTURE(i);
    completion<int> c;
    auto l = std::make_unique<loop>();
    std::optional<result<int>> got;
    l->spawn(take<int>, std::ref(c), std::ref(got));
    l->poll();
    std::thread other([to = c.get_completer(), i] { CHECK(to.complete(i)); });
    if (i % 2 == 0) l->poll();
    l.reset();
    if (!got) {
      loop second;
      CHECK(second.run(c.wait()).value() == i);
    }
    other.join();
  }
}

TEST_CASE("completions destroyed by their loop's thread while another completes them") {
  loop l;
  for (int i = 0; i < 200; ++i) {
    CAPTURE(i);
    std::optional<completion<int>> c(std::in_place);
    std::optional<result<int>> got;
    l.spawn(take<int>, std::ref(*c), std::ref(got));
    l.poll();
    bool accepted = false;
    std::thread other([&, to = c->get_completer()] { accepted = to.complete(i); });
    c.reset();
    while (!got) l.run_once();
    other.join();
    if (*got) CHECK(accepted);
    if (!*got) CHECK(got->error() == errc::closed);
  }
}

TEST_CASE("two loops on two threads pass a token 500 times") {
  constexpr int rounds = 500;
  struct exchange {
    completion<int> there;
    completion<int> back;
  };
  std::vector<exchange> all(rounds);
  std::vector<std::pair<completer<int>, completer<int>>> to;
  for (exchange& e : all) to.emplace_back(e.there.get_completer(), e.back.get_completer());
  std::thread other([&] {
    loop l;
    l.run([](std::vector<exchange>& steps, auto& ends) -> task<> {
      for (std::size_t i = 0; i < rounds; ++i) {
        const auto value = co_await steps[i].there.wait();
        ends[i].second.complete(*value + 1);
      }
    }(all, to));
  });
  loop l;
  const int sum = l.run([](std::vector<exchange>& steps, auto& ends) -> task<int> {
    int total = 0;
    for (std::size_t i = 0; i < rounds; ++i) {
      ends[i].first.complete(total);
      const auto value = co_await steps[i].back.wait();
      total = *value;
    }
    co_return total;
  }(all, to));
  other.join();
  CHECK(sum == rounds);
}

TEST_CASE("a dump names the wait for a completion") {
  loop l;
  completion<int> c;
  std::optional<result<int>> got;
  l.spawn(take<int>, std::ref(c), std::ref(got));
  l.poll();
  std::ostringstream out;
  l.dump(out);
  CHECK(out.str().find("a completion") != std::string::npos);
}

TEST_CASE("in a forked child a completer of the parent's wait has no effect, and does not hang") {
  loop l;
  completion<int> c;
  const completer<int> to = c.get_completer();
  std::optional<result<int>> got;
  l.spawn(take<int>, std::ref(c), std::ref(got));
  l.poll();
  CHECK(kedge::status_of_child([&] { return to.complete(1) && !got ? 0 : 1; }) == 0);
  to.complete(2);
  l.poll();
  CHECK(got->value() == 2);
}

}  // namespace
