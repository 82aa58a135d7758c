// stream_socket: what tcp_stream and unix_stream share. A model of `stream`.
//
// The socket is owned, close-on-exec and non-blocking. Writing to a peer that has gone gives EPIPE
// or ECONNRESET, and raises no SIGPIPE. Options that the system refuses give its error.
//
// Threads: the loop's thread only. Cancelling a wait loses nothing. An object may outlive its loop:
// waits then end with errc::loop_gone.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <span>

#include "kedge/net/address.h"
#include "kedge/net/owned_fd.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/result.h"

namespace kedge::net {

// The transfers of the functions below. What they refer to is the caller's.
class scattered_read {
 public:
  static constexpr const char* aim = "read";
  static constexpr const char* name = "read_some fd";
  static constexpr probing probe = probing::not_for_sockets;
  explicit scattered_read(std::span<const std::span<std::byte>> rooms) noexcept : rooms_(rooms) {}
  bool is_empty() const noexcept;
  std::optional<result<std::size_t>> operator()(int fd, transfer_progress& progress) const noexcept;

 private:
  std::span<const std::span<std::byte>> rooms_;
};

class gathered_write {
 public:
  static constexpr const char* aim = "written";
  static constexpr const char* name = "write_some fd";
  static constexpr probing probe = probing::not_for_sockets;
  explicit gathered_write(std::span<const std::span<const std::byte>> parts) noexcept
      : parts_(parts) {}
  bool is_empty() const noexcept;
  std::optional<result<std::size_t>> operator()(int fd, transfer_progress& progress) const noexcept;

 private:
  std::span<const std::span<const std::byte>> parts_;
};

class file_transfer {
 public:
  static constexpr const char* aim = "written";
  static constexpr const char* name = "send_file fd";
  static constexpr probing probe = probing::not_for_sockets;
  file_transfer(int file, off_t offset, std::size_t size) noexcept
      : file_(file), offset_(offset), size_(size) {}
  bool is_empty() const noexcept { return size_ == 0; }
  std::optional<result<std::size_t>> operator()(int fd) const noexcept;

 private:
  int file_;
  off_t offset_;
  std::size_t size_;
};

// Move nothing once the socket is ready.
class until_readable {
 public:
  static constexpr const char* aim = "readable";
  static constexpr const char* name = "readable fd";
  static constexpr probing probe = probing::unless_reported;
  std::optional<result<void>> operator()(int) const noexcept { return result<void>(); }
};
class until_writable : public until_readable {
 public:
  static constexpr const char* aim = "writable";
  static constexpr const char* name = "writable fd";
};

// Begins to connect, and when the socket is writable looks how that has ended.
class connection_attempt {
 public:
  static constexpr const char* aim = "connected";
  static constexpr const char* name = "connect fd";
  static constexpr probing probe = probing::not_for_sockets;
  explicit connection_attempt(const address& to) noexcept : to_(&to) {}
  std::optional<result<void>> operator()(int fd) noexcept;

 private:
  const address* to_;
  bool has_begun_ = false;
};

class stream_socket {
 public:
  // At most so many rooms or parts move at once. The others have to wait for the next call.
  static constexpr std::size_t most_parts = 64;

  // -1 when closed. The fd stays this object's.
  int native_handle() const noexcept { return file_.native_handle(); }
  explicit operator bool() const noexcept { return static_cast<bool>(file_); }

  // Wait until a read (a write) would not block, for a buffer that is chosen then. Cost no system
  // call if the last one was short. If another holder of the socket reads what has come they may
  // end for nothing. Cancellation loses nothing.
  auto readable() noexcept { return file_.reading(until_readable()); }
  auto writable() noexcept { return file_.writing(until_writable()); }

  // As in stream.h. The second form fills the rooms, or takes the parts, one after the other.
  auto read_some(std::span<std::byte> room) noexcept { return file_.read_some(room); }
  auto read_some(std::span<const std::span<std::byte>> rooms) {
    return file_.reading(scattered_read(rooms));
  }
  auto write_some(std::span<const std::byte> bytes) noexcept { return file_.write_some(bytes); }
  auto write_some(std::span<const std::span<const std::byte>> parts) {
    return file_.writing(gathered_write(parts));
  }
  // Sends at most `size` bytes of the file `file` from `offset` on, without a copy in the program.
  // Gives how many were sent; 0 at the end of the file. `file` is borrowed until the wait ends and
  // is a file that can be mapped, else the system gives EINVAL. Blocks the thread while the system
  // reads a slow disk.
  auto send_file(int file, off_t offset, std::size_t size) {
    return file_.writing(file_transfer(file, offset, size));
  }

  // Connects a new socket, for connect.h. `to` must live until the wait ends. After a failure or a
  // cancellation the socket can only be closed.
  auto connect_to(const address& to) { return file_.writing(connection_attempt(to)); }

  result<void> shutdown_write() noexcept;
  void close() noexcept { file_.close(); }
  // Closes, and resets the connection of a TCP socket: what was not sent yet is dropped, and the
  // peer gets ECONNRESET.
  void reset() noexcept;

  // Give errc::closed, or the system's error: ENOTCONN of a peer that has reset the connection.
  result<address> local_address() const;
  result<address> peer_address() const;

  // In bytes. The system may round, double and bound them.
  result<void> set_receive_buffer(std::size_t bytes) noexcept;
  result<void> set_send_buffer(std::size_t bytes) noexcept;

 protected:
  stream_socket() = default;
  // Takes over a socket of host.h's functions. Throws std::bad_alloc, having closed it.
  stream_socket(reactor& r, owned_fd socket, file_kind kind);
  ~stream_socket() = default;
  stream_socket(stream_socket&&) noexcept = default;
  stream_socket& operator=(stream_socket&&) noexcept = default;

  result<void> set_option(int level, int option, int value) noexcept;

  descriptor file_;
};

}  // namespace kedge::net
