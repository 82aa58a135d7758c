// standard_stream: which files are waited for, and which are left to a thread.
#include "kedge/net/standard_stream.h"

#include <sys/stat.h>
#include <unistd.h>

#include <system_error>
#include <utility>

#include "kedge/net/quiet_write.h"
#include "kedge/net/socket_call.h"
#include "kedge/net/wait_mark.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/offload.h"

namespace kedge::net {
namespace {

using transferred = result<std::size_t>;

mode_t mode_of(int fd) noexcept {
  struct stat status{};
  return ::fstat(fd, &status) == 0 ? status.st_mode : 0;
}

// A kqueue refuses to wait for some devices, as for regular files.
bool is_refused_wait(const std::error_code& why) noexcept {
  return why == std::errc::operation_not_permitted || why == std::errc::invalid_argument;
}

transferred refuse(std::error_code why, const char* name, int fd) {
  return unexpected(why, failed_operation{name, fd});
}

// What a call of read(2) or write(2) has given.
transferred outcome(ssize_t n, const char* name, int fd) {
  if (n < 0) return refuse(last_error(), name, fd);
  return static_cast<std::size_t>(n);
}

constexpr const char* reading = "standard_stream::read_some fd";
constexpr const char* writing = "standard_stream::write_some fd";

task<transferred> refuse_closed(const char* name) {
  co_return refuse(kedge::errc::closed, name, -1);
}

}  // namespace

// One of the two files. The tasks hold it.
class standard_stream::side {
 public:
  side(reactor& r, int fd) : side(r, fd, mode_of(fd)) {}

  void close() noexcept { file_.close(); }

  static task<transferred> read(std::shared_ptr<side> self, std::span<std::byte> room) {
    if (self->serves(room.size())) {
      const transferred n = co_await self->file_.read_some(room);
      if (!self->needs_thread_after(n)) co_return n;
    }
    if (self->is_in_thread_) co_return refuse(kedge::errc::already_awaited, reading, self->fd_);
    const wait_mark mark(self->is_in_thread_);
    const auto call = [fd = self->fd_, room] {
      const ssize_t n = uninterrupted([&] { return ::read(fd, room.data(), room.size()); });
      return outcome(n, reading, fd);
    };
    const transferred n = co_await offload(call);
    if (n && *n == 0) co_return refuse(kedge::errc::end_of_file, reading, self->fd_);
    co_return n;
  }
  static task<transferred> write(std::shared_ptr<side> self, std::span<const std::byte> bytes) {
    if (self->serves(bytes.size())) {
      const transferred n = co_await quiet_write(self->file_, bytes);
      if (!self->needs_thread_after(n)) co_return n;
    }
    if (self->is_in_thread_) co_return refuse(kedge::errc::already_awaited, writing, self->fd_);
    const wait_mark mark(self->is_in_thread_);
    const auto call = [fd = self->fd_, bytes] {
      const ssize_t n = uninterrupted([&] { return ::write(fd, bytes.data(), bytes.size()); });
      return outcome(n, writing, fd);
    };
    co_return co_await offload(call);
  }

 private:
  side(reactor& r, int fd, mode_t mode)
      : file_(r, fd, ownership::borrowed),
        fd_(fd),
        is_device_(S_ISCHR(mode)),
        has_readiness_(!S_ISREG(mode) && !S_ISBLK(mode)) {}

  // Whether the descriptor serves a transfer of so many bytes, without a thread. One that is closed
  // gives its error.
  bool serves(std::size_t size) const noexcept { return has_readiness_ || size == 0 || !file_; }
  // Whether a thread repeats the transfer that the descriptor has refused. If the system itself has
  // refused it the thread gets the same error.
  bool needs_thread_after(const transferred& n) noexcept {
    if (n || !is_device_ || !file_ || !is_refused_wait(n.error())) return false;
    has_readiness_ = false;
    return true;
  }

  descriptor file_;
  int fd_;
  bool is_device_;
  bool has_readiness_;
  bool is_in_thread_ = false;
};

standard_stream::standard_stream(reactor& r, int in, int out)
    : in_(std::make_shared<side>(r, in)), out_(std::make_shared<side>(r, out)) {}

standard_stream& standard_stream::operator=(standard_stream&& other) noexcept {
  if (this != &other) {
    close();
    in_ = std::move(other.in_);
    out_ = std::move(other.out_);
  }
  return *this;
}

task<transferred> standard_stream::read_some(std::span<std::byte> room) {
  return in_ ? side::read(in_, room) : refuse_closed(reading);
}

task<transferred> standard_stream::write_some(std::span<const std::byte> bytes) {
  return out_ ? side::write(out_, bytes) : refuse_closed(writing);
}

result<void> standard_stream::shutdown_write() noexcept {
  return unexpected(std::make_error_code(std::errc::operation_not_supported),
                    failed_operation{"standard_stream::shutdown_write"});
}

void standard_stream::close() noexcept {
  if (in_) in_->close();
  if (out_) out_->close();
  in_.reset();
  out_.reset();
}

}  // namespace kedge::net
