// listening_socket: accepting, whatever happens.
#include "kedge/net/listening_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <utility>

#include "kedge/net/host.h"
#include "kedge/net/socket_call.h"
#include "kedge/net/tcp_stream.h"
#include "kedge/net/unix_stream.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/private_pipe.h"
#include "kedge/runtime/reactor/fork_generation.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/yield.h"

namespace kedge::net {
namespace {

// How many connections in a row that have failed are passed over. After more of them the error is
// taken for one of the listener: a filter of system calls, for example, answers EPERM each time.
constexpr int most_failed_in_a_row = 100;

int accept_once(int fd, address* peer) noexcept {
  sockaddr_storage from;
  int taken;
  socklen_t size;
  int left = most_failed_in_a_row;
  do {
    size = sizeof(from);
    taken = host::accept(fd, reinterpret_cast<sockaddr*>(&from), &size);
  } while (taken < 0 && host::is_of_connection(errno) && --left > 0);
  if (taken >= 0 && peer != nullptr) {
    *peer = address(reinterpret_cast<const sockaddr*>(&from), size);
  }
  return taken;
}

bool lacks_descriptors(const std::error_code& e) noexcept {
  return e == std::errc::too_many_files_open || e == std::errc::too_many_files_open_in_system;
}

bool lacks_memory(const std::error_code& e) noexcept {
  return e == std::errc::no_buffer_space || e == std::errc::not_enough_memory;
}

enum class shedding {
  done,        // a connection was taken and reset
  none_there,  // no connection waits
  failed,      // there is no spare descriptor
};

// Closes the spare descriptor, and takes and resets a connection in its place.
shedding shed_one(owned_fd& spare, int listener) noexcept {
  if (!spare) return shedding::failed;
  spare = owned_fd();
  const owned_fd taken(accept_once(listener, nullptr));
  if (!taken) return would_block() ? shedding::none_there : shedding::failed;
  constexpr linger at_once{1, 0};
  ::setsockopt(taken.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  return shedding::done;
}

// Throws unless `fd` is a listening stream socket of the kind. Makes it close-on-exec and
// non-blocking. Returns its address.
address prepare_adopted(int fd, bool of_unix) {
  const auto refuse = [](std::error_code why) {
    throw std::system_error(why, "adopt a listening socket");
  };
  int type = 0;
  int listens = 0;
  socklen_t size = sizeof(int);
  if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 ||
      ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0) {
    refuse(last_error());
  }
  const address at = local_address_of(fd).value();
  if (type != SOCK_STREAM || listens == 0 || !(of_unix ? at.is_unix() : at.is_internet())) {
    refuse(std::make_error_code(std::errc::invalid_argument));
  }
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
      ::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
    refuse(last_error());
  }
  return at;
}

// What a transfer that may not wait gives where no connection waits.
constexpr std::errc none_waits = std::errc::operation_would_block;

}  // namespace

// Takes a connection. Where no descriptor is left it sheds one instead, and gives that error.
class listening_socket::accepting {
 public:
  static constexpr const char* aim = "accepted from";
  static constexpr const char* name = "accept fd";
  static constexpr probing probe = probing::not_for_sockets;
  accepting(state& of, address* peer, bool may_wait) noexcept
      : of_(&of), peer_(peer), may_wait_(may_wait) {}
  std::optional<result<owned_fd>> operator()(int fd) const noexcept {
    const int taken = accept_once(fd, peer_);
    if (taken >= 0) return result<owned_fd>(owned_fd(taken));
    const std::error_code why = last_error();
    if (would_block()) return none();
    if (!lacks_descriptors(why)) return unexpected(why);
    // Linux needs the descriptor before it looks for a connection.
    of_->open_spare();
    const shedding did = shed_one(of_->spare, fd);
    of_->open_spare();
    if (did == shedding::none_there) return none();
    if (did == shedding::done) ++of_->shed;
    return unexpected(why);
  }

