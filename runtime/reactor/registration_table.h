// registration_table: the loop's registrations, and the changes not yet submitted to its kqueue.
//
// `udata` carries a slot's index and generation, never an address, so that an event for a
// registration that has been closed is recognised and dropped. Every function but write_changes()
// and close() takes constant time, however many changes are pending. For registration.cc and
// reactor.cc.
//
// Threads: the loop's thread only. The loop and its sources share the table, so it may outlive the
// loop.
#pragma once

#include <sys/event.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <system_error>
#include <unordered_map>
#include <vector>

#include "kedge/runtime/base/list.h"
#include "kedge/runtime/reactor/fork_generation.h"
#include "kedge/runtime/reactor/registration.h"
#include "kedge/runtime/reactor/registration_slot.h"

namespace kedge {

// What could make a task ready.
enum class waking : unsigned char { nothing, signals, anything };

class registration_table {
 public:
  // `owner` lives until close().
  explicit registration_table(const reactor& owner) noexcept : owner_(owner) {}
  registration_table(const registration_table&) = delete;
  registration_table& operator=(const registration_table&) = delete;
  ~registration_table() { close(); }

  // Ends every listener with errc::loop_gone, and refuses further registrations.
  void close() noexcept;
  // Waits until close() has returned on the loop's thread. For another thread, whose post the loop
  // has refused: what it does to its slots comes after that. Not in a forked child.
  void wait_for_close() const noexcept;
  // Returns true also in a forked child.
  bool closed() const noexcept { return closed_ || generation_ != fork_generation(); }

  // Returns the slot of (filter, ident) with one more hold. Returns null if (filter, ident) is held
  // in the other mode. Requires that the table is not closed. Throws std::bad_alloc.
  registration_slot* acquire(sharing mode, std::int16_t filter, std::uint64_t ident,
                             std::uint32_t fflags);
  // Returns whether a listener of (filter, ident) waits.
  bool awaited(std::int16_t filter, std::uint64_t ident) const noexcept {
    return !is_unused(filter, ident) && has_waiter({ident, filter});
  }
  // Returns true if (filter, ident) is not held, as of most files to write. May return false then.
  bool is_unused(std::int16_t filter, std::uint64_t ident) const noexcept {
    const std::size_t place = place_of(filter, ident);
    return place < by_fd_.size() && by_fd_[place] == 0;
  }
  // Gives up one hold; the last one ends the slot.
  static void release(registration_slot& slot) noexcept;
  // Takes a slot whose fd is being closed out of the table, and tells its listeners.
  static void lose_fd(registration_slot& slot, std::error_code why) noexcept;

  // Passes an event or an error record to its listeners.
  void deliver(const kevent64_s& event) noexcept {
    const auto index = static_cast<std::uint32_t>(event.udata);
    if (index >= entries_.size()) return;
    const entry& e = entries_[index];
    if (e.slot == nullptr || e.generation != event.udata >> 32) return;
    registration_slot& slot = *e.slot;
    if ((event.flags & EV_ERROR) != 0) [[unlikely]] {
      refuse(slot, static_cast<int>(event.data));
      return;
    }
    slot.data = event.data;
    slot.marked = (event.fflags & NOTE_OOB) != 0;
    slot.ended = (event.flags & EV_EOF) != 0;
    slot.ready = true;
    listener* next = nullptr;
    for (listener* l = slot.first; l != nullptr; l = next) {
      next = l->next_;
      l->notify(event);
    }
  }

  // Passes the event of (filter, ident) that the kernel is going to report to its listeners now.
  // No effect if nothing is registered there.
  void anticipate(std::int16_t filter, std::uint64_t ident) noexcept;

  // The changes to submit with the next wait.
  std::size_t pending() const noexcept { return pending_; }
  // Writes the first pending changes, at most `most`, to `into`. Returns their number. They stay
  // pending until submitted().
  std::size_t write_changes(kevent64_s* into, std::size_t most) const noexcept;
  // The first `count` changes have been submitted.
  void submitted(std::size_t count) noexcept;

