// resolve(): the addresses of a host name.
//
//     const auto found = co_await net::resolve("kedge.example", 443);
//     if (!found) std::puts(found.error().message().c_str());   // "Name or service not known"
//
// Gives at least one address, in the system's order of preference. A host that is an address
// itself, with a port that is a number, is given at once. Otherwise a thread asks getaddrinfo(3):
// at most eight at a time, for the whole process; further ones wait. Errors are getaddrinfo's own
// (resolve_category()), the system's, or net::errc for text that can be no host or port. Throws
// what offload_detached() throws.
//
// Cancellation loses the answer: the wait ends at once, and a getaddrinfo() that is under way ends
// by itself on its thread.
#pragma once

#include <cstdint>
#include <string>
#include <system_error>
#include <vector>

#include "kedge/net/address.h"
#include "kedge/runtime/result.h"
#include "kedge/runtime/task.h"

namespace kedge::net {

// The codes are getaddrinfo's EAI_..., the messages gai_strerror's.
const std::error_category& resolve_category() noexcept;

task<result<std::vector<address>>> resolve(std::string host, std::uint16_t port);
// `service` is a number, or the name of a TCP service: "https".
task<result<std::vector<address>>> resolve(std::string host, std::string service);

}  // namespace kedge::net
