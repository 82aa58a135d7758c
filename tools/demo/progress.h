// show_progress(): one line on a terminal that shows how far a count is.
#pragma once

#include <cstdint>
#include <cstdio>

#include "kedge/runtime/task.h"
#include "tally.h"

// Writes the line every 100 ms until it is cancelled, and then erases it. `size` is the input's in
// bytes, or 0 if it is unknown.
kedge::task<> show_progress(std::FILE* terminal, const tally& t, std::uint64_t size);
