// knote_record: a knote as the kqueue sees it, that is the filter's part and the kqueue's own part.
//
// The lock of the kqueue guards the own part, except for `references`, which is atomic, and for
// `polled`, which only changes in an operation of the filter or when the knote ends.
// Memory is reused within one kqueue and stays a knote_record, so that a filter that holds a knote
// past its end can still find the knote's kqueue.
#pragma once

#include <atomic>
#include <cstdint>

#include "kedge/runtime/base/list.h"
#include "kedge/runtime/kqueue/filter.h"

namespace kedge::kqueue {

struct knote_record : knote {
  queue* home = nullptr;
  std::uint64_t udata = 0;
  knote_record* chain = nullptr;  // the next knote of the same descriptor or hash bucket

  // In the list of active knotes, or in that of served ones, if it is active and not disabled; or
  // in the list of free knotes.
  base::list_link<knote_record> link;

  std::uint16_t interest = 0;  // if polled: the epoll events that concern the knote
  std::uint16_t reported = 0;  // `interest`, or 0 while the knote is not polled or is disabled
  std::atomic<std::uint32_t> references{0};  // the kqueue's one and the filter's holds

  // EV_UDATA_SPECIFIC: udata is part of the key. A copy, because the filter may change `flags`
  // during attach.
  bool by_udata = false;

  bool busy = false;       // an operation of the filter runs
  bool attaching = false;  // the operation is `attach`
  bool active = false;     // there is, or may be, an event to report
  bool disabled = false;
  bool dropped = false;  // in no table any more. The thread that made it busy detaches it.

  // EV_DISPATCH2: the knote is deleted, or its EV_ONESHOT is delivered. When it is enabled, it
  // reports its end.
  bool ending = false;

  // Bits, so that a knote takes eight bytes less.
  bool wants_vanished : 1 = false;  // EV_VANISHED, and it is about a descriptor
  bool lost : 1 = false;    // drop_all() drops it: it is about a file that was closed unseen
  bool served : 1 = false;  // in the list of served knotes

  bool vanished = false;  // its descriptor is closed: detached, the last event is due
  bool polled = false;    // registered with epoll, so that its filter has no `detach` to run

  // Polled, but epoll knows too little about the descriptor: `process` probes it and decides what
  // its events are.
  bool needs_probe = false;

  std::uint32_t processed_at = 0;  // queue::waits_ when `process` was last asked
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

using knote_list = base::list<knote_record, &knote_record::link>;

}  // namespace kedge::kqueue
