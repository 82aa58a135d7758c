#include <mach/mach_error.h>

#include <mach/kern_return.h>
#include <mach/message.h>
#include <mach/mig_errors.h>

#include <cstdio>

namespace {

struct text {
  mach_error_t code;
  const char* words;
};

constexpr text texts[] = {
    {KERN_SUCCESS, "(os/kern) successful"},
    {KERN_INVALID_ADDRESS, "(os/kern) invalid address"},
    {KERN_PROTECTION_FAILURE, "(os/kern) protection failure"},
    {KERN_NO_SPACE, "(os/kern) no space available"},
    {KERN_INVALID_ARGUMENT, "(os/kern) invalid argument"},
    {KERN_FAILURE, "(os/kern) failure"},
    {KERN_RESOURCE_SHORTAGE, "(os/kern) resource shortage"},
    {KERN_NOT_RECEIVER, "(os/kern) not receiver"},
    {KERN_NO_ACCESS, "(os/kern) no access"},
    {KERN_ALREADY_IN_SET, "(os/kern) already in set"},
    {KERN_NOT_IN_SET, "(os/kern) not in set"},
    {KERN_NAME_EXISTS, "(os/kern) name exists"},
    {KERN_ABORTED, "(os/kern) aborted"},
    {KERN_INVALID_NAME, "(os/kern) invalid name"},
    {KERN_INVALID_TASK, "(os/kern) invalid task"},
    {KERN_INVALID_RIGHT, "(os/kern) invalid right"},
    {KERN_INVALID_VALUE, "(os/kern) invalid value"},
    {KERN_UREFS_OVERFLOW, "(os/kern) user references overflow"},
    {KERN_INVALID_CAPABILITY, "(os/kern) invalid capability"},
    {KERN_RIGHT_EXISTS, "(os/kern) right exists"},
    {KERN_TERMINATED, "(os/kern) object terminated"},
    {KERN_NOT_SUPPORTED, "(os/kern) not supported"},
    {KERN_OPERATION_TIMED_OUT, "(os/kern) operation timed out"},
    {KERN_DENIED, "(os/kern) denied"},
    {MACH_SEND_INVALID_DATA, "(ipc/send) invalid data"},
    {MACH_SEND_INVALID_DEST, "(ipc/send) invalid destination port"},
    {MACH_SEND_TIMED_OUT, "(ipc/send) timed out"},
    {MACH_SEND_INVALID_VOUCHER, "(ipc/send) invalid voucher"},
    {MACH_SEND_INTERRUPTED, "(ipc/send) interrupted"},
    {MACH_SEND_MSG_TOO_SMALL, "(ipc/send) msg too small"},
    {MACH_SEND_INVALID_REPLY, "(ipc/send) invalid reply port"},
    {MACH_SEND_INVALID_RIGHT, "(ipc/send) invalid port right"},
    {MACH_SEND_INVALID_MEMORY, "(ipc/send) invalid memory"},
    {MACH_SEND_NO_BUFFER, "(ipc/send) no msg buffer"},
    {MACH_SEND_TOO_LARGE, "(ipc/send) msg too large"},
    {MACH_SEND_INVALID_TYPE, "(ipc/send) invalid msg-type"},
    {MACH_SEND_INVALID_HEADER, "(ipc/send) invalid msg-header"},
    {MACH_RCV_INVALID_NAME, "(ipc/rcv) invalid name"},
    {MACH_RCV_TIMED_OUT, "(ipc/rcv) timed out"},
    {MACH_RCV_TOO_LARGE, "(ipc/rcv) msg too large"},
    {MACH_RCV_INTERRUPTED, "(ipc/rcv) interrupted"},
    {MACH_RCV_PORT_CHANGED, "(ipc/rcv) port has been modified"},
    {MACH_RCV_INVALID_DATA, "(ipc/rcv) invalid data"},
    {MACH_RCV_PORT_DIED, "(ipc/rcv) port died"},
    {MACH_RCV_HEADER_ERROR, "(ipc/rcv) header error"},
    {MACH_RCV_BODY_ERROR, "(ipc/rcv) body error"},
    {MACH_RCV_INVALID_TRAILER, "(ipc/rcv) invalid trailer"},
    {MIG_TYPE_ERROR, "(ipc/mig) client type check failure"},
    {MIG_REPLY_MISMATCH, "(ipc/mig) wrong reply message ID"},
    {MIG_REMOTE_ERROR, "(ipc/mig) server detected error"},
    {MIG_BAD_ID, "(ipc/mig) bad request message ID"},
    {MIG_BAD_ARGUMENTS, "(ipc/mig) server type check failure"},
    {MIG_NO_REPLY, "(ipc/mig) no reply should be sent"},
    {MIG_EXCEPTION, "(ipc/mig) server raised exception"},
    {MIG_ARRAY_TOO_LARGE, "(ipc/mig) array not large enough"},
    {MIG_SERVER_DIED, "(ipc/mig) server died"},
    {MIG_TRAILER_ERROR, "(ipc/mig) trailer error"},
};

}  // namespace

extern "C" {

char* mach_error_string(mach_error_t error_value) {
  for (const text& each : texts) {
    // Darwin's signature is char*, though nobody may write there.
    if (each.code == error_value) return const_cast<char*>(each.words);
  }
  return const_cast<char*>("unknown error code");
}

void mach_error(const char* str, mach_error_t error_value) {
  std::fprintf(stderr, "%s %s (%x)\n", str, mach_error_string(error_value),
               static_cast<unsigned>(error_value));
}

}  // extern "C"
