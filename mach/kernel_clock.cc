// kernel_clock: use_clock() and clock_moved() of the kernel's extension.
#include "kedge/mach/kernel_clock.h"

#include <atomic>
#include <stdexcept>
#include <system_error>

#include "kedge/mach/kernel/extension.h"

namespace kedge::mach {
namespace {

constinit std::atomic<bool> is_followed{false};

}  // namespace

kernel_clock::kernel_clock(time_source& source) : source_(source) {
  source_.add(*this);
  if (is_followed.exchange(true)) {
    source_.remove(*this);
    throw std::logic_error("kedge::mach::kernel_clock: the kernel follows another one already");
  }
  if (kernel::use_clock(time_source::read, &source_)) return;
  is_followed.store(false);
  source_.remove(*this);
  throw std::system_error(std::make_error_code(std::errc::not_supported),
                          "kedge::mach::kernel_clock: this kernel cannot follow a time_source");
}

kernel_clock::~kernel_clock() {
  source_.remove(*this);
  kernel::use_clock(nullptr, nullptr);
  is_followed.store(false);
}

void kernel_clock::time_moved() noexcept {
  kernel::clock_moved();
}

}  // namespace kedge::mach
