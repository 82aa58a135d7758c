// descriptor_table: the knotes of a kqueue that are about descriptors, by fd, and their
// registrations in the epoll set. There is one registration per fd, whatever its knotes. It carries
// the fd and a generation, so that events of an earlier registration are recognised.
//
// A registration is level-triggered, unless an enabled knote has EV_CLEAR, or needs a probe: if the
// probe finds nothing to report, epoll must not repeat the event. There is no registration while no
// knote is enabled, because epoll would report a hang-up even then. A registration disappears by
// itself when the program closes the fd and all duplicates; refresh() finds that out.
//
// Threads: the lock of the kqueue.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kedge/runtime/kqueue/knote_record.h"

namespace kedge::kqueue {

// The 64 bits of data of an epoll event. For a descriptor of the program: the fd, below 2^31, in
// the lower half and the registration's generation in the upper half. For an internal descriptor:
// one of the tags below.
inline constexpr std::uint32_t internal_tag = 0x8000'0000;
inline constexpr std::uint64_t wakeup_tag = 0xffff'ffff;

constexpr std::uint64_t pump_tag(unsigned filter) noexcept {
  return internal_tag | filter;
}

class descriptor_table {
 public:
  struct entry {
    knote_record* first = nullptr;  // the chain of its knotes
    std::uint32_t generation = 0;
    std::uint16_t armed = 0;  // the registered events, and perhaps `edge`. 0: no registration
    // Those of EPOLLIN and EPOLLOUT for which it is enough to write an event for each knote that
    // reports them, with no change of state. Nearly every event of epoll is plain.
    std::uint16_t plain = 0;
  };
  static constexpr std::uint16_t edge = 1u << 15;  // stands for EPOLLET in `armed`

  // Returns the entry of an fd, or null if it has never had a knote.
  entry* find(std::uint64_t fd) noexcept { return fd < entries_.size() ? &entries_[fd] : nullptr; }
  const entry* find(std::uint64_t fd) const noexcept {
    return fd < entries_.size() ? &entries_[fd] : nullptr;
  }
  // All entries, by fd. Every fd that has or had a registration has an entry.
  const entry* entries() const noexcept { return entries_.data(); }
  // Returns a knote of the first fd with knotes from `place` on, and sets `place` to that. Null if
  // there is none.
  knote_record* any_from(std::size_t& place) const noexcept;

  // Throws std::bad_alloc. Requires that `ident` is an open fd.
  void insert(knote_record& k);
  void remove(knote_record& k) noexcept;
  // Until the next refresh() no event of `fd` is plain.
  void forget_plain(std::uint64_t fd) noexcept { entries_[fd].plain = 0; }
  void clear() noexcept { std::vector<entry>().swap(entries_); }  // frees the memory

  // Makes the registration of `fd` what its polled, enabled knotes need, and sets `reported` of
  // each. With `again`, also if it is that already, so that epoll checks the descriptor again.
  //
  // Returns 0 or an errno: ENOENT or EBADF if the fd was closed since (or the kqueue's was); EPERM
  // if epoll cannot watch the file; ELOOP or EINVAL for a kqueue that cannot be nested; ENOMEM;
  // ENOSPC.
  int refresh(int epoll, std::uint32_t fd, bool again) noexcept;

  // Counts the registrations made and removed.
  unsigned changes() const noexcept { return generation_; }

  // Returns the first fd from `place` on that has a registration, and sets `place` to it. -1 if
  // there is none.
  int any_registered_from(std::size_t& place) const noexcept;
  // Makes the same registrations in `epoll`. Returns 0 or an errno.
  int copy_to(int epoll) const noexcept;

  // Another file has the fd, so that epoll has dropped the registration.
  void forget_registration(std::uint32_t fd) noexcept { entries_[fd].armed = 0; }

 private:
  std::vector<entry> entries_;
  std::uint32_t generation_ = 0;
};

}  // namespace kedge::kqueue
