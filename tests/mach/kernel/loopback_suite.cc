// Linked into a test, this runs it over the loopback binding.
#include "loopback.h"

namespace {

[[maybe_unused]] const bool uses_loopback = [] {
  kedge::mach::kernel::use_loopback();
  return true;
}();

}  // namespace
