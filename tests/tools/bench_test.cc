// What the runtime costs, as far as it is counted: these numbers are exact and the same everywhere.
#include <doctest/doctest.h>

#include <map>
#include <sstream>
#include <string>

#include "program.h"

namespace {

// The values of one run, by metric.
std::map<std::string, double> counts() {
  const outcome o = run({"tools/bench/bench", "--counts", "-n", "10000"});
  REQUIRE(o.status == 0);
  std::map<std::string, double> values;
  std::istringstream lines(o.out);
  for (std::string name, metric, unit, value; lines >> name >> metric >> value >> unit;) {
    values[metric] = std::stod(value);
  }
  return values;
}

}  // namespace

TEST_CASE("the steady state does not allocate and makes few system calls") {
  const auto values = counts();
  for (const char* const name : {"child", "yield", "message", "rt"}) {
    CAPTURE(name);
    REQUIRE(values.count(name + std::string("_allocs")) == 1);
    CHECK(values.at(name + std::string("_allocs")) == 0);
  }
  if (values.count("rt_calls") == 0) {
    MESSAGE("system calls cannot be counted here: not measured");
    return;
  }
  CHECK(values.at("child_calls") <= 0.02);
  CHECK(values.at("yield_calls") <= 0.02);
  CHECK(values.at("message_calls") <= 0.02);
  // Each way a write, a read and a wait.
  CHECK(values.at("rt_calls") <= 6);
}
