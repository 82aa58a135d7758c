// environment_error, take_variable(): reading the environment.
#include "kedge/net/service_environment.h"

#include <cstdlib>

#include "kedge/net/parse_number.h"

namespace kedge::net {

std::optional<std::string> take_variable(const char* name) {
  const char* const value = std::getenv(name);
  if (value == nullptr) return std::nullopt;
  std::optional<std::string> taken(value);
  ::unsetenv(name);
  return taken;
}

unsigned long long number_of_variable(const char* name, const std::string& text) {
  unsigned long long number = 0;
  if (!parse_number(text, number)) {
    throw environment_error(std::string(name) + " is \"" + text + "\", which is not a number");
  }
  return number;
}

}  // namespace kedge::net
