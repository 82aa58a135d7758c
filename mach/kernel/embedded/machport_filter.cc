// EVFILT_MACHPORT (Darwin: filt_machport* in ipc_pset.c). A knote watches the object that its ident
// named when it was added, in the task that made the kqueue.
#include "kedge/mach/kernel/embedded/machport_filter.h"

#include <errno.h>
#include <mach/message.h>
#include <sys/event.h>

#include <atomic>
#include <memory>
#include <new>

#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/embedded/embedded.h"
#include "kedge/mach/kernel/embedded/futex_call.h"
#include "kedge/mach/kernel/extension.h"
#include "kedge/runtime/kqueue/filter.h"

namespace kedge::mach::kernel {
namespace {

using kqueue::knote;

// The options that the receive takes from the knote's fflags. Like Darwin, it drops all others, and
// MACH_RCV_GUARDED_DESC among them.
constexpr mach_msg_option_t direct_options = MACH_RCV_MSG | MACH_RCV_LARGE |
                                             MACH_RCV_LARGE_IDENTITY | MACH_RCV_TRAILER_MASK |
                                             MACH_RCV_VOUCHER | MACH_MSG_STRICT_REPLY;

class port_watch final : public watch {
 public:
  explicit port_watch(knote& note) noexcept : note_(note) {}

  // Under the object's lock, which detach() takes too: the knote is there.
  void changed(watch_event event) noexcept override {
    if (event == watch_event::gone) {
      gone.store(true, std::memory_order_release);
    } else if (told.load(std::memory_order_relaxed)) {
      return;
    }
    told.store(true, std::memory_order_relaxed);
    kqueue::activate(note_);
  }

  std::atomic<bool> gone{false};
  // The knote is active, and process() has yet to look at the object. Cleared before it looks,
  // under the object's lock: so a change that finds this set is one that process() sees.
  std::atomic<bool> told{false};
  ref<object> at;
  ref<ipc_task> receiver;

 private:
  knote& note_;
};

port_watch*& watch_of(knote& note) noexcept {
  static_assert(sizeof(port_watch*) <= knote::area_size);
  return *reinterpret_cast<port_watch**>(note.area);
}

bool direct(const knote& note) noexcept {
  return (note.fflags & MACH_RCV_MSG) != 0;
}

kqueue::verdict attach(knote& note, const kevent64_s&) {
  embedded& kernel = embedded::instance();
  const auto id = reinterpret_cast<std::uintptr_t>(kqueue::owner(note));
  std::unique_ptr<port_watch> made(new (std::nothrow) port_watch(note));
  if (!made) return {ENOMEM, false};
  made->receiver = kernel.find(id);
  if (!made->receiver) return {ENOENT, false};
  const auto name = static_cast<mach_port_name_t>(note.ident);
  switch (kernel.core().attach(*made->receiver, name, *made, made->at)) {
    case KERN_SUCCESS:
      break;
    case KERN_INVALID_RIGHT:
      return {ENOTSUP, false};
    default:
      return {ENOENT, false};
  }
  const bool active = kernel::peek(*made->at) != MACH_PORT_NULL;
  watch_of(note) = made.release();
  return {0, active};
}

void detach(knote& note) noexcept {
  port_watch* const gone = watch_of(note);
  kernel::detach(*gone, *gone->at);
  delete gone;
}

kqueue::verdict touch(knote& note, const kevent64_s& change) {
  // Every change replaces the options and the buffer. A change that omits them removes them.
  if ((change.fflags ^ note.fflags) & MACH_RCV_MSG) return {EINVAL, false};
  note.fflags = change.fflags;
  note.ext[0] = change.ext[0];
  note.ext[1] = change.ext[1];
  port_watch& at = *watch_of(note);
  return {0, at.gone.load(std::memory_order_acquire) || kernel::peek(*at.at) != MACH_PORT_NULL};
}

bool peek(knote& note) noexcept {
  port_watch& at = *watch_of(note);
  return at.gone.load(std::memory_order_acquire) || kernel::peek(*at.at) != MACH_PORT_NULL;
}

void receive(port_watch& at, kqueue::delivery& to) noexcept {
  embedded& kernel = embedded::instance();
  const knote& note = *to.note;
  auto option = static_cast<mach_msg_option_t>(note.fflags) & direct_options;
  // Without a buffer the message stays queued, and the event names its port.
  if (note.ext[1] == 0) option |= MACH_RCV_LARGE | MACH_RCV_LARGE_IDENTITY;
  requests::message request{};
  request.option = option;
  request.receive = note.ext[0];
  request.receive_size = static_cast<mach_msg_size_t>(note.ext[1]);
  any_reply reply;
  futex_call unused;
  kernel.core().receive_from(*at.receiver, *at.at, request, reply, own_memory(), unused);
  // Another thread took the message, or the right is gone. The watch reports the second case.
  if (reply.result == MACH_RCV_TIMED_OUT || reply.result == MACH_RCV_PORT_CHANGED ||
      reply.result == MACH_RCV_PORT_DIED) {
    return;
  }
  const auto& received = reply.as<replies::message>();
  to.event.fflags = static_cast<std::uint32_t>(reply.result);
  to.event.ext[0] = note.ext[0];
  to.event.ext[1] = received.size;
  if (reply.result == MACH_RCV_TOO_LARGE && (option & MACH_RCV_LARGE_IDENTITY)) {
    to.event.data = static_cast<std::int64_t>(received.identity);
  }
  to.fired = true;
}

void process(std::span<kqueue::delivery> taken) noexcept {
  for (kqueue::delivery& each : taken) {
    port_watch& at = *watch_of(*each.note);
    at.told.store(false, std::memory_order_relaxed);
    if (at.gone.load(std::memory_order_acquire)) {
      each.event.flags |= each.note->flags & EV_VANISHED ? EV_VANISHED : (EV_EOF | EV_ONESHOT);
      each.fired = true;
    } else if (direct(*each.note)) {
      receive(at, each);
    } else if (const mach_port_name_t name = kernel::peek(*at.at); name != MACH_PORT_NULL) {
      each.event.data = static_cast<std::int64_t>(name);
      each.fired = true;
    }
  }
}

constexpr kqueue::filter_operations operations{
    .attach = attach, .detach = detach, .touch = touch, .peek = peek, .process = process};

void* owner_of_new_kqueue() noexcept {
  return reinterpret_cast<void*>(static_cast<std::uintptr_t>(task_of_thread().id));
}

}  // namespace

bool register_machport_filter() noexcept {
  kqueue::set_owner_hook({.capture = owner_of_new_kqueue});
  return kqueue::register_filter(EVFILT_MACHPORT, operations);
}

}  // namespace kedge::mach::kernel
