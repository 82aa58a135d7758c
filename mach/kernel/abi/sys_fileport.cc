// Implements fileport_makeport() and fileport_makefd().
#include <sys/fileport.h>

#include <errno.h>
#include <mach/mach.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kedge/mach/kernel/abi/current_binding.h"
#include "kedge/mach/kernel/abi/file_calls.h"

using kedge::mach::kernel::attachment;
using kedge::mach::kernel::call;
using kedge::mach::kernel::close_file;
namespace requests = kedge::mach::kernel::requests;

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
  const int held = kedge::mach::kernel::duplicate_file(fd);
  if (held < 0) return fail(errno == EBADF ? EBADF : EAGAIN);
  attachment file_to_send(held, close_file);
  const auto answer = call(requests::fileport_make{}, mach_task_self(), &file_to_send);
  if (answer.result != KERN_SUCCESS) {
    return fail(answer.result == KERN_RESOURCE_SHORTAGE ? EAGAIN : EINVAL);
  }
  *port = answer.fields.name;
  return 0;
}

int fileport_makefd(fileport_t port) {
  attachment opened;
  const auto answer = call(requests::fileport_open{port}, mach_task_self(), &opened);
  if (answer.result != KERN_SUCCESS) return fail(EINVAL);
  return opened ? opened.release() : fail(answer.fields.error);
}

}  // extern "C"
