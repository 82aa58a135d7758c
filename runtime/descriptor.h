// descriptor: a file descriptor on a loop. Waits for readiness, reads and writes.
//
//     kedge::descriptor in(loop, STDIN_FILENO, kedge::ownership::borrowed);
//     auto n = co_await in.read_some(buffer);         // result<size_t>
//
// Every operation is a *transfer*: a function that is called when the file may be ready, just
// before the task goes on, and that gives nothing if it would have blocked. Then the task waits.
// Reading messages with their senders, for example:
//
//     auto from = co_await peer.reading([&](int fd) -> std::optional<kedge::result<sockaddr_in>> {
//       ...::recvfrom(fd, data, size, MSG_DONTWAIT, ...)...
//     });
//
// Waits. One task may wait to read and one to write at a time; a second one gets
// errc::already_awaited, also with another descriptor of the same fd. Regular files are always
// ready: reading a slow disk blocks the loop. Another kqueue is readable while it has events, which
// the caller takes by kevent(2). exceptional_fd.h waits for out-of-band data.
//
// Blocking. This class never sets O_NONBLOCK. Sockets are transferred with MSG_DONTWAIT. Another
// file is trusted not to block if it is owned and had O_NONBLOCK in the constructor; else poll(2)
// is asked before each transfer, since another holder of the file may clear O_NONBLOCK at any time.
// A process that gets the file as a standard stream clears it, and poll(2) is asked from then on.
// A pipe or terminal that is read, or written, by another process too may still block: that process
// can come between poll(2) and the transfer.
//
// Costs. In the steady state of a TCP or Unix stream a read_some() costs one read and a share of a
// wait: after a short transfer the next one waits for an event, instead of trying a read that must
// fail. That is certain for these sockets alone, and not where an out-of-band mark, descriptors or
// credentials separate bytes; all other files are tried once more before the task waits. A FIFO
// reports no end: while a task waits for one, poll(2) looks at it after 10 ms, then 20, 40, 80 and
// every 100 ms. So its end is noticed up to 100 ms late, and an idle wait costs ten system calls a
// second.
//
// SIGPIPE is left to the caller: a program that writes to pipes or sockets ignores it, and gets
// EPIPE as a result. The sockets of kedge/net never raise it.
//
// Threads: the loop's thread only, also for dropping an awaitable. Cancelling any of these waits
// loses nothing. An awaitable holds the file: it may outlive its descriptor, and then gives
// errc::closed. A descriptor may outlive its loop: waits then end with errc::loop_gone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <system_error>
#include <type_traits>
#include <utility>

#include "kedge/runtime/awaiting/closure.h"
#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/descriptor_file.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/result.h"

namespace kedge {

enum class ownership : bool {
  borrowed,  // the caller owns the fd and keeps it open while this object lives
  owned,     // close() and the destructor close the fd
};

// What a transfer says about the file beyond its result.
class transfer_progress {
 public:
  // The transfer has ended after `bytes` bytes because the file had no more, or no more room. So
  // the next wait in this direction sleeps until an event, without a try. To be called only where
  // that is certain: another call at once would give EAGAIN. (An out-of-band mark is looked after.)
  void stopped_after(std::size_t bytes) noexcept { bytes_ = bytes; }
  std::optional<std::size_t> stopped() const noexcept { return bytes_; }

 private:
  std::optional<std::size_t> bytes_;
};

namespace descriptor_detail {

template <class Transfer>
auto call(Transfer& t, int fd, transfer_progress& progress) {
  if constexpr (std::is_invocable_v<Transfer&, int, transfer_progress&>) {
    return t(fd, progress);
  } else {
    return t(fd);
  }
}

template <class Transfer>
using outcome_of = decltype(call(std::declval<Transfer&>(), 0, std::declval<transfer_progress&>()));

template <class T>
struct outcome_traits {
  static constexpr bool is_outcome = false;
};
template <class T>
struct outcome_traits<std::optional<result<T>>> {
  static constexpr bool is_outcome = true;
  using value = T;
};

// The transfers of this class say what they wait for in `aim`, what they are called in an error's
// message in `name`, and when poll(2) is asked first in `probe`.

// The transfers of read_some() and write_some(). One call of start() does all that an operation
// needs before it waits, and one of run() all that an attempt needs, so that they cost little and
// are compiled once. Both return the number of bytes, `would_block`, or an error of error_of().
// `file` may be null.
class byte_transfer {
 public:
  static constexpr probing probe = probing::not_for_sockets;
  static constexpr std::ptrdiff_t would_block = PTRDIFF_MIN;
  static std::error_code error_of(std::ptrdiff_t n) noexcept;
};
class read_bytes : public byte_transfer {
 public:
  static constexpr const char* aim = "read";
  static constexpr const char* name = "read_some fd";
  explicit read_bytes(std::span<std::byte> buffer) noexcept
      : data_(buffer.data()), size_(buffer.size()) {}
  std::ptrdiff_t start(descriptor_file* file) const noexcept;
  std::ptrdiff_t run(descriptor_file& file) const noexcept;

