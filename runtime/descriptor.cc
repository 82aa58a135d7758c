#include "kedge/runtime/descriptor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/event.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "kedge/runtime/context.h"

namespace kedge {
namespace {

std::error_code system_error_code() noexcept { return {errno, std::system_category()}; }

}  // namespace

descriptor::descriptor(reactor& r, int fd, ownership o) : ownership_(o) {
  const int flags = ::fcntl(fd, F_GETFL);
  struct stat status {};
  if (flags < 0 || ::fstat(fd, &status) != 0) {
    throw std::system_error(system_error_code(), "kedge::descriptor");
  }
  fd_ = fd;
  const bool always_ready =
      S_ISREG(status.st_mode) || S_ISDIR(status.st_mode) || S_ISBLK(status.st_mode);
  const bool nonblocking = (flags & O_NONBLOCK) != 0;
  try {
    reading_ = new side{r.registrations(), fd, EVFILT_READ, always_ready, nonblocking};
    writing_ = new side{r.registrations(), fd, EVFILT_WRITE, always_ready, nonblocking};
  } catch (...) {
    close();
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
    close();
    fd_ = std::exchange(other.fd_, -1);
    ownership_ = other.ownership_;
    reading_ = std::exchange(other.reading_, nullptr);
    writing_ = std::exchange(other.writing_, nullptr);
  }
  return *this;
}

void descriptor::close() noexcept {
  for (side** s : {&reading_, &writing_}) {
    if (*s == nullptr) continue;
    (*s)->close();
    std::exchange(*s, nullptr)->release();
  }
  if (fd_ >= 0 && ownership_ == ownership::owned) ::close(fd_);
  fd_ = -1;
}

descriptor::ready_awaitable descriptor::readable() noexcept { return ready_awaitable(reading_); }
descriptor::ready_awaitable descriptor::writable() noexcept { return ready_awaitable(writing_); }
descriptor::transfer_awaitable descriptor::read_some(std::span<std::byte> buffer) noexcept {
  return {reading_, buffer.data(), buffer.size()};
}
descriptor::transfer_awaitable descriptor::write_some(std::span<const std::byte> bytes) noexcept {
  // The direction of the side says that they are only read.
  return {writing_, const_cast<std::byte*>(bytes.data()), bytes.size()};
}

// The registration is made with the first wait: most files are only read, or only written.
std::error_code descriptor::side::link(listener& l) {
  if (!opened) {
    source = registration(*table, sharing::exclusive, filter, static_cast<std::uint64_t>(fd));
    opened = true;
  }
  return source.link(l);
}

// What the system says now, for descriptors that would block.
bool descriptor::side::probe() noexcept {
  pollfd p{fd, static_cast<short>(filter == EVFILT_READ ? POLLIN : POLLOUT), 0};
  return ::poll(&p, 1, 0) > 0;
}

void descriptor::side::close() noexcept {
  source.close();
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

cancel_result descriptor::wait::await_cancel() noexcept {
  leave();
  return cancel_result::withdrawn;
}

void descriptor::wait::notify(const kevent64_s&) noexcept {
  waiter_->where().in_reactor().ready(*waiter_);
}

void descriptor::wait::closed(std::error_code why) noexcept {
  error_ = why;
  waiter_->where().in_reactor().ready(*waiter_);
}

void descriptor::wait::describe(description& line, const char* what) const noexcept {
  line.print("fd %d to be %s", side_ != nullptr ? side_->fd : -1, what);
}

bool descriptor::ready_operation::await_ready() noexcept {
  return !check_open() || side_->always_ready || side_->probe();
}

// Remembered readiness may be stale: whoever reads by himself does not tell when he found it empty.
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
  const bool remembered = side_->nonblocking || side_->always_ready;
  const bool ready =
      remembered ? side_->always_ready || side_->source.ready() : side_->probe();
  return ready && transfer();
}

bool descriptor::transfer_operation::await_settle() noexcept {
  if (!error_ && !transfer()) return false;
  leave();
  return true;
}

// True if the operation has ended, in a result or an error.
bool descriptor::transfer_operation::transfer() noexcept {
  const bool reading = side_->filter == EVFILT_READ;
  ssize_t n;
  do {
    n = reading ? ::read(side_->fd, buffer_, size_) : ::write(side_->fd, buffer_, size_);
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
    if (side_->source && (done_ < size_ || !side_->nonblocking)) side_->source.clear();
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
