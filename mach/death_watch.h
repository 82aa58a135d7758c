// death_watch<Tag>: waits for the next death among any number of ports.
//
//     mach::death_watch<worker_number> deaths(loop);
//     if (!deaths.add(right, 7)) ...                  // empty, or in the watch already
//     while (const auto number = co_await deaths.next()) restart(*number);
//
// Each name has a tag, which next() gives when the name's port has died: once, and the name then
// leaves the watch. add(), remove() and next() take constant time.
//
// Ownership: a right is borrowed for add() only. The watch holds the name until it has given the
// tag, so the kernel does not use the name for another port.
//
// Errors: next() gives errc::already_awaited if another task waits, errc::closed if the watch is
// destroyed, errc::loop_gone, and the kernel's code (category "mach.kern") if it refuses to watch a
// name any longer; that name has left the watch then. Cancellation loses nothing: the task takes
// the tag at its turn.
//
// Threads: the loop's thread only. The watch may outlive the loop.
#pragma once

#include <mach/mach.h>

#include <memory>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

#include "kedge/mach/error.h"
#include "kedge/mach/name_table.h"
#include "kedge/mach/name_watches.h"
#include "kedge/mach/send_right.h"
#include "kedge/mach/space_incarnation.h"
#include "kedge/runtime/awaiting/event_source.h"
#include "kedge/runtime/base/list.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/reactor/registration_table.h"
#include "kedge/runtime/result.h"

namespace kedge::mach {

template <class Tag>
class death_watch {
  static_assert(std::is_nothrow_move_constructible_v<Tag>,
                "kedge: the tag of a death_watch is moved out of it, which must not throw");

  class state;
  struct entry final : name_waiter {
    entry(mach_port_name_t n, state& of, const send_right& right, Tag&& t) noexcept
        : name(n), held(right), tag(std::move(t)), of_(of) {}
    ~entry() { leave(); }
    void on_notified(std::error_code e) noexcept override { of_.has_ended(*this, e); }

    const mach_port_name_t name;
    const send_right held;
    Tag tag;
    std::error_code error;
    base::list_link<entry> link;  // of those that next() has not given

   private:
    state& of_;
  };

 public:
  // `r` is the loop. Throws std::bad_alloc.
  explicit death_watch(reactor& r) : state_(std::make_shared<state>(r)) {}
  death_watch(const death_watch&) = delete;
  death_watch& operator=(const death_watch&) = delete;
  // Ends a wait in progress, and awaitables that have not been awaited, with errc::closed.
  ~death_watch() { state_->close(); }

  // Watches the port of `right`; a dead one is given at once. Returns false, and has no effect, if
  // the right is empty, as one is that arrives dead, or if its name is in the watch. Throws
  // std::bad_alloc, std::system_error with the kernel's code, errc::loop_gone, or
  // mach::errc::wrong_space for a right of another space than the current one, and std::logic_error
  // if the current space is not the loop's.
  [[nodiscard]] bool add(const send_right& right, Tag tag) {
    return right && state_->add(right, std::move(tag));
  }
  // Takes the name out, also if its port has died and next() has not given the tag. Returns false
  // if it is not in the watch.
  bool remove(const send_right& right) noexcept { return state_->remove(right.name()); }

  // Waits for a death and gives the tag of the name, in the order of the deaths.
  event_awaitable<Tag> next() const noexcept { return event_awaitable<Tag>(state_); }

 private:
  const std::shared_ptr<state> state_;
};

template <class Tag>
class death_watch<Tag>::state final : public event_source<Tag> {
 public:
  explicit state(reactor& r) : reactor_(r), registrations_(r.registrations()) {}
  ~state() override { clear(); }

  bool add(const send_right& right, Tag&& tag) {
    const mach_port_name_t name = right.name();
    if (!has_loop())
      throw std::system_error(kedge::errc::loop_gone, "kedge::mach::death_watch::add");
    if (right.space() != space_incarnation())
      throw std::system_error(errc::wrong_space, "kedge::mach::death_watch::add");
    if (entries_.find(name) != nullptr) return false;
    entry& made = entries_.find_or_make(name, *this, right, std::move(tag));
    std::error_code refused;
    try {
      reactor_.attachment<name_watches>().wait_for_death(name, made);
      refused = made.error;
    } catch (...) {
      erase(made);
      throw;
    }
    if (!refused) return true;
    erase(made);
    throw std::system_error(refused, "kedge::mach::death_watch::add");
  }
  bool remove(mach_port_name_t name) noexcept {
    entry* const found = entries_.find(name);
    if (found != nullptr) erase(*found);
    return found != nullptr;
  }
  void close() noexcept {
    clear();
    this->end(kedge::errc::closed);
  }
  void has_ended(entry& e, std::error_code why) noexcept {
    e.error = why;
    ended_.push_back(e);
    if (why == kedge::errc::loop_gone) this->end(why);
    this->wake_waiting();
  }

 private:
  void erase(entry& e) noexcept {
    if (e.link.is_linked()) ended_.remove(e);
    entries_.erase(e.name);
  }
  void clear() noexcept {
    while (!entries_.empty()) erase(entries_.any());
  }

  std::optional<result<Tag>> take() noexcept override {
    entry* const first = ended_.front();
    if (first == nullptr) return std::nullopt;
    std::optional<result<Tag>> outcome;
    if (first->error) {
      outcome.emplace(unexpected(first->error, operation()));
    } else {
      outcome.emplace(std::move(first->tag));
    }
    erase(*first);
    return outcome;
  }
  bool has_loop() const noexcept override { return !registrations_->closed(); }
  failed_operation operation() const noexcept override { return {"death_watch::next"}; }
  void describe(description& line) const noexcept override {
    line.print("the death of one of several ports");
  }

  reactor& reactor_;
  const std::shared_ptr<registration_table> registrations_;
  name_table<entry> entries_;
  base::list<entry, &entry::link> ended_;
};

}  // namespace kedge::mach
