// timer_heap: a 4-ary heap in which each timer knows its position.
#include "kedge/runtime/reactor/timer.h"

#include <algorithm>

namespace kedge {
namespace {

constexpr std::size_t fan_out = 4;

}  // namespace

void timer::disarm() noexcept {
  if (heap_ == nullptr) return;
  heap_->remove(position_);
  heap_ = nullptr;
}

timer_heap::~timer_heap() {
  for (entry& e : entries_) e.owner->heap_ = nullptr;
}

void timer_heap::arm(timer& t, clock::time_point deadline) {
  const entry e{deadline, next_order_, &t};
  entries_.push_back(e);
  ++next_order_;
  t.heap_ = this;
  sift_up(entries_.size() - 1, e);
}

bool timer_heap::expire(clock::time_point now) noexcept {
  if (entries_.empty() || entries_.front().deadline > now) return false;
  const std::uint64_t armed_before = next_order_;
  while (!entries_.empty() && entries_.front().deadline <= now &&
         entries_.front().order < armed_before) {
    timer& t = *entries_.front().owner;
    t.disarm();
    t.expire();
  }
  return true;
}

void timer_heap::remove(std::size_t position) noexcept {
  const entry last = entries_.back();
  entries_.pop_back();
  if (position == entries_.size()) return;
  if (last.before(entries_[position])) {
    sift_up(position, last);
  } else {
    sift_down(position, last);
  }
}

void timer_heap::place(std::size_t position, const entry& e) noexcept {
  entries_[position] = e;
  e.owner->position_ = position;
}

void timer_heap::sift_up(std::size_t position, const entry& e) noexcept {
  while (position > 0) {
    const std::size_t parent = (position - 1) / fan_out;
    if (!e.before(entries_[parent])) break;
    place(position, entries_[parent]);
    position = parent;
  }
  place(position, e);
}

void timer_heap::sift_down(std::size_t position, const entry& e) noexcept {
  const std::size_t size = entries_.size();
  for (;;) {
    const std::size_t first = position * fan_out + 1;
    if (first >= size) break;
    std::size_t least = first;
    const std::size_t end = std::min(first + fan_out, size);
    for (std::size_t child = first + 1; child < end; ++child) {
      if (entries_[child].before(entries_[least])) least = child;
    }
    if (!entries_[least].before(e)) break;
    place(position, entries_[least]);
    position = least;
  }
  place(position, e);
}

}  // namespace kedge
