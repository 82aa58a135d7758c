// The descriptors of held files, which the child of a fork closes.
#include "kedge/mach/kernel/embedded/held_file.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <mutex>
#include <set>

namespace kedge::mach::kernel {
namespace {

// All descriptors that are held in this process.
struct held_descriptors {
  std::mutex lock;
  std::set<int> all;
};

// Never destroyed: threads may let go of one when the process ends.
held_descriptors& held() {
  static auto* const made = new held_descriptors;
  return *made;
}

void close_all() {
  for (const int each : held().all) held_file::close(each);
  held().all.clear();
  held().lock.unlock();
}

[[maybe_unused]] const int watches_forks =
    pthread_atfork([] { held().lock.lock(); }, [] { held().lock.unlock(); }, close_all);

}  // namespace

held_file::held_file(int descriptor) : object(object_kind::file), descriptor_(descriptor) {
  const std::lock_guard<std::mutex> hold(held().lock);
  held().all.insert(descriptor);
}

held_file::~held_file() {
  {
    const std::lock_guard<std::mutex> hold(held().lock);
    held().all.erase(descriptor_);
  }
  close(descriptor_);
}

void held_file::close(int descriptor) noexcept {
  syscall(SYS_close, descriptor);
}

int held_file::open_again() const noexcept {
  return fcntl(descriptor_, F_DUPFD_CLOEXEC, 0);
}

}  // namespace kedge::mach::kernel
