// The registrations of descriptors in a kqueue's epoll set: made, changed, checked and removed.
#include "kedge/runtime/kqueue/descriptors/descriptor_table.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>

namespace kedge::kqueue {
namespace {

// `armed` as epoll takes it.
std::uint32_t events_of(std::uint16_t armed) noexcept {
  const std::uint32_t events = armed & ~std::uint32_t{descriptor_table::edge};
  return (armed & descriptor_table::edge) != 0 ? events | EPOLLET : events;
}

std::uint64_t tag_of(const descriptor_table::entry& e, std::uint32_t fd) noexcept {
  return (static_cast<std::uint64_t>(e.generation) << 32) | fd;
}

// Sets `reported` of each knote and `plain` of the entry. Returns what `armed` should be.
std::uint16_t update_knotes(descriptor_table::entry& e) noexcept {
  std::uint16_t wanted = 0;
  bool any_edge = false;
  bool any_level = false;
  bool all_stay = true;  // no event changes a knote's state
  for (knote_record* k = e.first; k != nullptr; k = k->chain) {
    k->reported = k->polled && !k->disabled && !k->ending ? k->interest : std::uint16_t{0};
    if (k->reported == 0) continue;
    wanted |= k->reported;
    ((k->flags & EV_CLEAR) != 0 || k->needs_probe ? any_edge : any_level) = true;
    if ((k->flags & (EV_ONESHOT | EV_DISPATCH)) != 0 || k->needs_probe) all_stay = false;
  }
  e.plain = all_stay && any_edge != any_level ? wanted & (EPOLLIN | EPOLLOUT) : 0;
  return any_edge ? wanted | descriptor_table::edge : wanted;
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
  knote_record** link = &entries_[k.ident].first;
  while (*link != nullptr) link = &(*link)->chain;
  k.chain = nullptr;
  *link = &k;
}

void descriptor_table::remove(knote_record& k) noexcept {
  knote_record** link = &entries_[k.ident].first;
  while (*link != &k) link = &(*link)->chain;
  *link = k.chain;
  if (k.reported != 0) entries_[k.ident].plain = 0;
}

int descriptor_table::refresh(int epoll, std::uint32_t fd, bool again) noexcept {
  entry& e = entries_[fd];
  const std::uint16_t wanted = update_knotes(e);
  if (wanted == e.armed && !(again && wanted != 0)) return 0;

  if (e.armed == 0 || wanted == 0) ++generation_;
  if (e.armed == 0) e.generation = generation_;
  const int operation = e.armed == 0 ? EPOLL_CTL_ADD : wanted == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
  epoll_event event{};
  event.events = events_of(wanted);
  event.data.u64 = tag_of(e, fd);
  int result = epoll_ctl(epoll, operation, static_cast<int>(fd), &event);
  if (result != 0 && operation == EPOLL_CTL_ADD && errno == EEXIST) {
    // A duplicate has brought the same file back under this fd: epoll has kept its registration.
    result = epoll_ctl(epoll, EPOLL_CTL_MOD, static_cast<int>(fd), &event);
  }
  if (result != 0) {
    int error = errno;
    if (operation != EPOLL_CTL_ADD && error == EPERM) error = ENOENT;  // not the registered file
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
    event.events = events_of(e.armed);
    event.data.u64 = tag_of(e, static_cast<std::uint32_t>(fd));
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) return errno;
  }
  return 0;
}

}  // namespace kedge::kqueue
