// any_right: a right of whatever kind. For code that passes rights on, or looks what has arrived.
//
//     mach::any_right right = request.take_any(0);
//     if (right.what() == mach::any_right::kind::send) {
//       watchers.push_back(std::move(right).take_send());
//     } else {
//       forwarded.append(std::move(right));
//     }
//
// Owns the right. A right whose port had died before it arrived has the kind `dead`: the kernel
// gives it no name, so it owns nothing. A right whose port dies later keeps its kind
// (send_right::dead()).
//
// Threads and spaces: as the right in it.
#pragma once

#include <mach/mach.h>

#include <cstdint>
#include <utility>
#include <variant>

#include "kedge/mach/dead_name.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/send_once_right.h"
#include "kedge/mach/send_right.h"

namespace kedge::mach {

class any_right {
 public:
  enum class kind : std::uint8_t { none, send, send_once, receive, dead };

  // None.
  any_right() = default;
  // An empty right gives none, but for an empty dead_name, which is a dead right without a name.
  any_right(send_right&& right) noexcept : right_(std::move(right)) {}
  any_right(send_once_right&& right) noexcept : right_(std::move(right)) {}
  any_right(receive_right&& right) noexcept : right_(std::move(right)) {}
  any_right(dead_name&& right) noexcept : right_(std::move(right)) {}

  any_right(any_right&& other) noexcept : right_(std::exchange(other.right_, {})) {}
  any_right& operator=(any_right&& other) noexcept {
    if (this != &other) right_ = std::exchange(other.right_, {});
    return *this;
  }
  ~any_right() = default;

  kind what() const noexcept {
    if (std::holds_alternative<dead_name>(right_)) return kind::dead;
    return name() != MACH_PORT_NULL ? static_cast<kind>(right_.index()) : kind::none;
  }
  // False if what() is none.
  explicit operator bool() const noexcept { return what() != kind::none; }
  // The name of the right, which the object keeps. MACH_PORT_NULL for none, and for a dead right
  // without a name.
  mach_port_name_t name() const noexcept {
    return ask<mach_port_name_t>([](const auto& right) { return right.name(); });
  }
  // The incarnation of the space in which the name has its meaning. 0 for none.
  std::uint32_t space() const noexcept {
    return ask<std::uint32_t>([](const auto& right) { return right.space(); });
  }

  // Give the right up if it is of the kind; the object is none then. Else they return an empty
  // object, and leave the right where it is.
  send_right take_send() && noexcept { return take<send_right>(); }
  send_once_right take_send_once() && noexcept { return take<send_once_right>(); }
  receive_right take_receive() && noexcept { return take<receive_right>(); }
  dead_name take_dead() && noexcept { return take<dead_name>(); }

 private:
  friend class message;

  struct nothing {
    mach_port_name_t name() const noexcept { return MACH_PORT_NULL; }
    std::uint32_t space() const noexcept { return 0; }
  };

  // Returns what `question` says of the right. std::visit() could throw.
  template <class Answer, class Question>
  Answer ask(Question question) const noexcept {
    if (const auto* const right = std::get_if<send_right>(&right_)) return question(*right);
    if (const auto* const right = std::get_if<send_once_right>(&right_)) return question(*right);
    if (const auto* const right = std::get_if<receive_right>(&right_)) return question(*right);
    if (const auto* const right = std::get_if<dead_name>(&right_)) return question(*right);
    return question(nothing());
  }

  template <class Right>
  Right take() noexcept {
    Right* const held = std::get_if<Right>(&right_);
    if (held == nullptr) return {};
    Right taken = std::move(*held);
    right_ = nothing();
    return taken;
  }

  // In the order of `kind`.
  std::variant<nothing, send_right, send_once_right, receive_right, dead_name> right_;
};

}  // namespace kedge::mach
