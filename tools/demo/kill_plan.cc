#include "kill_plan.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <utility>

kill_plan::kill_plan(std::deque<worker>& workers, std::size_t victims, std::uint64_t batches,
                     std::uint64_t seed)
    : workers_(workers) {
  // Without the library's distributions, whose numbers differ between libraries.
  std::mt19937_64 random(seed);
  std::vector<std::size_t> order(workers.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (std::size_t i = 0; i < victims; ++i) {
    std::swap(order[i], order[i + random() % (order.size() - i)]);
    entries_.push_back(
        {1 + batches / 4 + random() % std::max<std::uint64_t>(batches / 2, 1), order[i]});
  }
  std::sort(entries_.begin(), entries_.end(), [](const entry& a, const entry& b) {
    return a.after != b.after ? a.after < b.after : a.victim < b.victim;
  });
}

void kill_plan::sent(std::uint64_t batches) noexcept {
  while (done_ < entries_.size() && entries_[done_].after <= batches) kill_next();
}

void kill_plan::end_of_input() noexcept {
  while (done_ < entries_.size()) kill_next();
}

std::vector<std::size_t> kill_plan::killed() const {
  std::vector<std::size_t> victims;
  for (std::size_t i = 0; i < done_; ++i) victims.push_back(entries_[i].victim);
  return victims;
}

void kill_plan::kill_next() noexcept {
  workers_[entries_[done_++].victim].kill();
}
