// resolve(): getaddrinfo on a thread.
#include "kedge/net/resolve.h"

#include <netdb.h>
#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "kedge/net/errc.h"
#include "kedge/net/parse_number.h"
#include "kedge/runtime/base/never_destroyed.h"
#include "kedge/runtime/offload.h"
#include "kedge/runtime/thread_pool.h"

namespace kedge::net {
namespace {

using addresses = result<std::vector<address>>;

class category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "getaddrinfo"; }
  std::string message(int value) const override { return ::gai_strerror(value); }
};

// Destructors of static objects may use codes.
constinit const base::never_destroyed<category> kept;

constinit process_pool resolvers(8);

struct list_deleter {
  void operator()(addrinfo* list) const noexcept { ::freeaddrinfo(list); }
};

// What the thread runs. It owns its strings, since the task that asked may have ended.
class question {
 public:
  question(std::string&& host, std::string&& service)
      : host_(std::move(host)), service_(std::move(service)) {}

  addresses operator()() const {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const char* const service = service_.empty() ? nullptr : service_.c_str();
    const int failed = ::getaddrinfo(host_.c_str(), service, &hints, &found);
    if (failed == EAI_SYSTEM) return unexpected(std::error_code(errno, std::system_category()));
    if (failed != 0) return unexpected(std::error_code(failed, resolve_category()));
    const std::unique_ptr<addrinfo, list_deleter> list(found);
    std::vector<address> all;
    for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
      address a(each->ai_addr, each->ai_addrlen);
      if (a.is_internet()) all.push_back(a);
    }
    if (all.empty()) return unexpected(errc::no_address);
    return all;
  }

 private:
  std::string host_;
  std::string service_;
};

// Takes the brackets off an IPv6 address. Returns why the text is no host.
std::error_code strip_brackets(std::string& host) {
  const bool is_ipv6 = host.find(':') != host.npos;
  const bool has_brackets = host.starts_with('[') && host.ends_with(']');
  if (has_brackets && (is_ipv6 || host == "[]")) host = host.substr(1, host.size() - 2);
  if (host.empty() || host.find('\0') != host.npos) return errc::empty_address;
  if (host.starts_with('[')) return errc::bad_brackets;
  return {};
}

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == text.npos;
}

}  // namespace

const std::error_category& resolve_category() noexcept {
  return kept.object;
}

namespace {

task<addresses> ask_thread(std::string host, std::string service) {
  const question ask(std::move(host), std::move(service));
  addresses found = co_await offload_detached(resolvers.get(), ask);
  co_return found;
}

}  // namespace

task<addresses> resolve(std::string host, std::uint16_t port) {
  const std::error_code wrong = strip_brackets(host);
  if (wrong) co_return unexpected(wrong);
  const result<address> literal = address::parse_host(host, port);
  if (literal) co_return std::vector<address>{*literal};
  if (literal.error() != errc::bad_host) co_return unexpected(literal.error());
  addresses found = co_await ask_thread(std::move(host), std::string());
  if (found) {
    for (address& each : *found) each = each.with_port(port);
  }
  co_return found;
}

task<addresses> resolve(std::string host, std::string service) {
  std::uint16_t port = 0;
  if (parse_number(service, port)) {
    addresses found = co_await resolve(std::move(host), port);
    co_return found;
  }
  if (service.empty()) co_return unexpected(errc::no_port);
  if (is_number(service)) co_return unexpected(errc::bad_port);
  const std::error_code wrong = strip_brackets(host);
  if (wrong) co_return unexpected(wrong);
  addresses found = co_await ask_thread(std::move(host), std::move(service));
  co_return found;
}

}  // namespace kedge::net
