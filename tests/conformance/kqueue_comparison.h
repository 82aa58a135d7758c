// kqueue_comparison: compares the results of a kqueue's trace with the recorded ones.
//
// A result must be the recorded one, but where a named rule allows a difference. Each rule stands
// for a row of the tables of runtime/kqueue/README.md, which says why Linux cannot do what Darwin
// does. It applies only where the trace has the cause that the row names (kqueue_history.h).
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

#include "kqueue_replay.h"
#include "trace.h"

namespace conformance {

struct kqueue_rule {
  std::string_view name;
  std::string_view row;  // words of the README's row
};

enum class kqueue_rule_name : std::size_t {
  order_of_descriptors,
  order_of_exits,
  choice_of_descriptors,
  fewer_than_fit,
  clear_too_often,
  clear_not_again,
  clear_of_kqueue,
  data_of_kqueue,
  kqueue_without_events,
  readable_in_vain,
  nesting_is_allowed,
  nesting_is_too_deep,
};
inline constexpr std::size_t kqueue_rule_count = 12;

// By kqueue_rule_name.
extern const std::array<kqueue_rule, kqueue_rule_count> kqueue_rules;

struct kqueue_comparison {
  std::optional<difference> found;  // the first one that no rule allows
  // How often each rule was applied, by kqueue_rule_name.
  std::array<std::size_t, kqueue_rule_count> applied{};
  // The line after which the trace was not compared any more, because a rule that was applied there
  // says that the knotes differ from then on. 0: it was compared to its end.
  int ended_at = 0;
};

// `lines` is the trace, `run` what playing it has given.
kqueue_comparison compare_kqueue_trace(const std::vector<trace_line>& lines, const kqueue_run& run);

}  // namespace conformance
