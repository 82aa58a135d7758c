// descriptor: a file descriptor on a loop. Waits for readiness, reads and writes.
//
//     kedge::descriptor in(loop, STDIN_FILENO, kedge::ownership::borrowed);
//     auto n = co_await in.read_some(buffer);         // result<size_t>
//
// One task may wait to read and one to write at a time; a second one gets errc::already_awaited.
// Regular files are always ready.
//
// O_NONBLOCK is used where it is set, and never set by this class. A blocking descriptor (fds 0 to
// 2, and any other that shares its file with another process) is probed by poll(2) before each
// transfer.
//
// In the steady state of a non-blocking stream a read_some() costs one read and a share of a wait:
// after a short transfer the next one waits for an event instead of trying a read that must fail.
// So read_some() does not suit a UNIX stream on which descriptors are passed, since a read stops
// short in front of them: use readable() and recvmsg().
//
// SIGPIPE is left to the caller.
//
// Threads: the loop's thread only. Cancelling any of these waits loses nothing. A descriptor may
// outlive its loop: waits then end with errc::loop_gone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <system_error>

#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/reactor/registration.h"
#include "kedge/runtime/result.h"

namespace kedge {

enum class ownership : bool {
  borrowed,  // the caller owns the fd and keeps it open while this object lives
  owned,     // close() and the destructor close the fd
};

class descriptor {
  // One direction of the file. On the heap, so that the descriptor can be moved, closed and
  // destroyed while it is awaited: a side lives as long as the descriptor or an operation holds it.
  struct side {
    std::shared_ptr<registration_table> table;
    int fd;  // -1 once closed
    std::int16_t filter;
    bool always_ready;
    bool nonblocking;
    bool stream;  // after a short transfer the file is drained
    bool opened = false;
    unsigned holds = 1;
    registration source{};

    std::error_code link(listener& l);
    bool probe() noexcept;
    // `fd_closes`: the caller closes the fd before the next wait.
    void close(bool fd_closes) noexcept;
    void release() noexcept {
      if (--holds == 0) delete this;
    }
  };

 public:
  // A wait for one direction to be ready. The base of the operations below.
  class wait : private listener {
   public:
    // `s` is null for a closed descriptor.
    explicit wait(side* s) noexcept : side_(s) {
      if (side_ != nullptr) ++side_->holds;
    }
    wait(const wait&) = delete;
    wait& operator=(const wait&) = delete;

    bool await_suspend(waiter& w);
    bool await_cancel(cancel_cause) noexcept;

   protected:
    ~wait() {
      if (side_ != nullptr) side_->release();
    }
    // Returns false, with error_ set to errc::closed, if the descriptor is closed.
    bool check_open() noexcept;
    void describe(description& line, const char* what) const noexcept;
    // Unlinks the listener, since the operation is about to end.
    void leave() noexcept { unlink(); }

    side* side_;
    std::error_code error_;

   private:
    void notify(const kevent64_s&) noexcept override;
    void closed(std::error_code why) noexcept override;
    waiter* waiter_ = nullptr;
  };

  class ready_operation final : public wait {
   public:
    using wait::wait;
    bool await_ready() noexcept;
    bool await_settle() noexcept;
    result<void> await_resume();
    void describe(description& line) const noexcept;
  };

  class transfer_operation final : public wait {
   public:
    transfer_operation(side* s, void* buffer, std::size_t size) noexcept
        : wait(s), buffer_(buffer), size_(size) {}
    bool await_ready() noexcept;
    bool await_settle() noexcept;
    result<std::size_t> await_resume();
    void describe(description& line) const noexcept;

   private:
    bool could_be_ready() noexcept;
    bool transfer() noexcept;
    void* buffer_;
    std::size_t size_;
    std::size_t done_ = 0;
  };

  class [[nodiscard]] ready_awaitable {
   public:
    ready_operation operator co_await() && noexcept { return ready_operation(side_); }

   private:
    friend class descriptor;
    explicit ready_awaitable(side* s) noexcept : side_(s) {}
    side* side_;
  };

  class [[nodiscard]] transfer_awaitable {
   public:
    transfer_operation operator co_await() && noexcept {
      return transfer_operation(side_, buffer_, size_);
    }

   private:
    friend class descriptor;
    transfer_awaitable(side* s, void* buffer, std::size_t size) noexcept
        : side_(s), buffer_(buffer), size_(size) {}
    side* side_;
    void* buffer_;
    std::size_t size_;
  };

  // Makes a closed descriptor.
  descriptor() = default;
  // `r` is the loop. Throws std::system_error (EBADF) if `fd` is not open. Throws std::bad_alloc,
  // after closing an owned `fd`.
  descriptor(reactor& r, int fd, ownership o);
  // Waits in progress continue on the object that `other` is moved to. Assignment closes the
  // descriptor that was here before.
  descriptor(descriptor&& other) noexcept;
  descriptor& operator=(descriptor&& other) noexcept;
  // Closes, as close() does.
  ~descriptor() { drop(); }

  // The fd, which stays this object's if it is owned; -1 when closed.
  int native_handle() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }

  // Ends the waits in progress with errc::closed, and closes an owned fd. No effect on a closed
  // descriptor.
  void close() noexcept;

  // Wait until a read (a write) would not block; at the end of the file a read does not block.
  // Each asks the system by poll(2), so the caller may also read and write by itself. Cancellation
  // loses nothing.
  ready_awaitable readable() noexcept;
  ready_awaitable writable() noexcept;

  // Reads the pending bytes, at most buffer.size(), and waits while there are none. Gives the
  // number of bytes, errc::end_of_file at the end of the file, or the system's error. An empty
  // buffer gives 0 at once. `buffer` must live until the wait ends. The bytes are read when the
  // task has its turn, so cancellation loses nothing.
  transfer_awaitable read_some(std::span<std::byte> buffer) noexcept;
  // Writes as many of the bytes as there is room for, and waits while there is no room. Gives the
  // number of bytes, or the system's error. Writes at most PIPE_BUF bytes to a blocking descriptor,
  // since more could block. `bytes` must live until the wait ends. Cancellation loses nothing.
  transfer_awaitable write_some(std::span<const std::byte> bytes) noexcept;

 private:
  void drop() noexcept;

  int fd_ = -1;
  ownership ownership_ = ownership::borrowed;
  side* reading_ = nullptr;
  side* writing_ = nullptr;
};

}  // namespace kedge
