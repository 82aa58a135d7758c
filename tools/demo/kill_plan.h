// kill_plan: which workers are destroyed, and when; a fault injector.
//
// Decided by a seed: the victims, and for each the batch after which it goes, in the middle half of
// the input where its length is known. Whoever has not had its turn by the end of the input goes
// then, so that as many die as were asked for, however short the input is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "worker.h"

class kill_plan {
 public:
  // Destroys `victims` of the workers, which must outlive the plan. `batches` is how many there
  // will be, or a guess.
  kill_plan(std::deque<worker>& workers, std::size_t victims, std::uint64_t batches,
            std::uint64_t seed);

  // So many batches have been sent.
  void sent(std::uint64_t batches) noexcept;
  // All have been sent.
  void end_of_input() noexcept;

  // The indices of the workers destroyed so far.
  std::vector<std::size_t> killed() const;

 private:
  struct entry {
    std::uint64_t after;
    std::size_t victim;
  };
  void kill_next() noexcept;

  std::deque<worker>& workers_;
  std::vector<entry> entries_;  // by `after`
  std::size_t done_ = 0;
};
