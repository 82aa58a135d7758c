// The counted costs of the library: allocations, system calls and bytes, which do not vary.
#include <doctest/doctest.h>

#include <map>
#include <sstream>
#include <string>

#include "program.h"

namespace {

// Runs one benchmark with n operations, and returns metric to value.
std::map<std::string, double> counts(const std::string& name, const std::string& n) {
  const outcome o = run({"tools/bench/bench", "--counts", "-n", n, "-o", name});
  REQUIRE(o.status == 0);
  std::map<std::string, double> values;
  std::istringstream lines(o.out);
  for (std::string of, metric, unit, value; lines >> of >> metric >> value >> unit;) {
    values[metric] = std::stod(value);
  }
  return values;
}

}  // namespace

TEST_CASE("the steady state does not allocate and makes few system calls") {
  struct limit {
    const char* name;
    double calls;
  };
  constexpr limit limits[] = {
      {"child", 0.02},
      {"yield", 0.02},
      {"mach_message", 0.02},
      // Each way a write, a read and a wait.
      {"rt", 6},
      {"mach_send", 0.02},
      {"mach_right", 0.02},
      {"kqueue_wait_10", 1.02},
      {"kqueue_wait_64", 1.02},
      {"kqueue_wait_handle", 1.02},
      {"kqueue_none", 0.02},
      {"kqueue_none_handle", 0.02},
      // The write, the wait and the read; no epoll_ctl.
      {"kqueue_read", 3.02},
      {"kqueue_read_marks", 3.02},
      // One write, and the wait.
      {"kqueue_user_own", 2.02},
      {"kqueue_user_unpolled", 1.02},
  };
  for (const limit& each : limits) {
    CAPTURE(each.name);
    const std::string name = each.name;
    const auto values = counts(name, "10000");
    REQUIRE(values.count(name + "_allocs") == 1);
    CHECK(values.at(name + "_allocs") == 0);
    if (values.count(name + "_calls") == 0) {
      MESSAGE("not measured: system calls cannot be counted on this machine");
    } else {
      CHECK(values.at(name + "_calls") <= each.calls);
    }
  }
}

TEST_CASE("a port takes at most 300 bytes in a space of a hundred thousand") {
  const auto values = counts("mach_port", "100000");
  REQUIRE(values.count("mach_port_bytes") == 1);
  CHECK(values.at("mach_port_bytes") > 0);
  CHECK(values.at("mach_port_bytes") <= 300);
}

TEST_CASE("a descriptor takes at most 200 bytes in a kqueue of many") {
  const auto values = counts("kqueue_watch", "12000");
  REQUIRE(values.count("kqueue_watch_bytes") == 1);
  CHECK(values.at("kqueue_watch_bytes") > 0);
  // Eight more are in a table that the process makes once and keeps.
  CHECK(values.at("kqueue_watch_bytes") <= 200 - 8);
}
