// peer_policy: which peers a server answers. Decided by the audit token of a request, which the
// kernel writes, before anything of the request is read.
//
//     .peers = mach::same_user()
//     .peers = [](const audit_token_t& peer) { return mach::user_of(peer) == 501; }
//     .peers = std::ref(allowed)                    // a callable with a state, which must live on
//
// There is no default: a server that answers anyone says so.
// user_of(), process_of(): fields of a token. The id of a process is used again when the process
// has ended, so it is no proof of identity.
//
// A predicate must not throw.
#pragma once

#include <mach/mach.h>
#include <sys/types.h>
#include <unistd.h>

#include <concepts>
#include <cstdint>
#include <functional>
#include <type_traits>

namespace kedge::mach {

// The fields of a token, as <bsm/libbsm.h> numbers them. Its functions are in a library that
// programs would have to link.
inline uid_t user_of(const audit_token_t& peer) noexcept {
  return static_cast<uid_t>(peer.val[1]);  // the effective user
}
inline pid_t process_of(const audit_token_t& peer) noexcept {
  return static_cast<pid_t>(peer.val[5]);
}

template <class F>
concept peer_predicate = std::convertible_to<F, bool (*)(const audit_token_t&)>;

class peer_policy {
 public:
  template <class T = void>
  peer_policy() {
    static_assert(!std::is_void_v<T>,
                  "kedge: serve() needs a policy: {.peers = mach::same_user()}, root(), anyone(), "
                  "or a predicate of the audit token");
  }
  // A function, or a lambda without captures.
  template <peer_predicate F>
  peer_policy(F admits) noexcept {
    check_.function = admits;
    call_ = [](const state& s, const audit_token_t& peer) noexcept { return s.function(peer); };
  }
  // A callable that is borrowed.
  template <class F>
    requires std::is_invocable_r_v<bool, F&, const audit_token_t&>
  peer_policy(std::reference_wrapper<F> admits) noexcept {
    check_.object = const_cast<void*>(static_cast<const void*>(&admits.get()));
    call_ = [](const state& s, const audit_token_t& peer) noexcept -> bool {
      return (*static_cast<F*>(s.object))(peer);
    };
  }

  bool admits(const audit_token_t& peer) const noexcept { return call_(check_, peer); }

 private:
  friend peer_policy user(uid_t) noexcept;
  union state {
    bool (*function)(const audit_token_t&);
    void* object;
    uid_t user;
  };
  using caller = bool (*)(const state&, const audit_token_t&) noexcept;
  peer_policy(const state& s, caller call) noexcept : check_(s), call_(call) {}

  state check_{};
  caller call_;
};

// Peers whose effective user is `id`.
inline peer_policy user(uid_t id) noexcept {
  peer_policy::state s;
  s.user = id;
  return peer_policy(s, [](const peer_policy::state& want, const audit_token_t& peer) noexcept {
    return user_of(peer) == want.user;
  });
}
// Peers of the user that this process has when it calls the function.
inline peer_policy same_user() noexcept {
  return user(::geteuid());
}
inline peer_policy root() noexcept {
  return user(0);
}
inline peer_policy anyone() noexcept {
  return [](const audit_token_t&) { return true; };
}

}  // namespace kedge::mach
