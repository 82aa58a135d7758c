// descriptor: when a file is probed, when it is tried, and when its remembered readiness is
// cleared.
#include "kedge/runtime/descriptor.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/event.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "kedge/runtime/awaiting/context.h"

namespace kedge {
namespace {

std::error_code system_error_code() noexcept {
  return {errno, std::system_category()};
}

// Returns whether a short transfer means that the file is drained. Files with messages or lines
// also transfer short when more is pending.
bool is_stream(int fd, mode_t mode) noexcept {
  if (S_ISFIFO(mode)) return true;
  int type = 0;
  socklen_t size = sizeof type;
  return S_ISSOCK(mode) && ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
         type == SOCK_STREAM;
}

}  // namespace

descriptor::descriptor(reactor& r, int fd, ownership o) : ownership_(o) {
  const int flags = ::fcntl(fd, F_GETFL);
  struct stat status{};
  if (flags < 0 || ::fstat(fd, &status) != 0) {
    throw std::system_error(system_error_code(), "kedge::descriptor");
  }
  fd_ = fd;
  const bool always_ready =
      S_ISREG(status.st_mode) || S_ISDIR(status.st_mode) || S_ISBLK(status.st_mode);
  const bool nonblocking = (flags & O_NONBLOCK) != 0;
  const bool stream = is_stream(fd, status.st_mode);
  try {
    reading_ = new side{r.registrations(), fd, EVFILT_READ, always_ready, nonblocking, stream};
    writing_ = new side{r.registrations(), fd, EVFILT_WRITE, always_ready, nonblocking, stream};
  } catch (...) {
    drop();
    throw;
  }
}

descriptor::descriptor(descriptor&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      ownership_(other.ownership_),
      reading_(std::exchange(other.reading_, nullptr)),
      writing_(std::exchange(other.writing_, nullptr)) {}

descriptor& descriptor::operator=(descriptor&& other) noexcept {
  if (this != &other) {
    drop();
    fd_ = std::exchange(other.fd_, -1);
    ownership_ = other.ownership_;
    reading_ = std::exchange(other.reading_, nullptr);
    writing_ = std::exchange(other.writing_, nullptr);
  }
  return *this;
}

// Keeps the sides, since awaitables refer to them.
void descriptor::close() noexcept {
  const bool is_owned = ownership_ == ownership::owned;
  for (side* s : {reading_, writing_}) {
    if (s != nullptr) s->close(is_owned);
  }
  if (fd_ >= 0 && is_owned) ::close(fd_);
  fd_ = -1;
}

void descriptor::drop() noexcept {
  close();
  for (side** s : {&reading_, &writing_}) {
    if (*s != nullptr) std::exchange(*s, nullptr)->release();
  }
}

descriptor::ready_awaitable descriptor::readable() noexcept {
  return ready_awaitable(reading_);
}
descriptor::ready_awaitable descriptor::writable() noexcept {
  return ready_awaitable(writing_);
}
descriptor::transfer_awaitable descriptor::read_some(std::span<std::byte> buffer) noexcept {
  return {reading_, buffer.data(), buffer.size()};
}
descriptor::transfer_awaitable descriptor::write_some(std::span<const std::byte> bytes) noexcept {
  // Safe: an operation on the writing side only reads the bytes.
  return {writing_, const_cast<std::byte*>(bytes.data()), bytes.size()};
}

// Registers with the first wait, since most files are only read or only written.
std::error_code descriptor::side::link(listener& l) {
  if (!opened) {
    source = registration(*table, sharing::exclusive, filter, static_cast<std::uint64_t>(fd));
    opened = true;
  }
  return source.link(l);
}

// Asks the system whether a transfer would not block.
bool descriptor::side::probe() noexcept {
  pollfd p{fd, static_cast<short>(filter == EVFILT_READ ? POLLIN : POLLOUT), 0};
  return ::poll(&p, 1, 0) > 0;
}

void descriptor::side::close(bool fd_closes) noexcept {
  fd_closes ? source.close_with_fd() : source.close();
  fd = -1;
}

bool descriptor::wait::check_open() noexcept {
  const bool open = side_ != nullptr && side_->fd >= 0;
  if (!open) error_ = errc::closed;
  return open;
}

bool descriptor::wait::await_suspend(waiter& w) {
  waiter_ = &w;
  error_ = side_->link(*this);
  return !error_;
}

bool descriptor::wait::await_cancel(cancel_cause) noexcept {
  leave();
  return true;
}

void descriptor::wait::notify(const kevent64_s&) noexcept {
  wake(*waiter_);
}

void descriptor::wait::closed(std::error_code why) noexcept {
  error_ = why;
  wake(*waiter_);
}

void descriptor::wait::describe(description& line, const char* what) const noexcept {
  line.print("fd %d to be %s", side_ != nullptr ? side_->fd : -1, what);
}

bool descriptor::ready_operation::await_ready() noexcept {
  return !check_open() || side_->always_ready || (!side_->source.awaited() && side_->probe());
}

// Probes, since remembered readiness may be stale: a caller that reads by itself does not report
// that it has drained the file.
bool descriptor::ready_operation::await_settle() noexcept {
  if (!error_ && !side_->probe()) {
    side_->source.clear();
    return false;
  }
  leave();
  return true;
}

result<void> descriptor::ready_operation::await_resume() {
  if (error_) return unexpected(error_);
  return {};
}

void descriptor::ready_operation::describe(description& line) const noexcept {
  const bool reading = side_ != nullptr && side_->filter == EVFILT_READ;
  wait::describe(line, reading ? "readable" : "writable");
}

bool descriptor::transfer_operation::await_ready() noexcept {
  if (!check_open() || size_ == 0) return true;
  if (side_->source.awaited()) return false;  // link() refuses with errc::already_awaited
  return could_be_ready() && transfer();
}

bool descriptor::transfer_operation::could_be_ready() noexcept {
  if (side_->always_ready) return true;
  if (!side_->nonblocking) return side_->probe();
  // Before the first wait the readiness is unknown, so try. A file that the kernel cannot watch
  // (some devices) then never waits.
  return !side_->opened || side_->source.ready();
}

bool descriptor::transfer_operation::await_settle() noexcept {
  // Another reader of a blocking file received the event too, and may have drained the file: probe
  // again.
  const bool may_block = !side_->nonblocking && !side_->always_ready;
  if (!error_ && ((may_block && !side_->probe()) || !transfer())) return false;
  leave();
  return true;
}

// Reads or writes once. Returns false if the transfer would have blocked.
bool descriptor::transfer_operation::transfer() noexcept {
  const bool reading = side_->filter == EVFILT_READ;
  // Writability promises room for PIPE_BUF bytes; more could block.
  const bool could_block = !reading && !side_->nonblocking && !side_->always_ready;
  const std::size_t size = could_block ? std::min<std::size_t>(size_, PIPE_BUF) : size_;
  ssize_t n;
  do {
    n = reading ? ::read(side_->fd, buffer_, size) : ::write(side_->fd, buffer_, size);
  } while (n < 0 && errno == EINTR);
  if (n < 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (side_->source) side_->source.clear();
      return false;
    }
    error_ = system_error_code();
  } else if (n == 0 && reading) {
    error_ = errc::end_of_file;
  } else {
    done_ = static_cast<std::size_t>(n);
    const bool drained = side_->stream && done_ < size;
    if (side_->source && (drained || !side_->nonblocking)) side_->source.clear();
  }
  return true;
}

result<std::size_t> descriptor::transfer_operation::await_resume() {
  if (error_) return unexpected(error_);
  return done_;
}

void descriptor::transfer_operation::describe(description& line) const noexcept {
  const bool reading = side_ != nullptr && side_->filter == EVFILT_READ;
  wait::describe(line, reading ? "read" : "written");
}

}  // namespace kedge
