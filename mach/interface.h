// encode(), decode() and others: typed requests and replies as messages, in the layout of MIG.
//
//     struct count_letters {                               // MIG: routine count_letters(service;
//       static constexpr mach_msg_id_t id = 5000;          //          in word: c_string[*:1024];
//       mach::text<1024> word;                             //          out letters: uint64_t);
//       struct reply {
//         std::uint64_t letters;
//       };
//     };
//
//     auto request = mach::decode<count_letters>(m);       // result<count_letters, kern_return_t>
//     if (!request) co_return mach::reply(m, mach::encode_error(m.id(), request.error()));
//     mach::reply(m, mach::encode_reply<count_letters>({request->word.size()}));
//
// A request is a plain struct with an id and members of the kinds in message_layout.h. The struct
// `reply` in it has the members of the reply, and may have none; a request without it is one-way.
// The id of a reply is that of its request and 100.
//
// Ownership: encoding moves rights and memory out of the struct, and decoding moves them out of the
// message. A request that is refused leaves in the message what was not taken out.
//
// Errors: encoding throws what message::append() throws. Decoding refuses what a MIG server
// refuses, by the same code; moreover a bool that is neither 0 nor 1, and a receive right that its
// sender can take back (errc::revocable), both with MIG_BAD_ARGUMENTS. It throws std::bad_alloc
// alone.
#pragma once

#include <mach/mach.h>
#include <mach/mig_errors.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "kedge/mach/error.h"
#include "kedge/mach/message.h"
#include "kedge/mach/message_layout.h"
#include "kedge/mach/received.h"
#include "kedge/runtime/result.h"

namespace kedge::mach {

// A struct that is a request. What its members are is checked where it is encoded or decoded, so
// that the compiler can say what is wrong.
template <class T>
concept request = std::is_aggregate_v<T> && requires {
  { T::id } -> std::convertible_to<mach_msg_id_t>;
};

// A request that has a reply.
template <class T>
concept request_with_reply = request<T> && requires { typename T::reply; };

// The difference between the ids of a reply and of its request.
inline constexpr mach_msg_id_t reply_offset = 100;

// Writes a message whose members are known.
class message_encoder {
 public:
  // Moves rights and memory out of `from`. `has_code`: the message is a reply with a return code,
  // which is KERN_SUCCESS.
  template <const auto& Layout, class T>
  static message encode(mach_msg_id_t id, bool has_code, T& from) {
    static_assert(Layout.max_size <= message::max_size,
                  "kedge::mach: a request or a reply is larger than the kernel lets pass (48 MiB)");
    return visit_members(from, [&](auto&... member) {
      const std::size_t head =
          (Layout.ndr != 0 ? sizeof(NDR_record_t) : 0) + (has_code ? sizeof(kern_return_t) : 0);
      const std::size_t body = (head + ... + size_of(member));
      message m;
      m.begin(id, Layout.body + body);
      // Appending the rights moves them out.
      [[maybe_unused]] const counts<sizeof...(member)> count{{count_of(member)...}};
      (append_right(m, member), ...);
      writer to(m.extend(body));
      if (Layout.ndr != 0) to.write(&NDR_record, sizeof NDR_record);
      if (has_code) to.write_count(KERN_SUCCESS);
      [[maybe_unused]] std::size_t i = 0;
      (write(to, member, count.values[i++]), ...);
      return m;
    });
  }

 private:
  template <std::size_t N>
  struct counts {
    std::uint32_t values[N != 0 ? N : 1];
  };

  // Writes parts, each padded by zeros.
  class writer {
   public:
    explicit writer(std::byte* to) noexcept : to_(to) {}
    void write(const void* from, std::size_t size) noexcept {
      const std::size_t padding = layout_detail::padded(size) - size;
      if (size != 0) std::memcpy(to_, from, size);
      if (padding != 0) std::memset(to_ + size, 0, padding);
      to_ += size + padding;
    }
    void write_count(std::uint32_t count) noexcept { write(&count, sizeof count); }

   private:
    std::byte* to_;
  };

  template <class M>
  static std::size_t size_of(const M& member) noexcept {
    using namespace layout_detail;
    if constexpr (kind_of<M> == member_kind::text) {
      return 2 * word + padded(member.size() + 1);
    } else if constexpr (kind_of<M> == member_kind::array) {
      return word + padded(member.size() * sizeof(typename M::value_type));
    } else {
      return sizes_of<M>.max;
    }
  }

