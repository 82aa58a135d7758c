// report: how a tally is shown.
#pragma once

#include <cstdio>

#include "tally.h"

enum class completeness : bool { partial, complete };

// Prints the table and the totals; a partial tally says so in its first and last line.
void print_report(std::FILE* out, const tally& t, completeness c);
