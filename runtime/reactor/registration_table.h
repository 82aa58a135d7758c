// registration_table: the loop's registrations, and the changes not yet submitted to its kqueue.
//
// `udata` carries a slot's index and generation, never an address, so that an event for a
// registration that has been closed is recognised and dropped. For registration.cc and reactor.cc.
//
// Threads: the loop's thread only. The loop and its sources share the table, so it may outlive the
// loop.
#pragma once

#include <sys/event.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <system_error>
#include <unordered_map>
#include <vector>

#include "kedge/runtime/reactor/registration.h"

namespace kedge {

class registration_table;

// One registration. Lives until its last hold is given up, which may be after the table's end.
struct registration_slot {
  registration_table* table = nullptr;  // null: the loop is gone
  listener* first = nullptr;            // the latest linked one
  kevent64_s event{};                   // the last event
  std::error_code refusal;              // the kernel's error if it refused the registration
  std::uint64_t ident = 0;
  std::uint64_t batch = 0;  // the batch of changes that its addition is in
  std::uint32_t index = 0;
  std::uint32_t holds = 0;
  std::int16_t filter = 0;
  sharing mode = sharing::exclusive;
  bool ready = false;
};

class registration_table {
 public:
  registration_table() = default;
  registration_table(const registration_table&) = delete;
  registration_table& operator=(const registration_table&) = delete;
  ~registration_table() { close(); }

  // Ends every listener with errc::loop_gone, and refuses further registrations.
  void close() noexcept;
  bool closed() const noexcept { return closed_; }

  // Returns the slot of (filter, ident) with one more hold. Returns null if (filter, ident) is held
  // and either that hold or `mode` is exclusive. Throws std::bad_alloc.
  registration_slot* acquire(sharing mode, std::int16_t filter, std::uint64_t ident,
                             std::uint32_t fflags);
  // Gives up one hold; the last one deletes the slot. `fd_closes`: the slot's ident is an fd that
  // the caller closes before the next wait.
  static void release(registration_slot* slot, std::error_code why, bool fd_closes) noexcept;

  // Passes an event or an error record to its listeners.
  void deliver(const kevent64_s& event) noexcept;

  // The changes to submit with the next wait.
  const std::vector<kevent64_s>& changes() const noexcept { return changes_; }
  // The first `count` changes have been submitted.
  void submitted(std::size_t count) noexcept {
    changes_.erase(changes_.begin(), changes_.begin() + static_cast<std::ptrdiff_t>(count));
    if (changes_.empty()) ++batch_;
  }

 private:
  struct entry {
    registration_slot* slot = nullptr;
    std::uint32_t generation = 0;
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

  void forget(const registration_slot& slot, bool fd_closes) noexcept;
  std::uint64_t udata_of(const registration_slot& slot) const noexcept;

  std::vector<entry> entries_;
  std::vector<std::uint32_t> free_;
  std::unordered_map<key, registration_slot*, key_hash> by_key_;
  std::vector<kevent64_s> changes_;  // has room for the deletion of every slot
  std::uint64_t batch_ = 0;          // how often all changes have been submitted
  bool closed_ = false;
};

}  // namespace kedge
