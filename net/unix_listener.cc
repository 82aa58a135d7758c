// unix_listener: binding, and the files that are left behind.
#include "kedge/net/unix_listener.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "kedge/net/bound_socket.h"
#include "kedge/net/errc.h"
#include "kedge/net/host.h"
#include "kedge/net/socket_call.h"
#include "kedge/runtime/reactor/fork_generation.h"

namespace kedge::net {
namespace {

// A number of an inode is used again, so the time tells too.
bool is_same_file(const struct stat& a, const struct stat& b) noexcept {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino &&
         host::change_time(a) == host::change_time(b);
}

// Returns whether connect(2) finds that no process listens.
bool is_refused(const address& at) {
  const owned_fd probe(host::make_socket(AF_UNIX, SOCK_STREAM));
  return probe && ::connect(probe.get(), at.data(), at.size()) != 0 && errno == ECONNREFUSED;
}

// The same, for the time that a busy process needs to make room in its backlog.
bool stays_refused(const address& at) {
  constexpr timespec pause{0, 10'000'000};
  for (int i = host::full_backlog_refuses ? 10 : 1; i > 0; --i) {
    if (!is_refused(at)) return false;
    if (i > 1) ::nanosleep(&pause, nullptr);
  }
  return true;
}

// Removes a socket file on which no process listens. Returns false, with errno, if it has not.
bool remove_stale_file(const address& at) {
  const std::string path(at.path());
  struct stat before{};
  struct stat after{};
  errno = EADDRINUSE;
  if (path.empty() || ::lstat(path.c_str(), &before) != 0 || !S_ISSOCK(before.st_mode) ||
      !stays_refused(at) || ::lstat(path.c_str(), &after) != 0 || !is_same_file(before, after)) {
    errno = EADDRINUSE;
    return false;
  }
  return ::unlink(path.c_str()) == 0;
}

}  // namespace

unix_listener::unix_listener(reactor& r, const address& at, unix_listen_options options)
    : listening_socket(std::make_shared<state>()) {
  if (!at.is_unix()) throw std::system_error(errc::not_a_unix_address, "listen on " + at.text());
  state_->addresses.push_back(at);
  state_->sockets.reserve(1);
  const std::string path(at.path());

  owned_fd fd(host::make_socket(AF_UNIX, SOCK_STREAM));
  if (!fd) throw bind_error("listen on", at, SOCK_STREAM);
  if (::bind(fd.get(), at.data(), at.size()) != 0) {
    if (errno != EADDRINUSE) throw bind_error("listen on", at, SOCK_STREAM);
    if (!remove_stale_file(at) || ::bind(fd.get(), at.data(), at.size()) != 0) {
      throw bind_error("listen on", at, SOCK_STREAM);
    }
  }
  struct stat status{};
  if (!path.empty() && ::lstat(path.c_str(), &status) == 0) {
    state_->path = std::filesystem::absolute(path).string();
    state_->device = status.st_dev;
    state_->file = status.st_ino;
    state_->generation = fork_generation();
  }
  // The mode comes first: before listen() no client can connect.
  if ((options.mode != 0 && !state_->path.empty() &&
       ::chmod(state_->path.c_str(), options.mode) != 0) ||
      ::listen(fd.get(), options.backlog) != 0) {
    throw bind_error("listen on", at, SOCK_STREAM);
  }
  state_->sockets.emplace_back(r, fd.release(), file_kind::other_stream);
  state_->open_spare();
}

unix_listener unix_listener::adopt(reactor& r, owned_fd socket) {
  std::vector<owned_fd> one;
  one.push_back(std::move(socket));
  return unix_listener(adopted(r, std::move(one), true));
}

}  // namespace kedge::net