  template <class M>
  static std::uint32_t count_of(const M& member) noexcept {
    if constexpr (kind_of<M> == member_kind::rights || kind_of<M> == member_kind::memory) {
      return static_cast<std::uint32_t>(member.size());
    } else {
      return 0;
    }
  }

  template <class M>
  static void append_right(message& m, M& member) {
    if constexpr (layout_detail::descriptor_size(kind_of<M>) != 0) m.append(std::move(member));
  }

  template <class M>
  static void write(writer& to, const M& member, std::uint32_t count) noexcept {
    if constexpr (kind_of<M> == member_kind::value) {
      to.write(&member, sizeof member);
    } else if constexpr (kind_of<M> == member_kind::text) {
      to.write_count(0);
      to.write_count(static_cast<std::uint32_t>(member.size() + 1));
      to.write(member.c_str(), member.size() + 1);
    } else if constexpr (kind_of<M> == member_kind::array) {
      to.write_count(static_cast<std::uint32_t>(member.size()));
      to.write(member.data(), member.size() * sizeof(typename M::value_type));
    } else if constexpr (kind_of<M> != member_kind::right) {
      to.write_count(count);
    }
  }
};

// Reads a message whose members are known. The sender is not trusted.
class message_decoder {
 public:
  // Moves rights and memory out of `from`. `code_size` is that of the return code in the message.
  // Returns KERN_SUCCESS or the code of the refusal.
  template <const auto& Layout, class T>
  static kern_return_t decode(received& from, T& into, const place& where) {
    return visit_members(
        into, [&](auto&... member) { return message_decoder(from, where).run<Layout>(member...); });
  }

 private:
  message_decoder(received& from, const place& where) noexcept
      : from_(from), descriptors_(from.descriptors()), bytes_(from.bytes()), where_(where) {}

  // The checks, in the order of a MIG server's, then what each member holds.
  template <const auto& Layout, class... M>
  kern_return_t run(M&... member) {
    if (!has_shape(Layout.descriptors, Layout.min_size, Layout.max_size)) return MIG_BAD_ARGUMENTS;
    descriptor_list::iterator next = descriptors_.begin();
    if (!(is_expected<M>(next) && ...)) return MIG_TYPE_ERROR;

    // Where each member is in the body, since the variable ones ahead of it have their real size.
    const std::byte* at[sizeof...(M) != 0 ? sizeof...(M) : 1];
    std::size_t i = 0;
    std::size_t spare = size_ - Layout.min_size;  // for what the variable members hold
    std::size_t absent = 0;                       // what they could hold and do not
    [[maybe_unused]] const auto place_next = [&]<class Member>(const Member&) {
      const member_layout& laid_out = Layout.members[i];
      at[i] = bytes_.data();
      if (laid_out.size != 0) at[i] += laid_out.offset - Layout.body - absent;
      return measure<Member>(at[i++], spare, absent);
    };
    if (!(place_next(member) && ...) || spare != 0) return MIG_BAD_ARGUMENTS;

    next = descriptors_.begin();
    i = 0;
    if (!(has_size<M>(next, at[i++]) && ...)) return MIG_TYPE_ERROR;
    i = 0;
    if (!(read(at[i++], member) && ...)) return MIG_BAD_ARGUMENTS;
    return take_all(member...);
  }

  bool has_shape(std::size_t descriptors, std::size_t min_size, std::size_t max_size) noexcept {
    const std::size_t head = from_.complex() ? sizeof(mach_msg_base_t) : sizeof(mach_msg_header_t);
    size_ = head + descriptors_.bytes() + bytes_.size();
    return from_.complex() == (descriptors != 0) && descriptors_.size() == descriptors &&
           size_ >= min_size && size_ <= max_size;
  }

  template <class M>
  static bool is_expected(descriptor_list::iterator& next) noexcept {
    if constexpr (layout_detail::descriptor_size(kind_of<M>) == 0) {
      return true;
    } else {
      const descriptor& d = *next;
      const bool expected = is_descriptor_of<M>(d.type(), d.disposition());
      ++next;
      return expected;
    }
  }

