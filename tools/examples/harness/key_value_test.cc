// Tests of the key-value store: whoever waits for a change is told of it, whatever the order.
#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include "kedge/tools/harness/doctest.h"
#include "kedge/tools/harness/explore.h"
#include "key_value_service.h"

namespace harness = kedge::harness;

namespace {

// One counts to three, another one follows, and a third may die while it does.
void follow_a_counter(harness::world& w, std::vector<std::string> arguments) {
  auto& service = w.start("store", key_value::main, {.arguments = std::move(arguments)});
  w.run();  // it has checked in
  auto& counter = w.start("counter", key_value::counter_main, {.arguments = {"3"}});
  auto& reader = w.start("reader", key_value::reader_main, {.arguments = {"3"}});
  auto& mortal = w.start("mortal", key_value::reader_main, {.arguments = {"3"}});
  w.may_kill(mortal);
  w.calm();
  CHECK(counter.status() == 0);
  CHECK(reader.status() == 0);
  CHECK(service.sent(key_value::reply_to(key_value::put)).to(counter).count() == 3);
  w.sometimes("the reader had to wait", reader.sent(key_value::wait).count() > 0);
  w.sometimes("a reader died", mortal.was_killed());
}

TEST_CASE("a reader sees the last value") {
  harness::explore([](harness::world& w) { follow_a_counter(w, {}); });
}

TEST_CASE("a store that makes a late reader wait is found") {
  std::string report;
  try {
    harness::explore([](harness::world& w) { follow_a_counter(w, {"--hasty"}); },
                     {.seeds = 10'000});
  } catch (const harness::failure& e) {
    report = e.what();
  }
  CAPTURE(report);
  CHECK(report.find("DEADLOCK") != std::string::npos);
}

}  // namespace
