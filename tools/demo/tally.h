// tally: the results of a count so far.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "word_count.h"

struct tally {
  struct row {
    std::uint64_t batches = 0;
    word_count counted;
    bool died = false;
  };

  explicit tally(std::size_t workers) : rows(workers) {}

  word_count total() const noexcept {
    word_count sum;
    for (const row& r : rows) sum += r.counted;
    return sum;
  }

  std::vector<row> rows;         // one per worker
  std::uint64_t sent = 0;        // batches sent, those sent again included
  std::uint64_t waited = 0;      // sends that waited for room in the worker's queue
  std::uint64_t sent_again = 0;  // batches sent again after the death of their worker
  std::uint64_t received = 0;    // answers received
  std::uint64_t late = 0;        // answers of workers known to be dead, which are not counted
};
