// The caller's event array, in either of the two layouts, filled from the front, and what a
// knote says of itself in it.
#pragma once

#include <sys/event.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kedge/runtime/kqueue/descriptors/descriptor_state.h"
#include "kedge/runtime/kqueue/knote_record.h"

namespace kedge::kqueue {

// filter, flags and fflags 0 in one piece, which compilers do not see.
template <class Record>
inline void put_head(const knote_record& k, Record& e) noexcept {
  static_assert(offsetof(Record, fflags) == offsetof(Record, filter) + 4);
  static_assert(offsetof(knote, flags) == offsetof(knote, filter) + 2);
  std::uint64_t head = 0;
  std::memcpy(
      &head, reinterpret_cast<const char*>(static_cast<const knote*>(&k)) + offsetof(knote, filter),
      4);
  std::memcpy(reinterpret_cast<char*>(&e) + offsetof(Record, filter), &head, 8);
}

// An event with fflags and data 0.
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

// `data` of READ and WRITE: asked for by the numbers alone, and so with no lock held.
template <class Record>
inline void put_amounts(Record* events, unsigned count) noexcept {
  for (Record* e = events; e != events + count; ++e) {
    const std::int64_t amount = amount_of(e->filter, static_cast<int>(e->ident));
    e->data = static_cast<decltype(e->data)>(amount);
  }
}

class records {
 public:
  // `count` of them are filled already.
  records(struct kevent* array, int capacity, unsigned count = 0) noexcept
      : narrow_(array),
        capacity_(capacity > 0 ? static_cast<unsigned>(capacity) : 0),
        count_(count) {}
  records(kevent64_s* array, int capacity, unsigned count = 0) noexcept
      : wide_(array),
        capacity_(capacity > 0 ? static_cast<unsigned>(capacity) : 0),
        count_(count) {}

  unsigned count() const noexcept { return count_; }
  unsigned room() const noexcept { return capacity_ - count_; }

  // Appends. Needs room.
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

  // Of all: READ and WRITE.
  void put_amounts() noexcept {
    wide_ != nullptr ? kqueue::put_amounts(wide_, count_) : kqueue::put_amounts(narrow_, count_);
  }

 private:
  kevent64_s* wide_ = nullptr;
  struct kevent* narrow_ = nullptr;
  unsigned capacity_;
  unsigned count_;
};

}  // namespace kedge::kqueue
