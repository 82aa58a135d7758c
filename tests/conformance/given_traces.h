// The traces of the archive in the tree.
#pragma once

#include <string>
#include <vector>

namespace conformance {

// Unoptimized, or watched by a sanitizer: all of the traces take a minute and more.
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

// All of them, by name. For a test whose data they are; throws std::runtime_error if they are not
// there.
std::vector<given_trace> read_given_traces();

}  // namespace conformance
