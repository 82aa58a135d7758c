// descriptor_file: what a descriptor and its operations share: an fd, its kind, and a side for each
// direction.
//
// For descriptor.h. It is on the heap and counts its holders, so that the descriptor can be moved,
// closed and destroyed while it is awaited. An idle file has no registration: each side registers
// with its first wait. The writing side is allocated then, since few files ever wait to write.
//
// Threads: the loop's thread only.
#pragma once

#include <sys/event.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <system_error>
#include <utility>

#include "kedge/runtime/awaiting/waiter.h"
#include "kedge/runtime/reactor/fork_generation.h"
#include "kedge/runtime/reactor/registration.h"

namespace kedge {

enum class direction : bool { reading, writing };

// The kinds of files that differ in how they end, and in what a short transfer says.
enum class file_kind : unsigned char {
  always_ready,  // regular files, directories, block devices
  tcp,           // a socket: a short transfer has drained or filled it, but for out-of-band marks
  unix_stream,   // a socket: the same, but for what is passed along
  other_stream,  // a socket
  messages,      // a socket: a message may be empty
  fifo,          // reports neither end
  terminal,
  other,  // anonymous pipes, devices
};

inline bool is_socket(file_kind k) noexcept {
  return k >= file_kind::tcp && k <= file_kind::messages;
}

// When poll(2) is asked before a transfer.
enum class probing : unsigned char {
  if_it_may_block,  // unless the file is owned and has O_NONBLOCK
  not_for_sockets,  // the same, but sockets are transferred with MSG_DONTWAIT
  always,
  unless_reported,  // unless an event has ended this wait; before a wait it is not asked
};

// Asks poll(2), without waiting. Returns what it reports of `events`, and of errors and hang-ups.
short poll_now(int fd, short events) noexcept;

class descriptor_file {
 public:
  // Throws std::system_error (EBADF) if `fd` is not open, and std::bad_alloc. The caller has the
  // first hold.
  static descriptor_file* make(std::shared_ptr<registration_table> table, int fd, bool is_owned);
  // For an owned, non-blocking socket of a kind that is known: asks the system nothing.
  static descriptor_file* make_socket(std::shared_ptr<registration_table> table, int fd,
                                      file_kind kind);
  descriptor_file(const descriptor_file&) = delete;
  descriptor_file& operator=(const descriptor_file&) = delete;

  void hold() noexcept { ++holds_; }
  void release() noexcept {
    if (--holds_ == 0) destroy();
  }

  // The number stays after close(), for messages.
  int fd() const noexcept { return fd_; }
  bool is_open() const noexcept { return is_open_; }
  file_kind kind() const noexcept { return kind_; }
  // Returns how many of the bytes a write may have after poll(2) has reported room.
  std::size_t write_limit(std::span<const std::byte> bytes) const noexcept;

  // The file becomes a stream of another program, which expects it to block: clears O_NONBLOCK, and
  // asks poll(2) before each transfer from now on.
  void share_blocking() noexcept;

  // The flags of send(2) for the bytes that are written to a socket.
  int send_flags() const noexcept { return send_flags_; }
  void add_send_flags(int flags) noexcept {
    send_flags_ = static_cast<unsigned short>(send_flags_ | flags);
  }

  // Ends the waits with errc::closed, and closes an owned fd.
  void close() noexcept;

  // Returns whether an operation waits for this direction of the fd, under this or another file.
  bool awaited(direction d) const noexcept {
    const side* const s = at(d);
    if (s != nullptr && (s->linked() || s->waiting != nullptr)) return s->waiting != nullptr;
    return is_waited_for_elsewhere(d);
  }
  // Returns true if this is a socket that was found empty and has had no event since, and no
  // operation waits to read: the next read waits for an event. May return false then.
  bool is_drained_socket() const noexcept {
    return is_open_ && is_reading_registered_ && reading_.linked() && reading_.waiting == nullptr &&
           !reading_.source.ready() && is_socket(kind_);
  }
  // Returns true if no operation has waited to write, under this file.
  bool has_never_been_full() const noexcept { return writing_ == nullptr && is_open_; }
  const registration_table& table() const noexcept { return *table_; }
  // Returns false if a transfer would certainly block.
  bool is_worth_a_try(direction d, probing p) const noexcept {
    if (!is_registered(d)) return d == direction::writing || !is_drained_;
    if (at(d)->source.ready()) return true;
    if (p == probing::unless_reported || (p == probing::not_for_sockets && is_socket(kind_))) {
      return false;
    }
    return must_probe(p) || kind_ == file_kind::always_ready || kind_ == file_kind::fifo;
  }
  // Returns false if poll(2) is asked and says that a transfer would block.
  bool may_transfer(direction d, probing p) const noexcept { return !must_probe(p) || poll(d); }
  // The same, of a wait that has events.
  bool may_transfer_after_wait(direction d, probing p) const noexcept {
    return (p == probing::unless_reported && at(d)->source.ready()) || may_transfer(d, p);
  }
  // A transfer would have blocked: the next one waits for an event first.
  void note_blocked(direction d) noexcept {
    if (is_open_ && is_registered(d)) at(d)->source.clear();
  }
  // A transfer has stopped after `bytes` bytes because there were no more, or no more room. The
  // same, unless the last event says that more can be read.
  void note_stopped(direction d, std::size_t bytes) noexcept {
    if (!is_open_) return;
    if (d == direction::writing) {
      if (is_writing_registered_) writing_->source.clear();
    } else if (is_reading_registered_) {
      reading_.source.clear_after(bytes);
    } else {
      is_drained_ = true;
    }
  }

