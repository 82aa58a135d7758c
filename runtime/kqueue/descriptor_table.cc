#include "kedge/kqueue/descriptor_table.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>

namespace kedge::kqueue {

namespace {

// Ready to read or write, no end and no error, of a descriptor's only knote, which its delivery
// leaves as it is: what nearly every event is.
std::uint32_t plain_part(const knote_record& k) noexcept {
  const bool alone = k.chain == nullptr;
  const bool lasts = (k.flags & (EV_ONESHOT | EV_DISPATCH)) == 0 && !k.examined;
  return alone && lasts ? k.reported & (EPOLLIN | EPOLLOUT) : 0;
}

std::uint64_t tag_of(const descriptor_table::entry& e, std::uint32_t fd) noexcept {
  return (static_cast<std::uint64_t>(e.generation) << 32) | fd;
}

}  // namespace

knote_record* descriptor_table::any_from(std::size_t& place) const noexcept {
  for (; place < entries_.size(); ++place) {
    if (entries_[place].first != nullptr) return entries_[place].first;
  }
  return nullptr;
}

void descriptor_table::insert(knote_record& k) {
  if (k.ident >= entries_.size()) {
    entries_.resize(std::max<std::size_t>(k.ident + 1, entries_.size() * 2));
  }
  entry& e = entries_[k.ident];
  k.chain = e.first;
  e.first = &k;
}

void descriptor_table::remove(knote_record& k) noexcept {
  knote_record** link = &entries_[k.ident].first;
  while (*link != &k) link = &(*link)->chain;
  *link = k.chain;
}

int descriptor_table::refresh(int epoll, std::uint32_t fd, bool again) noexcept {
  entry& e = entries_[fd];
  std::uint32_t wanted = 0;
  for (knote_record* k = e.first; k != nullptr; k = k->chain) {
    k->reported = k->polled && !k->disabled && !k->ending ? k->interest : std::uint16_t{0};
    k->plain = k == e.first ? plain_part(*k) : 0;
    wanted |= k->reported;
    if (k->reported != 0 && ((k->flags & EV_CLEAR) != 0 || k->examined)) wanted |= EPOLLET;
  }
  if (wanted == e.armed && !(again && wanted != 0)) return 0;

  if (e.armed == 0 || wanted == 0) ++generation_;
  if (e.armed == 0) e.generation = generation_;
  const int operation = e.armed == 0 ? EPOLL_CTL_ADD : wanted == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
  epoll_event event{};
  event.events = wanted;
  event.data.u64 = tag_of(e, fd);
  int result = epoll_ctl(epoll, operation, static_cast<int>(fd), &event);
  if (result != 0 && operation == EPOLL_CTL_ADD && errno == EEXIST) {
    // The same file is back under its number, from a duplicate: epoll has never forgotten it.
    result = epoll_ctl(epoll, EPOLL_CTL_MOD, static_cast<int>(fd), &event);
  }
  if (result != 0) {
    int error = errno;
    if (operation != EPOLL_CTL_ADD && error == EPERM) error = ENOENT;  // not what was registered
    if (operation != EPOLL_CTL_MOD || error == ENOENT || error == EBADF) e.armed = 0;
    return error;
  }
  e.armed = wanted;
  return 0;
}

int descriptor_table::any_registered_from(std::size_t& place) const noexcept {
  for (; place < entries_.size(); ++place) {
    if (entries_[place].armed != 0) return static_cast<int>(place);
  }
  return -1;
}

int descriptor_table::copy_to(int epoll) const noexcept {
  std::size_t place = 0;
  for (int fd = any_registered_from(place); fd >= 0; fd = any_registered_from(++place)) {
    const entry& e = entries_[place];
    epoll_event event{};
    event.events = e.armed;
    event.data.u64 = tag_of(e, static_cast<std::uint32_t>(fd));
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) return errno;
  }
  return 0;
}

}  // namespace kedge::kqueue
