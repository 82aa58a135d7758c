// kill_plan: a fault injector that decides which workers are destroyed, and when.
//
// A seed decides the victims, and for each the batch after which it is destroyed: in the middle
// half of the input if its length is known. Victims that are left at the end of the input are
// destroyed then, so that the number of deaths does not depend on the input's length.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "worker.h"

class kill_plan {
 public:
  // Destroys `victims` of the workers, which must outlive the plan. `batches` is the expected
  // number of batches.
  kill_plan(std::deque<worker>& workers, std::size_t victims, std::uint64_t batches,
            std::uint64_t seed);

  // Destroys the workers that are due after this number of batches sent.
  void sent(std::uint64_t batches) noexcept;
  // Destroys the remaining victims.
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
