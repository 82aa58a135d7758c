// WRITE knotes that found less room than their low-water mark wants. Linux tells of room only when
// there was none before, so they are looked at again and again, every hundredth of a second, as
// long as there are any. One timerfd for a kqueue that has had such a knote.
//
// It stands in the table of filters (filter_table.h) for its pump, under a number that has no
// knotes.
#pragma once

#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/kqueue/filter.h"

namespace kedge::kqueue {

class low_water_poller {
 public:
  // A knote's place in the list, in its area: zero at first.
  struct place {
    knote* note;  // null: not in the list
    place* next;
  };

  explicit low_water_poller(int timer) noexcept : timer_(timer) {}
  low_water_poller(const low_water_poller&) = delete;
  low_water_poller& operator=(const low_water_poller&) = delete;
  ~low_water_poller();

  // Activates the knote once, soon. It is held until then: it may be dropped meanwhile.
  void add(knote& note, place& at) noexcept;

  // Activates all. Any thread.
  void pump() noexcept;

 private:
  base::mutex lock_;  // activate() is called under it
  int timer_;
  place* first_ = nullptr;
};

}  // namespace kedge::kqueue
