// event_writer: the caller's event array, in the layout of kevent() or of kevent64(), filled from
// the front; and the functions that write an event.
#pragma once

#include <sys/event.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kedge/runtime/kqueue/descriptors/descriptor_state.h"
#include "kedge/runtime/kqueue/knote_record.h"

namespace kedge::kqueue {

// Writes filter, flags and a zero fflags by one 64-bit store, which compilers do not find
// themselves. `Event` is one of the two layouts.
template <class Event>
inline void put_head(const knote_record& k, Event& e) noexcept {
  static_assert(offsetof(Event, fflags) == offsetof(Event, filter) + 4);
  static_assert(offsetof(knote, flags) == offsetof(knote, filter) + 2);
  std::uint64_t head = 0;
  std::memcpy(
      &head, reinterpret_cast<const char*>(static_cast<const knote*>(&k)) + offsetof(knote, filter),
      4);
  std::memcpy(reinterpret_cast<char*>(&e) + offsetof(Event, filter), &head, 8);
}

// Write an event of the knote with fflags and data 0.
inline void put_plain(const knote_record& k, kevent64_s& e) noexcept {
  e.ident = k.ident;
  put_head(k, e);
  e.data = 0;
  e.udata = k.udata;
  e.ext[0] = k.ext[0];
  e.ext[1] = k.ext[1];
}
inline void put_plain(const knote_record& k, struct kevent& e) noexcept {
  e.ident = static_cast<std::uintptr_t>(k.ident);
  put_head(k, e);
  e.data = 0;
  e.udata = reinterpret_cast<void*>(k.udata);
}

// Fills in `data` of READ and WRITE events. Needs only the fds, so no lock.
template <class Event>
inline void put_amounts(Event* events, unsigned count) noexcept {
  for (Event* e = events; e != events + count; ++e) {
    const std::int64_t amount = amount_of(e->filter, static_cast<int>(e->ident));
    e->data = static_cast<decltype(e->data)>(amount);
  }
}

class event_writer {
 public:
  // The first `count` events of the array are filled already.
  event_writer(struct kevent* array, int capacity, unsigned count = 0) noexcept
      : narrow_(array),
        capacity_(capacity > 0 ? static_cast<unsigned>(capacity) : 0),
        count_(count) {}
  event_writer(kevent64_s* array, int capacity, unsigned count = 0) noexcept
      : wide_(array),
        capacity_(capacity > 0 ? static_cast<unsigned>(capacity) : 0),
        count_(count) {}

  // The number of the round that fills the array, queue::waits_ as it began.
  std::uint32_t round() const noexcept { return round_; }
  void begin_round(std::uint32_t number) noexcept { round_ = number; }

  unsigned count() const noexcept { return count_; }
  unsigned room() const noexcept { return capacity_ - count_; }

  // Appends an event. Requires room.
  void put(const kevent64_s& e) noexcept {
    if (wide_ != nullptr) {
      wide_[count_++] = e;
    } else {
      narrow_[count_++] = {static_cast<std::uintptr_t>(e.ident),
                           e.filter,
                           e.flags,
                           e.fflags,
                           static_cast<std::intptr_t>(e.data),
                           reinterpret_cast<void*>(e.udata)};
    }
  }

  // Returns whether there are events without `data`: those since the last complete().
  bool is_incomplete() const noexcept { return complete_ != count_; }
  // All events have their `data`.
  void complete() noexcept { complete_ = count_; }
  // Fills in `data` of the events that have none. Requires that they are READ or WRITE events.
  void put_amounts() noexcept {
    const unsigned count = count_ - complete_;
    wide_ != nullptr ? kqueue::put_amounts(wide_ + complete_, count)
                     : kqueue::put_amounts(narrow_ + complete_, count);
    complete();
  }

 private:
  kevent64_s* wide_ = nullptr;
  struct kevent* narrow_ = nullptr;
  unsigned capacity_;
  unsigned count_;
  unsigned complete_ = 0;  // how many have their `data`
  std::uint32_t round_ = 0;
};

}  // namespace kedge::kqueue
