// A kernel's end and a caller's end that exchange packets. The caller's end begins a call. The
// kernel's end asks for memory, reports that the call waits, and reports its result.
#include "loopback.h"

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "kedge/mach/kernel/abi/current_binding.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/embedded/clock.h"
#include "kedge/mach/kernel/embedded/embedded.h"
#include "kedge/mach/kernel/embedded/futex_call.h"

namespace kedge::mach::kernel {
namespace {

using bytes = std::vector<std::byte>;

// The page size of the caller's memory. Any power of two would do.
constexpr std::uint64_t page = 4096;

// The kind of a packet: its first word.
enum class packet_kind : std::uint64_t {
  begin,     // to the kernel: caller, call_number, target, then the body of the request
  give_up,   // to the kernel: why
  memory,    // to the kernel: ok or address, then the bytes that were read
  woken,     // to the kernel, from itself
  read,      // to the caller: address, size
  write,     // to the caller: address, then the bytes to write
  allocate,  // to the caller: size
  release,   // to the caller: address, size
  parked,    // to the caller: how long to wait
  done,      // to the caller: result, guard code, name, subcode, then the body of the reply
};

bytes pack(packet_kind kind, std::initializer_list<std::uint64_t> words) {
  bytes made;
  const auto append = [&made](std::uint64_t word) {
    const auto* first = reinterpret_cast<const std::byte*>(&word);
    made.insert(made.end(), first, first + sizeof word);
  };
  append(static_cast<std::uint64_t>(kind));
  for (const std::uint64_t each : words) append(each);
  return made;
}

void append(bytes& to, std::span<const std::byte> more) {
  to.insert(to.end(), more.begin(), more.end());
}

std::span<const std::byte> after_words(const bytes& of, std::size_t count) {
  return std::span(of).subspan(count * sizeof(std::uint64_t));
}

std::uint64_t word(const bytes& of, std::size_t index) {
  std::uint64_t value = 0;
  std::memcpy(&value, of.data() + index * sizeof value, sizeof value);
  return value;
}

packet_kind kind_of(const bytes& of) {
  return static_cast<packet_kind>(word(of, 0));
}

// The bytes of a packet, and a file, as SCM_RIGHTS would send it.
struct packet {
  bytes contents;
  attachment file;
};

// The caller's end. Packets arrive while it waits; a signal may interrupt the wait.
class caller_end {
 public:
  void deliver(packet&& arrived) {
    const std::lock_guard<std::mutex> hold(lock_);
    packets_.push_back(std::move(arrived));
    signal_.wake();
  }

  enum class wait_result { packet, timed_out, interrupted };
  wait_result wait(std::uint64_t deadline, packet& next) {
    for (;;) {
      signal_.prepare();
      {
        const std::lock_guard<std::mutex> hold(lock_);
        if (!packets_.empty()) {
          next = std::move(packets_.front());
          packets_.pop_front();
          return wait_result::packet;
        }
      }
      const futex_call::ended ended = signal_.wait(deadline);
      if (ended == futex_call::ended::timed_out) return wait_result::timed_out;
      if (ended == futex_call::ended::interrupted) return wait_result::interrupted;
    }
  }

 private:
  std::mutex lock_;
  std::deque<packet> packets_;
  futex_call signal_;
};

class kernel_end {
 public:
  kernel_end() {
    std::thread([this] { run(); }).detach();
  }

  std::uint64_t connect(caller_end& caller) {
    const std::lock_guard<std::mutex> hold(lock_);
    callers_[++last_] = &caller;
    return last_;
  }
  void disconnect(std::uint64_t id) {
    const std::lock_guard<std::mutex> hold(lock_);
    callers_.erase(id);
  }
  void deliver(std::uint64_t from, bytes&& arrived, attachment file = {}) {
    const std::lock_guard<std::mutex> hold(lock_);
    if (kind_of(arrived) == packet_kind::memory) {
      // The kernel waits for these in the middle of a call: they do not queue behind new calls.
      memory_.push_back(std::move(arrived));
    } else {
      packets_.emplace_back(from, packet{std::move(arrived), std::move(file)});
    }
    has_work_.notify_one();
  }

 private:
  // A call in progress.
  class session final : public pending_call, public copyio {
   public:
    session(kernel_end& end, std::uint64_t number) : copyio(false), end_(end), id(number) {}
    void wake() noexcept override { end_.deliver(id, pack(packet_kind::woken, {})); }

   private:
    kernel_end& end_;

   public:
    const std::uint64_t id;
    ref<ipc_task> task;
    any_reply reply;
    attachment file;

