// Takes a snapshot of the whole kernel under all of its locks.
#include "kedge/mach/kernel/core/calls/snapshot_call.h"

#include <initializer_list>
#include <unordered_map>

#include "kedge/mach/kernel/core/ipc_port_set.h"
#include "kedge/mach/kernel/core/ipc_space.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/right.h"

namespace kedge::mach::kernel {
namespace {

template <typename List>
std::uint64_t length(const List& of) noexcept {
  std::uint64_t count = 0;
  for (auto* each = of.front(); each; each = List::after(*each)) ++count;
  return count;
}

// Holds the locks that it has taken until it is destroyed.
class locked_kernel {
 public:
  explicit locked_kernel(std::vector<ref<ipc_task>> tasks) : tasks_(std::move(tasks)) {}
  locked_kernel(const locked_kernel&) = delete;
  locked_kernel& operator=(const locked_kernel&) = delete;
  ~locked_kernel() {
    for (const ref<ipc_port_set>& each : sets_) each->lock.unlock();
    for (const ref<port>& each : ports_) each->lock.unlock();
    for (const auto& [each, id] : owners_) each->lock.unlock();
  }

  // Locks the spaces, then all ports, then all sets.
  void lock() {
    for (const ref<ipc_task>& each : tasks_) {
      owners_.emplace(&each->names, each->id).first->first->lock.lock();
    }
    for_each_right([this](const entry& each) {
      if (each.target && each.target->kind == object_kind::port) {
        reach(static_cast<port*>(each.target));
      }
    });
    // A port without a name is in a message, or awaits a notification.
    for (std::size_t index = 0; index < ports_.size(); ++index) follow(*ports_[index]);
    for_each_right([this](const entry& each) {
      if (each.target && each.target->kind == object_kind::port_set) {
        reach(static_cast<ipc_port_set*>(each.target));
      }
    });
  }

  std::vector<std::uint64_t> words() {
    for (const ref<ipc_task>& each : tasks_) {
      add(record_kind::task, {each->id});
      each->names.each(
          [this](mach_port_name_t name, const entry& right) { add_right(name, right); });
    }
    for (const ref<port>& each : ports_) add_port(*each);
    for (const ref<ipc_port_set>& each : sets_) add_set(*each);
    return std::move(words_);
  }

 private:
  template <typename Visitor>
  void for_each_right(Visitor&& visit) {
    for (const ref<ipc_task>& each : tasks_) {
      each->names.each([&visit](mach_port_name_t, const entry& right) { visit(right); });
    }
  }

  void reach(port* at) { reach(at, ports_); }
  void reach(ipc_port_set* at) { reach(at, sets_); }
  template <typename T>
  void reach(T* at, std::vector<ref<T>>& all) {
    if (!at || numbers_.count(at) != 0) return;
    numbers_.emplace(at, numbers_.size() + 1);
    all.emplace_back(at);
    at->lock.lock();
  }
  void follow(kmsg& message) {
    reach(message.reply.target);
    reach(message.voucher.target);
    for (std::uint32_t index = 0; index < message.right_count; ++index) {
      reach(message.rights()[index].target);
    }
  }
  void follow(port& at) {
    reach(at.no_senders);
    reach(at.port_destroyed);
    // A dead port has answered its requests, and does not own their rights any more.
    if (at.active) {
      for (std::uint32_t slot = 0; slot < at.requests.size(); ++slot) {
        reach(at.requests[slot].notify);
      }
    }
    for (kmsg* each = at.queue().peek(); each; each = each->next) follow(*each);
    for (pending_call* each = at.senders.front(); each; each = waiters::after(*each)) {
      if (each->message) follow(*each->message);
    }
  }

  std::uint64_t number_of(const object* at) const {
    const auto found = numbers_.find(at);
    return found == numbers_.end() ? 0 : found->second;
  }
  std::uint64_t id_of(const ipc_space* of) const {
    const auto found = owners_.find(const_cast<ipc_space*>(of));
    return found == owners_.end() ? 0 : found->second;
  }

  void add(record_kind kind, std::initializer_list<std::uint64_t> words) {
    words_.push_back(static_cast<std::uint64_t>(kind));
    words_.insert(words_.end(), words);
  }
  void add_right(mach_port_name_t name, const entry& right) {
    mach_port_type_t type = right.type;
    const object* notify = nullptr;
    if (right.request != 0) {
      const name_request& request = port_of(right).requests[right.request];
      if (port_of(right).active) notify = request.notify;
      type |= type_of(request);
    }
    add(record_kind::right, {name, type, right.urefs, number_of(right.target), number_of(notify)});
  }
  void add_port(port& at) {
    const std::uint64_t receiver = id_of(at.receiver);
    add(record_kind::port,
        {number_of(&at), static_cast<std::uint64_t>(at.serves), receiver,
         receiver == 0 ? std::uint64_t{0} : at.receiver_name, at.active, at.guarded, at.context,
         at.queue_limit, at.send_rights, at.send_once_rights, at.make_send_count, at.sequence,
         number_of(at.no_senders), number_of(at.port_destroyed), length(at.receivers),
         length(at.senders), length(at.watches)});
    for (kmsg* each = at.queue().peek(); each; each = each->next) {
      add(record_kind::message, {static_cast<std::uint32_t>(each->id), each->size});
    }
  }
  void add_set(ipc_port_set& at) {
    std::uint64_t owner = 0;
    for (const ref<ipc_task>& each : tasks_) {
      const entry* const found = each->names.find(at.name);
      if (found && found->target == &at) owner = each->id;
    }
    add(record_kind::set,
        {number_of(&at), owner, at.name, length(at.receivers), length(at.watches)});
    using members = decltype(at.members);
    for (membership* each = at.members.front(); each; each = members::after(*each)) {
      add(record_kind::member, {number_of(each->member)});
    }
  }

  const std::vector<ref<ipc_task>> tasks_;
  std::unordered_map<ipc_space*, std::uint64_t> owners_;  // all are locked
  std::vector<ref<port>> ports_;
  std::vector<ref<ipc_port_set>> sets_;
  std::unordered_map<const object*, std::uint64_t> numbers_;
  std::vector<std::uint64_t> words_;
};

}  // namespace

std::vector<std::uint64_t> take_snapshot(kernel& of) {
  locked_kernel locked(of.tasks());
  locked.lock();
  return locked.words();
}

}  // namespace kedge::mach::kernel
