// descriptor_file: what kind an fd is, when it is probed, and when its remembered readiness is
// cleared.
#include "kedge/runtime/descriptor_file.h"

#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>
#include <string>

#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/reactor/registration_table.h"

namespace kedge {
namespace {

using namespace std::chrono_literals;

// A FIFO reports no end, neither to its readers nor to its writers. So poll(2) looks at it while an
// operation waits: first after the shortest of these intervals, then after twice the last one.
constexpr clock::duration shortest_interval = 10ms;
constexpr clock::duration longest_interval = 100ms;

// poll(2) reports room on a terminal if there are about a hundred free bytes. The terminal expands
// some bytes one by one (a line feed, a tab), and each of them needs room again. So a write that
// cannot block has ordinary bytes alone, or one of the others.
std::size_t terminal_write_limit(std::span<const std::byte> bytes) noexcept {
  constexpr std::size_t most = 64;
  const auto is_expanded = [](std::byte b) {
    const char c = static_cast<char>(b);
    return c == '\n' || c == '\r' || c == '\t' || c == '\b';
  };
  const auto first = std::find_if(bytes.begin(), bytes.end(), is_expanded);
  return std::clamp<std::size_t>(static_cast<std::size_t>(first - bytes.begin()), 1, most);
}

std::int16_t filter_of(direction d) noexcept {
  return d == direction::reading ? EVFILT_READ : EVFILT_WRITE;
}

short poll_event(direction d) noexcept {
  return d == direction::reading ? POLLIN : POLLOUT;
}

// Returns the device of all anonymous pipes, or nothing without two free fds: they are then looked
// at like FIFOs.
std::optional<dev_t> find_pipe_device() noexcept {
  int ends[2];
  if (::pipe(ends) != 0) return std::nullopt;
  struct stat status{};
  const bool known = ::fstat(ends[0], &status) == 0;
  for (const int end : ends) ::close(end);
  return known ? std::optional(status.st_dev) : std::nullopt;
}

// Anonymous pipes report their ends. A FIFO is told from them by its device, that of its folder.
bool is_fifo(const struct stat& status) noexcept {
  if (!S_ISFIFO(status.st_mode)) return false;
  static const std::optional<dev_t> pipes = find_pipe_device();
  return pipes != status.st_dev;
}

file_kind socket_kind(int fd) noexcept {
  int value = 0;
  socklen_t size = sizeof value;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &size) == 0) return file_kind::tcp;
  size = sizeof value;
  if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &size) != 0 || value != SOCK_STREAM) {
    return file_kind::messages;
  }
  sockaddr_storage name{};
  socklen_t length = sizeof name;
  const bool named = ::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length) == 0;
  return named && name.ss_family == AF_UNIX ? file_kind::unix_stream : file_kind::other_stream;
}

file_kind kind_of(int fd, const struct stat& status) noexcept {
  const mode_t mode = status.st_mode;
  if (S_ISREG(mode) || S_ISDIR(mode) || S_ISBLK(mode)) return file_kind::always_ready;
  if (S_ISSOCK(mode)) return socket_kind(fd);
  if (is_fifo(status)) return file_kind::fifo;
  return S_ISCHR(mode) && ::isatty(fd) != 0 ? file_kind::terminal : file_kind::other;
}

}  // namespace

short poll_now(int fd, short events) noexcept {
  pollfd p{fd, events, 0};
  return ::poll(&p, 1, 0) > 0 ? p.revents : short{0};
}

// Looks at the FIFO while an operation waits for it.
class fifo_file final : public descriptor_file, private timer {
 public:
  using descriptor_file::descriptor_file;

  // Throws std::bad_alloc.
  void look_from_now_on(reactor& r) {
    reactor_ = &r;
    interval_ = shortest_interval;
    disarm();
    look_later();
  }
  void stop_looking() noexcept { disarm(); }
  bool has_waiter() const noexcept { return events_awaited() != 0; }

 private:
  void expire() noexcept override {
    wake_reported(poll_now(fd(), events_awaited()));
    interval_ = std::min(2 * interval_, longest_interval);
    look_later();  // cannot fail: the heap has just shrunk
  }

  void look_later() { reactor_->timers().arm(*this, clock::sum(reactor_->now(), interval_)); }

  reactor* reactor_ = nullptr;  // of the latest wait
  clock::duration interval_{};
};

descriptor_file* descriptor_file::make(std::shared_ptr<registration_table> table, int fd,
                                       bool is_owned) {
  const int flags = ::fcntl(fd, F_GETFL);
  struct stat status{};
  if (flags < 0 || ::fstat(fd, &status) != 0) {
    throw std::system_error(errno, std::system_category(),
                            "kedge::descriptor of fd " + std::to_string(fd));
  }
  const file_kind kind = kind_of(fd, status);
  // Other holders of a borrowed file may clear O_NONBLOCK at any time.
  const bool may_block = !is_owned || (flags & O_NONBLOCK) == 0;
  if (kind == file_kind::fifo) {
    return new fifo_file(std::move(table), fd, kind, is_owned, may_block);
  }
  return new descriptor_file(std::move(table), fd, kind, is_owned, may_block);
}