 private:
  std::ptrdiff_t run_on_unix_stream(descriptor_file& file) const noexcept;
  std::ptrdiff_t run_on_any(descriptor_file& file) const noexcept;

  std::byte* data_;
  std::size_t size_;
};
class write_bytes : public byte_transfer {
 public:
  static constexpr const char* aim = "written";
  static constexpr const char* name = "write_some fd";
  explicit write_bytes(std::span<const std::byte> bytes) noexcept
      : data_(bytes.data()), size_(bytes.size()) {}
  std::ptrdiff_t start(descriptor_file* file) const noexcept;
  std::ptrdiff_t run(descriptor_file& file) const noexcept;

 private:
  std::ptrdiff_t run_on_any(descriptor_file& file) const noexcept;

  const std::byte* data_;
  std::size_t size_;
};

template <class Transfer>
inline constexpr bool is_of_bytes = std::is_base_of_v<byte_transfer, Transfer>;

// What a transfer gives, as its operation keeps it.
template <class Transfer>
struct kept {
  using type = typename outcome_traits<outcome_of<Transfer>>::value;
};
template <class Transfer>
  requires is_of_bytes<Transfer>
struct kept<Transfer> {
  using type = std::size_t;
};

// Transfers nothing once poll(2) has said that the file is ready.
struct wait_until_readable {
  static constexpr const char* aim = "readable";
  static constexpr const char* name = "readable fd";
  static constexpr probing probe = probing::always;
  std::optional<result<void>> operator()(int) const noexcept { return result<void>(); }
};
struct wait_until_writable : wait_until_readable {
  static constexpr const char* aim = "writable";
  static constexpr const char* name = "writable fd";
};

// The names and the probing of a caller's transfer.
template <direction D, class Transfer>
struct transfer_traits {
  static constexpr const char* aim = D == direction::reading ? "read" : "written";
  static constexpr const char* name = D == direction::reading ? "reading fd" : "writing fd";
  static constexpr probing probe = probing::if_it_may_block;
};
template <direction D, class Transfer>
  requires requires { Transfer::probe; }
struct transfer_traits<D, Transfer> : Transfer {};

}  // namespace descriptor_detail

template <direction D, class Transfer>
class transfer_operation final {
  using traits = descriptor_detail::transfer_traits<D, Transfer>;
  using value = typename descriptor_detail::kept<Transfer>::type;
  using held = typename result_detail::held<value>::type;

 public:
  // For operation_waiter: the transfers of this class's own call the system only.
  static constexpr bool calls_no_user_code = descriptor_detail::is_of_bytes<Transfer>;

  transfer_operation(file_hold file, Transfer&& t)
      : file_(std::move(file)), transfer(std::move(t)) {}
  transfer_operation(const transfer_operation&) = delete;
  transfer_operation& operator=(const transfer_operation&) = delete;
  ~transfer_operation() {
    if (at_ == stage::ended) [[likely]] {
      std::destroy_at(&given);
    } else {
      destroy_unended();
    }
  }

  bool await_ready() noexcept {
    if constexpr (descriptor_detail::is_of_bytes<Transfer>) {
      return keep_bytes(transfer.start(file_.get()));
    } else {
      if (!file_ || !file_->is_open()) [[unlikely]]
        return fail(errc::closed);
      if constexpr (requires(Transfer& t) { t.is_empty(); }) {
        if (transfer.is_empty()) [[unlikely]]
          return keep();
      }
      if (file_->awaited(D)) [[unlikely]]
        return fail(errc::already_awaited);
      return file_->is_worth_a_try(D, traits::probe) && attempt(false);
    }
  }

  bool await_suspend(waiter& w) noexcept {
    if (file_->wait_again(D, w)) [[likely]]
      return waiting_ = true;
    try {
      if (const std::error_code refused = file_->begin_wait(D, w)) return !fail(refused);
    } catch (...) {
      return !keep_exception();
    }
    waiting_ = true;
    return true;
  }

  bool await_settle() noexcept {
    if (!has_ended() && !attempt(true)) return false;
    leave();
    return true;
  }

  bool await_cancel(cancel_cause) noexcept {
    leave();
    return true;
  }

