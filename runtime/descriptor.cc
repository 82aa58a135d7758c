// descriptor: its transfers of bytes.
#include "kedge/runtime/descriptor.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>

#include "kedge/runtime/reactor/registration_table.h"

namespace kedge {

descriptor::descriptor(reactor& r, int fd, ownership o) try
    : file_(descriptor_file::make(r.registrations(), fd, o == ownership::owned)) {
} catch (const std::bad_alloc&) {
  if (o == ownership::owned) ::close(fd);
}

descriptor::descriptor(reactor& r, int fd, file_kind kind) try
    : file_(descriptor_file::make_socket(r.registrations(), fd, kind)) {
} catch (const std::bad_alloc&) {
  ::close(fd);
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

// A FIFO gives 0 also before its first writer, when poll(2) reports nothing.
bool has_had_a_writer(int fd) noexcept {
  return poll_now(fd, POLLIN) != 0;
}

// No errno has these values.
constexpr std::ptrdiff_t end_of_file = PTRDIFF_MIN + 1;
constexpr std::ptrdiff_t closed = PTRDIFF_MIN + 2;
constexpr std::ptrdiff_t already_awaited = PTRDIFF_MIN + 3;

// A transfer would block.
std::ptrdiff_t block(descriptor_file& file, direction d) noexcept {
  file.note_blocked(d);
  return byte_transfer::would_block;
}

// A system call has failed with errno.
std::ptrdiff_t fail(descriptor_file& file, direction d) noexcept {
  return errno == EAGAIN || errno == EWOULDBLOCK ? block(file, d) : -errno;
}

// start() of a transfer of `size` bytes. Out of line: the fast paths of start() need no registers
// beyond a call.
template <class Transfer>
[[gnu::noinline]] std::ptrdiff_t start_transfer(const Transfer& t, descriptor_file* file,
                                                direction d, std::size_t size) noexcept {
  if (file == nullptr || !file->is_open()) [[unlikely]]
    return closed;
  if (size == 0) [[unlikely]]
    return 0;
  if (file->awaited(d)) [[unlikely]]
    return already_awaited;
  return file->is_worth_a_try(d, Transfer::probe) ? t.run(*file) : Transfer::would_block;
}

// Returns whether a short transfer means that there was no more, or no more room.
bool stops_for_want(file_kind kind) noexcept {
  return kind == file_kind::tcp || kind == file_kind::unix_stream;
}

}  // namespace

std::error_code byte_transfer::error_of(std::ptrdiff_t n) noexcept {
  switch (n) {
    case end_of_file:
      return errc::end_of_file;
    case closed:
      return errc::closed;
    case already_awaited:
      return errc::already_awaited;
    default:
      return {static_cast<int>(-n), std::system_category()};
  }
}

// TCP and Unix streams have paths of their own, which ask nothing about the file: most bytes are
// those of these sockets.
std::ptrdiff_t read_bytes::run(descriptor_file& file) const noexcept {
  if (file.kind() != file_kind::tcp) {
    return file.kind() == file_kind::unix_stream ? run_on_unix_stream(file) : run_on_any(file);
  }
  const ssize_t n = ::recv(file.fd(), data_, size_, MSG_DONTWAIT);
  if (n < 0) [[unlikely]]
    return errno == EINTR ? run(file) : fail(file, direction::reading);
  if (n == 0) [[unlikely]]
    return end_of_file;
  const auto done = static_cast<std::size_t>(n);
  if (done < size_) file.note_stopped(direction::reading, done);
  return n;
}

// Without room for control data MSG_CTRUNC says that some came along: the read has stopped there,
// though bytes may be behind it.
std::ptrdiff_t read_bytes::run_on_unix_stream(descriptor_file& file) const noexcept {
  iovec part{data_, size_};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  const ssize_t n = ::recvmsg(file.fd(), &message, MSG_DONTWAIT);
  if (n < 0) [[unlikely]]
    return errno == EINTR ? run(file) : fail(file, direction::reading);
  if (n == 0) [[unlikely]]
    return end_of_file;
  const auto done = static_cast<std::size_t>(n);
  const bool may_go_on = (message.msg_flags & MSG_CTRUNC) != 0;
  if (done < size_ && !may_go_on) file.note_stopped(direction::reading, done);
  return n;
}

std::ptrdiff_t read_bytes::run_on_any(descriptor_file& file) const noexcept {
  constexpr direction d = direction::reading;
  if (!file.may_transfer(d, probe)) return block(file, d);
  const file_kind kind = file.kind();
  ssize_t n;
  do {
    n = is_socket(kind) ? ::recv(file.fd(), data_, size_, MSG_DONTWAIT)
                        : ::read(file.fd(), data_, size_);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return fail(file, d);
  if (n == 0 && kind != file_kind::messages) {
    if (kind == file_kind::fifo && !has_had_a_writer(file.fd())) return block(file, d);
    return end_of_file;
  }
  return n;
}

std::ptrdiff_t read_bytes::start(descriptor_file* file) const noexcept {
  if (file != nullptr && size_ != 0 && file->is_drained_socket()) return would_block;
  return start_transfer(*this, file, direction::reading, size_);
}

std::ptrdiff_t write_bytes::start(descriptor_file* file) const noexcept {
  if (file != nullptr && size_ != 0 && file->has_never_been_full() &&
      file->table().is_unused(EVFILT_WRITE, static_cast<std::uint64_t>(file->fd()))) {
    return run(*file);
  }
  return start_transfer(*this, file, direction::writing, size_);
}

std::ptrdiff_t write_bytes::run(descriptor_file& file) const noexcept {
  if (!stops_for_want(file.kind())) return run_on_any(file);
  const ssize_t n = ::send(file.fd(), data_, size_, file.send_flags());
  if (n < 0) [[unlikely]]
    return errno == EINTR ? run(file) : fail(file, direction::writing);
  const auto done = static_cast<std::size_t>(n);
  if (done < size_) file.note_stopped(direction::writing, done);
  return n;
}

std::ptrdiff_t write_bytes::run_on_any(descriptor_file& file) const noexcept {
  constexpr direction d = direction::writing;
  if (!file.may_transfer(d, probe)) return block(file, d);
  const file_kind kind = file.kind();
  const std::size_t size = is_socket(kind) ? size_ : file.write_limit({data_, size_});
  ssize_t n;
  do {
    n = is_socket(kind) ? ::send(file.fd(), data_, size, file.send_flags())
                        : ::write(file.fd(), data_, size);
  } while (n < 0 && errno == EINTR);
  return n < 0 ? fail(file, d) : n;
}

}  // namespace descriptor_detail
}  // namespace kedge
