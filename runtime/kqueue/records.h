#pragma once

// The caller's event array, in either of the two layouts, filled from the front.

#include <sys/event.h>

#include <cstdint>

namespace kedge::kqueue {

class records {
 public:
  records(struct kevent* array, int capacity) noexcept
      : narrow_(array), capacity_(capacity > 0 ? static_cast<unsigned>(capacity) : 0) {}
  records(kevent64_s* array, int capacity) noexcept
      : wide_(array), capacity_(capacity > 0 ? static_cast<unsigned>(capacity) : 0) {}

  unsigned count() const noexcept { return count_; }
  unsigned room() const noexcept { return capacity_ - count_; }

  // The next record, to be filled whole and then counted. Needs room.
  kevent64_s& next() noexcept { return wide_ != nullptr ? wide_[count_] : scratch_; }
  void count_next() noexcept {
    if (wide_ == nullptr) {
      narrow_[count_] = {static_cast<std::uintptr_t>(scratch_.ident),
                         scratch_.filter,
                         scratch_.flags,
                         scratch_.fflags,
                         static_cast<std::intptr_t>(scratch_.data),
                         reinterpret_cast<void*>(scratch_.udata)};
    }
    ++count_;
  }
  void put(const kevent64_s& e) noexcept {
    next() = e;
    count_next();
  }

  int descriptor(unsigned i) const noexcept {
    return static_cast<int>(wide_ != nullptr ? wide_[i].ident : narrow_[i].ident);
  }
  std::int16_t filter(unsigned i) const noexcept {
    return wide_ != nullptr ? wide_[i].filter : narrow_[i].filter;
  }
  void set_data(unsigned i, std::int64_t data) noexcept {
    if (wide_ != nullptr) {
      wide_[i].data = data;
    } else {
      narrow_[i].data = static_cast<std::intptr_t>(data);
    }
  }

 private:
  kevent64_s* wide_ = nullptr;
  struct kevent* narrow_ = nullptr;
  unsigned capacity_;
  unsigned count_ = 0;
  kevent64_s scratch_;
};

}  // namespace kedge::kqueue