descriptor_file* descriptor_file::make_socket(std::shared_ptr<registration_table> table, int fd,
                                              file_kind kind) {
  return new descriptor_file(std::move(table), fd, kind, true, false);
}

descriptor_file::descriptor_file(std::shared_ptr<registration_table> table, int fd, file_kind kind,
                                 bool is_owned, bool may_block) noexcept
    : table_(std::move(table)), fd_(fd), kind_(kind), is_owned_(is_owned), may_block_(may_block) {}

descriptor_file::~descriptor_file() = default;

void descriptor_file::destroy() noexcept {
  if (kind_ == file_kind::fifo) {
    delete static_cast<fifo_file*>(this);
  } else {
    delete this;
  }
}

std::size_t descriptor_file::write_limit(std::span<const std::byte> bytes) const noexcept {
  if (kind_ == file_kind::always_ready || is_socket(kind_) || !may_block_) return bytes.size();
  const std::size_t limit = kind_ == file_kind::terminal ? terminal_write_limit(bytes) : PIPE_BUF;
  return std::min(bytes.size(), limit);
}

void descriptor_file::share_blocking() noexcept {
  may_block_ = true;
  const int flags = ::fcntl(fd_, F_GETFL);
  if (flags >= 0 && (flags & O_NONBLOCK) != 0) ::fcntl(fd_, F_SETFL, flags & ~O_NONBLOCK);
}

void descriptor_file::close() noexcept {
  if (!is_open_) return;
  is_open_ = false;
  if (kind_ == file_kind::fifo) static_cast<fifo_file*>(this)->stop_looking();
  for (side* const s : {&reading_, writing_.get()}) {
    if (s == nullptr) continue;
    s->unlink();
    if (s->waiting != nullptr) wake(*s->waiting);
    is_owned_ ? s->source.close_with_fd() : s->source.close();
  }
  if (is_owned_) ::close(fd_);
}

bool descriptor_file::poll(direction d) const noexcept {
  return poll_now(fd_, poll_event(d)) != 0;
}

bool descriptor_file::is_waited_for_elsewhere(direction d) const noexcept {
  return table_->awaited(filter_of(d), static_cast<std::uint64_t>(fd_));
}

std::error_code descriptor_file::begin_wait(direction d, waiter& w) {
  if (at(d) == nullptr) writing_ = std::make_unique<side>();
  side& s = *at(d);
  if (s.waiting != nullptr) return errc::already_awaited;
  const bool is_first = !is_registered(d);
  if (is_first) {
    is_drained_ = false;  // a registration that is refused reports nothing: try first again
    s.source =
        registration(*table_, sharing::exclusive, filter_of(d), static_cast<std::uint64_t>(fd_));
    set_registered(d, static_cast<bool>(s.source));
  }
  if (kind_ == file_kind::fifo) {
    static_cast<fifo_file*>(this)->look_from_now_on(w.owner_context().in_reactor());
  }
  const std::error_code refused = s.source.link(s);
  if (!refused) {
    s.waiting = &w;
    // Another file has registered the fd, and may have had the event that this one waits for.
    if (is_first && s.source.ready()) wake(w);
    return refused;
  }
  end_wait(d);
  if (refused != errc::already_awaited) set_registered(d, false);  // the next wait tries again
  return refused;
}

// A refused registration is closed, so that the next wait tries again.
std::error_code descriptor_file::end_of_events(direction d) noexcept {
  if (!is_open_) return errc::closed;
  side& s = *at(d);
  const std::error_code why = s.source.link(s);
  if (why) {
    s.source.close();
    set_registered(d, false);
  }
  return why;
}

void descriptor_file::end_fifo_wait() noexcept {
  auto* const fifo = static_cast<fifo_file*>(this);
  if (!fifo->has_waiter()) fifo->stop_looking();
}

short descriptor_file::events_awaited() const noexcept {
  int events = 0;
  for (const direction d : {direction::reading, direction::writing}) {
    if (is_waited_for(d)) events |= poll_event(d);
  }
  return static_cast<short>(events);
}

void descriptor_file::wake_reported(short revents) noexcept {
  for (const direction d : {direction::reading, direction::writing}) {
    const bool is_reported = (revents & (poll_event(d) | POLLHUP | POLLERR)) != 0;
    if (is_reported && is_waited_for(d)) wake(*at(d)->waiting);
  }
}

void descriptor_file::side::notify(const kevent64_s&) noexcept {
  if (waiting != nullptr) wake(*waiting);
}

void descriptor_file::side::closed(std::error_code) noexcept {
  if (waiting != nullptr) wake(*waiting);
}

}  // namespace kedge
