// message_layout: where MIG puts the members of a typed request or reply in a message.
// layout_of<T>, reply_layout_of<T>: the layouts of the request T and of its reply.
//
//     static_assert(mach::layout_of<count_letters>.members[0].offset == 32);
//
// A message begins with a header of 24 bytes. It goes on with the descriptors of all members that
// have one, the NDR record if anything follows it, and the other members. Members have no
// alignment, and are padded to four bytes each:
//
//     member                            in the body               descriptor
//     a plain value                     its bytes                 none
//     text<N>                           0, its size with the      none
//                                       zero, the characters
//     array<T, N>                       the count, the values     none
//     send_right, send_once_right,      nothing                   of one right
//     receive_right, reply_right
//     any_right (MIG: polymorphic)      nothing                   of one right
//     std::vector of rights             the count                 of an array of rights
//     memory_region                     the count of bytes        of memory out-of-line
//
// A reply without descriptors has its return code (kern_return_t) behind the NDR record. One with
// descriptors has no return code: its descriptors mean success.
#pragma once

#include <mach/mach.h>
#include <mach/mig_errors.h>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "kedge/mach/any_right.h"
#include "kedge/mach/array.h"
#include "kedge/mach/members.h"
#include "kedge/mach/memory_region.h"
#include "kedge/mach/plain.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/reply_right.h"
#include "kedge/mach/send_once_right.h"
#include "kedge/mach/send_right.h"
#include "kedge/mach/text.h"

