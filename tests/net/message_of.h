// message_of(call): the message of the exception that the call throws; "" if it throws none.
#pragma once

#include <exception>
#include <string>

namespace kedge::net {

std::string message_of(const auto& call) {
  try {
    call();
  } catch (const std::exception& e) {
    return e.what();
  }
  return {};
}

}  // namespace kedge::net
