// descriptor_access: the descriptors of a message, and what they hold, by number. The base of
// message and received.
#pragma once

#include <cstddef>
#include <vector>

#include "kedge/mach/descriptor.h"

namespace kedge::mach {

// `Message` has here(): its descriptors, or none if the space in which the names have their meaning
// is not current.
template <class Message>
class descriptor_access {
 public:
  // The descriptors, in the order in which they were appended. Valid until the message is moved,
  // sent, cleared or appended to.
  descriptor_list descriptors() & noexcept { return list(); }
  descriptor_list descriptors() && = delete;

  // Take what descriptor `i` holds; the caller then owns it. Return an empty object if there is no
  // such descriptor, if it is of another kind, or if its contents were taken before. They take
  // constant time in a message of port descriptors only, else time proportional to `i`: a loop over
  // descriptors() is linear in any case. For what they throw, see descriptor.
  send_right take_send(std::size_t i, const place& where = place::current()) {
    return list()[i].take_send(where);
  }
  send_once_right take_send_once(std::size_t i, const place& where = place::current()) noexcept {
    return list()[i].take_send_once(where);
  }
  receive_right take_receive(std::size_t i, const place& where = place::current()) {
    return list()[i].take_receive(where);
  }
  receive_right take_revocable(std::size_t i, const place& where = place::current()) {
    return list()[i].take_revocable(where);
  }
  any_right take_any(std::size_t i, const place& where = place::current()) {
    return list()[i].take_any(where);
  }
  memory_region take_memory(std::size_t i) noexcept { return list()[i].take_memory(); }
  std::vector<send_right> take_send_array(std::size_t i, const place& where = place::current()) {
    return list()[i].take_send_array(where);
  }
  std::vector<send_once_right> take_send_once_array(std::size_t i,
                                                    const place& where = place::current()) {
    return list()[i].take_send_once_array(where);
  }
  std::vector<receive_right> take_receive_array(std::size_t i,
                                                const place& where = place::current()) {
    return list()[i].take_receive_array(where);
  }

 private:
  friend Message;
  descriptor_access() = default;
  ~descriptor_access() = default;

  descriptor_list list() const noexcept { return static_cast<const Message&>(*this).here(); }
};

}  // namespace kedge::mach
