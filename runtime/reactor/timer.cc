// timer_heap: a 4-ary heap whose entries are ahead of the timers that were disarmed.
#include "kedge/runtime/reactor/timer.h"

#include <algorithm>
#include <utility>

#include "kedge/runtime/reactor/allocation_check.h"

namespace kedge {
namespace {

constexpr std::size_t fan_out = 4;
// Entries without a timer that are kept in any case.
constexpr std::size_t most_dead = 64;

}  // namespace

void timer::disarm_armed() noexcept {
  std::exchange(heap_, nullptr)->disarmed(slot_);
}

timer_heap::~timer_heap() {
  for (const entry& e : entries_) {
    if (timer* const t = slots_[e.slot].armed) t->heap_ = nullptr;
  }
}

void timer_heap::arm(timer& t, clock::time_point deadline) {
  if (first_free_ == no_slot) add_slot();
  const entry e{deadline, next_order_, first_free_};
  entries_.push_back(e);
  // Nothing below throws.
  first_free_ = slots_[e.slot].next_free;
  slots_[e.slot].armed = &t;
  ++next_order_;
  ++live_;
  t.heap_ = this;
  t.slot_ = e.slot;
  const std::size_t last = entries_.size() - 1;
  if (last != 0 && e.before(entries_[(last - 1) / fan_out])) sift_up(last, e);
}

void timer_heap::add_slot() {
  slots_.push_back({});
  free_slot(static_cast<std::uint32_t>(slots_.size() - 1));
}

void timer_heap::free_slot(std::uint32_t i) noexcept {
  slots_[i].next_free = first_free_;
  first_free_ = i;
}

// The timer of the slot has been disarmed.
void timer_heap::disarmed(std::uint32_t of_slot) noexcept {
  slots_[of_slot].armed = nullptr;
  --live_;
  if (entries_.front().slot == of_slot) {
    prune();
  } else if (entries_.size() > 2 * live_ + most_dead) {
    compact();
  }
}

bool timer_heap::expire_front(clock::time_point now) noexcept {
  const std::uint32_t armed_before = next_order_;
  const std::uint64_t expired_before = expired_;
  // Counted from `armed_before`, so that an order which has wrapped round since is not taken for a
  // new one.
  const auto armed_in_this_call = [&](std::uint32_t order) {
    return order - armed_before < next_order_ - armed_before;
  };
  while (!entries_.empty() && entries_.front().deadline <= now &&
         !armed_in_this_call(entries_.front().order)) {
    timer* const t = slots_[entries_.front().slot].armed;
    pop_front();
    prefetch_next();
    if (t == nullptr) continue;
    ++expired_;
    --live_;
    t->heap_ = nullptr;
    t->expire();
  }
  prune();
  return expired_ != expired_before;
}

// Fetches what the expiry of the entries behind the first one will touch.
void timer_heap::prefetch_next() const noexcept {
  const std::size_t end = std::min(fan_out + 1, entries_.size());
  for (std::size_t i = 0; i < end; ++i) __builtin_prefetch(slots_[entries_[i].slot].armed);
  for (std::size_t i = end; i < std::min(fan_out * fan_out, entries_.size()); ++i) {
    __builtin_prefetch(static_cast<const void*>(&slots_[entries_[i].slot]));
  }
}

// Makes the first entry one with a timer.
void timer_heap::prune() noexcept {
  while (!entries_.empty() && slots_[entries_.front().slot].armed == nullptr) pop_front();
}

// Drops the entries without a timer.
void timer_heap::compact() noexcept {
  std::erase_if(entries_, [&](const entry& e) {
    const bool dead = slots_[e.slot].armed == nullptr;
    if (dead) free_slot(e.slot);
    return dead;
  });
  if (entries_.size() < 2) return;
  for (std::size_t i = (entries_.size() - 2) / fan_out + 1; i-- != 0;) {
    const entry e = entries_[i];
    sift_down(i, e);
  }
}

void timer_heap::pop_front() noexcept {
  free_slot(entries_.front().slot);
  const entry last = entries_.back();
  entries_.pop_back();
  if (!entries_.empty()) sift_down(0, last);
}

// Places e at `position` or above.
void timer_heap::sift_up(std::size_t position, const entry& e) noexcept {
  while (position > 0) {
    const std::size_t parent = (position - 1) / fan_out;
    if (!e.before(entries_[parent])) break;
    entries_[position] = entries_[parent];
    position = parent;
  }
  entries_[position] = e;
}

// Places e at `position` or below.
void timer_heap::sift_down(std::size_t position, const entry& e) noexcept {
  entry* const all = entries_.data();
  const std::size_t size = entries_.size();
  for (;;) {
    const std::size_t first = position * fan_out + 1;
    std::size_t least = first;
    if (first + fan_out <= size) [[likely]] {
      // The children of all four: one of them is the next to be compared.
      for (std::size_t ahead = 0; ahead < fan_out; ++ahead) {
        __builtin_prefetch(all + (first + ahead) * fan_out + 1);
      }
      const std::size_t a = first + (all[first + 1].before(all[first]) ? 1 : 0);
      const std::size_t b = first + (all[first + 3].before(all[first + 2]) ? 3 : 2);
      least = all[b].before(all[a]) ? b : a;
    } else {
      if (first >= size) break;
      for (std::size_t child = first + 1; child < size; ++child) {
        if (all[child].before(all[least])) least = child;
      }
    }
    if (!all[least].before(e)) break;
    all[position] = all[least];
    position = least;
  }
  all[position] = e;
}

}  // namespace kedge
