// channel<T>: a queue of items between tasks, bounded; any number of tasks send and receive.
//
//     kedge::channel<job> jobs(16);
//     static_cast<void>(co_await jobs.send(j));
//     while (auto j = co_await jobs.receive()) run(*std::move(j));   // until closed and drained
//
// A send waits while the channel is full, a receive while it is empty, both in the order in which
// they began. A channel of capacity 0 is a *rendezvous*: a send ends when a receive takes its item.
// An item that was handed to a task that does not take it (it was cancelled or destroyed before its
// turn) stays at the front of the channel, of a rendezvous too.
//
// close(reason) refuses items from then on: sends get their items back, together with the reason.
// Items that were sent can still be received; then receives give the reason.
//
// The items live in a ring that the constructor allocates; a waiting send keeps its item in its
// coroutine's frame. So nothing else allocates.
//
// Threads: the loop's thread only.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "kedge/runtime/awaiting/closure.h"
#include "kedge/runtime/awaiting/source.h"

namespace kedge {

// The failure of a send: the item, and why it was not sent.
template <class T>
class unsent {
 public:
  unsent(T&& i, std::error_code why) noexcept : item(std::move(i)), code_(why) {}
  const std::error_code& code() const noexcept { return code_; }

  T item;

 private:
  std::error_code code_;
};

// A queue of at most a fixed number of items.
template <class T>
class item_ring {
 public:
  explicit item_ring(std::size_t size) : slots_(std::make_unique<slot[]>(size)), size_(size) {}
  item_ring(const item_ring&) = delete;
  item_ring& operator=(const item_ring&) = delete;
  ~item_ring() {
    while (count_ != 0) drop_back();
  }

  std::size_t size() const noexcept { return size_; }
  std::size_t count() const noexcept { return count_; }
  void push_back(T&& item) noexcept {
    ::new (static_cast<void*>(&at(count_))) T(std::move(item));
    ++count_;
  }
  T& front() noexcept { return at(0); }
  void drop_front() noexcept {
    std::destroy_at(&at(0));
    if (++head_ == size_) head_ = 0;
    --count_;
  }
  void drop_back() noexcept { std::destroy_at(&at(--count_)); }

 private:
  union slot {
    slot() noexcept {}
    ~slot() {}
    T item;
  };
  T& at(std::size_t i) noexcept {
    const std::size_t from_front = head_ + i;
    return slots_[from_front < size_ ? from_front : from_front - size_].item;
  }

  std::unique_ptr<slot[]> slots_;
  std::size_t size_;
  std::size_t head_ = 0;
  std::size_t count_ = 0;
};

template <class T>
class channel {
  static_assert(std::is_nothrow_move_constructible_v<T>,
                "kedge: a channel moves its items, which must not throw: use a unique_ptr");
  KEDGE_CHECK_ITEM(T);

  class send_request;

  class state : public source_state {
   public:
    explicit state(std::size_t c) : capacity(c), items(c == 0 ? 1 : c) {}

    bool try_put(T& item) noexcept {
      if (this->is_closed() || !has_room()) return false;
      put(std::move(item));
      return true;
    }
    // Takes one item for the caller, who gets it by take_front() or gives it back.
    bool try_reserve() noexcept {
      if (items.count() == reserved && !(capacity == 0 && fetch_for_rendezvous())) return false;
      ++reserved;
      return true;
    }
    result<T> take_front() noexcept {
      result<T> taken(std::move(items.front()));
      items.drop_front();
      --reserved;
      if (!senders.empty()) refill();
      return taken;
    }
    void give_back() noexcept {
      --reserved;
      serve();
    }
    // Hands items to those that wait to receive, and room to those that wait to send.
    void serve() noexcept {
      while (items.count() != reserved) {
        queued_operation* const op = receivers.first();
        if (op == nullptr) break;
        ++reserved;
        receivers.grant(*op);
      }
      refill();
    }
    void close(std::error_code why) noexcept {
      if (this->is_closed()) return;
      this->end_ = why;
      senders.refuse_all();
      receivers.refuse_all();
    }
    // The channel is gone. Items that were handed over are still delivered.
    void abandon() noexcept {
      close(errc::closed);
      while (items.count() != reserved) items.drop_back();
    }

    const std::size_t capacity;
    std::size_t reserved = 0;  // items that were handed over and not taken yet: the oldest ones
    item_ring<T> items;
    wait_queue senders;
    wait_queue receivers;

