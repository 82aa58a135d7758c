// message_encoder: writes a typed request or reply as a message, in the layout of MIG. For
// interface.h.
#pragma once

#include <mach/mach.h>
#include <mach/ndr.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "kedge/mach/members.h"
#include "kedge/mach/message.h"
#include "kedge/mach/message_layout.h"

namespace kedge::mach {

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
      message m(message::begin(id, Layout.body + body));
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

}  // namespace kedge::mach
