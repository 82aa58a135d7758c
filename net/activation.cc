// activation: systemd's protocol of sd_listen_fds(3), and launchd's of launch_activate_socket(3).
#include "kedge/net/activation.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>
#include <system_error>
#include <utility>

#include "kedge/net/host.h"

namespace kedge::net {
namespace {

constexpr int first_fd = 3;

std::string quoted(std::string_view text) {
  return '"' + std::string(text) + '"';
}

// Splits "a:b:c". An empty text is one empty name.
std::vector<std::string> split_names(std::string_view text) {
  std::vector<std::string> names;
  for (;;) {
    const std::size_t end = text.find(':');
    names.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return names;
    text.remove_prefix(end + 1);
  }
}

// Throws unless the sockets are for this process.
void require_own(const std::optional<std::string>& pid) {
  if (!pid) throw environment_error("LISTEN_FDS is set, but LISTEN_PID is not");
  const std::string own = std::to_string(::getpid());
  if (number_of_variable("LISTEN_PID", *pid) != static_cast<unsigned long long>(::getpid())) {
    throw environment_error("LISTEN_PID is " + *pid + ", but this process is " + own +
                            ": the sockets of LISTEN_FDS are for another process");
  }
}

// Takes over an fd of this process that it has inherited. What it has opened itself is close-on-
// exec, and is not what the manager means.
owned_fd inherited(int fd, const std::string& count) {
  const int flags = ::fcntl(fd, F_GETFD);
  if (flags < 0 || (flags & FD_CLOEXEC) != 0) {
    throw environment_error("LISTEN_FDS is " + count + ", but fd " + std::to_string(fd) +
                            " was not handed over");
  }
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  return owned_fd(fd);
}

environment_error unfit(std::string_view name, const char* kind) {
  return environment_error("the socket " + quoted(name) + " is not a listening " + kind +
                           " socket");
}

void require_address(std::string_view name, const address& otherwise) {
  if (otherwise) return;
  throw environment_error("no socket " + quoted(name) +
                          " was handed over, and there is no address to listen on");
}

}  // namespace

activation activation::from_environment() {
  const auto pid = take_variable("LISTEN_PID");
  const auto count = take_variable("LISTEN_FDS");
  const auto names = take_variable("LISTEN_FDNAMES");
  (void)take_variable("LISTEN_PIDFDID");
  activation given;
  if (!count) return given;
  const unsigned long long number = number_of_variable("LISTEN_FDS", *count);
  require_own(pid);
  const std::vector<std::string> each = names ? split_names(*names) : std::vector<std::string>();
  if (names && number != each.size() && number != 0) {
    throw environment_error("LISTEN_FDS is " + *count + ", but LISTEN_FDNAMES has " +
                            std::to_string(each.size()) + " names");
  }
  for (std::size_t i = 0; i < number; ++i) {
    owned_fd fd = inherited(first_fd + static_cast<int>(i), *count);
    given.handed_.push_back({names ? each[i] : "unknown", std::move(fd)});
  }
  return given;
}

std::vector<owned_fd> activation::take(std::string_view name) {
  std::vector<owned_fd> taken;
  std::erase_if(handed_, [&](handed& each) {
    const bool is_it = each.name == name;
    if (is_it) taken.push_back(std::move(each.fd));
    return is_it;
  });
  if (!taken.empty()) return taken;
  if (const int why = host::take_launchd_sockets(std::string(name).c_str(), taken); why != 0) {
    throw environment_error("launchd does not give the socket " + quoted(name) + ": " +
                            std::strerror(why));
  }
  for (const owned_fd& each : taken) ::fcntl(each.get(), F_SETFD, FD_CLOEXEC);
  return taken;
}

tcp_listener activation::listen_tcp(reactor& r, std::string_view name, const address& otherwise,
                                    tcp_listen_options options) {
  std::vector<owned_fd> sockets = take(name);
  if (sockets.empty()) {
    require_address(name, otherwise);
    return tcp_listener(r, otherwise, options);
  }
  try {
    return tcp_listener::adopt(r, std::move(sockets));
  } catch (const std::system_error&) {
    throw unfit(name, "TCP");
  }
}

unix_listener activation::listen_unix(reactor& r, std::string_view name, const address& otherwise,
                                      unix_listen_options options) {
  std::vector<owned_fd> sockets = take(name);
  if (sockets.empty()) {
    require_address(name, otherwise);
    return unix_listener(r, otherwise, options);
  }
  if (sockets.size() > 1) {
    throw environment_error(std::to_string(sockets.size()) + " sockets have the name " +
                            quoted(name) + ", which is for one Unix socket");
  }
  try {
    return unix_listener::adopt(r, std::move(sockets.front()));
  } catch (const std::system_error&) {
    throw unfit(name, "Unix");
  }
}

std::vector<std::string> activation::unclaimed() const {
  std::vector<std::string> all;
  all.reserve(handed_.size());
  for (const handed& each : handed_) {
    all.push_back(quoted(each.name) + " (fd " + std::to_string(each.fd.get()) + ")");
  }
  return all;
}

}  // namespace kedge::net