 private:
  std::optional<result<owned_fd>> none() const noexcept {
    if (may_wait_) return std::nullopt;
    return unexpected(std::make_error_code(none_waits));
  }

  state* of_;
  address* peer_;
  bool may_wait_;
};

void listening_socket::state::open_spare() noexcept {
  if (!spare) spare = owned_fd(above_standard(::open("/dev/null", O_RDONLY | O_CLOEXEC)));
}

// The file goes first: while the socket is open no other file can get its number.
void listening_socket::state::close() noexcept {
  struct stat status{};
  if (!path.empty() && generation == fork_generation() && ::lstat(path.c_str(), &status) == 0 &&
      status.st_dev == device && status.st_ino == file) {
    ::unlink(path.c_str());
  }
  path.clear();
  sockets.clear();
  closed.set();
}

std::shared_ptr<listening_socket::state> listening_socket::adopted(reactor& r,
                                                                   std::vector<owned_fd> sockets,
                                                                   bool of_unix) {
  auto made = std::make_shared<state>();
  made->sockets.reserve(sockets.size());
  made->addresses.reserve(sockets.size());
  for (owned_fd& each : sockets) {
    made->addresses.push_back(prepare_adopted(each.get(), of_unix));
    made->sockets.emplace_back(r, each.release(), file_kind::other_stream);
  }
  made->open_spare();
  return made;
}

std::span<const address> listening_socket::addresses() const noexcept {
  if (state_ == nullptr) return {};
  return state_->addresses;
}

address listening_socket::local_address() const noexcept {
  return addresses().empty() ? address() : addresses().front();
}

void listening_socket::close() noexcept {
  if (state_ != nullptr) state_->close();
}

listening_socket& listening_socket::operator=(listening_socket&& other) noexcept {
  if (this != &other) {
    close();
    state_ = std::move(other.state_);
  }
  return *this;
}

// Waits until one of several sockets has a connection, and takes it. They take turns.
task<result<owned_fd>> listening_socket::take_from_any(state& s, address* peer) {
  using wait = decltype(s.sockets.front().readable());
  for (;;) {
    const std::size_t count = s.sockets.size();
    std::vector<wait> waits;
    waits.reserve(count);
    for (descriptor& each : s.sockets) waits.push_back(each.readable());
    const auto ended = co_await when_any(std::move(waits));
    ++s.next;
    for (std::size_t i = 0; i < count && s.sockets.size() == count; ++i) {
      const std::size_t at = (s.next + i) % count;
      if (!ended[at]) continue;
      if (!*ended[at]) co_return unexpected(ended[at]->error());
      auto taken = co_await s.sockets[at].reading(accepting(s, peer, false));
      if (taken || taken.error() != none_waits) co_return taken;
    }
    if (s.sockets.empty()) co_return unexpected(kedge::errc::closed);
  }
}

template <class Stream>
task<result<Stream>> listening_socket::accept_from(std::shared_ptr<state> s, address* peer) {
  while (s != nullptr && !s->sockets.empty()) {
    const std::size_t shed_before = s->shed;
    result<owned_fd> taken = unexpected(kedge::errc::closed);
    if (s->sockets.size() == 1) {
      taken = co_await s->sockets.front().reading(accepting(*s, peer, true));
    } else {
      taken = co_await take_from_any(*s, peer);
    }
    if (taken) co_return Stream(*loop::current(), std::move(*taken));
    const std::error_code why = taken.error();
    if (!lacks_descriptors(why) && !lacks_memory(why)) co_return unexpected(why);
    if (s->shed != shed_before) {
      co_await yield();  // a crowd of connections keeps nothing else waiting
    } else {
      co_await sleep_for(std::chrono::milliseconds(100));
    }
  }
  co_return unexpected(kedge::errc::closed);
}

template task<result<tcp_stream>> listening_socket::accept_from(std::shared_ptr<state>, address*);
template task<result<unix_stream>> listening_socket::accept_from(std::shared_ptr<state>, address*);

}  // namespace kedge::net
