// print_report(): prints a tally as a table.
#pragma once

#include <cstdio>

#include "tally.h"

enum class completeness : bool { partial, complete };

// Prints the table and the totals. The first and the last line of a partial tally say that it is
// partial.
void print_report(std::FILE* out, const tally& t, completeness c);
