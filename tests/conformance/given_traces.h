// given_traces: the recorded traces of the archives in the tree.
#pragma once

#include <string>
#include <vector>

namespace conformance {

// is_slow: compiled without optimization or with a sanitizer, so that playing all traces of Mach
// IPC takes a minute and more.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define KEDGE_CONFORMANCE_SANITIZED
#endif
#endif
#if defined(__OPTIMIZE__) && !defined(KEDGE_CONFORMANCE_SANITIZED)
inline constexpr bool is_slow = false;
#else
inline constexpr bool is_slow = true;
#endif

struct given_trace {
  std::string name;  // "traces/directed/01_rights.txt"
  std::string text;
};

// Returns all traces of a kind, sorted by name. The calling test needs them as its data. Throws
// std::runtime_error if they cannot be read.
enum class trace_kind { mach, kqueue };
std::vector<given_trace> read_given_traces(trace_kind kind);

}  // namespace conformance
