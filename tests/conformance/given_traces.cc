// Reads the file that concatenate.py writes.
#include "given_traces.h"

#include <fstream>
#include <stdexcept>

namespace conformance {

std::vector<given_trace> read_given_traces(trace_kind kind) {
  const char* const file = kind == trace_kind::mach ? "tests/conformance/traces.txt"
                                                    : "tests/conformance/kqueue_traces.txt";
  std::ifstream in(file, std::ios::binary);
  std::vector<given_trace> all;
  // Each trace begins with form feed, name, blank, length, line feed.
  while (in.peek() == '\f') {
    in.get();
    std::size_t length = 0;
    given_trace& next = all.emplace_back();
    in >> next.name >> length;
    in.get();
    next.text.resize(length);
    in.read(next.text.data(), static_cast<std::streamsize>(length));
  }
  if (!in || !in.eof() || all.empty()) throw std::runtime_error(std::string("bad ") + file);
  return all;
}

}  // namespace conformance
