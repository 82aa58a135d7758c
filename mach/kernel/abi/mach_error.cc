// Implements mach_error_string(), mach_error_type() and mach_error().
//
// The texts are Apple's, since programs compare and log them. There are texts for the codes of the
// kernel and of messages, but not for those of I/O Kit, Unix and servers that no longer exist.
#include <mach/mach_error.h>

#include <cstdio>
#include <span>

namespace {

constexpr const char* kernel_texts[] = {
    "(os/kern) successful",
    "(os/kern) invalid address",
    "(os/kern) protection failure",
    "(os/kern) no space available",
    "(os/kern) invalid argument",
    "(os/kern) failure",
    "(os/kern) resource shortage",
    "(os/kern) not receiver",
    "(os/kern) no access",
    "(os/kern) memory failure",
    "(os/kern) memory error",
    "(os/kern) already in set",
    "(os/kern) not in set",
    "(os/kern) name exists",
    "(os/kern) aborted",
    "(os/kern) invalid name",
    "(os/kern) invalid task",
    "(os/kern) invalid right",
    "(os/kern) invalid value",
    "(os/kern) urefs overflow",
    "(os/kern) invalid capability",
    "(os/kern) right exists",
    "(os/kern) invalid host",
    "(os/kern) memory present",
    "(os/kern) memory data moved",
    "(os/kern) memory restart copy",
    "(os/kern) invalid processor set",
    "(os/kern) policy limit",
    "(os/kern) invalid policy",
    "(os/kern) invalid object",
    "(os/kern) already waiting",
    "(os/kern) default set",
    "(os/kern) exception protected",
    "(os/kern) invalid ledger",
    "(os/kern) invalid memory control",
    "(os/kern) invalid security",
    "(os/kern) not depressed",
    "(os/kern) object terminated",
    "(os/kern) lock set destroyed",
    "(os/kern) lock unstable",
    "(os/kern) lock owned by another",
    "(os/kern) lock owned by self",
    "(os/kern) semaphore destroyed",
    "(os/kern) RPC terminated",
    "(os/kern) terminate orphan",
    "(os/kern) let orphan continue",
    "(os/kern) service not supported",
    "(os/kern) remote node down",
    "(os/kern) thread not waiting",
    "(os/kern) operation timed out",
    "(os/kern) code signing error",
    "(os/kern) policy is static",
    "(os/kern) insufficient input buffer size",
    "(os/kern) denied by security policy",
    "(os/kern) missing kernel collection",
    "(os/kern) invalid kernel collection",
    "(os/kern) result not found",
};

constexpr const char* send_texts[] = {
    "(ipc/send) no error",
    "(ipc/send) send in progress",
    "(ipc/send) invalid data",
    "(ipc/send) invalid destination port",
    "(ipc/send) timed out",
    "(ipc/send) invalid voucher",
    "(ipc/send) unused error",
    "(ipc/send) interrupted",
    "(ipc/send) msg too small",
    "(ipc/send) invalid reply port",
    "(ipc/send) invalid port right",
    "(ipc/send) invalid notify port",
    "(ipc/send) invalid memory",
    "(ipc/send) no msg buffer",
    "(ipc/send) msg too large",
    "(ipc/send) invalid msg-type",
    "(ipc/send) invalid msg-header",
    "(ipc/send) invalid msg-trailer",
    "(ipc/send) invalid context for reply",
    "(ipc/send) unused error",
    "(ipc/send) unused error",
    "(ipc/send) out-of-line buffer too large",
    "(ipc/send) destination does not accept OOL ports",
};

constexpr const char* receive_texts[] = {
    "(ipc/rcv) no error",
    "(ipc/rcv) receive in progress",
    "(ipc/rcv) invalid name",
    "(ipc/rcv) timed out",
    "(ipc/rcv) msg too large",
    "(ipc/rcv) interrupted",
    "(ipc/rcv) port changed",
    "(ipc/rcv) invalid notify port",
    "(ipc/rcv) invalid data",
    "(ipc/rcv) port died",
    "(ipc/rcv) port in set",
    "(ipc/rcv) header error",
    "(ipc/rcv) body error",
    "(ipc/rcv) invalid scatter list entry",
    "(ipc/rcv) overwrite region too small",
    "(ipc/rcv) invalid msg-trailer",
    "(ipc/rcv) DIPC transport error",
};

constexpr const char* mig_texts[] = {
    "(ipc/mig) client type check failure",
    "(ipc/mig) wrong reply message ID",
    "(ipc/mig) server detected error",
    "(ipc/mig) bad request message ID",
    "(ipc/mig) server type check failure",
    "(ipc/mig) no reply should be sent",
    "(ipc/mig) server raised exception",
    "(ipc/mig) array not large enough",
    "(ipc/mig) server died",
    "(ipc/mig) unknown trailer format",
};

struct subsystem {
  const char* type;
  std::span<const char* const> texts;
};

constexpr subsystem of_kernel[] = {{"(os/kern)", kernel_texts}};
constexpr subsystem of_messages[] = {
    {"(ipc/send)", send_texts}, {"(ipc/rcv)", receive_texts}, {"(ipc/mig)", mig_texts}};

struct error_system {
  const char* unknown_subsystem;
  std::span<const subsystem> subsystems;
};

constexpr int messages = 4;

error_system system_of(mach_error_t code) {
  switch (err_get_system(code)) {
    case 0:
      return {"(operating system/?) unknown subsystem error", of_kernel};
    case messages:
      return {"(ipc/?) unknown subsystem error", of_messages};
    default:
      return {"(?/?) unknown error system", {}};
  }
}

// MIG's codes, from -300 down, are older than systems and subsystems. Maps them to a code of
// today's form.
mach_error_t modern(mach_error_t code) {
  return code <= -300 && code > -400 ? messages << 26 | 2 << 14 | -(code + 300) : code;
}

const subsystem* subsystem_of(mach_error_t code) {
  const error_system in = system_of(code);
  const auto sub = static_cast<std::size_t>(err_get_sub(code));
  return sub < in.subsystems.size() ? &in.subsystems[sub] : nullptr;
}

// Returns null if the code has no text.
const char* text_of(mach_error_t code) {
  const subsystem* const in = subsystem_of(code);
  const auto number = static_cast<std::size_t>(err_get_code(code));
  return in && number < in->texts.size() ? in->texts[number] : nullptr;
}

}  // namespace

extern "C" {

// Darwin's signatures return char*, though the strings are constant.

char* mach_error_string(mach_error_t error_value) {
  const mach_error_t code = modern(error_value);
  const char* text = text_of(code);
  if (!text) {
    text = subsystem_of(code) ? "unknown error code" : system_of(code).unknown_subsystem;
  }
  return const_cast<char*>(text);
}

char* mach_error_type(mach_error_t error_value) {
  const subsystem* const in = subsystem_of(modern(error_value));
  return const_cast<char*>(in ? in->type : "(?/?)");
}

void mach_error(const char* str, mach_error_t error_value) {
  if (text_of(modern(error_value))) {
    std::fprintf(stderr, "%s %s\n", str, mach_error_string(error_value));
  } else {
    std::fprintf(stderr, "%s %s %s (%x)\n", str, mach_error_type(error_value),
                 mach_error_string(error_value), static_cast<unsigned>(error_value));
  }
}

}  // extern "C"
