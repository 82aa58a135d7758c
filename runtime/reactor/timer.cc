// timer_heap: a pile of fresh timers before a 4-ary heap, both ahead of the timers that were
// disarmed.
#include "kedge/runtime/reactor/timer.h"

#include <algorithm>
#include <utility>

#include "kedge/runtime/reactor/allocation_check.h"

namespace kedge {
namespace {

constexpr std::size_t fan_out = 4;
constexpr std::size_t parent_of(std::size_t position) noexcept {
  return (position - 1) / fan_out;
}
// Entries without a timer that are kept in any case.
constexpr std::size_t most_dead = 64;
// As long as the heap is not larger and there is no pile, a fresh timer goes into the heap.
constexpr std::size_t small_heap = 64;
// A pile up to this size goes into the heap.
constexpr std::size_t small_pile = 32;
// The pile is looked through if at least one of this many of its timers has been armed since.
constexpr std::size_t looks_per_arming = 4;
// How far ahead the slots and the timers of a run are fetched.
constexpr std::size_t slots_ahead = 16;
constexpr std::size_t timers_ahead = 8;

}  // namespace

void timer::disarm_armed() noexcept {
  std::exchange(heap_, nullptr)->disarmed(slot_);
}

timer_heap::~timer_heap() {
  for (const entry& e : entries_) {
    if (!is_dead(e)) timer_of(e)->heap_ = nullptr;
  }
}

void timer_heap::arm(timer& t, clock::time_point deadline) {
  if (free_ == no_slot) [[unlikely]]
    return arm_after_growth(t, deadline);
  const entry e{deadline, next_order_, static_cast<std::uint32_t>(free_ >> 1)};
  free_ = std::exchange(slots_[e.slot], reinterpret_cast<slot>(&t));
  t.heap_ = this;
  t.slot_ = e.slot;
  ++next_order_;
  if (live_++ == 0 || deadline < first_.deadline) first_ = e;
  if (entries_.size() == entries_.capacity()) [[unlikely]] {  // then the gap has a place
    sift_up(heap_size_++, e);
    return;
  }
  entries_.push_back(e);
  if (heap_size_ < small_heap && heap_size_ + 1 == entries_.size()) {
    const std::size_t position = heap_size_++;
    pile_begin_ = heap_size_;
    // Most timers are later than the others, and are in their place.
    if (position != 0 && e.before(entries_[parent_of(position)])) sift_up(position, e);
    return;
  }
  ++armed_since_look_;
  if (pile_size() == 1 || deadline < first_of_pile_.deadline) first_of_pile_ = e;
}

// Out of line, so that arm() needs no registers beyond this call.
void timer_heap::arm_after_growth(timer& t, clock::time_point deadline) {
  grow();
  arm(t, deadline);
}

// Makes a free slot, and room for an entry of each slot.
void timer_heap::grow() {
  if (slots_.size() == slots_.capacity()) {
    allocation_check::run();
    const std::size_t more = std::max(2 * slots_.size(), most_dead);
    entries_.reserve(more);
    slots_.reserve(more);
  }
  slots_.push_back(0);
  free_slot(static_cast<std::uint32_t>(slots_.size() - 1));
}

void timer_heap::free_slot(std::uint32_t index) noexcept {
  slots_[index] = std::exchange(free_, timer_heap::slot{index} * 2 + 1);
}

// Finds the first entry that has a timer. Drops those before it, but for some of the pile's.
inline void timer_heap::find_first() noexcept {
  if (heap_size_ != entries_.size()) return find_first_alive();
  if (heap_size_ == 0) return;
  if (!is_dead(entries_[0])) {
    first_ = entries_[0];
  } else if (heap_size_ != 1) {
    find_first_alive();
  } else {  // the only time-out of a loop has been disarmed
    free_slot(entries_[0].slot);
    entries_.clear();
    heap_size_ = pile_begin_ = 0;
  }
}

// The timer of the slot has been disarmed.
void timer_heap::disarmed(std::uint32_t index) noexcept {
  slots_[index] = 0;
  --live_;
  if (first_.slot == index) find_first();
  if (entries_.size() > 2 * live_ + most_dead) compact();
}

bool timer_heap::expire_due(clock::time_point now) noexcept {
  const std::uint32_t armed_before = next_order_;
  // Counted from `armed_before`, so that an order which has wrapped round since is not taken for a
  // new one.
  const auto armed_in_this_call = [&](std::uint32_t order) {
    return order - armed_before < next_order_ - armed_before;
  };
  const std::uint64_t expired_before = expired_;
  while (live_ != 0 && first_.deadline <= now && !armed_in_this_call(first_.order)) {
    timer* const t = timer_of(first_);
    if (run_size_ != 0 && next_of_run().slot == first_.slot) {
      pop_run();
      prefetch_run();
    } else if (heap_size_ != 0 && entries_[0].slot == first_.slot) {
      pop_heap();
      if (heap_size_ > small_heap) prefetch_heap();
    } else {
      settle_pile(now);
      find_first();
      continue;
    }
    ++expired_;
    --live_;
    find_first();
    t->heap_ = nullptr;
    t->expire();
  }
  if (pile_begin_ != heap_size_) end_run();
  return expired_ != expired_before;
}

// Fetches what the expiry of the heap's entries behind the first one will touch.
void timer_heap::prefetch_heap() const noexcept {
  const std::size_t end = std::min(fan_out + 1, heap_size_);
  for (std::size_t i = 0; i < end; ++i) __builtin_prefetch(timer_of(entries_[i]));
  for (std::size_t i = end; i < std::min(fan_out * fan_out, heap_size_); ++i) {
    __builtin_prefetch(&slots_[entries_[i].slot]);
  }
}

// The same for the run.
void timer_heap::prefetch_run() const noexcept {
  if (run_size_ < slots_ahead) return;
  __builtin_prefetch(&slots_[entries_[pile_begin_ - slots_ahead].slot], 1);
  __builtin_prefetch(timer_of(entries_[pile_begin_ - timers_ahead]), 1);
}

void timer_heap::find_first_alive() noexcept {
  while (heap_size_ != 0 && is_dead(entries_[0])) pop_heap();
  if (heap_size_ != entries_.size()) return find_first_of_all();
  if (heap_size_ != 0) first_ = entries_[0];
}

// The same, if there is more than the heap.
void timer_heap::find_first_of_all() noexcept {
  for (;;) {
    while (heap_size_ != 0 && is_dead(entries_[0])) pop_heap();
    while (run_size_ != 0 && is_dead(next_of_run())) pop_run();
    const entry* least = heap_size_ != 0 ? &entries_[0] : nullptr;
    if (run_size_ != 0 && (least == nullptr || next_of_run().before(*least))) {
      least = &next_of_run();
    }
    if (pile_size() == 0 || (least != nullptr && least->before(first_of_pile_))) {
      if (least != nullptr) first_ = *least;
      return;
    }
    if (!is_dead(first_of_pile_)) {
      first_ = first_of_pile_;
      return;
    }
    settle_pile(clock::time_point::min());
  }
}

// Drops the pile's entries without a timer and finds its first one.
void timer_heap::find_first_of_pile() noexcept {
  entries_.resize(drop_dead(pile_begin_, entries_.size()));
  armed_since_look_ = 0;
  if (pile_size() == 0) return;
  entry least = entries_[pile_begin_];
  for (std::size_t i = pile_begin_ + 1; i < entries_.size(); ++i) {
    if (entries_[i].before(least)) least = entries_[i];
  }
  first_of_pile_ = least;
}

// The pile's first entry is due, or without a timer. Finds the next one, or empties the pile.
void timer_heap::settle_pile(clock::time_point now) noexcept {
  if (run_size_ != 0) {  // the heap has no room; and what is due of the pile is in the run
    find_first_of_pile();
    return;
  }
  if (pile_begin_ != heap_size_) close_gap();
  const std::size_t size = pile_size();
  if (size <= small_pile || armed_since_look_ * looks_per_arming < size) {
    put_pile_into_heap();
  } else {
    take_due(now);
  }
}

// Takes what is due out of the pile: as a run if it is much, else into the heap.
void timer_heap::take_due(clock::time_point now) noexcept {
  find_first_of_pile();
  if (pile_size() == 0 || first_of_pile_.deadline > now) return;
  const auto is_due = [&](const entry& e) { return e.deadline <= now; };
  const auto due_end = std::partition(entries_.begin() + static_cast<std::ptrdiff_t>(pile_begin_),
                                      entries_.end(), is_due);
  const auto end = static_cast<std::size_t>(due_end - entries_.begin());
  if (end - heap_size_ > small_pile) {
    // By the distance to the next order, which is an order of all entries, however old they are.
    std::sort(entries_.begin() + static_cast<std::ptrdiff_t>(pile_begin_), due_end,
              [next = next_order_](const entry& a, const entry& b) {
                if (a.deadline != b.deadline) return a.deadline > b.deadline;
                return a.order - next > b.order - next;
              });
    run_size_ = end - pile_begin_;
  } else {
    while (heap_size_ < end) {
      const entry e = entries_[heap_size_];
      sift_up(heap_size_++, e);
    }
  }
  pile_begin_ = end;
  find_first_of_pile();
}

void timer_heap::put_pile_into_heap() noexcept {
  entries_.resize(drop_dead(pile_begin_, entries_.size()));
  armed_since_look_ = 0;
  pile_begin_ = entries_.size();
  if (pile_begin_ > 2 * heap_size_) {
    heap_size_ = pile_begin_;
    make_heap();
  }
  while (heap_size_ < pile_begin_) {
    const entry e = entries_[heap_size_];
    sift_up(heap_size_++, e);
  }
}

// Ends the run: those of it that are left, since a timer was armed before them, go into the pile.
void timer_heap::end_run() noexcept {
  const bool is_left = run_size_ != 0;
  pile_begin_ -= run_size_;
  run_size_ = 0;
  close_gap();
  if (is_left) find_first_of_pile();
}

// Moves the last entries of the pile to the place between it and the heap.
void timer_heap::close_gap() noexcept {
  const std::size_t size = heap_size_ + pile_size();
  for (std::size_t to = heap_size_, from = entries_.size(); to < std::min(pile_begin_, size);
       ++to) {
    entries_[to] = entries_[--from];
  }
  entries_.resize(size);
  pile_begin_ = heap_size_;
}

// Drops the entries without a timer.
void timer_heap::compact() noexcept {
  if (pile_begin_ != heap_size_) return;  // there is a run: a later disarming compacts
  const std::size_t kept = drop_dead(0, heap_size_);
  if (kept != heap_size_) {
    heap_size_ = kept;
    make_heap();
  }
  close_gap();
  find_first_of_pile();
}

// Drops the entries of [begin, end) that have no timer. Returns the end of the others.
std::size_t timer_heap::drop_dead(std::size_t begin, std::size_t end) noexcept {
  std::size_t kept = begin;
  slot free = free_;
  for (std::size_t i = begin; i < end; ++i) {
    // Without a branch, which could not be predicted.
    const entry e = entries_[i];
    const slot held = slots_[e.slot];
    slots_[e.slot] = held == 0 ? free : held;
    free = held == 0 ? slot{e.slot} * 2 + 1 : free;
    entries_[kept] = e;
    kept += held != 0 ? 1 : 0;
  }
  free_ = free;
  return kept;
}

// The place of the run's entry is taken by one of the pile, if there is one.
void timer_heap::pop_run() noexcept {
  free_slot(next_of_run().slot);
  --run_size_;
  entries_[--pile_begin_] = entries_.back();
  entries_.pop_back();
}

void timer_heap::pop_heap() noexcept {
  free_slot(entries_[0].slot);
  const entry last = entries_[--heap_size_];
  if (pile_begin_ == heap_size_ + 1) {  // else there is a run, or was: the gap grows
    entries_[--pile_begin_] = entries_.back();
    entries_.pop_back();
  }
  if (heap_size_ > 1) {
    sift_down(0, last);
  } else if (heap_size_ == 1) {
    entries_[0] = last;
  }
}

void timer_heap::make_heap() noexcept {
  if (heap_size_ < 2) return;
  for (std::size_t i = (heap_size_ - 2) / fan_out + 1; i-- != 0;) {
    const entry e = entries_[i];
    sift_down(i, e);
  }
}

// Places e at `position` or above.
void timer_heap::sift_up(std::size_t position, entry e) noexcept {
  while (position > 0) {
    const std::size_t parent = parent_of(position);
    if (!e.before(entries_[parent])) break;
    entries_[position] = entries_[parent];
    position = parent;
  }
  entries_[position] = e;
}

// Places e at `position` or below.
void timer_heap::sift_down(std::size_t position, entry e) noexcept {
  entry* const all = entries_.data();
  const std::size_t size = heap_size_;
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
