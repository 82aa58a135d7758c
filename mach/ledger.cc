// Implements the ledger with a table of all spaces.
#include "kedge/mach/ledger.h"

#include <algorithm>
#include <compare>
#include <cstddef>
#include <cstdio>
#include <map>
#include <mutex>
#include <new>
#include <stdexcept>
#include <utility>

#include "kedge/mach/ledger_entries.h"
#include "kedge/mach/reference_counts.h"
#include "kedge/mach/space_incarnation.h"
#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/base/outside_heap.h"

namespace kedge::mach::ledger {

#ifdef NDEBUG

bool is_kept() noexcept {
  return false;
}
std::vector<entry> entries() {
  return {};
}

#else

namespace {

struct key {
  std::uint32_t space;
  mach_port_name_t name;
  kind what;
  auto operator<=>(const key&) const = default;
};
struct line {
  std::uint64_t number;  // the oldest line has the least one
  place where;
};

// The line that was erased last is used again, so that rights which come and go one at a time cost
// no allocation.
struct table {
  using map = std::map<key, line>;

  void put(const key& k, const place& where, bool only_if_in_message) {
    auto at = lines.find(k);
    if (at != lines.end()) {
      if (!only_if_in_message || at->second.where.line() == 0) at->second.where = where;
    } else if (spare) {
      spare.key() = k;
      spare.mapped() = {++last, where};
      lines.insert(std::move(spare));
    } else {
      lines.try_emplace(k, line{last + 1, where});
      ++last;
    }
  }
  void erase(const key& k) noexcept {
    const auto at = lines.find(k);
    if (at != lines.end()) spare = lines.extract(at);
  }

  map lines;
  map::node_type spare;
  std::uint64_t last = 0;
};
// Rights may be released by the destructors of static objects, so the table is never destroyed.
table& all() noexcept {
  alignas(table) static std::byte memory[sizeof(table)];
  static table* const made = new (memory) table;
  return *made;
}

constinit base::mutex lock;
using hold = std::lock_guard<base::mutex>;

void put(const key& k, const place& where, bool only_if_in_message) noexcept {
  try {
    const base::outside_heap shared;
    const hold held(lock);
    all().put(k, where, only_if_in_message);
  } catch (const std::bad_alloc&) {
    // The right is missing in the ledger.
  }
}

}  // namespace

bool is_kept() noexcept {
  return true;
}

void record(kind what, std::uint32_t space, mach_port_name_t name, const place& where) noexcept {
  const bool is_of_library = where.line() == 0 && what != kind::send;
  if (is_of_library) return;
  put({space, name, what}, where, false);
}

void record_taken(kind what, std::uint32_t space, mach_port_name_t name,
                  const place& where) noexcept {
  put({space, name, what}, where, true);
}

void lock_for_fork() noexcept {
  lock.lock();
}
void unlock_after_fork() noexcept {
  lock.unlock();
}

void erase(kind what, std::uint32_t space, mach_port_name_t name) noexcept {
  const hold held(lock);
  all().erase({space, name, what});
}

std::vector<entry> entries() {
  std::vector<std::pair<std::uint64_t, entry>> found;
  const std::uint32_t space = space_incarnation();
  {
    const hold held(lock);
    const auto& lines = all().lines;
    for (auto at = lines.lower_bound({space, 0, kind{}});
         at != lines.end() && at->first.space == space; ++at) {
      found.emplace_back(at->second.number,
                         entry{at->first.name, at->first.what, 1, at->second.where});
    }
  }
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<entry> sorted;
  sorted.reserve(found.size());
  for (auto& [number, e] : found) {
    if (e.what == kind::send) e.objects = reference_counts::count(space, e.name);
    sorted.push_back(e);
  }
  return sorted;
}

void report_end(std::uint32_t space) noexcept {
  const hold held(lock);
  auto& lines = all().lines;
  const auto first = lines.lower_bound({space, 0, kind{}});
  auto last = first;
  for (; last != lines.end() && last->first.space == space; ++last) {
    const place& where = last->second.where;
    std::fprintf(stderr, "kedge::mach: a space ends with a right, 0x%x, of %s:%u\n",
                 last->first.name, where.line() != 0 ? where.file_name() : "a received message",
                 static_cast<unsigned>(where.line()));
  }
  lines.erase(first, last);
}

void forget(std::uint32_t space) noexcept {
  const hold held(lock);
  auto& lines = all().lines;
  auto at = lines.lower_bound({space, 0, kind{}});
  while (at != lines.end() && at->first.space == space) at = lines.erase(at);
}

#endif

std::string to_string() {
  constexpr const char* names[] = {"send right", "send-once right", "receive right", "port set"};
  std::string text;
  for (const entry& e : entries()) {
    char name[32];
    std::snprintf(name, sizeof name, " 0x%x", e.name);
    text += names[static_cast<std::size_t>(e.what)];
    text += name;
    if (e.objects > 1) text += " (" + std::to_string(e.objects) + " objects)";
    if (e.where.line() != 0) {
      text += ": " + std::string(e.where.file_name()) + ":" + std::to_string(e.where.line());
    } else {
      text += ": in a received message";
    }
    text += '\n';
  }
  return text;
}

void expect_empty() {
  const std::string left = to_string();
  if (!left.empty()) throw std::logic_error("kedge::mach::ledger: rights are left\n" + left);
}

}  // namespace kedge::mach::ledger
