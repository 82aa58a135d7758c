// The knotes of a kqueue that are about descriptors, by number, and their registrations in the
// epoll set: one per number, whatever its knotes. A registration carries number and generation, so
// that an event of an earlier one is known as such.
//
// It is level-triggered unless one of the enabled knotes has EV_CLEAR, or is one whose events its
// filter examines: if it does not find them worth a report, epoll must not repeat them. It is
// absent while none is enabled: epoll would report a hang-up even then. It is gone without our
// doing when the program has closed the number (and every duplicate); refresh() finds that out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kedge/runtime/kqueue/knote_record.h"

namespace kedge::kqueue {

class descriptor_table {
 public:
  struct entry {
    knote_record* first = nullptr;  // its knotes, chained
    std::uint32_t generation = 0;
    std::uint16_t armed = 0;  // the events registered, or with `edge`; 0: no registration
    // Those of EPOLLIN and EPOLLOUT that ask for no more than a record from each knote that reports
    // them, and leave all as it is: what nearly every event is.
    std::uint16_t plain = 0;
  };
  static constexpr std::uint16_t edge = 1u << 15;  // EPOLLET's place in `armed`

  // The entry of a number; null if it has never had a knote.
  entry* find(std::uint64_t fd) noexcept { return fd < entries_.size() ? &entries_[fd] : nullptr; }
  const entry* find(std::uint64_t fd) const noexcept {
    return fd < entries_.size() ? &entries_[fd] : nullptr;
  }
  // All, by number. Those of numbers that have or had a registration are there.
  const entry* entries() const noexcept { return entries_.data(); }
  // Any knote from this place on, which becomes its own; null if there is none.
  knote_record* any_from(std::size_t& place) const noexcept;

  void insert(knote_record& k);  // throws std::bad_alloc. `ident` is an open descriptor's number.
  void remove(knote_record& k) noexcept;
  // Nothing about `fd` is plain until the next refresh().
  void forget_plain(std::uint64_t fd) noexcept { entries_[fd].plain = 0; }
  void clear() noexcept { std::vector<entry>().swap(entries_); }  // gives its memory back

  // Makes the registration what the polled, enabled knotes of `fd` need, and says in each what of
  // it is its own. `again`: also if it is that already, so that epoll looks at the descriptor anew.
  // Returns 0 or an errno: ENOENT, EBADF the number was closed since (or the kqueue's was); EPERM
  // epoll cannot watch this file; ELOOP, EINVAL a kqueue that cannot be nested so; ENOMEM, ENOSPC.
  int refresh(int epoll, std::uint32_t fd, bool again) noexcept;

  // Counts the registrations made and removed.
  unsigned changes() const noexcept { return generation_; }

  // A number from this place on that has a registration, which becomes its own; -1 if there is
  // none.
  int any_registered_from(std::size_t& place) const noexcept;
  // Registers in `epoll` what is registered. Returns 0 or an errno.
  int copy_to(int epoll) const noexcept;

  // Another file has the number: what epoll had about it is gone.
  void forget_registration(std::uint32_t fd) noexcept { entries_[fd].armed = 0; }

 private:
  std::vector<entry> entries_;
  std::uint32_t generation_ = 0;
};

}  // namespace kedge::kqueue
