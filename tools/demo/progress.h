// show_progress(): one line on a terminal that says how far a count is.
#pragma once

#include <cstdint>
#include <cstdio>

#include "kedge/runtime/task.h"
#include "tally.h"

// Writes to `terminal` every so often until it is cancelled; then wipes the line. `size` is that of
// the input, 0 if unknown.
kedge::task<> show_progress(std::FILE* terminal, const tally& t, std::uint64_t size);
