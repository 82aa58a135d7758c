// Implements the error categories. Messages of kernel codes are mach_error_string()'s.
#include "kedge/mach/error.h"

#include <mach/mach_error.h>

#include <string>

#include "kedge/runtime/base/never_destroyed.h"

namespace kedge::mach {
namespace {

// The kernel's codes. kern_return_t and mach_msg_return_t share one numbering: no code has two
// meanings.
class system_codes final : public std::error_category {
 public:
  explicit constexpr system_codes(const char* name) noexcept : name_(name) {}
  const char* name() const noexcept override { return name_; }
  std::string message(int value) const override { return mach_error_string(value); }

 private:
  const char* name_;
};

class library_codes final : public std::error_category {
 public:
  const char* name() const noexcept override { return "kedge.mach"; }
  std::string message(int value) const override {
    switch (static_cast<errc>(value)) {
      case errc::peer_died:
        return "the peer has died";
      case errc::no_reply:
        return "the peer will not reply";
      case errc::queue_full:
        return "the peer's queue is full";
      case errc::rights_lost:
        return "the kernel refused a right, and has consumed part of the message";
      case errc::revocable:
        return "the receive right was refused: its sender can take it back "
               "(MACH_NOTIFY_PORT_DESTROYED)";
      case errc::empty_right:
        return "the right is empty";
      case errc::wrong_space:
        return "the right does not belong to the current space";
      case errc::message_lost:
        return "a message could not be copied out, and is lost";
      case errc::message_too_large:
        return "a message was larger than the receiver allows, and is lost";
      case errc::unknown_service:
        return "no service has this name";
      case errc::name_in_use:
        return "the name belongs to another port or task";
      case errc::not_privileged:
        return "the name server or a sandbox refuses it";
      case errc::bad_reply:
        return "the reply does not belong to the request";
    }
    return "unknown error " + std::to_string(value);
  }
};

// Destructors of static objects may use codes.
constinit const base::never_destroyed<system_codes> kern_codes("mach.kern");
constinit const base::never_destroyed<system_codes> msg_codes("mach.msg");
constinit const base::never_destroyed<library_codes> own_codes;

}  // namespace

const std::error_category& kern_category() noexcept {
  return kern_codes.object;
}

const std::error_category& msg_category() noexcept {
  return msg_codes.object;
}

const std::error_category& mach_category() noexcept {
  return own_codes.object;
}

}  // namespace kedge::mach
