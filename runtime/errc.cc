// The messages of errc, and the one code that equals a condition of the standard library.
#include "kedge/runtime/errc.h"

#include <string>

#include "kedge/runtime/base/never_destroyed.h"

namespace kedge {
namespace {

class category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "kedge"; }

  std::string message(int value) const override {
    switch (static_cast<errc>(value)) {
      case errc::end_of_file:
        return "end of file";
      case errc::timed_out:
        return "timed out";
      case errc::closed:
        return "closed";
      case errc::already_awaited:
        return "already awaited by another task";
      case errc::loop_gone:
        return "its loop is gone";
      case errc::cancelled:
        return "cancelled";
      case errc::forked:
        return "it belongs to the parent of this process";
      case errc::abandoned:
        return "abandoned";
    }
    return "unknown error " + std::to_string(value);
  }

  std::error_condition default_error_condition(int value) const noexcept override {
    if (static_cast<errc>(value) == errc::timed_out) return std::errc::timed_out;
    return {value, *this};
  }
};

// Destructors of static objects may use codes.
constinit const base::never_destroyed<category> kept;

}  // namespace

const std::error_category& kedge_category() noexcept {
  return kept.object;
}

}  // namespace kedge
