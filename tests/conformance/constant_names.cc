#include "constant_names.h"

#include <mach/mig_errors.h>

#include <charconv>
#include <cstdint>

#include "script.h"

namespace conformance {
namespace {

struct constant {
  std::int64_t value;
  std::string_view word;
};

#define CONSTANT(name) {name, #name}

constexpr constant codes[] = {
    {KERN_SUCCESS, "OK"},
    CONSTANT(KERN_INVALID_ADDRESS),
    CONSTANT(KERN_PROTECTION_FAILURE),
    CONSTANT(KERN_NO_SPACE),
    CONSTANT(KERN_INVALID_ARGUMENT),
    CONSTANT(KERN_FAILURE),
    CONSTANT(KERN_RESOURCE_SHORTAGE),
    CONSTANT(KERN_NOT_RECEIVER),
    CONSTANT(KERN_NO_ACCESS),
    CONSTANT(KERN_MEMORY_FAILURE),
    CONSTANT(KERN_MEMORY_ERROR),
    CONSTANT(KERN_ALREADY_IN_SET),
    CONSTANT(KERN_NOT_IN_SET),
    CONSTANT(KERN_NAME_EXISTS),
    CONSTANT(KERN_ABORTED),
    CONSTANT(KERN_INVALID_NAME),
    CONSTANT(KERN_INVALID_TASK),
    CONSTANT(KERN_INVALID_RIGHT),
    CONSTANT(KERN_INVALID_VALUE),
    CONSTANT(KERN_UREFS_OVERFLOW),
    CONSTANT(KERN_INVALID_CAPABILITY),
    CONSTANT(KERN_RIGHT_EXISTS),
    CONSTANT(KERN_INVALID_HOST),
    CONSTANT(KERN_MEMORY_PRESENT),
    CONSTANT(KERN_MEMORY_DATA_MOVED),
    CONSTANT(KERN_MEMORY_RESTART_COPY),
    CONSTANT(KERN_INVALID_PROCESSOR_SET),
    CONSTANT(KERN_POLICY_LIMIT),
    CONSTANT(KERN_INVALID_POLICY),
    CONSTANT(KERN_INVALID_OBJECT),
    CONSTANT(KERN_ALREADY_WAITING),
    CONSTANT(KERN_DEFAULT_SET),
    CONSTANT(KERN_EXCEPTION_PROTECTED),
    CONSTANT(KERN_INVALID_LEDGER),
    CONSTANT(KERN_INVALID_MEMORY_CONTROL),
    CONSTANT(KERN_INVALID_SECURITY),
    CONSTANT(KERN_NOT_DEPRESSED),
    CONSTANT(KERN_TERMINATED),
    CONSTANT(KERN_LOCK_SET_DESTROYED),
    CONSTANT(KERN_LOCK_UNSTABLE),
    CONSTANT(KERN_LOCK_OWNED),
    CONSTANT(KERN_LOCK_OWNED_SELF),
    CONSTANT(KERN_SEMAPHORE_DESTROYED),
    CONSTANT(KERN_RPC_SERVER_TERMINATED),
    CONSTANT(KERN_RPC_TERMINATE_ORPHAN),
    CONSTANT(KERN_RPC_CONTINUE_ORPHAN),
    CONSTANT(KERN_NOT_SUPPORTED),
    CONSTANT(KERN_NODE_DOWN),
    CONSTANT(KERN_NOT_WAITING),
    CONSTANT(KERN_OPERATION_TIMED_OUT),
    CONSTANT(KERN_CODESIGN_ERROR),
    CONSTANT(KERN_POLICY_STATIC),
    CONSTANT(KERN_INSUFFICIENT_BUFFER_SIZE),
    CONSTANT(KERN_DENIED),
    CONSTANT(KERN_MISSING_KC),
    CONSTANT(KERN_INVALID_KC),
    CONSTANT(KERN_NOT_FOUND),
    CONSTANT(KERN_RETURN_MAX),
    CONSTANT(MACH_SEND_IN_PROGRESS),
    CONSTANT(MACH_SEND_INVALID_DATA),
    CONSTANT(MACH_SEND_INVALID_DEST),
    CONSTANT(MACH_SEND_TIMED_OUT),
    CONSTANT(MACH_SEND_INVALID_VOUCHER),
    CONSTANT(MACH_SEND_INTERRUPTED),
    CONSTANT(MACH_SEND_MSG_TOO_SMALL),
    CONSTANT(MACH_SEND_INVALID_REPLY),
    CONSTANT(MACH_SEND_INVALID_RIGHT),
    CONSTANT(MACH_SEND_INVALID_NOTIFY),
    CONSTANT(MACH_SEND_INVALID_MEMORY),
    CONSTANT(MACH_SEND_NO_BUFFER),
    CONSTANT(MACH_SEND_TOO_LARGE),
    CONSTANT(MACH_SEND_INVALID_TYPE),
    CONSTANT(MACH_SEND_INVALID_HEADER),
    CONSTANT(MACH_SEND_INVALID_TRAILER),
    CONSTANT(MACH_SEND_INVALID_CONTEXT),
    CONSTANT(MACH_SEND_INVALID_OPTIONS),
    CONSTANT(MACH_SEND_INVALID_RT_OOL_SIZE),
    CONSTANT(MACH_SEND_NO_GRANT_DEST),
    CONSTANT(MACH_SEND_MSG_FILTERED),
    CONSTANT(MACH_RCV_IN_PROGRESS),
    CONSTANT(MACH_RCV_INVALID_NAME),
    CONSTANT(MACH_RCV_TIMED_OUT),
    CONSTANT(MACH_RCV_TOO_LARGE),
    CONSTANT(MACH_RCV_INTERRUPTED),
    CONSTANT(MACH_RCV_PORT_CHANGED),
    CONSTANT(MACH_RCV_INVALID_NOTIFY),
    CONSTANT(MACH_RCV_INVALID_DATA),
    CONSTANT(MACH_RCV_PORT_DIED),
    CONSTANT(MACH_RCV_IN_SET),
    CONSTANT(MACH_RCV_HEADER_ERROR),
    CONSTANT(MACH_RCV_BODY_ERROR),
    CONSTANT(MACH_RCV_INVALID_TYPE),
    CONSTANT(MACH_RCV_SCATTER_SMALL),
    CONSTANT(MACH_RCV_INVALID_TRAILER),
    CONSTANT(MACH_RCV_IN_PROGRESS_TIMED),
    CONSTANT(MACH_RCV_INVALID_REPLY),
    CONSTANT(MIG_TYPE_ERROR),
    CONSTANT(MIG_REPLY_MISMATCH),
    CONSTANT(MIG_REMOTE_ERROR),
    CONSTANT(MIG_BAD_ID),
    CONSTANT(MIG_BAD_ARGUMENTS),
    CONSTANT(MIG_NO_REPLY),
    CONSTANT(MIG_EXCEPTION),
    CONSTANT(MIG_ARRAY_TOO_LARGE),
    CONSTANT(MIG_SERVER_DIED),
    CONSTANT(MIG_TRAILER_ERROR),
};

#undef CONSTANT

constexpr constant dispositions[] = {
    {MACH_MSG_TYPE_PORT_NONE, "none"},
    {MACH_MSG_TYPE_MOVE_RECEIVE, "move_receive"},
    {MACH_MSG_TYPE_MOVE_SEND, "move_send"},
    {MACH_MSG_TYPE_MOVE_SEND_ONCE, "move_send_once"},
    {MACH_MSG_TYPE_COPY_SEND, "copy_send"},
    {MACH_MSG_TYPE_MAKE_SEND, "make_send"},
    {MACH_MSG_TYPE_MAKE_SEND_ONCE, "make_send_once"},
    {MACH_MSG_TYPE_COPY_RECEIVE, "copy_receive"},
    {MACH_MSG_TYPE_DISPOSE_RECEIVE, "dispose_receive"},
    {MACH_MSG_TYPE_DISPOSE_SEND, "dispose_send"},
    {MACH_MSG_TYPE_DISPOSE_SEND_ONCE, "dispose_send_once"},
};

constexpr constant rights[] = {
    {MACH_PORT_RIGHT_SEND, "send"},           {MACH_PORT_RIGHT_RECEIVE, "receive"},
    {MACH_PORT_RIGHT_SEND_ONCE, "send_once"}, {MACH_PORT_RIGHT_PORT_SET, "port_set"},
    {MACH_PORT_RIGHT_DEAD_NAME, "dead_name"}, {MACH_PORT_RIGHT_LABELH, "labelh"},
};

constexpr constant options[] = {
    {MACH_SEND_MSG, "send"},           {MACH_RCV_MSG, "rcv"},
    {MACH_RCV_LARGE, "large"},         {MACH_RCV_LARGE_IDENTITY, "ident"},
    {MACH_SEND_OVERRIDE, "override"},  {MACH_SEND_NOTIFY, "snotify"},
    {MACH_MSG_STRICT_REPLY, "strict"}, {MACH_RCV_VOUCHER, "rvoucher"},
    {MACH_RCV_GUARDED_DESC, "gdesc"},  {MACH_SEND_NOIMPORTANCE, "noimp"},
};

template <std::size_t Count>
const constant* find(const constant (&among)[Count], std::string_view word) {
  for (const constant& each : among) {
    if (each.word == word) return &each;
  }
  return nullptr;
}

template <std::size_t Count>
const constant* find(const constant (&among)[Count], std::int64_t value) {
  for (const constant& each : among) {
    if (each.value == value) return &each;
  }
  return nullptr;
}

template <typename T, std::size_t Count>
T read(const constant (&among)[Count], std::string_view word) {
  const constant* known = find(among, word);
  return known ? static_cast<T>(known->value) : read_number<T>(word);
}

}  // namespace

std::string write_hex(std::uint64_t value) {
  char digits[16];
  const auto end = std::to_chars(digits, digits + sizeof digits, value, 16).ptr;
  return "0x" + std::string(digits, end);
}

std::string write_code(kern_return_t code) {
  const bool of_message = (static_cast<std::uint32_t>(code) & 0xf0000000u) == 0x10000000u;
  const kern_return_t bare = of_message ? code & ~MACH_MSG_MASK : code;
  const constant* known = find(codes, std::int64_t{bare});
  std::string text = known ? std::string(known->word) : write_hex(static_cast<std::uint32_t>(bare));
  if (!of_message) return text;
  if (code & MACH_MSG_IPC_SPACE) text += "|IPC_SPACE";
  if (code & MACH_MSG_VM_SPACE) text += "|VM_SPACE";
  if (code & MACH_MSG_IPC_KERNEL) text += "|IPC_KERNEL";
  if (code & MACH_MSG_VM_KERNEL) text += "|VM_KERNEL";
  return text;
}

mach_msg_type_name_t read_disposition(std::string_view word) {
  return read<mach_msg_type_name_t>(dispositions, word);
}

std::string write_disposition(mach_msg_type_name_t disposition) {
  const constant* known = find(dispositions, std::int64_t{disposition});
  return known ? std::string(known->word) : std::to_string(disposition);
}

mach_port_right_t read_right(std::string_view word) {
  return read<mach_port_right_t>(rights, word);
}

mach_msg_option_t read_option(std::string_view word) {
  if (word.starts_with('x')) return read_number<mach_msg_option_t>(word.substr(1), 16);
  const constant* known = find(options, word);
  if (!known) throw bad_script("no option", word);
  return static_cast<mach_msg_option_t>(known->value);
}

}  // namespace conformance
