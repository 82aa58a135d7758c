// registration_table: the loop's registrations, and the changes not yet submitted to its kqueue.
//
// `udata` carries an index and its generation, never an address, so that an event for what was
// closed meanwhile is told apart and dropped. For registration.cc and reactor.cc.
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

// One registration; lives until the last hold on it is given up, maybe longer than the table.
struct registration_slot {
  registration_table* table = nullptr;  // null: the loop is gone
  listener* first = nullptr;
  kevent64_s event{};       // the last one
  std::error_code refusal;  // what the kernel said against it
  std::uint64_t ident = 0;
  std::uint64_t batch = 0;  // its addition went into this batch of changes
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

  // The loop is gone: tells every listener errc::loop_gone, and takes no more registrations.
  void close() noexcept;
  bool closed() const noexcept { return closed_; }

  // Null: (filter, ident) is held, and it or the hold asked for is exclusive. Throws
  // std::bad_alloc.
  registration_slot* acquire(sharing mode, std::int16_t filter, std::uint64_t ident,
                             std::uint32_t fflags);
  // Gives up one hold; deletes the slot with the last one. `number_closes`: what the slot is about
  // is a descriptor whose number is closed before the next wait.
  static void release(registration_slot* slot, std::error_code why, bool number_closes) noexcept;

  // Hands an event, an error record among them, to its listeners.
  void deliver(const kevent64_s& event) noexcept;

  // What to submit with the next wait.
  const std::vector<kevent64_s>& changes() const noexcept { return changes_; }
  // The first `count` of them have been submitted.
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

  void forget(const registration_slot& slot, bool number_closes) noexcept;
  std::uint64_t udata_of(const registration_slot& slot) const noexcept;

  std::vector<entry> entries_;
  std::vector<std::uint32_t> free_;
  std::unordered_map<key, registration_slot*, key_hash> by_key_;
  std::vector<kevent64_s> changes_;  // has room for the deletion of every slot
  std::uint64_t batch_ = 0;          // counts how often all changes were submitted
  bool closed_ = false;
};

}  // namespace kedge
