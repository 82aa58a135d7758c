// space_notifications: the port of a space for the kernel's notifications about names: the death of
// a port, room in a queue. All loops of the space share it.
// name_interest: what one loop wants to be told about one name.
// notified_loop: a loop that is told.
//
// The kernel has one slot per name of a space, for both kinds of request. So there is one request
// per watched name and space, always a send-possible one (MACH_NOTIFY_SEND_POSSIBLE). It reports
// the death of the port too, even of a name that is dead already, on every version of Darwin.
// (Since macOS 13 the kernel refuses dead-name requests for dead names.)
//
// Each loop that wants something has the port in its kqueue. The loop that wakes first receives all
// notifications, and posts to the other loops that they concern. So a loop that is not driven keeps
// no other loop from being told. A notification counts only if the audit token in its trailer is
// the kernel's. Receiving allocates nothing.
//
// Other libraries may watch the same name. The kernel hands out the send-once right of a request
// that is displaced. The right that our request has displaced is kept, and is registered again when
// our request ends: as a request for the death, which the kernel reports at once if the port is
// dead. (The kernel does not say what the displaced request was for. One for room is armed again by
// its owner's next MACH_SEND_NOTIFY.) If another library displaces ours and destroys its right, the
// kernel reports that without the name (MACH_NOTIFY_SEND_ONCE). Then all requests are made again,
// once per report. They displace the other library's right, which is kept likewise, so it has no
// reason to displace ours again.
//
// Lifetime: made by the first loop of a space that needs it, destroyed by the last.
//
// Fork: the child has other spaces. Objects of the parent's are left as they are there: no function
// of the child takes their locks or calls the kernel for them.
//
// Threads: all functions may be called on any thread, but for those of notified_loop.
#pragma once

#include <mach/mach.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <system_error>

#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/name_table.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/send_once_right.h"
#include "kedge/runtime/base/list.h"
#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/reactor/fork_generation.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/remote.h"

namespace kedge::mach {

class name_request;
class notified_loop;
class space_notifications;

// What a request notifies of. Each kind includes those before it.
enum class notice : unsigned char {
  none,
  death,  // the death of the port
  room,   // room in its queue
};

// What a loop is told about a name.
struct told_notices {
  bool room = false;
  bool death = false;
  std::error_code error;  // the kernel refuses to watch the name any longer
};

class name_interest {
 public:
  name_interest(const name_interest&) = delete;
  name_interest& operator=(const name_interest&) = delete;
  mach_port_name_t name() const noexcept { return name_; }

 protected:
  name_interest(mach_port_name_t name, notified_loop& l) noexcept : name_(name), loop_(l) {}
  ~name_interest() = default;

 private:
  friend class name_request;
  friend class notified_loop;
  friend class space_notifications;

  const mach_port_name_t name_;
  notified_loop& loop_;
  // Under the lock of the space's notifications.
  base::list_link<name_interest> of_request_;
  base::list_link<name_interest> of_told_;
  name_request* request_ = nullptr;
  notice wanted_ = notice::none;  // has been asked for, and the loop was not told yet
  told_notices told_;             // the loop has not taken it
};

// One name's request, and the loops that it serves.
class name_request {
 public:
  explicit name_request(mach_port_name_t name) noexcept : name_(name) {}
  name_request(const name_request&) = delete;
  name_request& operator=(const name_request&) = delete;
  ~name_request() = default;

 private:
  friend class space_notifications;
  using interest_list = base::list<name_interest, &name_interest::of_request_>;

  // What the loops want together.
  notice wanted() const noexcept;

  const mach_port_name_t name_;
  interest_list interests_;
  // What the kernel has been asked for, and the notification was not received yet.
  notice armed_ = notice::none;
  send_once_right displaced_;  // of another library. Empty unless the request is armed
};

class notified_loop {
 public:
  notified_loop(const notified_loop&) = delete;
  notified_loop& operator=(const notified_loop&) = delete;

 protected:
  explicit notified_loop(reactor& r) : to_(r.get_remote()), post_(std::make_shared<post>(*this)) {}
  // Requires that no interest of the loop is left.
  ~notified_loop() { post_->to = nullptr; }

 private:
  friend class space_notifications;

  // Work to be posted. It outlives the object if it is on its way then.
  struct post final : remote::work {
    explicit post(notified_loop& l) noexcept : to(&l) {}
    void run() noexcept override;
    void drop() noexcept override;

