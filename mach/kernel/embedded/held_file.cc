// Keeps held files open, and closes their fds in the child of a fork.
#include "kedge/mach/kernel/embedded/held_file.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <mutex>
#include <set>

#include "kedge/runtime/base/mutex.h"

namespace kedge::mach::kernel {
namespace {

// The fds of all held files of this process.
struct held_fds {
  base::mutex lock;
  std::set<int> all;
};

// Never destroyed: a thread may destroy a held file while the process ends.
held_fds& held() {
  static auto* const made = new held_fds;
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

held_file::held_file(int fd) : object(object_kind::file), fd_(fd) {
  const std::lock_guard hold(held().lock);
  held().all.insert(fd);
}

held_file::~held_file() {
  {
    const std::lock_guard hold(held().lock);
    held().all.erase(fd_);
  }
  close(fd_);
}

void held_file::close(int fd) noexcept {
  syscall(SYS_close, fd);
}

int held_file::open_again(int lowest) const noexcept {
  return fcntl(fd_, F_DUPFD_CLOEXEC, lowest);
}

}  // namespace kedge::mach::kernel
