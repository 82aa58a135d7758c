// Compares two results record by record. What is in one of them only, and what is in another order,
// has to be allowed by a rule.
#include "kqueue_comparison.h"

#include <algorithm>
#include <string>
#include <vector>

#include "kqueue_history.h"
#include "kqueue_names.h"
#include "script.h"

namespace conformance {
namespace {

using rule = kqueue_rule_name;

// A record of a kevent() result.
struct record {
  std::string_view text;
  std::vector<std::string_view> fields;  // filter, ident, flags, fflags, data, udata, perhaps ext

  explicit record(std::string_view written) : text(written), fields(split(written, ':')) {}

  std::string_view ident() const { return fields[1]; }
  std::string_view data() const { return fields[4]; }
  bool has(std::string_view flag) const {
    return std::ranges::count(split(fields[2], '+'), flag) != 0;
  }
  // An error or a receipt, which is about a change.
  bool is_about_change() const { return has("error"); }
  bool is_about_descriptor() const {
    const std::string_view filter = fields[0];
    return filter == "read" || filter == "write" || filter == "except" || filter == "vnode";
  }
  bool is_event_of(char letter) const {
    return !is_about_change() && is_about_descriptor() && ident().starts_with(letter);
  }
  bool is_exit() const { return fields[0] == "proc" && !is_about_change(); }
  // The knote is gone or disabled after the event.
  bool changes_knote() const { return has("oneshot") || has("dispatch"); }
};

struct result_line {
  bool has_records = false;  // "= COUNT" and records, not an error
  std::vector<record> records;
};

result_line read_result(std::string_view text) {
  result_line read;
  const std::vector<std::string_view> words = split(text, ' ');
  if (words.size() < 2 || words[1].empty() || words[1][0] < '0' || words[1][0] > '9') return read;
  for (std::size_t i = 2; i < words.size(); ++i) {
    if (!words[i].starts_with("e=")) return {};
    record next(words[i].substr(2));
    if (next.fields.size() != 6 && next.fields.size() != 8) return {};
    read.records.push_back(std::move(next));
  }
  read.has_records = read.records.size() == read_number<std::size_t>(words[1]);
  return read;
}

long room_of(std::string_view operation) {
  for (const std::string_view word : split(operation, ' ')) {
    if (word.starts_with("n=")) return read_number<int>(word.substr(2));
  }
  return 0;
}

std::string_view kqueue_of(std::string_view operation) {
  const std::vector<std::string_view> words = split(operation, ' ');
  return words.size() < 2 ? std::string_view() : words[1];
}

// The comparison of one result.
class comparer {
 public:
  comparer(std::string_view operation, const kqueue_history& before, kqueue_comparison& into)
      : operation_(operation), kq_(kqueue_of(operation)), before_(before), into_(into) {}

  // Returns whether rules allow the difference. Counts the rules that it applies.
  bool allows(std::string_view recorded, std::string_view got);
  bool ends_comparison() const { return ends_; }

 private:
  bool apply(rule applied, bool ends = false) {
    ++into_.applied[static_cast<std::size_t>(applied)];
    ends_ = ends_ || ends;
    return true;
  }
  bool allows_readable(std::string_view recorded, std::string_view got);
  void pair_data_of_kqueues();
  bool differ_in_fields() const;
  bool allows_choice();
  bool allows_fewer();
  bool allows_missing(const record& missing);
  bool allows_extra(const record& extra);
  bool allows_order();

