// host: the differences of Linux and Darwin.
#include "kedge/net/host.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "kedge/net/owned_fd.h"
#include "kedge/net/peer_credentials.h"
#include "kedge/net/sigpipe_guard.h"
#include "kedge/runtime/private_pipe.h"

#ifdef __linux__
#include <dirent.h>
#include <sys/sendfile.h>
#else
#include <launch.h>
#include <sys/ucred.h>
#include <sys/uio.h>
#endif

namespace kedge::net::host {

bool is_of_connection(int error) noexcept {
  switch (error) {
    case ECONNABORTED:
    case ECONNRESET:
    case EINTR:
    case EPERM:  // a firewall forbids the connection
    case EPROTO:
    case EPROTONOSUPPORT:
    case ESOCKTNOSUPPORT:
    case ETIMEDOUT:
    case ENOSR:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
#ifdef __linux__
    case ENONET:
#endif
      return true;
    default:
      return false;
  }
}

#ifdef __linux__

const int send_flags = MSG_NOSIGNAL;
const int receive_flags = MSG_CMSG_CLOEXEC;
const bool has_abstract_names = true;
const int keep_alive_idle = TCP_KEEPIDLE;
const bool full_backlog_refuses = false;

int make_socket(int family, int type) noexcept {
  return above_standard(::socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

int make_socket_pair(int type, int (&fds)[2]) noexcept {
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0) return -1;
  owned_fd first(above_standard(fds[0]));
  owned_fd second(above_standard(fds[1]));
  if (!first || !second) return -1;
  fds[0] = first.release();
  fds[1] = second.release();
  return 0;
}

int accept(int listener, sockaddr* peer, socklen_t* size) noexcept {
  return above_standard(::accept4(listener, peer, size, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

void keep_from_children(int) noexcept {}

void set_length(sockaddr*, std::size_t) noexcept {}

std::int64_t change_time(const struct stat& file) noexcept {
  return std::int64_t{file.st_ctim.tv_sec} * 1'000'000'000 + file.st_ctim.tv_nsec;
}

result<peer_credentials> credentials_of(int fd) noexcept {
  struct {  // ucred, which <sys/socket.h> has for GNU sources only
    pid_t process;
    uid_t user;
    gid_t group;
  } found{};
  socklen_t size = sizeof(found);
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &found, &size) != 0) {
    return unexpected(std::error_code(errno, std::system_category()));
  }
  return peer_credentials{found.user, found.group, found.process};
}

ssize_t send_file(int socket, int file, off_t offset, std::size_t size) noexcept {
  const sigpipe_guard guard;
  return ::sendfile(socket, file, &offset, size);
}

namespace {

// Calls `visit` for each line of the file `path` until it returns true. Returns whether it did.
template <class Visit>
bool any_line(const char* path, Visit visit) {
  std::FILE* const file = std::fopen(path, "re");
  if (file == nullptr) return false;
  char line[512];
  bool found = false;
  while (!found && std::fgets(line, sizeof(line), file) != nullptr) found = visit(line);
  std::fclose(file);
  return found;
}

// Returns the inode of the internet socket that is bound to the address, or 0. The tables print the
// words of an address as numbers of this machine, and the port as a number.
unsigned long inode_of_internet(const sockaddr* a, int type) {
  char local[64];
  std::uint32_t words[4];
  char path[] = "/proc/net/tcp6";
  if (type == SOCK_DGRAM) std::memcpy(path + 10, "udp", 3);
  if (a->sa_family == AF_INET) {
    const auto* const in = reinterpret_cast<const sockaddr_in*>(a);
    path[13] = '\0';
    std::snprintf(local, sizeof(local), "%08X:%04X", static_cast<unsigned>(in->sin_addr.s_addr),
                  static_cast<unsigned>(ntohs(in->sin_port)));
  } else {
    const auto* const in = reinterpret_cast<const sockaddr_in6*>(a);
    std::memcpy(words, &in->sin6_addr, sizeof(words));
    std::snprintf(local, sizeof(local), "%08X%08X%08X%08X:%04X", words[0], words[1], words[2],
                  words[3], static_cast<unsigned>(ntohs(in->sin6_port)));
  }
  unsigned long inode = 0;
  any_line(path, [&](const char* line) {
    char bound[64];
    unsigned state = 0;
    unsigned long found = 0;
    if (std::sscanf(line, " %*d: %63s %*s %x %*s %*s %*s %*s %*s %lu", bound, &state, &found) !=
        3) {
      return false;
    }
    constexpr unsigned listening = 10;
    if (std::strcmp(bound, local) != 0 || (type == SOCK_STREAM && state != listening)) return false;
    inode = found;
    return true;
  });
  return inode;
}

// Returns the name of the process `pid`, or "".
std::string name_of(const char* pid) {
  std::string name;
  any_line(("/proc/" + std::string(pid) + "/comm").c_str(), [&](const char* line) {
    name.assign(line, std::strcspn(line, "\n"));
    return true;
  });
  return name;
}

// Returns whether the process has a descriptor of the socket.
bool has_socket(const char* pid, const std::string& socket) {
  const std::string folder = "/proc/" + std::string(pid) + "/fd";
  DIR* const fds = ::opendir(folder.c_str());
  if (fds == nullptr) return false;
  bool found = false;
  while (!found) {
    const dirent* const entry = ::readdir(fds);
    if (entry == nullptr) break;
    char target[64];
    const ssize_t n = ::readlink((folder + "/" + entry->d_name).c_str(), target, sizeof(target));
    found = n > 0 && socket == std::string(target, static_cast<std::size_t>(n));
  }
  ::closedir(fds);
  return found;
}

std::string process_with(const std::string& socket) {
  DIR* const processes = ::opendir("/proc");
  if (processes == nullptr) return {};
  std::string found;
  while (found.empty()) {
    const dirent* const entry = ::readdir(processes);
    if (entry == nullptr) break;
    if (entry->d_name[0] < '0' || entry->d_name[0] > '9') continue;
    if (!has_socket(entry->d_name, socket)) continue;
    found = "process " + std::string(entry->d_name) + " (" + name_of(entry->d_name) + ")";
  }
  ::closedir(processes);
  return found;
}

std::string listener_on_path(const sockaddr* a, std::size_t size) {
  const owned_fd probe(make_socket(AF_UNIX, SOCK_STREAM));
  if (!probe || ::connect(probe.get(), a, static_cast<socklen_t>(size)) != 0) return {};
  const auto peer = credentials_of(probe.get());
  if (!peer) return {};
  const std::string pid = std::to_string(peer->process);
  return "process " + pid + " (" + name_of(pid.c_str()) + ")";
}

}  // namespace

std::string holder_of(const sockaddr* a, std::size_t size, int type) {
  if (a->sa_family == AF_UNIX) return listener_on_path(a, size);
  const unsigned long inode = inode_of_internet(a, type);
  return inode == 0 ? std::string() : process_with("socket:[" + std::to_string(inode) + "]");
}

int take_launchd_sockets(const char*, std::vector<owned_fd>& fds) {
  fds.clear();
  return 0;
}

#else

const int send_flags = 0;
const int receive_flags = 0;
const bool has_abstract_names = false;
const int keep_alive_idle = TCP_KEEPALIVE;
const bool full_backlog_refuses = true;

namespace {

// Makes a new socket as this room has them. Returns -1 with errno, having closed it, on failure.
int prepare(int fd) noexcept {
  constexpr int on = 1;
  fd = above_standard(fd);
  if (fd < 0) return fd;
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  // A connection that was reset before it was accepted refuses its options with EINVAL.
  if (::setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on)) == 0) return fd;
  const int why = errno == EINVAL ? ECONNABORTED : errno;
  ::close(fd);
  errno = why;
  return -1;
}

}  // namespace

int make_socket(int family, int type) noexcept {
  return prepare(::socket(family, type, 0));
}

int make_socket_pair(int type, int (&fds)[2]) noexcept {
  if (::socketpair(AF_UNIX, type, 0, fds) != 0) return -1;
  owned_fd first(prepare(fds[0]));
  owned_fd second(prepare(fds[1]));
  if (!first || !second) return -1;
  fds[0] = first.release();
  fds[1] = second.release();
  return 0;
}

int accept(int listener, sockaddr* peer, socklen_t* size) noexcept {
  return prepare(::accept(listener, peer, size));
}

void keep_from_children(int fd) noexcept {
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
}

void set_length(sockaddr* a, std::size_t size) noexcept {
  a->sa_len = static_cast<std::uint8_t>(size);
}

std::int64_t change_time(const struct stat& file) noexcept {
  return std::int64_t{file.st_ctimespec.tv_sec} * 1'000'000'000 + file.st_ctimespec.tv_nsec;
}

result<peer_credentials> credentials_of(int fd) noexcept {
  xucred found{};
  socklen_t size = sizeof(found);
  pid_t process = -1;
  socklen_t size_of_process = sizeof(process);
  if (::getsockopt(fd, SOL_LOCAL, LOCAL_PEERCRED, &found, &size) != 0 ||
      ::getsockopt(fd, SOL_LOCAL, LOCAL_PEERPID, &process, &size_of_process) != 0) {
    return unexpected(std::error_code(errno, std::system_category()));
  }
  return peer_credentials{found.cr_uid, found.cr_gid, process};
}

ssize_t send_file(int socket, int file, off_t offset, std::size_t size) noexcept {
  off_t sent = static_cast<off_t>(size);
  if (size == 0) return 0;  // for Darwin that is "up to the end"
  // Darwin reports EAGAIN and EINTR also after it has sent a part.
  if (::sendfile(file, socket, offset, &sent, nullptr, 0) == 0 || sent > 0) return sent;
  return -1;
}

std::string holder_of(const sockaddr*, std::size_t, int) {
  return {};
}

int take_launchd_sockets(const char* name, std::vector<owned_fd>& fds) {
  int* found = nullptr;
  std::size_t count = 0;
  fds.clear();
  const int why = ::launch_activate_socket(name, &found, &count);
  if (why != 0) return why == ENOENT || why == ESRCH ? 0 : why;  // ESRCH: not started by launchd
  const std::unique_ptr<int, decltype(&std::free)> list(found, &std::free);
  fds.reserve(count);
  for (std::size_t i = 0; i < count; ++i) fds.emplace_back(found[i]);
  return 0;
}

#endif

}  // namespace kedge::net::host
