#include "report.h"

#include <cinttypes>

void print_report(std::FILE* out, const tally& t, completeness c) {
  const bool partial = c == completeness::partial;
  if (partial) std::fputs("interrupted: a partial count\n", out);
  std::fprintf(out, "%6s %10s %12s %14s  %s\n", "worker", "batches", "words", "bytes", "died");
  std::size_t number = 0;
  for (const tally::row& r : t.rows) {
    std::fprintf(out, "%6zu %10" PRIu64 " %12" PRIu64 " %14" PRIu64 "  %s\n", ++number, r.batches,
                 r.counted.words, r.counted.bytes, r.died ? "yes" : "no");
  }
  std::fprintf(out,
               "messages: %" PRIu64 " sent (%" PRIu64 " waited for room, %" PRIu64
               " sent again), %" PRIu64 " received (%" PRIu64 " too late)\n",
               t.sent, t.waited, t.sent_again, t.received, t.late);
  const word_count sum = t.total();
  std::fprintf(out, "%s: %" PRIu64 " lines, %" PRIu64 " words, %" PRIu64 " bytes\n",
               partial ? "counted until interrupted" : "total", sum.lines, sum.words, sum.bytes);
}