   private:
    // A rendezvous has room for an item that a receiver waits for.
    bool has_room() const noexcept {
      if (capacity != 0) [[likely]]
        return items.count() < capacity;
      return items.count() == 0 && receivers.first() != nullptr;
    }
    void put(T&& item) noexcept {
      items.push_back(std::move(item));
      if (queued_operation* const op = receivers.first()) {
        ++reserved;
        receivers.grant(*op);
      }
    }
    queued_operation* first_sender() const noexcept {
      return this->is_closed() ? nullptr : senders.first();
    }
    void refill() noexcept {
      while (queued_operation* const op = has_room() ? first_sender() : nullptr) {
        put(std::move(item_of(*op)));
        senders.grant(*op);
      }
    }
    // Moves the item of the oldest sender to the front, for a receiver that has not begun to wait.
    bool fetch_for_rendezvous() noexcept {
      queued_operation* const op = items.count() == 0 ? first_sender() : nullptr;
      if (op == nullptr) return false;
      items.push_back(std::move(item_of(*op)));
      senders.grant(*op);
      return true;
    }
    static T& item_of(queued_operation& op) noexcept {
      return static_cast<source_operation<send_request>&>(op).wanted().item();
    }
  };

  class send_request : public request<state> {
   public:
    static constexpr const char* aim = "room in a channel";
    send_request(source_hold<state> s, T&& item) noexcept
        : request<state>(std::move(s)), item_(std::move(item)) {}
    T& item() noexcept { return item_; }
    wait_queue& queue() const noexcept { return this->source_->senders; }
    bool try_take() noexcept { return this->source_->try_put(item_); }
    result<void, unsent<T>> take() noexcept { return {}; }
    result<void, unsent<T>> refusal() noexcept {
      return unexpected(unsent<T>(std::move(item_), this->source_->end()));
    }
    unsent<T> expired(errc why) noexcept { return unsent<T>(std::move(item_), why); }

   private:
    T item_;
  };

  class receive_request : public request<state> {
   public:
    static constexpr const char* aim = "an item of a channel";
    explicit receive_request(source_hold<state> s) noexcept : request<state>(std::move(s)) {}
    wait_queue& queue() const noexcept { return this->source_->receivers; }
    bool try_take() noexcept { return this->source_->try_reserve(); }
    void give_back() noexcept { this->source_->give_back(); }
    result<T> take() noexcept { return this->source_->take_front(); }
    result<T> refusal() noexcept { return this->closed("channel::receive"); }
  };

 public:
  // A channel that holds up to `capacity` items; 0: a rendezvous. Throws std::bad_alloc.
  explicit channel(std::size_t capacity) : state_(std::in_place, capacity) {}
  channel(const channel&) = delete;
  channel& operator=(const channel&) = delete;
  // Closes with errc::closed. Drops the items that were not handed to a task.
  ~channel() = default;

  // Waits until there is room, or (rendezvous) until a task receives, and sends the item. If the
  // channel is or becomes closed, gives an `unsent`: the item, and the reason. with_timeout()
  // gives an `unsent` too. Cancellation loses the item, unless it was sent already.
  source_awaitable<send_request> send(T item) noexcept {
    return source_awaitable(send_request(state_.hold(), std::move(item)));
  }
  // Sends without waiting. Gives the item back if there is no room (EAGAIN) or the channel is
  // closed.
  result<void, unsent<T>> try_send(T item) noexcept {
    if (state_->try_put(item)) return {};
    return unexpected(unsent<T>(std::move(item), state_->is_closed() ? state_->end() : again()));
  }

  // Waits for an item. Once the channel is closed and has no more, gives the reason. Cancellation
  // loses nothing.
  source_awaitable<receive_request> receive() noexcept {
    return source_awaitable(receive_request(state_.hold()));
  }
  // Receives without waiting. Gives EAGAIN if there is no item, or the reason once the channel is
  // closed.
  result<T> try_receive() noexcept {
    if (state_->try_reserve()) return state_->take_front();
    return unexpected(state_->is_closed() ? state_->end() : again(),
                      failed_operation{"channel::try_receive"});
  }

  // Refuses items after this call, for `reason`. Those that were sent can be received. No effect on
  // a closed channel. Throws std::system_error (EINVAL) if `reason` is no error.
  void close(std::error_code reason = errc::closed) {
    if (!reason) refuse_argument(std::errc::invalid_argument, "kedge::channel: close");
    state_->close(reason);
  }
  bool is_closed() const noexcept { return state_->is_closed(); }

  // The items that were sent and not received. A task whose turn has not come may have been handed
  // some of them.
  std::size_t size() const noexcept { return state_->items.count(); }
  std::size_t capacity() const noexcept { return state_->capacity; }

 private:
  static std::error_code again() noexcept {
    return std::make_error_code(std::errc::resource_unavailable_try_again);
  }

  source_owner<state> state_;
};

}  // namespace kedge
