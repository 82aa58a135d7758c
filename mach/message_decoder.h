// message_decoder: reads a typed request or reply out of a message, in the layout of MIG, and
// refuses what MIG refuses. The sender is not trusted. For interface.h.
#pragma once

#include <mach/mach.h>
#include <mach/mig_errors.h>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <system_error>
#include <vector>

#include "kedge/mach/descriptor.h"
#include "kedge/mach/error.h"
#include "kedge/mach/ledger.h"
#include "kedge/mach/members.h"
#include "kedge/mach/message_layout.h"
#include "kedge/mach/received.h"

namespace kedge::mach {

// A bool, or a std::array of bools at any depth: a byte of another value than 0 and 1 is none.
template <class M>
inline constexpr bool is_bools = std::same_as<M, bool>;
template <class M, std::size_t N>
inline constexpr bool is_bools<std::array<M, N>> = is_bools<M>;

class message_decoder {
 public:
  // Moves rights and memory out of `from`. Returns KERN_SUCCESS, or the code of the refusal. Throws
  // std::bad_alloc.
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
      if constexpr (is_bools<M>) {
        const auto is_bool = [](std::byte b) { return std::to_integer<unsigned>(b) <= 1; };
        if (!std::all_of(at, at + sizeof into, is_bool)) return false;
      }
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

}  // namespace kedge::mach