  std::exception_ptr await_failure() noexcept { return at_ == stage::thrown ? thrown : nullptr; }

  result<value> await_resume() {
    if (at_ == stage::ended) [[likely]] {
      if constexpr (std::is_void_v<value>) {
        return {};
      } else {
        return std::move(given);
      }
    }
    if (at_ == stage::refused) {
      return unexpected(refusal, failed_operation{traits::name, file_ ? file_->fd() : -1});
    }
    std::rethrow_exception(thrown);
  }

  void describe(description& line) const noexcept {
    line.print("fd %d to be %s", file_ ? file_->fd() : -1, traits::aim);
  }

 private:
  // Which member of the union there is.
  enum class stage : unsigned char { trying, ended, refused, thrown };

  // The attempts are over: their end is kept instead of the transfer. Always returns true.
  bool fail(std::error_code why) noexcept {
    std::destroy_at(&transfer);
    std::construct_at(&refusal, why);
    at_ = stage::refused;
    return true;
  }
  template <class... Kept>
  bool keep(Kept&&... kept) {
    std::destroy_at(&transfer);
    at_ = stage::refused;  // nothing to destroy, if the constructor throws
    std::construct_at(&given, std::forward<Kept>(kept)...);
    at_ = stage::ended;
    return true;
  }
  bool keep_exception() noexcept {
    if (at_ == stage::trying) std::destroy_at(&transfer);
    std::construct_at(&thrown, std::current_exception());
    at_ = stage::thrown;
    return true;
  }

  // Out of line, to keep the code of each await small.
  [[gnu::noinline]] void destroy_unended() noexcept {
    if (waiting_) file_->end_wait(D);
    if (at_ == stage::trying) std::destroy_at(&transfer);
    if (at_ == stage::thrown) std::destroy_at(&thrown);
  }

  // Returns true if no event will come any more, and keeps the reason.
  bool has_ended() noexcept {
    if (file_->has_events(D)) [[likely]]
      return false;
    const std::error_code why = file_->end_of_events(D);
    return why && fail(why);
  }

  // Calls the transfer. Returns false if it would have blocked.
  bool attempt(bool has_waited) noexcept {
    if constexpr (descriptor_detail::is_of_bytes<Transfer>) {
      return keep_bytes(transfer.run(*file_));
    } else {
      if (has_waited ? !file_->may_transfer_after_wait(D, traits::probe)
                     : !file_->may_transfer(D, traits::probe)) {
        file_->note_blocked(D);
        return false;
      }
      try {
        return attempt_by_call();
      } catch (...) {
        return keep_exception();
      }
    }
  }
  // Keeps what a transfer of bytes has returned. Returns false if it would have blocked.
  bool keep_bytes(std::ptrdiff_t n) noexcept {
    if (n == Transfer::would_block) return false;
    if (n < 0) [[unlikely]]
      return fail(Transfer::error_of(n));
    return keep(static_cast<std::size_t>(n));
  }
  bool attempt_by_call() {
    transfer_progress progress;
    auto outcome = descriptor_detail::call(transfer, file_->fd(), progress);
    if (!outcome) {
      file_->note_blocked(D);
      return false;
    }
    if (progress.stopped()) file_->note_stopped(D, *progress.stopped());
    if (!*outcome) return fail(outcome->error());
    if constexpr (std::is_void_v<value>) {
      return keep();
    } else {
      return keep(**std::move(outcome));
    }
  }

  void leave() noexcept {
    waiting_ = false;
    file_->end_wait(D);
  }

  file_hold file_;
  bool waiting_ = false;
  stage at_ = stage::trying;
  union {
    Transfer transfer;
    held given;
    std::error_code refusal;
    std::exception_ptr thrown;
  };
};

template <direction D, class Transfer>
class [[nodiscard]] transfer_awaitable {
 public:
  transfer_operation<D, Transfer> operator co_await() && {
    return transfer_operation<D, Transfer>(std::move(file_), std::move(transfer_));
  }