   private:
    // Out-of-line memory is held as bytes.
    class byte_object final : public memory_object {
     public:
      explicit byte_object(std::size_t size) : bytes_(size) {}
      void read(std::uint64_t offset, void* to, std::size_t size) const noexcept override {
        std::memcpy(to, bytes_.data() + offset, size);
      }
      bytes bytes_;

     private:
      ~byte_object() override = default;
    };

    bool in_checked(user_address from, void* to, std::size_t size) noexcept override {
      return copy_in(from, to, size);
    }
    kern_return_t take(user_address from, std::uint64_t size, ool_transfer_mode how,
                       carried_memory& taken) noexcept override {
      const std::uint64_t offset = how.keeps_offset ? from % page : 0;
      auto* const copy = new byte_object(offset + size);
      taken = {ref<memory_object>::adopt(copy), offset, size};
      if (!copy_in(from, copy->bytes_.data() + offset, size)) {
        taken = {};
        return KERN_INVALID_ADDRESS;
      }
      if (how.deallocates) deallocate(from, size);
      return KERN_SUCCESS;
    }
    kern_return_t give(carried_memory& given, user_address& at) noexcept override {
      bytes contents(given.offset % page + given.size);
      given.object->read(given.offset, contents.data() + given.offset % page, given.size);
      user_address base = 0;
      if (allocate(contents.size(), base) != KERN_SUCCESS) return KERN_NO_SPACE;
      copy_out(contents.data(), base, contents.size());
      at = base + given.offset % page;
      given = {};
      return KERN_SUCCESS;
    }
    kern_return_t allocate(std::uint64_t size, user_address& at) noexcept override {
      end_.answer(id, pack(packet_kind::allocate, {size}));
      at = word(end_.await_memory(), 1);
      return at ? KERN_SUCCESS : KERN_NO_SPACE;
    }
    void deallocate(user_address at, std::uint64_t size) noexcept override {
      end_.answer(id, pack(packet_kind::release, {at, size}));
      end_.await_memory();
    }

    bool copy_in(user_address from, void* to, std::size_t size) noexcept override {
      end_.answer(id, pack(packet_kind::read, {from, size}));
      const bytes got = end_.await_memory();
      if (word(got, 1) == 0) return false;
      std::memcpy(to, got.data() + 2 * sizeof(std::uint64_t), size);
      return true;
    }
    bool copy_out(const void* from, user_address to, std::size_t size) noexcept override {
      bytes out = pack(packet_kind::write, {to});
      const auto* first = static_cast<const std::byte*>(from);
      out.insert(out.end(), first, first + size);
      end_.answer(id, std::move(out));
      return word(end_.await_memory(), 1) != 0;
    }
  };

  void answer(std::uint64_t to, bytes&& contents, attachment file = {}) {
    const std::lock_guard<std::mutex> hold(lock_);
    callers_.at(to)->deliver({std::move(contents), std::move(file)});
  }

  bytes await_memory() {
    std::unique_lock<std::mutex> hold(lock_);
    has_work_.wait(hold, [this] { return !memory_.empty(); });
    bytes got = std::move(memory_.front());
    memory_.pop_front();
    return got;
  }

  void run() {
    for (;;) {
      std::pair<std::uint64_t, packet> next;
      {
        std::unique_lock<std::mutex> hold(lock_);
        has_work_.wait(hold, [this] { return !packets_.empty(); });
        next = std::move(packets_.front());
        packets_.pop_front();
      }
      handle(next.first, next.second);
    }
  }

  void handle(std::uint64_t from, packet& arrived) {
    embedded& local = embedded::instance();
    const bytes& contents = arrived.contents;
    if (kind_of(contents) == packet_kind::begin) return begin(from, arrived);
    const auto found = sessions_.find(from);
    if (found == sessions_.end()) return;  // given up after it was done
    session& one = *found->second;
    if (kind_of(contents) == packet_kind::woken) {
      return report(one, local.core().resume(*one.task, one, one.reply, one));
    }
    const auto why = static_cast<give_up>(word(contents, 1));
    if (one.waits_on && local.core().cancel(*one.task, one, why, one.reply, one)) {
      report(one, status::done);
    }
  }

  void begin(std::uint64_t from, packet& arrived) {
    embedded& local = embedded::instance();
    const bytes& contents = arrived.contents;
    const std::uint64_t caller = word(contents, 1);
    session& one = *(sessions_[from] = std::make_unique<session>(*this, from));
    one.file = std::move(arrived.file);
    any_request request;
    if (!request.assign(static_cast<std::uint32_t>(word(contents, 2)),
                        static_cast<mach_port_name_t>(word(contents, 3)),
                        after_words(contents, 4))) {
      one.reply.result = KERN_INVALID_ARGUMENT;
      return report(one, status::done);
    }
    one.task = local.find(caller);
    if (!one.task) {
      // The result is the embedded binding's.
      local.call(caller, request, one.reply, one, &one.file);
      return report(one, status::done);
    }
    if (local.call_of_process(*one.task, request, one.reply, one, &one.file)) {
      return report(one, status::done);
    }
    report(one, local.core().begin(*one.task, request, one.reply, one, one));
  }

