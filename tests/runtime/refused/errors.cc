// Code that must not compile. The comment at the end of a line is a part of what the compiler must
// say about the line: refused.py compares them.
#include <chrono>
#include <string>

#include "kedge/runtime/async_generator.h"
#include "kedge/runtime/attempt.h"
#include "kedge/runtime/background.h"
#include "kedge/runtime/barrier.h"
#include "kedge/runtime/callback.h"
#include "kedge/runtime/channel.h"
#include "kedge/runtime/foreign.h"
#include "kedge/runtime/handled.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/named.h"
#include "kedge/runtime/result.h"
#include "kedge/runtime/select.h"
#include "kedge/runtime/shield.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/started.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_cleanup.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_signals.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"

using namespace std::chrono_literals;
using kedge::task;

task<> awaits_a_foreign_type() {
  co_await std::string();  // "Use foreign(x) for an awaitable of another library"
}

task<> awaits_a_task_by_name(task<> t) {
  co_await t;  // "an awaitable is awaited once: co_await std::move(it)"
}

void runs_a_task_by_name(kedge::loop& l, task<> t) {
  l.run(t);  // "an awaitable is awaited once: pass std::move(it)"
}
task<> combines_tasks_by_name(task<> t) {
  static_cast<void>(co_await kedge::with_timeout(1s, t));          // "pass std::move(it)"
  static_cast<void>(co_await kedge::attempt(t));                   // "pass std::move(it)"
  co_await kedge::shield(t);                                       // "pass std::move(it)"
  static_cast<void>(co_await kedge::when_any(kedge::yield(), t));  // "pass std::move(it)"
  static_cast<void>(co_await kedge::when_all(t, kedge::yield()));  // "pass std::move(it)"
}
void runs_a_callable(kedge::loop& l) {
  const auto body = []() -> task<> { co_return; };
  l.run(body);                                               // "and no callable: call it, f()"
  l.try_run([]() -> task<> { co_return; });                  // "and no callable: call it, f()"
  static_cast<void>(kedge::with_signals({2}, body));         // "and no callable: call it, f()"
  static_cast<void>(kedge::attempt(body));                   // "and no callable: call it, f()"
  static_cast<void>(kedge::shield(body));                    // "and no callable: call it, f()"
  static_cast<void>(kedge::when_any(kedge::yield(), body));  // "and no callable: call it, f()"
}

task<> increment(int& n) {
  ++n;
  co_return;
}
void spawns_with_a_reference(kedge::loop& l, int n) {
  l.spawn(increment, n);  // "for a parameter that is a reference pass std::ref(x)"
}

void spawns_what_cannot_be_awaited(kedge::loop& l) {
  l.spawn([] { return 1; });  // "spawn() takes a callable that gives an awaitable"
}

task<> starts_a_child_that_cannot_report(kedge::scope& s) {
  co_await s.start([](auto&) { return kedge::yield(); });  // "first parameter is a"
}

void spawns_a_background_child_of_a_loop(kedge::loop& l) {
  l.spawn(kedge::background([] { return kedge::yield(); }));  // "a loop takes no background()"
}

void spawns_a_named_background_child_of_a_loop(kedge::loop& l) {
  const auto fn = kedge::background([] { return kedge::yield(); });
  l.spawn(kedge::named("a name", fn));  // "a loop takes no background()"
}

void handles_failures_with_a_number(kedge::loop& l) {
  l.spawn(kedge::handled([] { return kedge::yield(); }, 1));  // "handled() calls on_failure("
}

task<> opens_a_scope_without_a_body() {
  co_await kedge::with_scope([](kedge::scope&) { return 1; });  // "with_scope() takes a callable"
}

task<> awaits_one_of_ours_as_foreign() {
  co_await kedge::foreign(kedge::yield());  // "co_await it as it is"
}
task<> awaits_a_string_as_foreign() {
  co_await kedge::foreign(std::string());  // "foreign() takes what co_await takes"
}
task<> starts_a_callback_of_nothing() {
  co_await kedge::callback<int>([] {});  // "callback() calls start(callback_handler<T>)"
}
task<> cleans_up_with_a_number() {
  co_await kedge::with_cleanup(kedge::yield(), 1, 1s);  // "with_cleanup() calls cleanup("
}
kedge::async_generator<int&> references() {  // "a generator gives objects"
  co_return;
}

struct unmakable {};
task<kedge::result<int, unmakable>> send() {
  co_return 1;
}
task<> limits_what_cannot_tell_a_time_out() {
  static_cast<void>(co_await kedge::with_timeout(1s, send()));  // "an await_expired(errc)"
}

task<> selects_a_task(task<> t) {
  static_cast<void>(co_await kedge::select(std::move(t)));  // "await tasks, combinators and all"
}
task<> selects_a_yield() {
  static_cast<void>(co_await kedge::select(kedge::yield()));  // "all else by when_any()"
}
task<> selects_an_arrival(kedge::barrier& b) {
  static_cast<void>(co_await kedge::select(b.arrive_and_wait()));  // "all else by when_any()"
}

struct throws_when_moved {
  throws_when_moved(throws_when_moved&&) {}
};
void sends_what_throws_when_moved(kedge::channel<throws_when_moved>& c) {
  c.close();  // "a channel moves its items, which must not throw"
}

// g++ 12 destroys it twice.
struct aggregate {
  std::string text;
};
void sends_an_aggregate(kedge::channel<aggregate>& c) {
  c.close();  // g++ 12: "give this type a constructor"
}

struct alignas(64) wide {};
// On one line: g++ names its end, clang its beginning.
// clang-format off
task<wide> gives_a_wide_type() { co_return wide(); }  // "no type of extended alignment"
// clang-format on

// g++ 12 destroys it twice.
task<> awaits_a_scope_of_a_temporary_closure(std::string s) {
  co_await kedge::with_scope([s](auto&) { return kedge::yield(); });  // g++ 12: "name this closure"
}
task<> awaits_a_callback_of_a_temporary_closure(std::string s) {
  co_await kedge::callback<int>([s](auto) {});  // g++ 12: "name this closure"
}
struct foreign_aggregate {
  bool await_ready() { return true; }
  void await_suspend(std::coroutine_handle<>) {}
  void await_resume() {}
  std::string text;
};
task<> awaits_a_foreign_aggregate() {
  co_await kedge::foreign(foreign_aggregate());  // g++ 12: "name this aggregate first"
}
