// A knote as the kqueue sees it: the filter's part and the kqueue's own. All of the own part is
// under the kqueue's lock, but `references`. Blocks are reused within their kqueue and type-stable:
// a filter that holds one past its end can still ask whose it was.
#pragma once

#include <atomic>
#include <cstdint>

#include "kedge/runtime/kqueue/filter.h"

namespace kedge::kqueue {

struct knote_record : knote {
  queue* home = nullptr;
  std::uint64_t udata = 0;
  knote_record* chain = nullptr;   // of the same descriptor or hash bucket; of free blocks
  knote_record* before = nullptr;  // in the list of active knotes
  knote_record* after = nullptr;
  std::uint16_t interest = 0;                // epoll's events that are about it, if it is polled
  std::uint16_t reported = 0;                // the same; 0 if not polled, or disabled
  std::atomic<std::uint32_t> references{0};  // the kqueue's one and the filter's holds
  bool by_udata =
      false;  // EV_UDATA_SPECIFIC: udata is part of the key (`flags` is the filter's during attach)
  bool busy = false;       // an operation of the filter is running on it
  bool attaching = false;  // it is `attach`
  bool active = false;     // there is, or may be, something to report
  bool queued = false;     // in the list: active and not disabled
  bool disabled = false;
  bool dropped = false;  // out of every table, by whoever made it busy, who detaches it
  bool ending =
      false;  // EV_DISPATCH2: deleted, or ONESHOT delivered; its end is reported when it is enabled
  bool wants_vanished = false;  // EV_VANISHED, about a descriptor
  bool vanished = false;        // its descriptor is closed: `detach` is done, its last event is due
  bool polled = false;  // the epoll set reports it: never needs `process` by itself, nor `detach`
  bool examined =
      false;  // polled, but epoll does not know enough: `process` decides what its events are
};

inline knote_record& record_of(knote& note) noexcept {
  return static_cast<knote_record&>(note);
}
inline const knote_record& record_of(const knote& note) noexcept {
  return static_cast<const knote_record&>(note);
}

inline bool is_dispatch2(const knote_record& k) noexcept {
  return (k.flags & EV_DISPATCH2) == EV_DISPATCH2;
}

// Active knotes of one filter, oldest first.
class knote_list {
 public:
  bool empty() const noexcept { return first_ == nullptr; }
  std::uint32_t size() const noexcept { return size_; }
  knote_record& front() const noexcept { return *first_; }

  void push_back(knote_record& k) noexcept {
    k.before = last_;
    k.after = nullptr;
    (last_ != nullptr ? last_->after : first_) = &k;
    last_ = &k;
    ++size_;
  }
  void remove(knote_record& k) noexcept {
    (k.before != nullptr ? k.before->after : first_) = k.after;
    (k.after != nullptr ? k.after->before : last_) = k.before;
    --size_;
  }

 private:
  knote_record* first_ = nullptr;
  knote_record* last_ = nullptr;
  std::uint32_t size_ = 0;
};

}  // namespace kedge::kqueue
