// low_water_poller: polls WRITE knotes that found less room than their low-water mark demands.
// Linux reports room only after a lack of room, so these knotes are asked again every hundredth of
// a second, as long as there are any. A kqueue that has had such a knote has one timerfd for that.
//
// It is the state of low_water_filter, an entry of the table of filters (filter_table.h) that has
// no knotes, so that its timerfd is the entry's pump.
//
// Threads: any. activate() is called under the poller's lock.
#pragma once

#include "kedge/runtime/base/list.h"
#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/kqueue/filter.h"

namespace kedge::kqueue {

class low_water_poller {
 public:
  // A knote's place in the list, in the knote's area. All zero before add().
  struct place {
    knote* note;
    base::list_link<place> link;
  };

  explicit low_water_poller(int timerfd) noexcept : timerfd_(timerfd) {}
  low_water_poller(const low_water_poller&) = delete;
  low_water_poller& operator=(const low_water_poller&) = delete;
  ~low_water_poller();

  // Activates the knote once, soon. Holds the knote until then, because it may be dropped before.
  void add(knote& note, place& at) noexcept;

  // Activates all knotes of the list and empties it.
  void pump() noexcept;

 private:
  base::mutex lock_;
  int timerfd_;
  base::list<place, &place::link> places_;
};

}  // namespace kedge::kqueue
