// Code that must not compile without a warning. The comments are those of errors.cc.
#include <chrono>
#include <string>

#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/yield.h"

using namespace std::chrono_literals;
using kedge::task;

task<> ends() {
  co_return;
}
void forgets_to_await() {
  kedge::sleep_for(1s);    // "nodiscard"
  kedge::sleep_until({});  // "nodiscard"
  kedge::yield();          // "nodiscard"
  ends();                  // "nodiscard"
}

// g++ 12 destroys the argument twice.
struct address {
  std::string host;
  int port;
};
task<> takes_an_aggregate(address) {
  co_return;  // g++ 12: "takes an aggregate with a destructor"
}
