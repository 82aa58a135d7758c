// environment_error, take_variable(): what a service manager has put into the environment.
//
// A variable is taken out of the environment, so that children do not inherit it. That is for
// main(), before there are threads: getenv(3) of another thread may read what is being changed.
#pragma once

#include <optional>
#include <stdexcept>
#include <string>

namespace kedge::net {

// A service manager has handed over what the program cannot use. what() names the variable or the
// socket, and what is wrong. Starting the program again does not help.
class environment_error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Returns the value of the environment variable, and removes it. Nothing if there is none. Throws
// std::bad_alloc.
std::optional<std::string> take_variable(const char* name);

// Returns the number that all of `text` is. Throws environment_error, whose message names the
// variable, if it is not a number from 0 on.
unsigned long long number_of_variable(const char* name, const std::string& text);

}  // namespace kedge::net