  const std::string_view operation_;
  const std::string_view kq_;
  const kqueue_history& before_;
  kqueue_comparison& into_;
  std::vector<record> recorded_;  // without those that are missing in got_
  std::vector<record> got_;       // without those that are missing in recorded_
  std::vector<record> missing_;
  std::vector<record> extra_;
  bool ends_ = false;
};

// Moves the records of `from` that `other` has not into `alone`.
void take_unpaired(std::vector<record>& from, const std::vector<record>& other,
                   std::vector<record>& alone) {
  std::vector<std::string_view> left;
  left.reserve(other.size());
  for (const record& each : other) left.push_back(each.text);
  std::vector<record> paired;
  for (record& each : from) {
    const auto found = std::ranges::find(left, each.text);
    if (found != left.end()) {
      left.erase(found);
      paired.push_back(std::move(each));
    } else {
      alone.push_back(std::move(each));
    }
  }
  from = std::move(paired);
}

bool is_refused_nesting(const record& r) {
  return r.is_about_change() && r.fields[0] == "read" && r.ident().starts_with('q') &&
         r.data() == "EINVAL";
}

bool same(const record& one, const record& other) {
  return one.text == other.text;
}

bool comparer::allows(std::string_view recorded, std::string_view got) {
  if (operation_.starts_with("poll q")) return allows_readable(recorded, got);
  result_line wanted = read_result(recorded);
  result_line had = read_result(got);
  if (!operation_.starts_with("kev") || !wanted.has_records || !had.has_records) return false;
  recorded_ = std::move(wanted.records);
  got_ = std::move(had.records);
  pair_data_of_kqueues();
  const std::vector<record> all_recorded = recorded_;
  take_unpaired(recorded_, got_, missing_);
  take_unpaired(got_, all_recorded, extra_);
  if (differ_in_fields()) return false;
  if (allows_choice() || allows_fewer()) return true;
  return std::ranges::all_of(missing_, [&](const record& each) { return allows_missing(each); }) &&
         std::ranges::all_of(extra_, [&](const record& each) { return allows_extra(each); }) &&
         allows_order();
}

bool comparer::allows_readable(std::string_view recorded, std::string_view got) {
  if (recorded == "= 1" && got == "= 0")
    return before_.may_have_stopped(kq_) && apply(rule::kqueue_without_events);
  if (recorded == "= 0" && got == "= 1")
    return before_.may_be_readable_in_vain(kq_) && apply(rule::readable_in_vain);
  return false;
}

// Takes an event of a kqueue with data 1 for the recorded one, whatever its data.
void comparer::pair_data_of_kqueues() {
  for (record& each : got_) {
    if (!each.is_event_of('q') || each.data() != "1") continue;
    if (std::ranges::any_of(recorded_, [&](const record& r) { return same(r, each); })) continue;
    for (const record& wanted : recorded_) {
      std::vector<std::string_view> fields = wanted.fields;
      fields[4] = "1";
      if (!wanted.is_event_of('q') || fields != each.fields) continue;
      if (std::ranges::any_of(got_, [&](const record& r) { return same(r, wanted); })) continue;
      each = wanted;
      apply(rule::data_of_kqueue);
      break;
    }
  }
}

// Returns whether the results have different events or errors of one knote.
bool comparer::differ_in_fields() const {
  const auto is_same_knote = [](const record& one, const record& other) {
    return one.fields[0] == other.fields[0] && one.ident() == other.ident() &&
           one.fields[5] == other.fields[5] && one.has("uspec") == other.has("uspec") &&
           one.is_about_change() == other.is_about_change() &&
           !(is_refused_nesting(one) && other.data() == "0");
  };
  return std::ranges::any_of(missing_, [&](const record& wanted) {
    return std::ranges::any_of(extra_,
                               [&](const record& had) { return is_same_knote(wanted, had); });
  });
}

// Without room for all events, another order of descriptors is another choice of events.
bool comparer::allows_choice() {
  const auto room = static_cast<std::size_t>(std::max(room_of(operation_), 0L));
  const std::size_t had = got_.size() + extra_.size();
  const std::size_t wanted = recorded_.size() + missing_.size();
  if (missing_.empty() || extra_.empty() || had != room || wanted != room) return false;
  const auto is_change = [](const record& r) { return r.is_about_change(); };
  const auto is_descriptor = [](const record& r) { return r.is_about_descriptor(); };
  for (const auto* all : {&recorded_, &got_, &missing_, &extra_}) {
    if (std::ranges::any_of(*all, is_change)) return false;
  }
  if (!std::ranges::any_of(missing_, is_descriptor) && !std::ranges::any_of(extra_, is_descriptor))
    return false;
  return apply(rule::choice_of_descriptors, true);
}

// Events of the kqueue's own descriptors may have filled the room that epoll was given.
bool comparer::allows_fewer() {
  constexpr std::size_t internal_events = 6;
  const auto room = static_cast<std::size_t>(std::max(room_of(operation_), 0L));
  const auto is_change = [](const record& r) { return r.is_about_change(); };
  const auto is_descriptor = [](const record& r) { return r.is_about_descriptor(); };
  const auto is_level = [](const record& r) { return r.is_event_of('f') && !r.has("clear"); };
  if (std::ranges::none_of(missing_, is_level) || !extra_.empty() || got_.empty()) return false;
  if (got_.size() + internal_events < room || std::ranges::any_of(recorded_, is_change))
    return false;
  return std::ranges::all_of(missing_, is_descriptor) &&
         std::ranges::none_of(missing_, is_change) && allows_order() &&
         apply(rule::fewer_than_fit, true);
}

bool comparer::allows_missing(const record& missing) {
  if (missing.is_event_of('f') && missing.has("clear")) {
    const bool is_write = missing.fields[0] == "write";
    const bool is_read = missing.fields[0] == "read";
    const bool is_again = (is_write && before_.has_room_again(kq_, missing.ident())) ||
                          (is_read && before_.was_read_again(kq_, missing.ident()));
    if (before_.was_changed(kq_, missing.fields[0], missing.ident(), missing.fields[5]))
      return false;
    return is_again && apply(rule::clear_not_again, missing.changes_knote());
  }
  if (missing.is_event_of('q') && missing.fields[0] == "read") {
    return before_.may_have_stopped(missing.ident()) &&
           apply(rule::kqueue_without_events, missing.changes_knote());
  }
  return is_refused_nesting(missing) && apply(rule::nesting_is_allowed, true);
}

bool comparer::allows_extra(const record& extra) {
  // The event or the receipt of a knote that Darwin has refused.
  if (ends_ && extra.fields[0] == "read" && extra.ident().starts_with('q') &&
      into_.applied[static_cast<std::size_t>(rule::nesting_is_allowed)] != 0)
    return true;
  if (extra.is_event_of('f') && extra.has("clear")) {
    const bool may_be = extra.has("eof") || before_.has_other_knote(kq_, extra.ident()) ||
                        (extra.fields[0] == "write" && before_.is_socket(extra.ident()));
    return may_be && apply(rule::clear_too_often, extra.changes_knote());
  }
  if (extra.is_event_of('q') && extra.fields[0] == "read") {
    if (extra.has("clear")) return apply(rule::clear_of_kqueue, extra.changes_knote());
    return before_.may_be_readable_in_vain(extra.ident()) &&
           apply(rule::readable_in_vain, extra.changes_knote());
  }
  return is_refused_nesting(extra) && apply(rule::nesting_is_too_deep, true);
}

template <class Left>
std::vector<record> without(const std::vector<record>& all, Left left) {
  std::vector<record> kept;
  std::ranges::copy_if(all, std::back_inserter(kept),
                       [&](const record& each) { return !left(each); });
  return kept;
}

// What is in both results may stand in another order only for descriptors and for exits.
bool comparer::allows_order() {
  if (std::ranges::equal(recorded_, got_, same)) return true;
  const auto is_descriptor = [](const record& r) {
    return r.is_about_descriptor() && !r.is_about_change();
  };
  const std::vector<record> wanted = without(recorded_, is_descriptor);
  const std::vector<record> had = without(got_, is_descriptor);
  const bool differs_by_descriptors = std::ranges::equal(wanted, had, same);
  const auto is_exit = [](const record& r) { return r.is_exit(); };
  if (differs_by_descriptors) return apply(rule::order_of_descriptors);
  if (!std::ranges::equal(without(wanted, is_exit), without(had, is_exit), same)) return false;
  apply(rule::order_of_exits);
  // Whether the descriptors are in order among the others.
  return std::ranges::equal(without(recorded_, is_exit), without(got_, is_exit), same) ||
         apply(rule::order_of_descriptors);
}

}  // namespace

const std::array<kqueue_rule, kqueue_rule_count> kqueue_rules{{
    {"order-of-descriptors", "Descriptors come in epoll's order"},
    {"order-of-exits", "An exit stands in the order where a call notices it"},
    {"choice-of-descriptors", "With little room the list and epoll come in turn"},
    {"fewer-than-fit", "It may return fewer."},
    {"clear-too-often", "An EV_CLEAR knote may report once too often"},
    {"clear-not-again", "activates its own EV_CLEAR WRITE again"},
    {"clear-of-kqueue", "An EV_CLEAR knote about a kqueue"},
    {"data-of-kqueue", "`data` of a kqueue is the number of its active knotes."},
    {"kqueue-without-events", "A kqueue counts as readable until"},
    {"readable-in-vain", "may become readable once though"},
    {"nesting-is-allowed", "refuses some nestings"},
    {"nesting-is-too-deep", "Nesting is as deep as epoll's"},
}};

kqueue_comparison compare_kqueue_trace(const std::vector<trace_line>& lines,
                                       const kqueue_run& run) {
  kqueue_comparison all;
  kqueue_history before;
  std::size_t index = 0;
  for (const trace_line& line : lines) {
    if (line.what != trace_line::kind::operation) continue;
    const std::string recorded = line.result.value_or("= (the trace has no result)");
    const std::string got =
        index < run.results.size() ? run.results[index] : "= (none: " + run.end + ")";
    ++index;
    before.begin(line.text);
    comparer one(line.text, before, all);
    const bool is_allowed = got == recorded || one.allows(recorded, got);
    before.end(line.text, recorded);
    if (!is_allowed) {
      all.found = difference{line.number, line.text, recorded, got, {}};
      break;
    }
    if (one.ends_comparison()) {
      all.ended_at = line.number;
      break;
    }
  }
  return all;
}

}  // namespace conformance
