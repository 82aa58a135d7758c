// Implements device_watch with IOServiceAddMatchingNotification(). The message of a notification
// says no more than that an iterator has objects, so it is dropped and the iterators are read.
#include "kedge/mach/darwin/device_watch.h"

#include <array>
#include <cstdint>

#include "kedge/mach/error.h"

// <IOKit/IOKitLib.h> and <IOKit/IOKitKeys.h> of Darwin (IOKitUser), which the SDK for
// cross-compiling lacks, as it lacks the framework.
extern "C" {
using io_object_t = mach_port_t;
using IOServiceMatchingCallback = void (*)(void* refcon, io_object_t iterator);
IONotificationPort* IONotificationPortCreate(mach_port_t main_port);
void IONotificationPortDestroy(IONotificationPort* notify);
mach_port_t IONotificationPortGetMachPort(IONotificationPort* notify);
struct __CFDictionary* IOServiceMatching(const char* name);
// Consumes a reference to `matching`.
kern_return_t IOServiceAddMatchingNotification(IONotificationPort* notify, const char* type,
                                               struct __CFDictionary* matching,
                                               IOServiceMatchingCallback callback, void* refcon,
                                               io_object_t* notification);
io_object_t IOIteratorNext(io_object_t iterator);
kern_return_t IOObjectRelease(io_object_t object);
kern_return_t IORegistryEntryGetName(io_object_t entry, char* name);
}

namespace kedge::mach::darwin {
namespace {

constexpr const char* first_match = "IOServiceFirstMatch";  // kIOFirstMatchNotification
constexpr const char* terminated = "IOServiceTerminate";    // kIOTerminatedNotification

// Required by IOServiceAddMatchingNotification(), and called by nothing: the library does not run
// I/O Kit's own dispatch.
void ignore(void*, io_object_t) {}

io_object add(IONotificationPort* to, const char* type, const char* service_class) {
  struct __CFDictionary* const matching = IOServiceMatching(service_class);
  if (matching == nullptr) check(KERN_RESOURCE_SHORTAGE, "IOServiceMatching");
  io_object_t iterator = MACH_PORT_NULL;
  check(IOServiceAddMatchingNotification(to, type, matching, &ignore, nullptr, &iterator),
        "IOServiceAddMatchingNotification");
  return io_object(iterator);
}

}  // namespace

io_object::~io_object() {
  if (object_ != MACH_PORT_NULL) IOObjectRelease(object_);
}

std::string io_object::name() const {
  std::array<char, 128> name{};  // io_name_t
  if (IORegistryEntryGetName(object_, name.data()) != KERN_SUCCESS) return {};
  return name.data();
}

device_watch::device_watch(const char* service_class)
    : notifications_(IONotificationPortCreate(MACH_PORT_NULL)) {  // kIOMainPortDefault
  if (notifications_ == nullptr) check(KERN_RESOURCE_SHORTAGE, "IONotificationPortCreate");
  try {
    port_.emplace(IONotificationPortGetMachPort(notifications_));
    come_ = add(notifications_, first_match, service_class);
    gone_ = add(notifications_, terminated, service_class);
  } catch (...) {
    close();
    throw;
  }
}

device_watch::~device_watch() {
  close();
}

void device_watch::close() noexcept {
  come_ = {};
  gone_ = {};
  port_.reset();
  IONotificationPortDestroy(notifications_);
}

std::optional<device_change> device_watch::take() noexcept {
  if (io_object found{IOIteratorNext(come_.get())}) return device_change{std::move(found), true};
  if (io_object found{IOIteratorNext(gone_.get())}) return device_change{std::move(found), false};
  return std::nullopt;
}

task<result<device_change>> device_watch::next() {
  for (;;) {
    if (auto change = take()) co_return *std::move(change);
    const result<received> m = co_await port_->receive();
    if (!m) co_return m.failure();
  }
}

}  // namespace kedge::mach::darwin
