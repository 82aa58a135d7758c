// The links between ports and sets as macOS 11 keeps them (Darwin: waitq_unlink_cb,
// waitq_maybe_remove_link).
#include "kedge/mach/kernel/core/macos11_set_chain.h"

#include <cstddef>
#include <mutex>
#include <vector>

namespace kedge::mach::kernel {

void forget(membership& stale) noexcept {
  stale.member->sets.remove(stale);
  delete &stale;
}

void forget_only_stale(port& member) noexcept {
  membership* const only = member.sets.front();
  if (only && only == member.sets.back() && is_stale(*only)) forget(*only);
}

void make_stale(port& member, ipc_port_set& set) noexcept {
  constexpr int most = 16;
  const std::lock_guard hold(member.lock);
  membership* oldest = nullptr;
  int stale = 0;
  for (membership* each = member.sets.front(); each; each = member_sets::after(*each)) {
    if (each->set == &set) {
      const std::lock_guard hold_set(set.lock);
      set.members.remove(*each);
      if (each->ready.is_linked()) set.ready.remove(*each);
      each->set = nullptr;
    }
    if (!is_stale(*each)) continue;
    if (!oldest) oldest = each;
    ++stale;
  }
  if (stale > most) forget(*oldest);
}

namespace {

// The sets of a port, the newest first. In macOS 11 each link has one set, and the next link or the
// oldest set: the last two sets hang from one link.
class set_chain {
 public:
  set_chain(port& member, const ipc_port_set& set) : set_(set) {
    for (membership* each = member.sets.front(); each; each = member_sets::after(*each)) {
      sets_.insert(sets_.begin(), each);
    }
  }

  // Removes the set, and destroyed sets on the way to it. A set that is removed at the head of the
  // chain is not reported. Once a destroyed set was removed, the search ends at the first set that
  // stays. Returns whether the removal is reported.
  bool extract() {
    if (sets_.size() < 2) return !sets_.empty() && sets_[0]->set == &set_ && drop(0);
    if (!is_met(0)) return extract_behind_head();
    if (sets_.size() == 2 && is_stale(*sets_[1])) drop(1);
    drop(0);
    return false;
  }

 private:
  bool extract_behind_head() {
    bool changed = false;
    for (std::size_t link = 0;;) {
      const std::size_t left = sets_.size() - link;
      if (link == 0 && left == 2) {
        if (is_met(1)) drop(1);
        return false;
      }
      if (left < 3) return false;
      const std::size_t next = link + 1;
      const bool is_last = left == 3;
      if (is_last && is_stale(*sets_[next]) && is_stale(*sets_[next + 1])) {
        drop(next + 1);
        if (link == 0) drop(next);
        return false;
      }
      if (is_met(next) || (is_last && is_met(next + 1))) {
        if (drop(is_met(next) ? next : next + 1)) return true;
        changed = true;
      } else if (changed) {
        return false;
      } else {
        ++link;
      }
    }
  }

  // Whether the set at the index is the one to be removed, or was destroyed.
  bool is_met(std::size_t index) const noexcept {
    return is_stale(*sets_[index]) || sets_[index]->set == &set_;
  }

  // Removes the set at the index. Returns false if it was destroyed before.
  bool drop(std::size_t index) noexcept {
    membership& gone = *sets_[index];
    sets_.erase(sets_.begin() + static_cast<std::ptrdiff_t>(index));
    if (is_stale(gone)) {
      forget(gone);
      return false;
    }
    const std::lock_guard hold(gone.set->lock);
    unlink(gone);
    return true;
  }

  const ipc_port_set& set_;
  std::vector<membership*> sets_;
};

}  // namespace

bool extract_from_chain(port& member, const ipc_port_set& set) {
  return set_chain(member, set).extract();
}

}  // namespace kedge::mach::kernel