  void report(session& one, status now) {
    const std::uint64_t id = one.id;
    if (now == status::parked) return answer(id, pack(packet_kind::parked, {one.limit()}));
    any_reply& reply = one.reply;
    bytes contents =
        pack(packet_kind::done, {static_cast<std::uint64_t>(std::int64_t{reply.result}),
                                 reply.guard.code, reply.guard.name, reply.guard.subcode});
    append(contents, reply.body());
    attachment file = std::move(one.file);
    sessions_.erase(id);
    answer(id, std::move(contents), std::move(file));
  }

  std::mutex lock_;
  std::condition_variable has_work_;
  std::deque<std::pair<std::uint64_t, packet>> packets_;
  std::deque<bytes> memory_;
  std::map<std::uint64_t, caller_end*> callers_;
  std::uint64_t last_ = 0;
  std::map<std::uint64_t, std::unique_ptr<session>> sessions_;  // the kernel's thread's own
};

class loopback final : public binding {
 public:
  void call(std::uint64_t caller, const any_request& request, any_reply& reply, copyio& memory,
            attachment* file) override {
    caller_end here;
    const std::uint64_t id = kernel_.connect(here);
    bytes begin = pack(packet_kind::begin,
                       {caller, static_cast<std::uint64_t>(request.number), request.target});
    append(begin, request.body());
    kernel_.deliver(id, std::move(begin), file ? std::move(*file) : attachment());
    std::uint64_t deadline = futex_call::never;
    bool parked = false;
    for (packet next;;) {
      const caller_end::wait_result outcome = here.wait(deadline, next);
      const bytes& contents = next.contents;
      if (outcome != caller_end::wait_result::packet) {
        if (!parked) continue;
        const give_up why = outcome == caller_end::wait_result::timed_out ? give_up::timed_out
                                                                          : give_up::interrupted;
        kernel_.deliver(id, pack(packet_kind::give_up, {static_cast<std::uint64_t>(why)}));
        parked = false;
        deadline = futex_call::never;
      } else if (kind_of(contents) == packet_kind::parked) {
        const std::uint64_t limit = word(contents, 1);
        deadline = limit == pending_call::forever ? futex_call::never : deadline_after(limit);
        parked = true;
      } else if (kind_of(contents) == packet_kind::done) {
        kernel_.disconnect(id);
        if (file) *file = std::move(next.file);
        return read(contents, reply);
      } else {
        copy(id, contents, memory);
      }
    }
  }

 private:
  static void read(const bytes& done, any_reply& reply) {
    reply.result = static_cast<kern_return_t>(static_cast<std::int64_t>(word(done, 1)));
    reply.guard = {static_cast<std::uint32_t>(word(done, 2)),
                   static_cast<mach_port_name_t>(word(done, 3)), word(done, 4)};
    const auto body = after_words(done, 5);
    std::copy(body.begin(), body.end(), reply.body().begin());
  }

  void copy(std::uint64_t id, const bytes& asked, copyio& memory) {
    if (kind_of(asked) == packet_kind::write) {
      const std::size_t head = 2 * sizeof(std::uint64_t);
      const bool ok = memory.out(asked.data() + head, word(asked, 1), asked.size() - head);
      return kernel_.deliver(id, pack(packet_kind::memory, {ok}));
    }
    if (kind_of(asked) == packet_kind::allocate) {
      user_address at = 0;
      if (memory.allocate(word(asked, 1), at) != KERN_SUCCESS) at = 0;
      return kernel_.deliver(id, pack(packet_kind::memory, {at}));
    }
    if (kind_of(asked) == packet_kind::release) {
      memory.deallocate(word(asked, 1), word(asked, 2));
      return kernel_.deliver(id, pack(packet_kind::memory, {1}));
    }
    bytes got(word(asked, 2));
    const bool ok = memory.in_checked(word(asked, 1), got.data(), got.size());
    bytes out = pack(packet_kind::memory, {ok});
    out.insert(out.end(), got.begin(), got.end());
    kernel_.deliver(id, std::move(out));
  }

  kernel_end kernel_;
};

}  // namespace

void use_loopback() {
  // Never destroyed: its thread runs until the process ends.
  static loopback* const made = new loopback;
  bind(made);
}

}  // namespace kedge::mach::kernel
