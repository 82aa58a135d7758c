// time_source: the loops that follow it, and the holds on it.
#include "kedge/runtime/time_source.h"

#include <algorithm>
#include <cstdint>
#include <system_error>
#include <utility>

#include "kedge/runtime/kqueue/extension.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/time_hold.h"

namespace kedge {

std::uint64_t time_source::read(void* source) noexcept {
  const auto t = static_cast<const time_source*>(source)->now().time_since_epoch();
  return static_cast<std::uint64_t>(t.count());
}

void time_source::add_loop(reactor& r, int kq) {
  const std::lock_guard lock(mutex_);
  loops_.push_back({&r, kq});
  if (kqueue::use_clock(kq, read, this)) return;
  loops_.pop_back();
  throw std::system_error(std::make_error_code(std::errc::not_supported),
                          "kedge::loop: this kernel cannot follow a time_source");
}

void time_source::remove_loop(const reactor& r) noexcept {
  const std::lock_guard lock(mutex_);
  std::erase_if(loops_, [&](const loop_entry& e) { return e.owner == &r; });
}

void time_source::add(time_follower& f) {
  const std::lock_guard lock(mutex_);
  followers_.push_back(&f);
}

void time_source::remove(time_follower& f) noexcept {
  const std::lock_guard lock(mutex_);
  std::erase(followers_, &f);
}

// Every reactor is a loop.
loop* time_source::loop_at(std::size_t i) noexcept {
  const std::lock_guard lock(mutex_);
  return i < loops_.size() ? static_cast<loop*>(loops_[i].owner) : nullptr;
}

void time_source::moved() noexcept {
  const std::lock_guard lock(mutex_);
  for (time_follower* const f : followers_) f->time_moved();
  for (const loop_entry& e : loops_) kqueue::clock_moved(e.kq);
}

time_hold::time_hold(const reactor& r) noexcept : source_(r.follows()) {
  if (source_ != nullptr) source_->holds_.fetch_add(1, std::memory_order_relaxed);
}

void time_hold::give_back() noexcept {
  std::exchange(source_, nullptr)->holds_.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace kedge