  // Lets `w` become ready with the next event, at the end of the fd, and when the file is closed.
  // On an error it does not wait. Throws std::bad_alloc, and it does not wait then.
  std::error_code begin_wait(direction d, waiter& w);
  // The same, for a direction that is linked since an earlier wait: all that most waits need.
  // Returns false, without effect, if begin_wait() has to be called.
  bool wait_again(direction d, waiter& w) noexcept {
    side* const s = at(d);
    if (s == nullptr || !s->linked() || s->waiting != nullptr || kind_ == file_kind::fifo ||
        generation_ != fork_generation()) {
      return false;
    }
    s->waiting = &w;
    return true;
  }
  // The waiter has become ready. Returns false if no event will arrive any more.
  bool has_events(direction d) const noexcept { return is_open_ && at(d)->linked(); }
  // Returns why has_events() is false, or no error if the waiter has been linked again.
  std::error_code end_of_events(direction d) noexcept;
  // The waiter waits no longer. The direction stays linked for the next wait.
  void end_wait(direction d) noexcept {
    at(d)->waiting = nullptr;
    if (kind_ == file_kind::fifo) [[unlikely]]
      end_fifo_wait();
  }

 protected:
  descriptor_file(std::shared_ptr<registration_table> table, int fd, file_kind kind, bool is_owned,
                  bool may_block) noexcept;
  ~descriptor_file();

  // Makes the waiters ready for whose direction `revents` reports something.
  void wake_reported(short revents) noexcept;
  // The events of poll(2) that are waited for.
  short events_awaited() const noexcept;

 private:
  struct side final : listener {
    registration source;
    waiter* waiting = nullptr;

    void notify(const kevent64_s&) noexcept override;
    void closed(std::error_code) noexcept override;
    bool is_idle() const noexcept override { return waiting == nullptr; }
    bool can_wake() const noexcept override { return waiting != nullptr; }
  };

  side* at(direction d) noexcept { return d == direction::reading ? &reading_ : writing_.get(); }
  const side* at(direction d) const noexcept {
    return d == direction::reading ? &reading_ : writing_.get();
  }
  // The source of this direction was opened and not refused. The loop may be gone.
  bool is_registered(direction d) const noexcept {
    return d == direction::reading ? is_reading_registered_ : is_writing_registered_;
  }
  void set_registered(direction d, bool is_it) noexcept {
    (d == direction::reading ? is_reading_registered_ = is_it : is_writing_registered_ = is_it);
  }
  bool is_waited_for(direction d) const noexcept {
    return at(d) != nullptr && at(d)->waiting != nullptr;
  }
  bool must_probe(probing p) const noexcept {
    if (kind_ == file_kind::always_ready) return false;
    return p >= probing::always ||
           (may_block_ && (p == probing::if_it_may_block || !is_socket(kind_)));
  }
  bool poll(direction d) const noexcept;
  bool is_waited_for_elsewhere(direction d) const noexcept;
  void end_fifo_wait() noexcept;
  void destroy() noexcept;

  std::shared_ptr<registration_table> table_;
  int fd_;
  unsigned holds_ = 1;
  const unsigned generation_ = fork_generation();
  file_kind kind_;
  bool is_owned_ : 1;
  bool may_block_ : 1;  // unless poll(2) or MSG_DONTWAIT prevents it
  bool is_open_ : 1 = true;
  bool is_reading_registered_ : 1 = false;
  bool is_writing_registered_ : 1 = false;
  // A read has found no more bytes before the file was registered for reading. The registration
  // will report what comes, so the next wait need not read first.
  bool is_drained_ : 1 = false;
  unsigned short send_flags_ = MSG_DONTWAIT;
  side reading_;
  std::unique_ptr<side> writing_;  // null before the first wait
};

// One hold on a file, or none.
class file_hold {
 public:
  file_hold() = default;
  // Takes over the caller's hold.
  explicit file_hold(descriptor_file* f) noexcept : file_(f) {}
  file_hold(const file_hold& other) noexcept : file_(other.file_) {
    if (file_ != nullptr) file_->hold();
  }
  file_hold(file_hold&& other) noexcept : file_(std::exchange(other.file_, nullptr)) {}
  file_hold& operator=(file_hold other) noexcept {
    std::swap(file_, other.file_);
    return *this;
  }
  ~file_hold() {
    if (file_ != nullptr) file_->release();
  }

  descriptor_file* get() const noexcept { return file_; }
  descriptor_file* operator->() const noexcept { return file_; }
  descriptor_file& operator*() const noexcept { return *file_; }
  explicit operator bool() const noexcept { return file_ != nullptr; }

 private:
  descriptor_file* file_ = nullptr;
};

}  // namespace kedge
