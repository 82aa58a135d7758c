// virtual_time: when it jumps, and how loops of one thread wait for events together.
#include "kedge/runtime/virtual_time.h"

#include <poll.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "kedge/runtime/loop.h"
#include "kedge/runtime/reactor/registration_table.h"

namespace kedge {
namespace {

using wall = std::chrono::system_clock;

constexpr wall::time_point first_wall_time =
    std::chrono::sys_days(std::chrono::year(2000) / std::chrono::January / 1);

}  // namespace

wall::time_point virtual_time::wall_now() const noexcept {
  const clock::duration passed = time_.load() - std::chrono::hours(1) + wall_offset_.load();
  return first_wall_time + std::chrono::duration_cast<wall::duration>(passed);
}

clock::time_point virtual_time::later_by(clock::duration d) const {
  if (d < clock::duration::zero()) {
    throw std::invalid_argument("kedge::virtual_time: the time does not go back");
  }
  return clock::sum(now(), d);
}

void virtual_time::move_to(clock::time_point t) noexcept {
  time_.store(std::max(t.time_since_epoch(), time_.load()));
  moved();
}

std::size_t virtual_time::drive_until(clock::time_point end) {
  while (step(nullptr, end)) continue;
  if (end != clock::time_point::max()) move_to(end);
  std::size_t waiting = 0;
  for (std::size_t i = 0; const loop* const l = loop_at(i); ++i) waiting += l->size();
  return waiting;
}

// Once nothing is left to do in the world, `driven` waits for what comes from outside. It waits for
// all loops, unless it is the only one that can be woken: what comes to another one may let its
// task go on.
bool virtual_time::idle(loop& driven) {
  return step(&driven, clock::time_point::max()) || (can_wake_beside(driven) && wait(&driven));
}

bool virtual_time::can_wake_beside(const loop& driven) noexcept {
  for (std::size_t i = 0; loop* const l = loop_at(i); ++i) {
    if (l != &driven && l->find_waking() != waking::nothing) return true;
  }
  return false;
}

// Drives each loop but `driven`, which has nothing to do; if they have nothing to do either, jumps
// to the next deadline, at most to `end`. Returns false if nothing is left to do until then, or if
// `driven` is to wait for its kernel.
bool virtual_time::step(loop* driven, clock::time_point end) {
  if (poll_all(driven, true)) return true;
  if (is_held()) return wait(driven);
  const clock::time_point next = next_deadline();
  if (next > end || next == clock::time_point::max()) return false;
  move_to(next);
  poll_all(driven, false);
  return true;
}

bool virtual_time::poll_all(const loop* driven, bool asks_kernel) {
  bool came = false;
  for (std::size_t i = 0; loop* const l = loop_at(i); ++i) {
    if (l != driven && l->poll_in_virtual_time(asks_kernel)) came = true;
  }
  return came;
}

clock::time_point virtual_time::next_deadline() noexcept {
  clock::time_point next = clock::time_point::max();
  for (std::size_t i = 0; const loop* const l = loop_at(i); ++i) {
    next = std::min(next, l->next_deadline().value_or(next));
  }
  return next;
}

// Waits in real time for an event of any loop. Returns false if there is no loop, or if `driven`
// can wait by itself.
bool virtual_time::wait(loop* driven) {
  if (loop_at(1) == nullptr) {
    loop* const only = loop_at(0);
    if (only == driven) return false;
    only->run_once();
    return true;
  }
  std::vector<pollfd> handles;
  for (std::size_t i = 0; loop* const l = loop_at(i); ++i) {
    handles.push_back({l->native_handle(), POLLIN, 0});
  }
  if (driven != nullptr) driven->begin_wait_for_handle();
  ::poll(handles.data(), static_cast<nfds_t>(handles.size()), -1);
  if (driven != nullptr) driven->end_wait_for_handle();
  return true;
}

}  // namespace kedge
