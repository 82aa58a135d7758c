// descriptor: a file descriptor of this loop: readiness, and reading and writing after it.
//
//     kedge::descriptor in(loop, STDIN_FILENO, kedge::ownership::borrowed);
//     auto n = co_await in.read_some(buffer);         // result<size_t>
//
// One task may read and one may write at a time; a second gets errc::already_awaited. Regular files
// are always ready. O_NONBLOCK is used where it is set and set nowhere: a blocking descriptor (fds
// 0 to 2, and whatever else shares its file with another process) is asked by poll(2) and read
// after readiness. The steady state of a non-blocking stream costs one read per read_some() and a
// share of a wait: a transfer that was short is not followed by one that must fail. So read_some()
// is not for a UNIX stream on which descriptors are passed: a read stops short in front of them
// (readable() and a recvmsg of one's own are). SIGPIPE is the program's own affair.
//
// Loop's thread only. May outlive the loop: then waits give errc::loop_gone.
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
  borrowed,  // the descriptor stays the caller's, who keeps it open as long as this object
  owned,     // close() and the destructor close it
};

class descriptor {
  // One direction of the file. In memory of its own, so that the object can be moved, closed and
  // destroyed while it is awaited: it lives as long as the object or an operation holds it.
  struct side {
    std::shared_ptr<registration_table> table;
    int fd;  // -1 once closed
    std::int16_t filter;
    bool always_ready;
    bool nonblocking;
    bool stream;  // a transfer that was short says that there is no more for now
    bool opened = false;
    unsigned holds = 1;
    registration source{};

    std::error_code link(listener& l);
    bool probe() noexcept;
    void close(bool number_closes) noexcept;
    void release() noexcept {
      if (--holds == 0) delete this;
    }
  };

 public:
  // A wait for one direction, and what is done once it is ready. The base of the operations below.
  class wait : private listener {
   public:
    // Null for a closed descriptor.
    explicit wait(side* s) noexcept : side_(s) {
      if (side_ != nullptr) ++side_->holds;
    }
    wait(const wait&) = delete;
    wait& operator=(const wait&) = delete;

    bool await_suspend(waiter& w);
    cancel_result await_cancel() noexcept;

   protected:
    ~wait() {
      if (side_ != nullptr) side_->release();
    }
    // False, and the error says so, if the descriptor is closed.
    bool check_open() noexcept;
    void describe(description& line, const char* what) const noexcept;
    // Stops listening: the operation is about to end.
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

  // A closed one.
  descriptor() = default;
  // `r` is the loop. Throws std::system_error (EBADF) if fd is not open, or std::bad_alloc; then an
  // owned fd has been closed.
  descriptor(reactor& r, int fd, ownership o);
  descriptor(descriptor&& other) noexcept;
  descriptor& operator=(descriptor&& other) noexcept;
  ~descriptor() { drop(); }

  int native_handle() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }

  // Wakes whoever waits with errc::closed; closes an owned descriptor. No effect on a closed one.
  void close() noexcept;

  // Waits until a read (a write) would not block, the end of the file included. Asks the system
  // each time, so it may be used with reads of one's own. Cancellation loses nothing.
  ready_awaitable readable() noexcept;
  ready_awaitable writable() noexcept;

  // Reads what is there, at most buffer.size() bytes, waiting for the first; errc::end_of_file at
  // the end, the system's error otherwise. An empty buffer gives 0 at once. Bytes are taken when
  // the reader goes on, so cancellation loses nothing.
  transfer_awaitable read_some(std::span<std::byte> buffer) noexcept;
  // Writes what there is room for, waiting for room for the first byte; to a blocking descriptor
  // PIPE_BUF bytes at most, since more could block. Cancellation loses nothing.
  transfer_awaitable write_some(std::span<const std::byte> bytes) noexcept;

 private:
  void drop() noexcept;

  int fd_ = -1;
  ownership ownership_ = ownership::borrowed;
  side* reading_ = nullptr;
  side* writing_ = nullptr;
};

}  // namespace kedge
