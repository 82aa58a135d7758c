// memory_stream: its ends. memory_connection: the bytes between them.
#include "kedge/net/memory_stream.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "kedge/runtime/awaiting/source.h"

namespace kedge::net {
namespace {

using transferred = std::optional<result<std::size_t>>;

transferred refuse(std::error_code why, const char* name) noexcept {
  return unexpected(why, failed_operation{name});
}
transferred refuse(std::errc why, const char* name) noexcept {
  return refuse(std::make_error_code(why), name);
}

void wake_if_any(waiter* w) noexcept {
  if (w != nullptr) wake(*w);
}

}  // namespace

// --- One direction -------------------------------------------------------------------------------

void memory_connection::lane::take(std::span<std::byte> out) noexcept {
  const std::size_t first = std::min(out.size(), capacity - head);
  std::memcpy(out.data(), bytes.get() + head, first);
  std::memcpy(out.data() + first, bytes.get(), out.size() - first);
  head = (head + out.size()) % capacity;
  count -= out.size();
  readable -= out.size();
}

void memory_connection::lane::put(std::span<const std::byte> in) noexcept {
  const std::size_t tail = (head + count) % capacity;
  const std::size_t first = std::min(in.size(), capacity - tail);
  std::memcpy(bytes.get() + tail, in.data(), first);
  std::memcpy(bytes.get(), in.data() + first, in.size() - first);
  count += in.size();
  written += in.size();
}

void memory_connection::lane::send(std::size_t n, bool is_end, clock::duration delay) {
  reactor* const r = *loop_;
  if (delay == clock::duration::zero() || r == nullptr) return arrive({{}, n, is_end});
  const clock::time_point at = clock::sum(r->now(), delay);
  if (!under_way_.empty() && under_way_.back().at == at && !is_end) {
    under_way_.back().bytes += n;
    return;
  }
  under_way_.push_back({at, n, is_end});
  if (armed()) return;
  try {
    r->timers().arm(*this, at);
  } catch (...) {
    under_way_.pop_back();
    throw;
  }
}

void memory_connection::lane::send_end(clock::duration delay) noexcept {
  try {
    send(0, true, delay);
  } catch (const std::bad_alloc&) {
    arrive({{}, 0, true});
  }
}

void memory_connection::lane::drop_under_way() noexcept {
  disarm();
  under_way_.clear();
}

void memory_connection::lane::wake_both() noexcept {
  wake_if_any(reader);
  wake_if_any(writer);
}

void memory_connection::lane::expire() noexcept {
  reactor& r = **loop_;
  const clock::time_point now = r.now();
  while (!under_way_.empty() && under_way_.front().at <= now) {
    arrive(under_way_.front());
    under_way_.pop_front();
  }
  if (under_way_.empty()) return;
  try {
    r.timers().arm(*this, under_way_.front().at);
  } catch (const std::bad_alloc&) {
    // Early is better than never.
    for (const batch& b : under_way_) arrive(b);
    under_way_.clear();
  }
}

void memory_connection::lane::arrive(const batch& b) noexcept {
  readable += b.bytes;
  has_ended = has_ended || b.is_end;
  wake_if_any(reader);
}

// --- Both directions -----------------------------------------------------------------------------

memory_connection::memory_connection(reactor& r, const memory_options& o)
    : delay_(o.delay),
      fragment_(o.fragment),
      random_(o.seed),
      lanes_{{r, o.capacity}, {r, o.capacity}} {
  if (o.capacity == 0 || o.delay < clock::duration::zero()) {
    refuse_argument(std::errc::invalid_argument, "kedge::net::memory_pipe");
  }
  draw_faults(o);
}

void memory_connection::draw_faults(const memory_options& o) {
  if (o.reset_within != 0) {
    lane& picked = lanes_[random_() % 2];
    picked.resets_at = random_() % o.reset_within;
  }
  if (o.fail_within != 0) {
    lane& picked = lanes_[random_() % 2];
    picked.fails_at = random_() % o.fail_within;
    picked.failure = std::make_error_code(std::errc::io_error);
  }
}

std::size_t memory_connection::fragment_of(std::size_t n) noexcept {
  if (fragment_ == 0 || n == 0) return n;
  return std::min(n, static_cast<std::size_t>(random_() % fragment_) + 1);
}

transferred memory_connection::read(end e, std::span<std::byte> room) noexcept {
  lane& l = to(e);
  if (closed(e)) return refuse(kedge::errc::closed, memory_read::name);
  if (room.empty()) return 0u;
  if (is_reset_) return refuse(std::errc::connection_reset, memory_read::name);
  if (l.readable != 0) {
    const std::size_t n = fragment_of(std::min(room.size(), l.readable));
    l.take(room.first(n));
    wake_if_any(l.writer);
    return n;
  }
  if (l.has_ended) return refuse(kedge::errc::end_of_file, memory_read::name);
  return std::nullopt;
}

transferred memory_connection::write(end e, std::span<const std::byte> bytes) noexcept {
  lane& l = from(e);
  const end peer = e == end::a ? end::b : end::a;
  if (closed(e)) return refuse(kedge::errc::closed, memory_write::name);
  if (bytes.empty()) return 0u;
  if (l.written >= l.resets_at) reset();
  if (is_reset_) return refuse(std::errc::connection_reset, memory_write::name);
  if (l.written >= l.fails_at) return refuse(l.failure, memory_write::name);
  if (l.is_shut || (closed(peer) && !is_severed_)) {
    return refuse(std::errc::broken_pipe, memory_write::name);
  }
  if (l.room() == 0) return std::nullopt;
  const std::size_t before_fault = std::min(l.resets_at, l.fails_at) - l.written;
  const std::size_t n = fragment_of(std::min({bytes.size(), l.room(), before_fault}));
  try {
    if (!is_severed_) l.send(n, false, delay_);
  } catch (const std::bad_alloc&) {
    return refuse(std::errc::not_enough_memory, memory_write::name);
  }
  l.put(bytes.first(n));
  if (l.written >= l.resets_at) reset();
  return n;
}

void memory_connection::shut(end e) noexcept {
  lane& l = from(e);
  if (std::exchange(l.is_shut, true)) return;
  wake_if_any(l.writer);
  if (!is_severed_) l.send_end(delay_);
}

void memory_connection::close(end e) noexcept {
  if (std::exchange(closed(e), true)) return;
  shut(e);
  to(e).drop_under_way();
  wake_if_any(to(e).reader);
  wake_if_any(to(e).writer);
}

void memory_connection::reset() noexcept {
  if (std::exchange(is_reset_, true)) return;
  for (lane& l : lanes_) {
    l.drop_under_way();
    l.wake_both();
  }
}

void memory_connection::reset_after(end e, std::size_t bytes) noexcept {
  from(e).resets_at = bytes;
  if (from(e).written >= bytes) reset();
}

void memory_connection::fail_writes_after(end e, std::size_t bytes, std::error_code why) noexcept {
  from(e).fails_at = bytes;
  from(e).failure = why;
  wake_if_any(from(e).writer);
}

void memory_connection::sever() noexcept {
  is_severed_ = true;
  for (lane& l : lanes_) l.drop_under_way();
}

// --- The ends ------------------------------------------------------------------------------------

result<void> memory_stream::shutdown_write() noexcept {
  if (!connection_) {
    return unexpected(make_error_code(kedge::errc::closed),
                      failed_operation{"memory_stream::shutdown_write"});
  }
  connection_->shut(end_);
  return {};
}

void memory_stream::close() noexcept {
  if (!connection_) return;
  connection_->close(end_);
  connection_.reset();
}

}  // namespace kedge::net
