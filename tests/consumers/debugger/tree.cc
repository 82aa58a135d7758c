// Prints the dump of a loop with tasks in all states, and aborts: for tools/gdb/kedge_gdb.py, which
// must print the same of the program that is stopped there and of its core file.
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <vector>

#include "kedge/runtime/runtime.h"

using namespace std::chrono_literals;

namespace {

kedge::task<> read_from(kedge::descriptor& d) {
  std::array<std::byte, 8> buffer{};
  static_cast<void>(co_await d.read_some(buffer));
}
kedge::task<> read_with_limit(kedge::descriptor& d) {
  static_cast<void>(co_await kedge::with_timeout(1h, read_from(d)));
}
kedge::task<> wait_for(kedge::event& e) {
  static_cast<void>(co_await e.wait());
}
kedge::task<> scopes(kedge::event& e, kedge::channel<int>& items) {
  const auto inner = [&](kedge::scope& s) -> kedge::task<> {
    s.spawn(wait_for, std::ref(e));
    s.spawn(items.receive());
    co_await kedge::forever();
  };
  const auto outer = [&](kedge::scope& s) -> kedge::task<> {
    s.spawn(kedge::named("inner", [&] { return kedge::with_scope(inner); }));
    s.spawn(kedge::named("a leaf", kedge::sleep_for(1h)));
    s.spawn([&](int) -> kedge::task<> { co_await kedge::sleep_for(2h); }, 1);
    co_await kedge::when_all(wait_for(e), kedge::named("second", wait_for(e)), e.wait());
  };
  co_await kedge::named("both scopes", kedge::with_scope(outer));
}
kedge::task<> clean_up(kedge::event& e) {
  const auto cleanup = [&] { return e.wait(); };
  co_await kedge::with_cleanup(kedge::shield(wait_for(e)), cleanup, 1s);
}
kedge::task<> choose(kedge::channel<int>& items, kedge::mutex& m) {
  static_cast<void>(co_await kedge::select(items.receive(), m.lock(), kedge::sleep_for(1h)));
}
kedge::task<> any_of_range(kedge::event& e) {
  std::vector<kedge::task<>> all;
  all.push_back(wait_for(e));
  all.push_back(wait_for(e));
  static_cast<void>(co_await kedge::when_any(std::move(all)));
}
kedge::task<> hold(kedge::event& e, kedge::scope*& handed_out) {
  const auto body = [&](kedge::scope& s) -> kedge::task<> {
    handed_out = &s;
    s.spawn(wait_for, std::ref(e));
    static_cast<void>(co_await e.wait());
  };
  co_await kedge::with_scope(body);
}
kedge::task<> look(kedge::loop& loop, kedge::scope*& to_cancel) {
  co_await kedge::yield();
  to_cancel->cancel();
  std::cout << "== the loop\n";
  loop.dump(std::cout);
  std::cout << "== the end" << std::endl;
  std::abort();
}

}  // namespace

int main() {
  kedge::loop loop;
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) return 1;
  kedge::descriptor in(loop, ends[0], kedge::ownership::owned);
  kedge::event never, soon;
  kedge::channel<int> items(1);
  kedge::mutex m;
  const auto held = loop.run(m.lock()).value();

  loop.spawn(kedge::named("reader 7", read_with_limit), std::ref(in));
  loop.spawn(scopes, std::ref(never), std::ref(items));
  loop.spawn(clean_up, std::ref(never));
  loop.spawn(choose, std::ref(items), std::ref(m));
  loop.spawn(any_of_range, std::ref(never));
  loop.spawn(kedge::attempt(kedge::forever()));
  loop.spawn(wait_for, std::ref(soon));
  loop.spawn(kedge::sleep_for(3h));
  kedge::scope* to_cancel = nullptr;
  loop.spawn(hold, std::ref(never), std::ref(to_cancel));
  while (loop.poll()) continue;
  loop.spawn(kedge::named("not started", wait_for), std::ref(never));
  soon.set();
  loop.run(kedge::named("the root", look(loop, to_cancel)));
}