  template <class M>
  static bool is_descriptor_of(mach_msg_descriptor_type_t type,
                               mach_msg_type_name_t disposition) noexcept {
    constexpr mach_msg_type_name_t send = MACH_MSG_TYPE_MOVE_SEND;
    constexpr mach_msg_type_name_t send_once = MACH_MSG_TYPE_MOVE_SEND_ONCE;
    constexpr mach_msg_type_name_t receive = MACH_MSG_TYPE_MOVE_RECEIVE;
    if constexpr (kind_of<M> == member_kind::memory) return type == MACH_MSG_OOL_DESCRIPTOR;
    if constexpr (kind_of<M> == member_kind::right) {
      if (type != MACH_MSG_PORT_DESCRIPTOR) return false;
    } else {
      if (type != MACH_MSG_OOL_PORTS_DESCRIPTOR) return false;
    }
    if constexpr (std::same_as<M, any_right>) {
      return true;
    } else if constexpr (std::same_as<M, reply_right>) {
      return disposition == send || disposition == send_once;
    } else if constexpr (std::same_as<M, send_right> || std::same_as<M, std::vector<send_right>>) {
      return disposition == send;
    } else if constexpr (std::same_as<M, receive_right> ||
                         std::same_as<M, std::vector<receive_right>>) {
      return disposition == receive;
    } else {
      return disposition == send_once;
    }
  }

  static std::uint32_t word_at(const std::byte* at) noexcept {
    std::uint32_t word;
    std::memcpy(&word, at, sizeof word);
    return word;
  }

  // Counts what a variable member holds. Returns false if that is too much.
  template <class M>
  static bool measure(const std::byte* at, std::size_t& spare, std::size_t& absent) noexcept {
    using namespace layout_detail;
    std::size_t size = 0;
    if constexpr (kind_of<M> == member_kind::text) {
      size = word_at(at + word);
      if (size > M::max_size() + 1) return false;
    } else if constexpr (kind_of<M> == member_kind::array) {
      const std::size_t count = word_at(at);
      if (count > M::max_size()) return false;
      size = count * sizeof(typename M::value_type);
    } else {
      return true;
    }
    if (padded(size) > spare) return false;
    spare -= padded(size);
    absent += sizes_of<M>.max - sizes_of<M>.min - padded(size);
    return true;
  }

  // Returns false if the count in the body is not that of the descriptor.
  template <class M>
  static bool has_size(descriptor_list::iterator& next, const std::byte* at) noexcept {
    if constexpr (layout_detail::descriptor_size(kind_of<M>) == 0) {
      return true;
    } else if constexpr (kind_of<M> == member_kind::right) {
      ++next;
      return true;
    } else {
      const bool agrees = next->size() == word_at(at);
      ++next;
      return agrees;
    }
  }

  template <class M>
  static bool read(const std::byte* at, M& into) noexcept {
    using namespace layout_detail;
    if constexpr (kind_of<M> == member_kind::text) {
      const auto* const characters = reinterpret_cast<const char*>(at + 2 * word);
      const void* const end = std::memchr(characters, '\0', word_at(at + word));
      if (end == nullptr) return false;
      into.assign({characters, static_cast<const char*>(end)});
    } else if constexpr (kind_of<M> == member_kind::array) {
      into.assign(at + word, word_at(at));
    } else if constexpr (kind_of<M> == member_kind::value) {
      if (std::same_as<M, bool> && std::to_integer<unsigned>(*at) > 1) return false;
      std::memcpy(static_cast<void*>(&into), at, sizeof into);
    }
    return true;
  }

  template <class... M>
  kern_return_t take_all(M&... member) {
    if constexpr (((layout_detail::descriptor_size(kind_of<M>) != 0) || ...)) {
      descriptor_list::iterator next = descriptors_.begin();
      try {
        (take(next, member), ...);
      } catch (const std::system_error& e) {
        return e.code() == errc::revocable ? MIG_BAD_ARGUMENTS : KERN_RESOURCE_SHORTAGE;
      }
    }
    return KERN_SUCCESS;
  }

  template <class M>
  void take(descriptor_list::iterator& next, M& into) {
    if constexpr (layout_detail::descriptor_size(kind_of<M>) != 0) {
      take(*next, into);
      ++next;
    }
  }
  void take(descriptor& from, send_right& into) { into = from.take_send(where_); }
  void take(descriptor& from, send_once_right& into) { into = from.take_send_once(where_); }
  void take(descriptor& from, receive_right& into) { into = from.take_receive(where_); }
  void take(descriptor& from, any_right& into) { into = from.take_any(where_); }
  void take(descriptor& from, reply_right& into) {
    if (from.disposition() == MACH_MSG_TYPE_MOVE_SEND) {
      into = reply_right(from.take_send(where_));
    } else {
      into = reply_right(from.take_send_once(where_));
    }
  }
  void take(descriptor& from, std::vector<send_right>& into) {
    into = from.take_send_array(where_);
  }
  void take(descriptor& from, std::vector<send_once_right>& into) {
    into = from.take_send_once_array(where_);
  }
  void take(descriptor& from, std::vector<receive_right>& into) {
    into = from.take_receive_array(where_);
  }
  void take(descriptor& from, memory_region& into) { into = from.take_memory(); }

