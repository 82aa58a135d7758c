// registration and its table: holds, listeners, and the changes that each needs in the kernel.
#include "kedge/runtime/reactor/registration.h"

#include <algorithm>
#include <cassert>
#include <memory>
#include <thread>
#include <utility>

#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/reactor/registration_table.h"

namespace kedge {

void listener::end_all(registration_slot& slot, std::error_code why) noexcept {
  while (slot.first != nullptr) {
    listener& l = *slot.first;
    l.unlink();
    l.closed(why);
  }
}

registration::registration(reactor& r, sharing mode, std::int16_t filter, std::uint64_t ident,
                           std::uint32_t fflags)
    : registration(*r.registrations(), mode, filter, ident, fflags) {}

registration::registration(registration_table& t, sharing mode, std::int16_t filter,
                           std::uint64_t ident, std::uint32_t fflags)
    : slot_(t.closed() ? nullptr : t.acquire(mode, filter, ident, fflags)),
      end_(t.closed() ? errc::loop_gone : errc::already_awaited) {}

registration::registration(registration&& other) noexcept {
  take_over(other);
}

registration& registration::operator=(registration&& other) noexcept {
  if (this != &other) {
    close();
    take_over(other);
  }
  return *this;
}

void registration::take_over(registration& other) noexcept {
  slot_ = std::exchange(other.slot_, nullptr);
  end_ = std::exchange(other.end_, errc::closed);
  if (slot_ != nullptr && slot_->linked_by == &other) slot_->linked_by = this;
}

registration::operator bool() const noexcept {
  return slot_ != nullptr && slot_->table != nullptr && !slot_->table->closed();
}

std::uint64_t registration::udata() const noexcept {
  return slot_->table->udata_of(*slot_);
}

void registration::close(std::error_code why) noexcept {
  give_up(why, false);
}

void registration::close_with_fd() noexcept {
  give_up(errc::closed, true);
}

void registration::give_up(std::error_code why, bool fd_closes) noexcept {
  if (slot_ == nullptr) return;
  registration_slot& slot = *std::exchange(slot_, nullptr);
  end_ = why;
  if (fd_closes) {
    registration_table::lose_fd(slot, why);
  } else if (slot.mode == sharing::exclusive && slot.linked_by == this) {
    listener::end_all(slot, why);
  }
  registration_table::release(slot);
}

std::error_code registration::link(listener& l) noexcept {
  using enum registration_slot::stage;
  if (slot_ == nullptr) return end_;
  if (slot_->at == fd_closed) return errc::closed;
  if (slot_->table == nullptr || slot_->table->closed()) return errc::loop_gone;
  assert(slot_->table->in_own_thread() && "kedge: a source is awaited on its loop's thread");
  if (slot_->at == refused) return {slot_->refusal, std::system_category()};
  if (slot_->mode == sharing::exclusive) {
    if (slot_->first != nullptr && !slot_->first->is_idle()) return errc::already_awaited;
    if (slot_->first != nullptr) slot_->first->unlink();
    slot_->linked_by = this;
  }
  l.slot_ = slot_;
  l.previous_ = nullptr;
  l.next_ = slot_->first;
  if (l.next_ != nullptr) l.next_->previous_ = &l;
  slot_->first = &l;
  return {};
}

// --- registration_table --------------------------------------------------------------------------

bool registration_table::in_own_thread() const noexcept {
  return owner_.in_own_thread();
}

void registration_table::close() noexcept {
  closed_ = true;
  for (entry& e : entries_) {
    // After this call the last holder deletes the slot, without the table.
    registration_slot* const slot = std::exchange(e.slot, nullptr);
    if (slot == nullptr) continue;
    slot->table = nullptr;
    slot->ready = false;
    listener::end_all(*slot, errc::loop_gone);
  }
  while (additions_.pop_front() != nullptr) continue;
  while (const registration_slot* const slot = deletions_.pop_front()) delete slot;
  pending_ = 0;
  is_over_.store(true, std::memory_order_release);
}

void registration_table::wait_for_close() const noexcept {
  while (!is_over_.load(std::memory_order_acquire)) std::this_thread::yield();
}

std::uint64_t registration_table::udata_of(const registration_slot& slot) const noexcept {
  return std::uint64_t{entries_[slot.index].generation} << 32 | slot.index;
}

registration_slot* registration_table::find(const key& k) const noexcept {
  const std::size_t place = place_of(k.filter, k.ident);
  if (place < by_fd_.size()) {
    const std::uint32_t index = by_fd_[place];
    return index == 0 ? nullptr : entries_[index - 1].slot;
  }
  if (place != ~std::size_t{0}) return nullptr;
  const auto held = by_key_.find(k);
  return held == by_key_.end() ? nullptr : held->second;
}

bool registration_table::has_waiter(const key& k) const noexcept {
  const registration_slot* const held = closed() ? nullptr : find(k);
  return held != nullptr && held->first != nullptr && !held->first->is_idle();
}

void registration_table::anticipate(std::int16_t filter, std::uint64_t ident) noexcept {
  if (closed()) return;
  registration_slot* const slot = recent_[ident >> 8 & (recent_.size() - 1)];
  if (slot == nullptr || slot->ident != ident || slot->filter != filter) [[unlikely]] {
    return anticipate_unknown(filter, ident);
  }
  anticipate(*slot);
}

// The same for one that is not in recent_.
void registration_table::anticipate_unknown(std::int16_t filter, std::uint64_t ident) noexcept {
  registration_slot* const slot = find({ident, filter});
  if (slot == nullptr) return;
  recent_[ident >> 8 & (recent_.size() - 1)] = slot;
  anticipate(*slot);
}

void registration_table::anticipate(registration_slot& slot) noexcept {
  slot.ready = true;
  anticipated_.ident = slot.ident;
  anticipated_.filter = slot.filter;
  if (slot.first == nullptr) return;
  if (slot.first->next_ != nullptr) [[unlikely]]
    return notify_all(slot, anticipated_);
  slot.first->notify(anticipated_);
}

void registration_table::notify_all(const registration_slot& slot,
                                    const kevent64_s& event) noexcept {
  listener* next = nullptr;
  for (listener* l = slot.first; l != nullptr; l = next) {
    next = l->next_;
    l->notify(event);
  }
}

void registration_table::insert(const key& k, registration_slot& slot) {
  const std::size_t place = place_of(k.filter, k.ident);
  if (place == ~std::size_t{0}) {
    by_key_.emplace(k, &slot);
    return;
  }
  // Doubles: the fds of a program are seldom sparse.
  if (place >= by_fd_.size()) by_fd_.resize(std::max(2 * by_fd_.size(), (place | 1) + 1));
  by_fd_[place] = slot.index + 1;
}

// Returns an unused index. It stays unused until its entry has a slot.
std::uint32_t registration_table::take_index() {
  if (first_free_ == no_index) {
    entries_.emplace_back();
    first_free_ = static_cast<std::uint32_t>(entries_.size() - 1);
  }
  return first_free_;
}

registration_slot* registration_table::acquire(sharing mode, std::int16_t filter,
                                               std::uint64_t ident, std::uint32_t fflags) {
  if (registration_slot* const held = find({ident, filter})) {
    if (held->mode != mode) return nullptr;
    ++held->holds;
    return held;
  }
  allocation_check::run();
  auto slot = std::make_unique<registration_slot>();
  slot->table = this;
  slot->ident = ident;
  slot->fflags = fflags;
  slot->filter = filter;
  slot->mode = mode;
  slot->index = take_index();
  insert({ident, filter}, *slot);  // the last step that may throw
  entry& e = entries_[slot->index];
  first_free_ = e.next_free;
  e.slot = slot.get();
  additions_.push_back(*slot);
  ++pending_;
  ++held_;
  return slot.release();
}

void registration_table::release(registration_slot& slot) noexcept {
  if (--slot.holds != 0) return;
  if (slot.table != nullptr) {
    slot.table->forget(slot);
  } else {
    delete &slot;
  }
}

void registration_table::lose_fd(registration_slot& slot, std::error_code why) noexcept {
  if (slot.table != nullptr) slot.table->take_out(slot);
  slot.table = nullptr;
  slot.at = registration_slot::stage::fd_closed;
  listener::end_all(slot, why);
}

// Takes the slot out of the table, and the registration out of the kernel. An addition that has not
// been submitted is withdrawn: by the next wait the fd may be another file.
void registration_table::forget(registration_slot& slot) noexcept {
  const bool in_kernel = slot.at == registration_slot::stage::registered;
  take_out(slot);
  if (in_kernel) {
    deletions_.push_back(slot);
    ++pending_;
  } else {
    delete &slot;
  }
}

// Frees the slot's index, and withdraws its addition.
void registration_table::take_out(registration_slot& slot) noexcept {
  if (slot.at == registration_slot::stage::adding) {
    additions_.remove(slot);
    --pending_;
  }
  const std::size_t place = place_of(slot.filter, slot.ident);
  if (place == ~std::size_t{0}) {
    by_key_.erase({slot.ident, slot.filter});
  } else {
    by_fd_[place] = 0;
  }
  --held_;
  if (waking_ == &slot) waking_ = nullptr;
  if (registration_slot*& recent = recent_[slot.ident >> 8 & (recent_.size() - 1)];
      recent == &slot) {
    recent = nullptr;
  }
  entry& e = entries_[slot.index];
  e.slot = nullptr;
  ++e.generation;
  e.next_free = first_free_;
  first_free_ = slot.index;
}

std::size_t registration_table::write_changes(kevent64_s* into, std::size_t most) const noexcept {
  std::size_t count = 0;
  const auto write = [&](const registration_slot& slot, std::uint16_t flags, std::uint64_t udata) {
    kevent64_s& change = into[count++];
    change = {};
    change.ident = slot.ident;
    change.filter = slot.filter;
    change.flags = flags;
    change.fflags = flags == EV_DELETE ? 0 : slot.fflags;
    change.udata = udata;
  };
  // A deletion fails if the kernel has dropped the registration. No slot has this udata.
  for (auto* s = deletions_.front(); s != nullptr && count < most; s = change_list::after(*s)) {
    write(*s, EV_DELETE, no_index - 1);
  }
  for (auto* s = additions_.front(); s != nullptr && count < most; s = change_list::after(*s)) {
    write(*s, EV_ADD | EV_CLEAR, udata_of(*s));
  }
  return count;
}

void registration_table::submitted(std::size_t count) noexcept {
  pending_ -= count;
  for (; count != 0; --count) {
    if (const registration_slot* const gone = deletions_.pop_front()) {
      delete gone;
    } else {
      additions_.pop_front()->at = registration_slot::stage::registered;
    }
  }
}

void registration_table::refuse(registration_slot& slot, int error) noexcept {
  slot.at = registration_slot::stage::refused;
  slot.refusal = error;
  listener::end_all(slot, {error, std::system_category()});
}

waking registration_table::find_waking() noexcept {
  waking found = waking::nothing;
  std::size_t at = waking_ != nullptr ? waking_->index : 0;
  for (std::size_t left = entries_.size(); left != 0; --left) {
    const registration_slot* const slot = entries_[at].slot;
    if (slot != nullptr && can_wake(*slot)) {
      if (slot->filter != EVFILT_SIGNAL) {
        waking_ = slot;
        return waking::anything;
      }
      found = waking::signals;
    }
    if (++at == entries_.size()) at = 0;
  }
  return found;
}

}  // namespace kedge
