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
// message. A request that is refused leaves in the message what was not taken out. A right whose
// port had died before it arrived is empty.
//
// Errors: encoding throws what message::append() throws. Decoding refuses what a MIG server
// refuses, by the same code; moreover a bool that is neither 0 nor 1, also in a std::array, and a
// receive right that its sender can take back (errc::revocable), both with MIG_BAD_ARGUMENTS. The
// bools and the enumerations in a struct that is a member are not checked. It throws std::bad_alloc
// alone.
#pragma once

#include <mach/mach.h>
#include <mach/mig_errors.h>

#include <concepts>
#include <cstddef>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "kedge/mach/error.h"
#include "kedge/mach/members.h"
#include "kedge/mach/message.h"
#include "kedge/mach/message_decoder.h"
#include "kedge/mach/message_encoder.h"
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

namespace interface_detail {

// Integers whose values std::in_range compares.
template <class T>
concept number = std::integral<T> && !std::same_as<T, bool> && !std::same_as<T, char> &&
                 !std::same_as<T, wchar_t> && !std::same_as<T, char8_t> &&
                 !std::same_as<T, char16_t> && !std::same_as<T, char32_t>;

// An argument for a member of type M. A number is converted, and must fit.
template <class M, class Argument>
decltype(auto) as_member(Argument&& argument) {
  if constexpr (number<M> && number<std::remove_cvref_t<Argument>>) {
    if (!std::in_range<M>(argument)) {
      throw std::out_of_range("kedge::mach: a number that a member of a request cannot hold");
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
