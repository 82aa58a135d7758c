// Implements fileport_makeport() and fileport_makefd().
#include <sys/fileport.h>

#include <errno.h>
#include <fcntl.h>
#include <mach/mach.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kedge/mach/kernel/abi/current_binding.h"
#include "kedge/mach/kernel/abi/file_calls.h"

using kedge::mach::kernel::call;
using kedge::mach::kernel::call_number;
using kedge::mach::kernel::close_file;
using kedge::mach::kernel::reply;

namespace {

int fail(int error) {
  errno = error;
  return -1;
}

// Returns false for files without a type in st_mode, such as kqueues.
bool can_be_sent(const struct stat& file) {
  return S_ISREG(file.st_mode) || S_ISDIR(file.st_mode) || S_ISCHR(file.st_mode) ||
         S_ISBLK(file.st_mode) || S_ISFIFO(file.st_mode) || S_ISSOCK(file.st_mode);
}

}  // namespace

extern "C" {

int fileport_makeport(int fd, fileport_t* port) {
  struct stat file;
  if (fstat(fd, &file) != 0) return fail(EBADF);
  if (!can_be_sent(file)) return fail(EINVAL);
  const int held = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (held < 0) return fail(errno == EBADF ? EBADF : EAGAIN);
  const reply answer =
      call(call_number::fileport_make, mach_task_self(), static_cast<std::uint64_t>(held));
  if (answer.result != KERN_SUCCESS) {
    if (answer.result == KERN_TERMINATED) close_file(held);  // the kernel has not taken it
    return fail(answer.result == KERN_RESOURCE_SHORTAGE ? EAGAIN : EINVAL);
  }
  *port = static_cast<fileport_t>(answer.words[0]);
  return 0;
}

int fileport_makefd(fileport_t port) {
  const reply answer = call(call_number::fileport_open, mach_task_self(), port);
  if (answer.result != KERN_SUCCESS) return fail(EINVAL);
  const int opened = static_cast<int>(static_cast<std::int64_t>(answer.words[0]));
  return opened >= 0 ? opened : fail(-opened);
}

}  // extern "C"