    notified_loop* to;           // the loop's thread only
    std::shared_ptr<post> self;  // while the post is on its way
  };

  // The loop has been told of something, or the notifications could not all be received. Called on
  // the loop's thread.
  virtual void on_posted() noexcept = 0;

  const weak_remote to_;
  const std::shared_ptr<post> post_;
  // Under the lock of the space's notifications.
  base::list<name_interest, &name_interest::of_told_> told_;
  bool is_posted_ = false;
};

class space_notifications {
 public:
  space_notifications(const space_notifications&) = delete;
  space_notifications& operator=(const space_notifications&) = delete;

  // Returns the notifications of the current space, for one loop more. Throws std::bad_alloc and
  // std::system_error.
  static space_notifications& acquire();
  // For one loop less. Requires that no interest of the loop is left.
  void release() noexcept;

  // Returns whether the object belongs to the current space.
  bool is_current() const noexcept;
  // Returns the port's name in the space.
  mach_port_name_t port_name() const noexcept { return port_.name(); }

  // The space has ended, and its loops are gone without their destructors.
  static void forget(std::uint32_t space) noexcept;

  // There may be room in the queue behind `name` of the current space, and the kernel does not
  // notify of it: the queue's limit was raised. The waits for room try again.
  static void retry_room(mach_port_name_t name) noexcept;

  // Registers an interest, of the calling loop. Throws std::bad_alloc.
  void add(name_interest& i);
  // Withdraws all that the interest wants. What the loop has not taken yet is dropped.
  void remove(name_interest& i) noexcept;
  // Makes the interest want `n`, until its loop is told. Returns the kernel's error.
  std::error_code want(name_interest& i, notice n) noexcept;

  // Receives what has come and tells the loops, `own` without a post: it takes next. To be called
  // on the thread of `own`, which goes on at its next turn if not everything could be received.
  void receive_for(notified_loop& own) noexcept;
  // For on_posted(): the loop's work can be posted again.
  void take_post(notified_loop& own) noexcept;
  // Takes what the loop has been told about one name. Returns null if nothing is left.
  name_interest* take(notified_loop& own, told_notices& into) noexcept;

 private:
  struct registry;

  space_notifications();
  ~space_notifications();

  bool is_inherited() const noexcept { return generation_ != fork_generation(); }
  static registry& registry_of_process();
  static space_notifications* find_in(registry& r) noexcept;

  // All of these require the lock.
  std::error_code arm(name_request& r, notice n) noexcept;
  void arm_as_wanted(name_request& r) noexcept;
  void disarm(name_request& r) noexcept;
  void keep_or_destroy(name_request& r, send_once_right previous) noexcept;
  static void restore_displaced(name_request& r) noexcept;
  void arm_all_again() noexcept;
  mach_msg_return_t receive_one() noexcept;
  bool receive_all() noexcept;
  bool is_from_kernel() const noexcept;
  void handle_received() noexcept;
  void handle(name_request& r, mach_msg_id_t id) noexcept;
  template <class Told>
  void tell(name_request& r, notice at_least, Told told) noexcept;
  static void post_to(notified_loop& l) noexcept;

  const unsigned generation_ = fork_generation();
  const std::uint32_t incarnation_;
  // The space. Calls to the kernel are made within it, whichever is current.
  const kernel::task task_ = kernel::task_of_thread();
  space_notifications* next_ = nullptr;  // in the registry, under its lock
  std::size_t loops_ = 1;                // under the registry's lock

  base::mutex lock_;
  receive_right port_;
  name_table<name_request> requests_;
  const notified_loop* receiver_ = nullptr;  // takes next, and needs no post
  bool arms_again_ = false;
  // Rights of ours that were destroyed since all was received: by this object, and in all.
  std::size_t destroyed_here_ = 0;
  std::size_t destroyed_ = 0;
  // The notification that was received last, and its trailer. There is room for no more: the kernel
  // destroys every larger message, so that none with a descriptor arrives.
  static constexpr std::size_t largest =
      sizeof(mach_msg_header_t) + sizeof(NDR_record_t) + sizeof(mach_port_name_t);
  alignas(mach_msg_header_t) std::byte received_[largest + sizeof(mach_msg_audit_trailer_t)]{};
};

}  // namespace kedge::mach