  // Returns whether the kernel knows no registration, and is to learn of none.
  bool is_empty() const noexcept { return held_ == 0 && pending_ == 0; }

  // Returns what of the linked listeners could make a task ready. Begins at the registration that
  // the last call has found.
  waking find_waking() noexcept;
  // Returns whether what the last call has found can still make a task ready: spares a call.
  bool is_still_waking() const noexcept { return waking_ != nullptr && can_wake(*waking_); }

  // Returns whether a registration of (filter, ident) is held: the loop has awaited it, and no
  // other loop has taken it over.
  bool is_held(std::int16_t filter, std::uint64_t ident) const noexcept {
    return find({ident, filter}) != nullptr;
  }

  // Returns the udata of the slot's events.
  std::uint64_t udata_of(const registration_slot& slot) const noexcept;

  // Returns whether the calling thread is the loop's. Requires that the loop lives.
  bool in_own_thread() const noexcept;

 private:
  struct entry {
    registration_slot* slot = nullptr;
    std::uint32_t generation = 0;
    std::uint32_t next_free = no_index;  // if there is no slot
  };
  struct key {
    std::uint64_t ident;
    std::int16_t filter;
    bool operator==(const key&) const = default;
  };
  struct key_hash {
    std::size_t operator()(const key& k) const noexcept {
      return std::hash<std::uint64_t>()(k.ident * 31 + static_cast<std::uint16_t>(k.filter));
    }
  };
  static constexpr std::uint32_t no_index = ~std::uint32_t{0};
  // Fds above this are kept with the other idents, so that one large fd does not make a large
  // array.
  static constexpr std::uint64_t most_fds = 1 << 20;

  // The place of (filter, fd) in by_fd_, or no place.
  static std::size_t place_of(std::int16_t filter, std::uint64_t ident) noexcept {
    const bool is_fd = (filter == EVFILT_READ || filter == EVFILT_WRITE) && ident < most_fds;
    return is_fd ? 2 * static_cast<std::size_t>(ident) + (filter == EVFILT_WRITE ? 1 : 0)
                 : ~std::size_t{0};
  }

  [[gnu::noinline]] void anticipate_unknown(std::int16_t filter, std::uint64_t ident) noexcept;
  [[gnu::always_inline]] inline void anticipate(registration_slot& slot) noexcept;
  [[gnu::noinline]] static void notify_all(const registration_slot& slot,
                                           const kevent64_s& event) noexcept;
  static void refuse(registration_slot& slot, int error) noexcept;
  static bool can_wake(const registration_slot& slot) noexcept {
    const listener* l = slot.first;
    while (l != nullptr && !l->can_wake()) l = l->next_;
    return l != nullptr;
  }
  void forget(registration_slot& slot) noexcept;
  void take_out(registration_slot& slot) noexcept;
  registration_slot* find(const key& k) const noexcept;
  bool has_waiter(const key& k) const noexcept;
  void insert(const key& k, registration_slot& slot);
  std::uint32_t take_index();

  // Deletions go before additions: a pending addition is never older than a pending deletion of the
  // same (filter, ident).
  using change_list = base::list<registration_slot, &registration_slot::change>;

  const reactor& owner_;
  std::vector<entry> entries_;
  std::uint32_t first_free_ = no_index;
  std::vector<std::uint32_t> by_fd_;  // 1 + index of the READ and of the WRITE slot of each fd
  std::unordered_map<key, registration_slot*, key_hash> by_key_;  // all others
  change_list deletions_;                                         // slots without holds
  change_list additions_;
  std::size_t pending_ = 0;
  std::size_t held_ = 0;
  const registration_slot* waking_ = nullptr;  // of this table, and of no signal
  // Those that anticipate() has found last, by their idents: spares a hash. Mach numbers its names
  // above the lowest eight bits.
  std::array<registration_slot*, 16> recent_{};
  kevent64_s anticipated_{};  // the event of anticipate()
  const unsigned generation_ = fork_generation();
  bool closed_ = false;
  std::atomic<bool> is_over_{false};
};

}  // namespace kedge