  received& from_;
  descriptor_list descriptors_;
  std::span<const std::byte> bytes_;
  const place& where_;
  std::size_t size_ = 0;  // of the message
};

namespace interface_detail {

// An argument of call() and others for a member. An integer is converted, and must fit.
template <class M, class Argument>
decltype(auto) as_member(Argument&& argument) {
  using given = std::remove_cvref_t<Argument>;
  constexpr bool are_numbers = std::integral<M> && std::integral<given> && !std::same_as<M, given>;
  if constexpr (are_numbers && requires { requires sizeof(M) + sizeof(given) > 2; } &&
                !std::same_as<M, bool> && !std::same_as<given, bool> && !std::same_as<M, char> &&
                !std::same_as<given, char>) {
    if (!std::in_range<M>(argument)) {
      throw std::out_of_range("kedge::mach: a number that its member of a request cannot hold");
    }
    return static_cast<M>(argument);
  } else {
    return std::forward<Argument>(argument);
  }
}

template <class T, class... M, class... Arguments>
T make(type_list<M...>, Arguments&&... arguments) {
  return T(as_member<M>(std::forward<Arguments>(arguments))...);
}

}  // namespace interface_detail

// Makes a T of `arguments`, one for each member, and encodes it. A T of the caller's is one
// argument, and moved.
template <request T, class... Arguments>
message encode(Arguments&&... arguments) {
  if constexpr (sizeof...(Arguments) == 1 &&
                (std::same_as<std::remove_cvref_t<Arguments>, T> && ...)) {
    T made(std::forward<Arguments>(arguments)...);
    return message_encoder::encode<layout_of<T>>(T::id, false, made);
  } else if constexpr (layout_detail::check_members<T>()) {
    static_assert(sizeof...(Arguments) == member_count<T>,
                  "kedge::mach: a request takes one argument for each of its members");
    T made = interface_detail::make<T>(members_of<T>(), std::forward<Arguments>(arguments)...);
    return message_encoder::encode<layout_of<T>>(T::id, false, made);
  } else {
    return message();
  }
}

// The reply to a T, with the return code KERN_SUCCESS.
template <request_with_reply T>
message encode_reply(typename T::reply&& reply) {
  return message_encoder::encode<reply_layout_of<T>>(T::id + reply_offset,
                                                     reply_layout_of<T>.descriptors == 0, reply);
}

// The reply to a request with the id `request_id` that was refused or has failed: MIG's
// mig_reply_error_t.
inline message encode_error(mach_msg_id_t request_id, kern_return_t code) {
  return message(request_id + reply_offset, NDR_record, code);
}

// Returns the request, or the code with which a MIG server refuses it.
template <request T>
result<T, kern_return_t> decode(received& from, const place& where = place::current()) {
  if (from.id() != T::id) return unexpected(kern_return_t{MIG_BAD_ID});
  result<T, kern_return_t> decoded{T{}};
  const kern_return_t code = message_decoder::decode<layout_of<T>>(from, *decoded, where);
  if (code != KERN_SUCCESS) decoded = unexpected(code);
  return decoded;
}

// Returns the reply to a T, the peer's return code (category "mach.kern"), or errc::bad_reply.
template <request_with_reply T>
result<typename T::reply> decode_reply(received& from, const place& where = place::current()) {
  constexpr auto& layout = reply_layout_of<T>;
  if (from.id() != T::id + reply_offset) return unexpected(errc::bad_reply);
  const std::size_t size = sizeof(mach_msg_header_t) + from.bytes().size();
  const bool may_have_code =
      !from.complex() &&
      (size == sizeof(mig_reply_error_t) ||
       (layout.descriptors == 0 && size >= layout.min_size && size <= layout.max_size));
  if (may_have_code) {
    const auto code = from.read<kern_return_t>(sizeof(NDR_record_t)).value();
    if (code != KERN_SUCCESS) return unexpected(kern_error(code));
  }
  result<typename T::reply> decoded{typename T::reply{}};
  if (message_decoder::decode<layout>(from, *decoded, where) != KERN_SUCCESS) {
    decoded = unexpected(errc::bad_reply);
  }
  return decoded;
}

}  // namespace kedge::mach
