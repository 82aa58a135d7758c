// registration and its table: holds, listeners, and the changes that each needs in the kernel.
#include "kedge/runtime/reactor/registration.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/reactor/registration_table.h"

namespace kedge {

void listener::unlink() noexcept {
  if (slot_ == nullptr) return;
  (previous_ != nullptr ? previous_->next_ : slot_->first) = next_;
  if (next_ != nullptr) next_->previous_ = previous_;
  slot_ = nullptr;
  previous_ = next_ = nullptr;
}

void listener::clear() noexcept {
  if ((slot_->event.flags & EV_EOF) == 0) slot_->ready = false;
}

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

registration::registration(registration&& other) noexcept
    : slot_(std::exchange(other.slot_, nullptr)), end_(std::exchange(other.end_, errc::closed)) {}

registration& registration::operator=(registration&& other) noexcept {
  if (this != &other) {
    close();
    slot_ = std::exchange(other.slot_, nullptr);
    end_ = std::exchange(other.end_, errc::closed);
  }
  return *this;
}

registration::operator bool() const noexcept {
  return slot_ != nullptr && slot_->table != nullptr;
}

void registration::close(std::error_code why) noexcept {
  give_up(why, false);
}

void registration::close_with_fd() noexcept {
  give_up(errc::closed, true);
}

void registration::give_up(std::error_code why, bool fd_closes) noexcept {
  if (slot_ == nullptr) return;
  end_ = why;
  registration_table::release(std::exchange(slot_, nullptr), why, fd_closes);
}

bool registration::ready() const noexcept {
  return slot_ != nullptr && slot_->ready;
}

bool registration::awaited() const noexcept {
  return slot_ != nullptr && slot_->first != nullptr;
}

void registration::clear() noexcept {
  if ((slot_->event.flags & EV_EOF) == 0) slot_->ready = false;
}

std::uint32_t registration::fflags() const noexcept {
  return slot_->event.fflags;
}

std::int64_t registration::data() const noexcept {
  return slot_->event.data;
}

std::error_code registration::link(listener& l) noexcept {
  if (slot_ == nullptr) return end_;
  if (slot_->table == nullptr) return errc::loop_gone;
  if (slot_->refusal) return slot_->refusal;
  if (slot_->mode == sharing::exclusive && slot_->first != nullptr) return errc::already_awaited;
  l.slot_ = slot_;
  l.previous_ = nullptr;
  l.next_ = slot_->first;
  if (l.next_ != nullptr) l.next_->previous_ = &l;
  slot_->first = &l;
  return {};
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
}

std::uint64_t registration_table::udata_of(const registration_slot& slot) const noexcept {
  return std::uint64_t{entries_[slot.index].generation} << 32 | slot.index;
}

registration_slot* registration_table::acquire(sharing mode, std::int16_t filter,
                                               std::uint64_t ident, std::uint32_t fflags) {
  if (const auto held = by_key_.find({ident, filter}); held != by_key_.end()) {
    registration_slot& slot = *held->second;
    if (mode == sharing::exclusive || slot.mode == sharing::exclusive) return nullptr;
    ++slot.holds;
    return &slot;
  }
  // Reserves first, so that neither adding the slot below nor its deletion later can fail. Doubles,
  // so that reserving is rare.
  const std::size_t wanted = changes_.size() + by_key_.size() + 2;
  if (changes_.capacity() < wanted) changes_.reserve(2 * wanted);
  if (free_.empty()) {
    entries_.emplace_back();
    free_.reserve(entries_.capacity());
    free_.push_back(static_cast<std::uint32_t>(entries_.size() - 1));
  }
  auto slot = std::make_unique<registration_slot>();
  by_key_.emplace(key{ident, filter}, slot.get());
  slot->table = this;
  slot->ident = ident;
  slot->batch = batch_;
  slot->filter = filter;
  slot->mode = mode;
  slot->holds = 1;
  slot->index = free_.back();
  free_.pop_back();
  entries_[slot->index].slot = slot.get();

  kevent64_s change{};
  change.ident = ident;
  change.filter = filter;
  change.flags = EV_ADD | EV_CLEAR;
  change.fflags = fflags;
  change.udata = udata_of(*slot);
  changes_.push_back(change);
  return slot.release();
}

void registration_table::release(registration_slot* slot, std::error_code why,
                                 bool fd_closes) noexcept {
  if (slot->mode == sharing::exclusive) listener::end_all(*slot, why);
  if (--slot->holds != 0) return;
  if (slot->table != nullptr) slot->table->forget(*slot, fd_closes);
  delete slot;
}

// Takes the slot out of the table, and the registration out of the kernel unless closing the fd
// does that. An addition that has not been submitted is withdrawn: by the next wait the fd may be
// another file.
void registration_table::forget(const registration_slot& slot, bool fd_closes) noexcept {
  const std::uint64_t udata = udata_of(slot);
  const auto is_its_addition = [&](const kevent64_s& c) {
    return c.udata == udata && (c.flags & EV_ADD) != 0;
  };
  const auto pending = slot.batch == batch_
                           ? std::find_if(changes_.begin(), changes_.end(), is_its_addition)
                           : changes_.end();
  if (pending != changes_.end()) {
    changes_.erase(pending);
  } else if (!slot.refusal && !fd_closes) {
    kevent64_s change{};
    change.ident = slot.ident;
    change.filter = slot.filter;
    change.flags = EV_DELETE;
    change.udata = udata;
    changes_.push_back(change);
  }
  by_key_.erase({slot.ident, slot.filter});
  entries_[slot.index].slot = nullptr;
  ++entries_[slot.index].generation;
  free_.push_back(slot.index);
}

void registration_table::deliver(const kevent64_s& event) noexcept {
  const auto index = static_cast<std::uint32_t>(event.udata);
  if (index >= entries_.size()) return;
  const entry& e = entries_[index];
  if (e.slot == nullptr || e.generation != event.udata >> 32) return;
  registration_slot& slot = *e.slot;
  if ((event.flags & EV_ERROR) != 0) {
    slot.refusal = std::error_code(static_cast<int>(event.data), std::system_category());
    listener::end_all(slot, slot.refusal);
    return;
  }
  slot.event = event;
  slot.ready = true;
  listener* next = nullptr;
  for (listener* l = slot.first; l != nullptr; l = next) {
    next = l->next_;
    l->notify(event);
  }
}

}  // namespace kedge
