// never_destroyed: an object with static storage that is made at compile time and never destroyed.
//
//     constinit const never_destroyed<category> kept;
//
// For what destructors of other static objects may use at the end of the program. A static local
// would cost each use a check. Any thread.
#pragma once

namespace kedge::base {

template <class T>
union never_destroyed {
  template <class... Args>
  explicit constexpr never_destroyed(Args... args) noexcept : object(args...) {}
  ~never_destroyed() {}
  T object;
};

}  // namespace kedge::base
