// Follows the names of files and kqueues through a trace.
#include "kqueue_history.h"

#include <algorithm>

#include "script.h"

namespace conformance {
namespace {

// Of kqueues in kqueues (MAX_NESTED_KQ). A change that would make a cycle is not told from others.
constexpr unsigned deepest = 10;

bool has_word(std::string_view words, std::string_view word) {
  return std::ranges::count(split(words, '+'), word) != 0;
}

// A call shows all events if there was room for more and no error has ended it before.
bool shows_all(const std::vector<std::string_view>& call, std::string_view result) {
  const std::vector<std::string_view> words = split(result, ' ');
  long room = 0;
  for (const std::string_view word : call) {
    if (word.starts_with("n=")) room = read_number<int>(word.substr(2));
    if (word == "fl=2" || word == "fl=3") return false;  // KEVENT_FLAG_ERROR_EVENTS
  }
  if (words.size() < 2 || words[1].empty() || words[1][0] < '0' || words[1][0] > '9') return false;
  return read_number<int>(words[1]) < room && result.find("error:") == std::string_view::npos;
}

}  // namespace

const kqueue_history::file* kqueue_history::find_file(std::string_view name) const {
  const auto found = files_.find(name);
  return found == files_.end() ? nullptr : &found->second;
}

const kqueue_history::queue* kqueue_history::find_queue(std::string_view name) const {
  const auto found = names_.find(name);
  return found == names_.end() ? nullptr : &queues_[found->second];
}

void kqueue_history::open_pair(std::string_view one, std::string_view other, bool is_socket) {
  close(one);
  close(other);
  files_[std::string(one)] = {pairs_.size(), 0};
  files_[std::string(other)] = {pairs_.size(), 1};
  pairs_.emplace_back().is_socket = is_socket;
}

void kqueue_history::duplicate(std::string_view from, std::string_view to) {
  if (from == to) return;
  if (const auto kq = names_.find(from); kq != names_.end()) {
    names_[std::string(to)] = kq->second;
  } else if (const file* const f = find_file(from)) {
    const file copy = *f;
    ++pairs_[copy.pair].ends[copy.end].names;
    close(to);
    files_[std::string(to)] = copy;
  }
}

// Drops the knotes about what the name denotes.
void kqueue_history::close(std::string_view name) {
  if (const file* const f = find_file(name)) {
    pair& of = pairs_[f->pair];
    if (--of.ends[f->end].names == 0) of.closed_at = now_;
  }
  for (queue& each : queues_)
    std::erase_if(each.watches, [&](const watch& w) { return w.ident == name; });
  if (const auto f = files_.find(name); f != files_.end()) files_.erase(f);
  if (const auto kq = names_.find(name); kq != names_.end()) names_.erase(kq);
}

void kqueue_history::change(queue& kq, std::string_view text) {
  const std::vector<std::string_view> fields = split(text, ':');
  const std::string_view flags = fields[2];
  const std::string_view udata = has_word(flags, "uspec") ? fields[5] : "";
  const auto is_it = [&](const watch& w) {
    return w.filter == fields[0] && w.ident == fields[1] && w.udata == udata;
  };
  const auto found = std::ranges::find_if(kq.watches, is_it);
  if (has_word(flags, "delete")) {
    if (found != kq.watches.end()) kq.watches.erase(found);
    return;
  }
  if (found == kq.watches.end() && !has_word(flags, "add")) return;
  watch& w = found != kq.watches.end() ? *found : kq.watches.emplace_back();
  w.filter = fields[0];
  w.ident = fields[1];
  w.udata = udata;
  w.is_clear = w.is_clear || has_word(flags, "clear");
  w.is_level =
      w.is_level && !w.is_clear && !has_word(flags, "oneshot") && !has_word(flags, "dispatch");
  w.is_disabled = has_word(flags, "disable") || (w.is_disabled && !has_word(flags, "enable"));
  const auto fflags = read_number<unsigned>(fields[3], 16);
  if (w.filter != "user") w.has_low_water = w.has_low_water || (fflags & 1) != 0;  // NOTE_LOWAT
  w.is_active = w.filter == "user" && !w.is_disabled &&
                (w.is_active || (fflags & 0x0100'0000) != 0);  // NOTE_TRIGGER
  w.changed_at = now_;
}

// A USER knote that was delivered stays active if it is level-triggered.
void kqueue_history::note_results(queue& kq, std::string_view result) {
  const std::vector<std::string_view> words = split(result, ' ');
  for (watch& w : kq.watches) {
    if (!w.is_level) w.is_active = false;
  }
  for (const std::string_view word : words) {
    if (!word.starts_with("e=user:")) continue;
    const std::vector<std::string_view> fields = split(word.substr(2), ':');
    for (watch& w : kq.watches) {
      if (w.filter == "user" && w.ident == fields[1] && (w.udata.empty() || w.udata == fields[5]))
        w.is_active = w.is_level && !w.is_disabled;
    }
  }
}

void kqueue_history::transfer(std::string_view operation, file moved, std::string_view result) {
  pair_end& own = pairs_[moved.pair].ends[moved.end];
  pair_end& other = pairs_[moved.pair].ends[1 - moved.end];
  const bool is_count = result.size() > 2 && result[2] >= '0' && result[2] <= '9';
  const long count = is_count ? read_number<int>(result.substr(2)) : 0;
  if (operation == "drain") own.received = 0;
  if (operation == "read") own.received = std::max(own.received - count, 0L);
  if (operation == "drain" || operation == "read") {
    own.read_at = now_;
    return;
  }
  other.received += operation == "fill" ? 1 << 20 : count;
  own.written_at = now_;
  if (operation == "fill") own.filled_at = now_;
}

void kqueue_history::begin(std::string_view operation) {
  ++now_;
  const std::vector<std::string_view> words = split(operation, ' ');
  if (!words[0].starts_with("kev") || words.size() < 2) return;
  const auto kq = names_.find(words[1]);
  if (kq == names_.end()) return;
  for (const std::string_view word : words) {
    if (word.starts_with("c=")) change(queues_[kq->second], word.substr(2));
  }
}

void kqueue_history::end(std::string_view operation, std::string_view result) {
  const std::vector<std::string_view> words = split(operation, ' ');
  if (words.size() < 2) return;
  const std::string_view name = words[1];
  const file* const f = find_file(name);
  if (words[0] == "kqueue" && result == "= OK") {
    names_[std::string(name)] = queues_.size();
    queues_.emplace_back();
  } else if ((words[0] == "pipe" || words[0] == "sock") && result == "= OK") {
    open_pair(name, words.at(2), words[0] == "sock");
  } else if (words[0] == "dup" && result == "= OK") {
    duplicate(name, words.at(2));
  } else if (words[0] == "close") {
    close(name);
  } else if (f != nullptr && (words[0] == "read" || words[0] == "drain" || words[0] == "write" ||
                              words[0] == "fill")) {
    transfer(words[0], *f, result);
  } else if (words[0].starts_with("kev")) {
    const auto kq = names_.find(name);
    if (kq == names_.end()) return;
    queues_[kq->second].called_at = now_;
    if (shows_all(words, result)) queues_[kq->second].shown_at = now_;
    note_results(queues_[kq->second], result);
  }
}

bool kqueue_history::was_read_again(std::string_view kq, std::string_view name) const {
  const file* const f = find_file(name);
  const queue* const q = find_queue(kq);
  if (f == nullptr || q == nullptr || pair_of(*f).is_socket) return false;
  const pair_end& other = other_end_of(*f);
  return end_of(*f).read_at > q->shown_at && other.written_at <= q->shown_at &&
         (end_of(*f).received != 0 || other.names == 0);
}

bool kqueue_history::was_changed(std::string_view kq, std::string_view filter,
                                 std::string_view name, std::string_view udata) const {
  const queue* const q = find_queue(kq);
  return q != nullptr && std::ranges::any_of(q->watches, [&](const watch& w) {
           return w.filter == filter && w.ident == name && (w.udata.empty() || w.udata == udata) &&
                  w.changed_at > q->shown_at;
         });
}

bool kqueue_history::has_room_again(std::string_view kq, std::string_view name) const {
  const file* const f = find_file(name);
  const queue* const q = find_queue(kq);
  if (f == nullptr || q == nullptr) return false;
  if (other_end_of(*f).read_at > q->shown_at) return true;
  // Of a pipe, either end has a WRITE knote about the same room.
  const pair& of = pair_of(*f);
  const std::size_t moved_at = std::max(end_of(*f).written_at, end_of(*f).read_at);
  return !of.is_socket && std::max(moved_at, of.closed_at) > q->shown_at;
}

bool kqueue_history::has_other_knote(std::string_view kq, std::string_view name) const {
  const queue* const q = find_queue(kq);
  if (q == nullptr) return false;
  std::size_t count = 0;
  bool has_low_water = false;
  for (const watch& w : q->watches) {
    if (w.ident != name) continue;
    ++count;
    has_low_water = has_low_water || w.has_low_water;
  }
  return count > 1 || has_low_water;
}

bool kqueue_history::is_socket(std::string_view name) const {
  const file* const f = find_file(name);
  return f != nullptr && pair_of(*f).is_socket;
}

bool kqueue_history::is_ready(const watch& w) const {
  const file* const f = find_file(w.ident);
  if (f == nullptr) return false;
  const pair_end& other = other_end_of(*f);
  if (w.filter == "read") return end_of(*f).received != 0 || other.names == 0;
  return w.filter == "write" && (end_of(*f).filled_at <= other.read_at || other.names == 0);
}

bool kqueue_history::is_active_still(const queue& q, unsigned depth) const {
  if (depth > deepest) return false;
  return std::ranges::any_of(q.watches, [&](const watch& w) {
    if (w.is_active) return true;
    if (!w.is_level || w.is_disabled || w.has_low_water) return false;
    const queue* const inner = find_queue(w.ident);
    return inner != nullptr ? is_active_still(*inner, depth + 1) : is_ready(w);
  });
}

bool kqueue_history::may_have_stopped(std::string_view kq, unsigned depth) const {
  const queue* const q = find_queue(kq);
  if (q == nullptr || depth > deepest || is_active_still(*q, depth)) return false;
  return std::ranges::any_of(q->watches, [&](const watch& w) {
    if (const queue* const inner = find_queue(w.ident))
      return inner->called_at > q->shown_at || may_have_stopped(w.ident, depth + 1);
    const file* const f = find_file(w.ident);
    if (f == nullptr || is_ready(w)) return false;
    return std::max(end_of(*f).read_at, end_of(*f).filled_at) > q->shown_at;
  });
}

bool kqueue_history::may_be_readable_in_vain(std::string_view kq, unsigned depth) const {
  const queue* const q = find_queue(kq);
  if (q == nullptr || depth > deepest) return false;
  return std::ranges::any_of(q->watches, [&](const watch& w) {
    if (find_queue(w.ident) != nullptr) return may_be_readable_in_vain(w.ident, depth + 1);
    if (w.filter == "proc") return w.is_disabled;
    const file* const f = find_file(w.ident);
    if (f == nullptr) return false;
    if (w.is_clear && w.changed_at > q->shown_at && is_ready(w)) return true;
    return w.has_low_water && std::max(other_end_of(*f).written_at, w.changed_at) > q->shown_at;
  });
}

}  // namespace conformance