 private:
  friend class descriptor;
  template <class T>
  transfer_awaitable(file_hold file, T&& transfer)
      : file_(std::move(file)), transfer_(std::forward<T>(transfer)) {}
  file_hold file_;
  Transfer transfer_;
};

// A `transfer(fd)`, or `transfer(fd, progress)` with a transfer_progress&, that gives an
// std::optional<result<T>>: nothing if it would have blocked.
template <class F>
concept transfer_function =
    (std::is_invocable_v<std::decay_t<F>&, int> ||
     std::is_invocable_v<std::decay_t<F>&, int, transfer_progress&>) &&
    descriptor_detail::outcome_traits<descriptor_detail::outcome_of<std::decay_t<F>>>::is_outcome;

class descriptor {
 public:
  // Makes a closed descriptor.
  descriptor() = default;
  // `r` is the loop. Throws std::system_error (EBADF) if `fd` is not open. Throws std::bad_alloc,
  // after closing an owned `fd`.
  descriptor(reactor& r, int fd, ownership o);
  // Takes over an open, non-blocking socket whose kind is known, and asks the system nothing.
  // Throws std::bad_alloc, after closing it.
  descriptor(reactor& r, int fd, file_kind kind);
  // Waits in progress continue on the object that `other` is moved to. Assignment closes the
  // descriptor that was here before.
  descriptor(descriptor&& other) noexcept = default;
  descriptor& operator=(descriptor&& other) noexcept;
  // Closes, as close() does.
  ~descriptor() { close(); }

  // The fd, which stays this object's if it is owned; -1 when closed.
  int native_handle() const noexcept { return file_ ? file_->fd() : -1; }
  explicit operator bool() const noexcept { return static_cast<bool>(file_); }

  // Makes write_some() call send(2) with `flags` too, if this is a socket: with the one that keeps
  // SIGPIPE away, where the system has it. Requires that the descriptor is open.
  void add_send_flags(int flags) noexcept { file_->add_send_flags(flags); }

  // Ends the waits in progress, and the awaitables that have not been awaited, with errc::closed,
  // and closes an owned fd. No effect on a closed descriptor.
  void close() noexcept;

  // Call `transfer` until it gives something, and wait for the file to be readable (writable)
  // between the calls. Give what it gave: a value, or an error as a result. An exception of the
  // transfer is thrown by the co_await. A transfer that gives nothing must have found that the file
  // would block: bytes that it leaves may not be reported until further ones come. The transfer is
  // called when the task has its turn, and not after the wait was cancelled, so cancellation loses
  // nothing, and what the transfer refers to must live until the wait ends. It must not block where
  // the constructor says that the file does not: a socket that is owned and has O_NONBLOCK, for
  // example, which needs no MSG_DONTWAIT. It must not use this descriptor's loop. Throws
  // std::bad_alloc, and what copying the transfer throws.
  template <transfer_function F>
  transfer_awaitable<direction::reading, std::decay_t<F>> reading(F&& transfer) {
    KEDGE_CHECK_CLOSURE(F);
    return {file_, std::forward<F>(transfer)};
  }
  template <transfer_function F>
  transfer_awaitable<direction::writing, std::decay_t<F>> writing(F&& transfer) {
    KEDGE_CHECK_CLOSURE(F);
    return {file_, std::forward<F>(transfer)};
  }

  // Wait until a read (a write) would not block; at the end of the file a read does not block.
  // Each asks the system by poll(2), so the caller may also read and write by itself. Cancellation
  // loses nothing.
  auto readable() noexcept { return reading_with(descriptor_detail::wait_until_readable()); }
  auto writable() noexcept { return writing_with(descriptor_detail::wait_until_writable()); }

  // Reads the pending bytes, or one message, at most buffer.size() bytes, and waits while there are
  // none. Gives the number of bytes, errc::end_of_file at the end of a stream, or the system's
  // error. An empty message gives 0; so does the end of a SOCK_SEQPACKET. An empty buffer gives 0
  // at once. A FIFO that has had no writer yet is waited for. `buffer` must live until the wait
  // ends. The bytes are read when the task has its turn, so cancellation loses nothing. Descriptors
  // that are passed on a Unix socket are lost: use reading() and recvmsg() there.
  auto read_some(std::span<std::byte> buffer) noexcept {
    return reading_with(descriptor_detail::read_bytes(buffer));
  }
  // Writes as many of the bytes as there is room for, and waits while there is no room. Gives the
  // number of bytes, or the system's error. Writes at most PIPE_BUF bytes at once to a pipe that
  // may block, and to such a terminal at most 64 ordinary ones or one line feed or tab, since more
  // could block. `bytes` must live until the wait ends. Cancellation loses nothing.
  auto write_some(std::span<const std::byte> bytes) noexcept {
    return writing_with(descriptor_detail::write_bytes(bytes));
  }

 private:
  template <class Transfer>
  transfer_awaitable<direction::reading, Transfer> reading_with(Transfer t) noexcept {
    return {file_, t};
  }
  template <class Transfer>
  transfer_awaitable<direction::writing, Transfer> writing_with(Transfer t) noexcept {
    return {file_, t};
  }

  friend class child_stream;
  file_hold file_;  // none when closed
};

}  // namespace kedge
