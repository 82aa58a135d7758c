// Implements port_registration over the loop's registration_table.
#include "kedge/mach/port_registration.h"

#include <cerrno>
#include <mutex>
#include <utility>

#include "kedge/mach/error.h"
#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/reactor/registration_table.h"

namespace kedge::mach {

port_registration::port_registration(reactor& r, mach_port_name_t name)
    : in_loop_(r, sharing::exclusive, EVFILT_MACHPORT, name),
      table_(r.registrations()),
      loop_(r.get_remote()),
      ended_(r.attachment<ended_of_loop>().ended) {}

port_registration::~port_registration() {
  if (receiver_ != nullptr) receiver_->stop();
}

void port_registration::close_ended(reactor& r) {
  const std::shared_ptr<ended_list> of = r.attachment<ended_of_loop>().ended;
  for (;;) {
    port_registration* first = nullptr;
    {
      const std::lock_guard hold(of->lock);
      first = of->all.pop_front();
    }
    if (first == nullptr) return;
    first->in_loop_.close(first->why_);
  }
}

void port_registration::end(std::error_code why) noexcept {
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

void port_registration::run() noexcept {
  if (generation_ == fork_generation()) {
    const std::lock_guard hold(ended_->lock);
    if (ended_link.is_linked()) ended_->all.remove(*this);
  }
  in_loop_.close(why_);
  delete this;
}

void port_registration::notify(const kevent64_s&) noexcept {
  if (receiver_ != nullptr) wake(*receiver_->waiter_);
}

bool port_registration::can_wake() const noexcept {
  return receiver_ != nullptr && receiver_->source_->can_receive();
}

void port_registration::closed(std::error_code why) noexcept {
  if (receiver_ == nullptr) return;
  port_receiver& by = *receiver_;
  by.stop();
  // The kqueue does not know the name.
  const bool is_unknown = why == std::error_code(ENOENT, std::system_category());
  by.error_ = is_unknown ? make_error_code(errc::wrong_space) : why;
  wake(*by.waiter_);
}

}  // namespace kedge::mach