namespace kedge::mach {

enum class member_kind : std::uint8_t { unknown, value, text, array, right, rights, memory };

template <class M>
inline constexpr member_kind kind_of =
    plain<M> && !std::is_const_v<M> ? member_kind::value : member_kind::unknown;
template <std::size_t N>
inline constexpr member_kind kind_of<text<N>> = member_kind::text;
template <class T, std::size_t N>
inline constexpr member_kind kind_of<array<T, N>> = member_kind::array;
template <>
inline constexpr member_kind kind_of<send_right> = member_kind::right;
template <>
inline constexpr member_kind kind_of<send_once_right> = member_kind::right;
template <>
inline constexpr member_kind kind_of<receive_right> = member_kind::right;
template <>
inline constexpr member_kind kind_of<reply_right> = member_kind::right;
template <>
inline constexpr member_kind kind_of<any_right> = member_kind::right;
template <>
inline constexpr member_kind kind_of<std::vector<send_right>> = member_kind::rights;
template <>
inline constexpr member_kind kind_of<std::vector<send_once_right>> = member_kind::rights;
template <>
inline constexpr member_kind kind_of<std::vector<receive_right>> = member_kind::rights;
template <>
inline constexpr member_kind kind_of<memory_region> = member_kind::memory;

// Offsets from the beginning of the message, 0 if the member has no such part. That in the body is
// as in MIG's structures: every variable member ahead has its largest size.
struct member_layout {
  member_kind kind = member_kind::unknown;
  std::size_t descriptor = 0;
  std::size_t offset = 0;
  std::size_t size = 0;  // in the body, at most
};

template <std::size_t Members>
struct message_layout {
  std::array<member_layout, Members> members{};
  std::size_t descriptors = 0;  // their number
  std::size_t ndr = 0;          // the offset of the NDR record, 0 if there is none
  std::size_t body = 0;         // where the descriptors end: the NDR record or the end
  std::size_t min_size = 0;     // of the message, without a trailer
  std::size_t max_size = 0;
};

namespace layout_detail {

constexpr std::size_t padded(std::size_t size) noexcept {
  return (size + sizeof(natural_t) - 1) / sizeof(natural_t) * sizeof(natural_t);
}

struct sizes {
  std::size_t min = 0;
  std::size_t max = 0;
};

inline constexpr std::size_t word = sizeof(mach_msg_type_number_t);

// What a member takes in the body.
template <class M>
inline constexpr sizes sizes_of = {padded(sizeof(M)), padded(sizeof(M))};
template <class M>
  requires(kind_of<M> == member_kind::right)
inline constexpr sizes sizes_of<M> = {0, 0};
template <class M>
  requires(kind_of<M> == member_kind::rights || kind_of<M> == member_kind::memory)
inline constexpr sizes sizes_of<M> = {word, word};
template <std::size_t N>
inline constexpr sizes sizes_of<text<N>> = {2 * word, 2 * word + padded(N)};
template <class T, std::size_t N>
inline constexpr sizes sizes_of<array<T, N>> = {word, word + padded(N * sizeof(T))};

constexpr std::size_t descriptor_size(member_kind kind) noexcept {
  switch (kind) {
    case member_kind::right:
      return sizeof(mach_msg_port_descriptor_t);
    case member_kind::rights:
      return sizeof(mach_msg_ool_ports_descriptor_t);
    case member_kind::memory:
      return sizeof(mach_msg_ool_descriptor_t);
    default:
      return 0;
  }
}

template <class... M>
constexpr message_layout<sizeof...(M)> lay_out(bool is_reply, type_list<M...>) noexcept {
  constexpr std::size_t count = sizeof...(M);
  const std::array<member_kind, count> kinds{kind_of<M>...};
  const std::array<sizes, count> all{sizes_of<M>...};
  message_layout<count> layout;
  std::size_t end = sizeof(mach_msg_base_t);
  std::size_t body_min = 0;
  std::size_t body_max = 0;
  for (std::size_t i = 0; i < count; ++i) {
    layout.members[i].kind = kinds[i];
    layout.members[i].size = all[i].max;
    body_min += all[i].min;
    body_max += all[i].max;
    if (descriptor_size(kinds[i]) == 0) continue;
    layout.members[i].descriptor = end;
    end += descriptor_size(kinds[i]);
    ++layout.descriptors;
  }
  if (layout.descriptors == 0) end = sizeof(mach_msg_header_t);
  layout.body = end;
  const bool has_code = is_reply && layout.descriptors == 0;
  if (has_code || body_max != 0) {
    layout.ndr = end;
    end += sizeof(NDR_record_t);
  }
  if (has_code) end += sizeof(kern_return_t);
  layout.min_size = end + body_min;
  layout.max_size = end + body_max;
  for (member_layout& member : layout.members) {
    if (member.size == 0) continue;
    member.offset = end;
    end += member.size;
  }
  return layout;
}

template <class... M>
constexpr bool are_known(type_list<M...>) noexcept {
  return ((kind_of<M> != member_kind::unknown) && ...);
}

// Refuses, with the reason, a struct that no message carries.
template <class T>
constexpr bool check_members() {
  static_assert(std::is_aggregate_v<T> && member_count<T> <= members_detail::most,
                "kedge::mach: a request or a reply is a plain struct of up to 16 members");
  static_assert(!has_c_array<T>,
                "kedge::mach: a request or a reply has no array of C's: use std::array<T, N>, or "
                "mach::array<T, N> of up to N values");
  if constexpr (std::is_aggregate_v<T> && member_count<T> <= members_detail::most &&
                !has_c_array<T>) {
    static_assert(are_known(members_of<T>()),
                  "kedge::mach: a member of a request or a reply is a number, a trivially copyable "
                  "struct without pointers, padding and floating-point members, a std::array of "
                  "those, mach::text<N>, mach::array<T, N>, a right, a std::vector of rights or a "
                  "memory_region");
    return are_known(members_of<T>());
  }
  return false;
}

template <class T, bool IsReply>
constexpr auto layout_for() {
  if constexpr (check_members<T>()) {
    return lay_out(IsReply, members_of<T>());
  } else {
    return message_layout<0>();
  }
}

}  // namespace layout_detail

template <class T>
inline constexpr auto layout_of = layout_detail::layout_for<T, false>();

template <class T>
inline constexpr auto reply_layout_of = layout_detail::layout_for<typename T::reply, true>();

}  // namespace kedge::mach
