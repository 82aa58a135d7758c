// time_source: the kqueues that follow it.
#include "kedge/runtime/time_source.h"

#include <algorithm>
#include <cstdint>
#include <system_error>

#include "kedge/runtime/kqueue/extension.h"

namespace kedge {
namespace {

std::uint64_t read(void* source) noexcept {
  const auto t = static_cast<const time_source*>(source)->now().time_since_epoch();
  return static_cast<std::uint64_t>(t.count());
}

}  // namespace

void time_source::add(int kq) {
  const std::lock_guard lock(mutex_);
  kqueues_.push_back(kq);
  if (kqueue::use_clock(kq, read, this)) return;
  kqueues_.pop_back();
  throw std::system_error(std::make_error_code(std::errc::not_supported),
                          "kedge::loop: this kernel cannot follow a time_source");
}

void time_source::remove(int kq) noexcept {
  const std::lock_guard lock(mutex_);
  std::erase(kqueues_, kq);
}

void time_source::moved() noexcept {
  const std::lock_guard lock(mutex_);
  for (const int kq : kqueues_) kqueue::clock_moved(kq);
}

}  // namespace kedge
