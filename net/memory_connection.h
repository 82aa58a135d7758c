// memory_connection: what the two ends of a memory_pipe share: a queue of bytes for each direction,
// the faults, and the tasks that wait.
//
// For memory_stream.h. Held by both ends and by their operations. Threads: the loop's thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <system_error>

#include "kedge/runtime/awaiting/waiter.h"
#include "kedge/runtime/reactor/clock.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/reactor/timer.h"
#include "kedge/runtime/result.h"

namespace kedge::net {

// How a memory_pipe behaves, alike in both directions.
struct memory_options {
  std::size_t capacity = 65536;  // bytes that are written and not read yet
  clock::duration delay{};       // bytes, and ends, arrive so much after they were written
  std::size_t fragment = 0;      // a read or write moves 1 to so many bytes; 0: as many as it can
  std::uint32_t seed = 1;        // of what is random
  std::size_t reset_within = 0;  // the connection is reset when one end has written fewer bytes
                                 // than this, of which the seed picks both; 0: it is not
  std::size_t fail_within = 0;   // the same for writes that fail with EIO
};

class memory_connection {
 public:
  enum class end : bool { a, b };

  // Throws std::bad_alloc, and std::system_error (EINVAL) for options that make no sense.
  memory_connection(reactor& r, const memory_options& o);
  memory_connection(const memory_connection&) = delete;
  memory_connection& operator=(const memory_connection&) = delete;
  ~memory_connection() = default;

  // The task that waits at this end, or null.
  waiter*& reader_of(end e) noexcept { return to(e).reader; }
  waiter*& writer_of(end e) noexcept { return from(e).writer; }

  // Give nothing if they would have to wait.
  std::optional<result<std::size_t>> read(end e, std::span<std::byte> room) noexcept;
  std::optional<result<std::size_t>> write(end e, std::span<const std::byte> bytes) noexcept;

  void shut(end e) noexcept;
  void close(end e) noexcept;
  void reset() noexcept;
  void reset_after(end e, std::size_t bytes) noexcept;
  void fail_writes_after(end e, std::size_t bytes, std::error_code why) noexcept;
  void sever() noexcept;

 private:
  static constexpr std::size_t never = std::numeric_limits<std::size_t>::max();

  // What arrives at one time: bytes, or the end behind them.
  struct batch {
    clock::time_point at;
    std::size_t bytes;
    bool is_end;
  };

  // The loop, as long as there is one.
  class loop_link {
   public:
    explicit loop_link(reactor& r) : loop(std::make_shared<reactor*>(&r)) {}
    loop_link(const loop_link&) = delete;
    loop_link& operator=(const loop_link&) = delete;
    ~loop_link() { *loop = nullptr; }
    const std::shared_ptr<reactor*> loop;  // holds null when the loop is gone
  };

  // One direction.
  class lane final : public timer {
   public:
    lane(reactor& r, std::size_t c)
        : bytes(std::make_unique_for_overwrite<std::byte[]>(c)),
          capacity(c),
          loop_(r.attachment<loop_link>().loop) {}

    std::size_t room() const noexcept { return capacity - count; }
    // Copies out of, and into, the ring. Require so many bytes, and so much room.
    void take(std::span<std::byte> out) noexcept;
    void put(std::span<const std::byte> in) noexcept;
    // Bytes of the ring, or the end, arrive after `delay`, and at once if the loop is gone. Throws
    // std::bad_alloc, without effect.
    void send(std::size_t n, bool is_end, clock::duration delay);
    // The same for the end. It comes at once if memory is lacking.
    void send_end(clock::duration delay) noexcept;
    // Nothing will arrive any more.
    void drop_under_way() noexcept;
    void wake_both() noexcept;

    const std::unique_ptr<std::byte[]> bytes;
    const std::size_t capacity;
    std::size_t head = 0;
    std::size_t count = 0;     // of all bytes in the ring
    std::size_t readable = 0;  // of those that have arrived
    bool has_ended = false;    // the end has arrived
    bool is_shut = false;      // nothing is written any more
    std::size_t written = 0;   // in total
    std::size_t resets_at = never;
    std::size_t fails_at = never;
    std::error_code failure;
    waiter* reader = nullptr;
    waiter* writer = nullptr;

   private:
    void expire() noexcept override;
    void arrive(const batch& b) noexcept;

    const std::shared_ptr<reactor*> loop_;
    std::deque<batch> under_way_;
  };

  lane& from(end e) noexcept { return lanes_[e == end::b]; }
  lane& to(end e) noexcept { return lanes_[e == end::a]; }
  bool& closed(end e) noexcept { return closed_[e == end::b]; }
  // Shortens a transfer to a random fragment.
  std::size_t fragment_of(std::size_t n) noexcept;
  void draw_faults(const memory_options& o);

  const clock::duration delay_;
  const std::size_t fragment_;
  std::minstd_rand random_;
  bool is_reset_ = false;
  bool is_severed_ = false;
  bool closed_[2] = {};
  lane lanes_[2];
};

}  // namespace kedge::net
