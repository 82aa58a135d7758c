// Tests of both lock services, in C++ and in C, with clients that may die at any of their calls.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "kedge/tools/harness/doctest.h"
#include "kedge/tools/harness/explore.h"
#include "lock_protocol.h"
#include "lock_service.h"

namespace harness = kedge::harness;

extern "C" int c_lock_main(int argc, char** argv);

namespace {

using main_function = int (*)(int, char**);

// Two clients want the lock three times each; the first may die.
void contend(harness::world& w, main_function service_main, std::vector<std::string> arguments) {
  auto& service = w.start("lockd", service_main, {.arguments = std::move(arguments)});
  w.run();  // it has checked in
  auto& holder = w.start("holder", lock_service::client_main, {.arguments = {"3"}});
  auto& waiter = w.start("waiter", lock_service::client_main, {.arguments = {"3"}});
  w.may_kill(holder);
  w.calm();
  CHECK(waiter.status() == 0);
  CHECK(service.sent(lock_granted).to(waiter).count() == 3);
  w.sometimes("the holder died", holder.was_killed());
  w.sometimes("a client had to wait", service.queue_seen() > 1);
}

bool is_found(main_function service_main, const std::string& defect, const std::string& report) {
  try {
    harness::explore([&](harness::world& w) { contend(w, service_main, {defect}); },
                     {.seeds = 10'000});
  } catch (const harness::failure& e) {
    return std::string(e.what()).find(report) != std::string::npos;
  }
  return false;
}

TEST_CASE("the lock goes on when its holder dies") {
  harness::explore([](harness::world& w) { contend(w, lock_service::main, {}); });
}
TEST_CASE("a service that forgets to grant a dead holder's lock is found") {
  CHECK(is_found(lock_service::main, "--forgetful", "DEADLOCK: \"waiter\""));
}

TEST_CASE("the service in C does the same") {
  harness::explore([](harness::world& w) { contend(w, c_lock_main, {}); });
}
TEST_CASE("a dead name that the service in C leaks is found") {
  CHECK(is_found(c_lock_main, "--leaky", "LEAK"));
}

}  // namespace
