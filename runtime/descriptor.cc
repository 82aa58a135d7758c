// descriptor: its transfers of bytes.
#include "kedge/runtime/descriptor.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>

namespace kedge {

descriptor::descriptor(reactor& r, int fd, ownership o) try
    : file_(descriptor_file::make(r.registrations(), fd, o == ownership::owned)) {
} catch (const std::bad_alloc&) {
  if (o == ownership::owned) ::close(fd);
}

descriptor& descriptor::operator=(descriptor&& other) noexcept {
  if (this != &other) {
    close();
    file_ = std::move(other.file_);
  }
  return *this;
}

void descriptor::close() noexcept {
  if (!file_) return;
  file_->close();
  file_ = {};
}

namespace descriptor_detail {
namespace {

ssize_t read_once(int fd, file_kind kind, std::byte* data, std::size_t size, bool& may_go_on) {
  switch (kind) {
    case file_kind::tcp:
    case file_kind::other_stream:
    case file_kind::messages:
      return ::recv(fd, data, size, MSG_DONTWAIT);
    case file_kind::unix_stream: {
      // Without room for control data MSG_CTRUNC says that some came along: the read has stopped
      // there, though bytes may be behind it.
      iovec part{data, size};
      msghdr message{};
      message.msg_iov = &part;
      message.msg_iovlen = 1;
      const ssize_t n = ::recvmsg(fd, &message, MSG_DONTWAIT);
      may_go_on = (message.msg_flags & MSG_CTRUNC) != 0;
      return n;
    }
    default:
      return ::read(fd, data, size);
  }
}

// A FIFO gives 0 also before its first writer, when poll(2) reports nothing.
bool has_had_a_writer(int fd) noexcept {
  return poll_now(fd, POLLIN) != 0;
}

// What a transfer gives whose system call has failed with errno.
std::optional<result<std::size_t>> failed_call() noexcept {
  if (errno == EAGAIN || errno == EWOULDBLOCK) return std::nullopt;
  return unexpected(std::error_code(errno, std::system_category()));
}

// Returns whether a short transfer means that there was no more, or no more room.
bool stops_for_want(file_kind kind) noexcept {
  return kind == file_kind::tcp || kind == file_kind::unix_stream;
}

}  // namespace

std::optional<result<std::size_t>> read_bytes::operator()(
    int fd, transfer_progress& progress) const noexcept {
  ssize_t n;
  bool may_go_on = false;
  do {
    n = read_once(fd, kind_, data_, size_, may_go_on);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return failed_call();
  if (n == 0 && kind_ != file_kind::messages) {
    if (kind_ == file_kind::fifo && !has_had_a_writer(fd)) return std::nullopt;
    return unexpected(errc::end_of_file);
  }
  const auto done = static_cast<std::size_t>(n);
  if (done < size_ && stops_for_want(kind_) && !may_go_on) progress.stopped_after(done);
  return done;
}

std::optional<result<std::size_t>> write_bytes::operator()(
    int fd, transfer_progress& progress) const noexcept {
  ssize_t n;
  do {
    n = is_socket(kind_) ? ::send(fd, data_, size_, MSG_DONTWAIT) : ::write(fd, data_, size_);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return failed_call();
  const auto done = static_cast<std::size_t>(n);
  if (done < size_ && stops_for_want(kind_)) progress.stopped_after(done);
  return done;
}

}  // namespace descriptor_detail
}  // namespace kedge
