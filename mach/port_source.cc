// Implements port_source.
#include "kedge/mach/port_source.h"

#include <algorithm>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

#include "kedge/mach/current_space.h"
#include "kedge/mach/port_status.h"
#include "kedge/mach/set_members.h"
#include "kedge/mach/try_receive.h"
#include "kedge/runtime/base/list.h"
#include "kedge/runtime/reactor/registration_table.h"
#include "kedge/runtime/remote.h"

namespace kedge::mach {
namespace {

void check_spaces(const reactor& r, std::uint32_t space) {
  if (space != space_incarnation()) {
    throw std::logic_error("kedge::mach: this port belongs to another space than the current one");
  }
  check_space(r);
}

bool can_bring_message(const port_status& status) noexcept {
  return status.has_senders() || status.send_once_rights() != 0 || status.messages() != 0;
}

}  // namespace

// The registration with one loop. Its own post removes it there.
class port_source::registered final : private remote::work {
 public:
  registered(reactor& r, mach_port_name_t name)
      : in_loop(r, sharing::exclusive, EVFILT_MACHPORT, name),
        table_(r.registrations()),
        loop_(r.get_remote()),
        ended_(r.attachment<ended_of_loop>().ended) {}

  // Closes the registrations with `r` whose removal was posted and has not run yet. Their names may
  // be in use again: the kernel has dropped what it knew of them.
  static void close_ended(reactor& r) {
    const std::shared_ptr<ended_list> of = r.attachment<ended_of_loop>().ended;
    for (;;) {
      registered* first = nullptr;
      {
        const std::lock_guard hold(of->lock);
        first = of->all.pop_front();
      }
      if (first == nullptr) return;
      first->in_loop.close(first->why_);
    }
  }

  bool is_in(reactor& r) const noexcept { return table_ == r.registrations(); }

  // Closes the registration with `why`, on its loop's thread, and deletes this object.
  void end(std::error_code why) noexcept {
    why_ = why;
    reactor* const driven = reactor::current();
    if (driven != nullptr && is_in(*driven)) return run();
    const bool is_inherited = generation_ != fork_generation();
    if (!is_inherited) {
      const std::lock_guard hold(ended_->lock);
      ended_->all.push_back(*this);
    }
    if (loop_.post(*this)) return;
    if (!is_inherited) table_->wait_for_close();
    run();
  }

  registration in_loop;
  base::list_link<registered> ended_link;

 private:
  struct ended_list {
    base::mutex lock;
    base::list<registered, &registered::ended_link> all;
  };
  struct ended_of_loop {
    explicit ended_of_loop(reactor&) {}
    const std::shared_ptr<ended_list> ended = std::make_shared<ended_list>();
  };

  ~registered() = default;
  void run() noexcept override {
    if (generation_ == fork_generation()) {
      const std::lock_guard hold(ended_->lock);
      if (ended_link.is_linked()) ended_->all.remove(*this);
    }
    in_loop.close(why_);
    delete this;
  }
  void drop() noexcept override { run(); }

  const std::shared_ptr<registration_table> table_;
  const weak_remote loop_;
  const std::shared_ptr<ended_list> ended_;
  const unsigned generation_ = fork_generation();
  std::error_code why_;
};

mach_port_name_t port_source::usable_name(const port_source* source, const char* noun,
                                          const char* what) {
  const auto refuse = [&](const char* why) {
    throw std::logic_error(std::string("kedge::mach::") + what + ": the " + noun + why);
  };
  if (source == nullptr) refuse(" is empty");
  if (source->space() != space_incarnation())
    refuse(" belongs to another space than the current one");
  return source->name();
}

port_source::~port_source() {
  replace_registered(nullptr, kedge::errc::closed);
}

std::error_code port_source::link(listener& l, reactor& r) {
  std::error_code error;
  // The kernel may have refused the registration to an earlier wait. Then this wait tries again.
  for (bool is_second = false;; is_second = true) {
    const mach_port_name_t here = name();
    if (here == MACH_PORT_NULL) return kedge::errc::closed;
    if (is_second || registration_in(r) == nullptr) {
      check_spaces(r, space_);
      // First: a refused registration is forgotten with its last hold.
      replace_registered(nullptr, kedge::errc::closed);
      registered::close_ended(r);
      replace_registered(new registered(r, here), kedge::errc::closed);
    }
    {
      const std::lock_guard hold(lock_);
      // Another thread may have closed the source meanwhile. What it ends goes on this thread,
      // later.
      if (registered_ == nullptr || name() == MACH_PORT_NULL) return kedge::errc::closed;
      error = registered_->in_loop.link(l);
    }
    if (!error || error.category() != std::system_category() || is_second) return error;
  }
}

// Only the thread of its loop deletes what registered_ names, once it is in that loop: by a post.
registration* port_source::registration_in(reactor& r) const noexcept {
  if (is_inherited()) return nullptr;
  const std::lock_guard hold(lock_);
  return registered_ != nullptr && registered_->is_in(r) ? &registered_->in_loop : nullptr;
}

mach_msg_return_t port_source::take(received& into, const wanted_message& wanted,
                                    bool* emptied) noexcept {
  const mach_port_name_t here = name();
  if (here == MACH_PORT_NULL) return MACH_RCV_INVALID_NAME;
  const mach_msg_return_t code = try_receive(here, expected_size_, into, wanted, emptied);
  if (code == MACH_MSG_SUCCESS && tags_ != nullptr) {
    into.contents_.tag =
        tags_->find(into.buffer_.header().msgh_local_port, into.trailer().msgh_context);
  }
  if (is_loss(code)) {
    (code == MACH_RCV_TOO_LARGE ? too_large_ : unreadable_).fetch_add(1, std::memory_order_relaxed);
  }
  return code;
}

bool port_source::can_receive() noexcept {
  const mach_port_name_t last = waking_member_.load(std::memory_order_relaxed);
  port_status status;
  if (last != MACH_PORT_NULL && read_status(last, status) == KERN_SUCCESS && status.is_in_set() &&
      can_bring_message(status)) {
    return true;
  }
  const mach_port_name_t here = name();
  if (read_status(here, status) == KERN_SUCCESS) return can_bring_message(status);
  const set_members members(here);
  if (!members) return true;
  const std::span names = members.names();
  const auto found = std::find_if(names.begin(), names.end(), [](auto member) {
    port_status each;
    return read_status(member, each) != KERN_SUCCESS || can_bring_message(each);
  });
  const bool is_found = found != names.end();
  waking_member_.store(is_found ? *found : mach_port_name_t{MACH_PORT_NULL},
                       std::memory_order_relaxed);
  return is_found;
}

void port_source::found_empty() noexcept {
  if (is_inherited()) return;
  const std::lock_guard hold(lock_);
  if (registered_ != nullptr && registered_->in_loop) registered_->in_loop.clear();
}

void port_source::close(std::error_code why) noexcept {
  open(MACH_PORT_NULL);
  replace_registered(nullptr, why);
}

void port_source::replace_registered(registered* by, std::error_code why) noexcept {
  registered* former = nullptr;
  if (is_inherited()) {
    former = std::exchange(registered_, by);
  } else {
    const std::lock_guard hold(lock_);
    former = std::exchange(registered_, by);
  }
  if (former != nullptr) former->end(why);
}

}  // namespace kedge::mach
