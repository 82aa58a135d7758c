// A fuzz target: messages that are nearly typed requests and replies, with every kind of member. A
// request must be refused by the code that a check gives which is written as MIG writes its own, or
// hold what the message says. No right may be left.
#include <mach/mach.h>
#include <mach/mig_errors.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "byte_source.h"
#include "kedge/mach/immovable.h"
#include "kedge/mach/interface.h"
#include "kedge/mach/message.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/send.h"
#include "kedge/mach/try_receive.h"

namespace kedge::mach {
namespace {

using fuzz::byte_source;
using fuzz::require;

struct spoken {
  static constexpr mach_msg_id_t id = 1;
  text<10> name;
  array<std::uint16_t, 5> values;
  bool loud;
  text<7> end;
  std::uint64_t last;
  struct reply {
    std::uint16_t number;
    text<10> name;
  };
};

struct everything {
  static constexpr mach_msg_id_t id = 2;
  std::uint16_t number;
  send_right send;
  text<10> name;
  send_once_right once;
  array<std::uint16_t, 5> values;
  receive_right receive;
  any_right any;
  reply_right answer;
  std::vector<send_right> rights;
  std::vector<receive_right> ports;
  memory_region memory;
  std::uint64_t last;
  struct reply {
    send_right send;
    text<10> name;
  };
};

std::uint32_t names_here() {
  ipc_info_space_basic_t info{};
  require(mach_port_space_basic_info(mach_task_self(), &info) == KERN_SUCCESS, "no space info");
  return info.iisb_table_inuse;
}

// A check as MIG writes one, without the library's layouts.
class judge {
 public:
  explicit judge(received& m) : m_(m), descriptors_(m.descriptors()), body_(m.bytes()) {
    std::memcpy(words_, body_.data(), std::min(body_.size(), sizeof words_));
  }

  kern_return_t of_spoken() {
    if (m_.id() != spoken::id) return MIG_BAD_ID;
    constexpr std::size_t least = 8 + 8 + 4 + 4 + 8 + 8;
    if (m_.complex() || body_.size() < least || body_.size() > least + 12 + 12 + 8) {
      return MIG_BAD_ARGUMENTS;
    }
    at_ = 2;
    spare_ = body_.size() - least;
    if (!take_text(10) || !take_values()) return MIG_BAD_ARGUMENTS;
    loud = static_cast<std::uint8_t>(words_[at_++]);
    if (!take_text(7) || spare_ != 0) return MIG_BAD_ARGUMENTS;
    return has_ends_ && loud <= 1 ? KERN_SUCCESS : MIG_BAD_ARGUMENTS;
  }

  kern_return_t of_everything(bool is_revocable) {
    if (m_.id() != everything::id) return MIG_BAD_ID;
    constexpr std::size_t least = 24 + 4 + 5 * 12 + 3 * 16 + 8 + 4 + 8 + 4 + 4 + 4 + 4 + 8;
    const std::size_t size = 24 + 4 + descriptors_.bytes() + body_.size();
    if (!m_.complex() || descriptors_.size() != 8 || size < least || size > least + 12 + 12) {
      return MIG_BAD_ARGUMENTS;
    }
    constexpr auto port = MACH_MSG_PORT_DESCRIPTOR, array = MACH_MSG_OOL_PORTS_DESCRIPTOR;
    constexpr unsigned send = MACH_MSG_TYPE_MOVE_SEND, once = MACH_MSG_TYPE_MOVE_SEND_ONCE,
                       receive = MACH_MSG_TYPE_MOVE_RECEIVE;
    const bool answers = is(4, port, send) || is(4, port, once);
    if (!is(0, port, send) || !is(1, port, once) || !is(2, port, receive) ||
        descriptors_[3].type() != port || !answers || !is(5, array, send) ||
        !is(6, array, receive) || descriptors_[7].type() != MACH_MSG_OOL_DESCRIPTOR) {
      return MIG_TYPE_ERROR;
    }
    at_ = 3;
    spare_ = size - least;
    if (!take_text(10) || !take_values() || spare_ != 0) return MIG_BAD_ARGUMENTS;
    for (std::size_t i = 5; i < 8; ++i) {
      if (words_[at_++] != descriptors_[i].size()) return MIG_TYPE_ERROR;
    }
    return has_ends_ && !is_revocable ? KERN_SUCCESS : MIG_BAD_ARGUMENTS;
  }

  // What the members are, after a success.
  std::vector<std::string_view> texts;
  std::vector<std::uint16_t> values;
  std::uint8_t loud = 0;

 private:
  bool is(std::size_t i, unsigned type, unsigned disposition) const {
    return descriptors_[i].type() == type && descriptors_[i].disposition() == disposition;
  }
  // Returns false if the next variable member holds more than it may, or than there is.
  bool take(std::size_t size) {
    const std::size_t whole = (size + 3) / 4 * 4;
    if (whole > spare_) return false;
    spare_ -= whole;
    at_ += whole / 4;
    return true;
  }
  bool take_text(std::size_t most) {
    const std::size_t size = words_[at_ + 1];
    at_ += 2;
    const auto* const from = reinterpret_cast<const char*>(words_ + at_);
    if (size > most || !take(size)) return false;
    const std::string_view all(from, size);
    has_ends_ = has_ends_ && all.find('\0') != all.npos;
    texts.push_back(all.substr(0, all.find('\0')));
    return true;
  }
  bool take_values() {
    const std::size_t count = words_[at_++];
    const std::size_t from = at_;
    if (count > 5 || !take(2 * count)) return false;
    values.resize(count);
    if (count != 0) std::memcpy(values.data(), words_ + from, 2 * count);
    return true;
  }

  received& m_;
  descriptor_list descriptors_;
  std::span<const std::byte> body_;
  std::uint32_t words_[64]{};
  std::size_t at_ = 0;
  std::size_t spare_ = 0;
  bool has_ends_ = true;
};

// Makes messages that are nearly right.
class forger {
 public:
  explicit forger(byte_source& source) : source_(source) {}

  message make() {
    const bool has_rights = source_.below(2) != 0;
    message m(source_.one_in(32) ? static_cast<mach_msg_id_t>(source_.byte())
              : has_rights       ? everything::id
                                 : spoken::id);
    if (has_rights != source_.one_in(32)) append_descriptors(m);
    put(NDR_record);
    if (has_rights) put_word(source_.word());
    put_text(10);
    put_values();
    if (has_rights) {
      for (const std::uint32_t count : counts_)
        put_word(source_.one_in(16) ? source_.byte() : count);
    } else {
      put_word(source_.below(source_.one_in(8) ? 256 : 2));
      put_text(7);
    }
    put_word(source_.word());
    put_word(source_.word());
    spoil();
    m.append(body_);
    return m;
  }

  // One of the other kinds of reply.
  message make_reply(mach_msg_id_t request_id) {
    if (source_.one_in(4)) {
      return encode_error(request_id, static_cast<kern_return_t>(source_.below(4)));
    }
    message m(request_id + reply_offset);
    if (source_.below(2) != 0) append_one(m, source_.one_in(8) ? source_.below(8) : 0);
    put(NDR_record);
    if (m.rights() == 0) put_word(source_.below(4));
    if (m.rights() == 0) put_word(source_.word());
    put_text(10);
    spoil();
    m.append(body_);
    return m;
  }

  bool is_revocable() const { return is_revocable_; }

 private:
  template <class T>
  void put(const T& value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    body_.insert(body_.end(), bytes.begin(), bytes.end());
  }
  void put_word(std::uint32_t word) { put(word); }
  void pad() { body_.resize((body_.size() + 3) / 4 * 4); }

  void put_text(std::uint32_t most) {
    const std::uint32_t size = source_.below(most + 2);
    put_word(0);
    put_word(size);
    for (std::uint32_t i = 0; i < size; ++i) {
      const bool ends = i + 1 == size && !source_.one_in(8);
      put(ends ? std::uint8_t{0} : static_cast<std::uint8_t>(source_.byte() | 1));
    }
    pad();
  }
  void put_values() {
    const std::uint32_t count = source_.below(7);
    put_word(count);
    for (std::uint32_t i = 0; i < count; ++i) put(static_cast<std::uint16_t>(source_.word()));
    pad();
  }
  void spoil() {
    if (source_.one_in(8)) {
      const std::uint32_t word = source_.word();
      const std::size_t at = 4 * source_.below(static_cast<std::uint32_t>(body_.size() / 4));
      std::memcpy(body_.data() + at, &word, sizeof word);
    }
    if (source_.one_in(16)) body_.resize(4 * source_.below(32));
  }

  void append_descriptors(message& m) {
    for (unsigned kind = 0; kind < 8; ++kind) {
      if (source_.one_in(64)) continue;
      append_one(m, source_.one_in(32) ? source_.below(9) : kind);
      if (source_.one_in(128)) append_one(m, kind);
    }
  }
  // A descriptor as that of the member `kind` of everything, or an immovable right.
  void append_one(message& m, unsigned kind) {
    switch (kind) {
      case 0:
        return m.append(port_.make_send());
      case 1:
        return m.append(port_.make_send_once());
      case 2:
        return m.append(make_receive());
      case 3:
        return source_.below(2) != 0 ? m.append(any_right(port_.make_send_once()))
                                     : m.append(any_right(make_receive()));
      case 4:
        return source_.below(2) != 0 ? m.append(reply_right(port_.make_send_once()))
                                     : m.append(reply_right(port_.make_send()));
      case 5: {
        counts_[0] = source_.below(4);
        std::vector<send_right> rights(counts_[0], port_.make_send());
        return m.append(std::move(rights));
      }
      case 6: {
        counts_[1] = source_.below(3);
        std::vector<receive_right> ports;
        for (std::uint32_t i = 0; i < counts_[1]; ++i) ports.push_back(make_receive());
        return m.append(std::move(ports));
      }
      case 7:
        counts_[2] = source_.below(2000);
        return m.append(memory_region::make(counts_[2]));
      default:
        return m.append(immovable(make_receive()));
    }
  }
  // Now and then one that this sender can take back.
  receive_right make_receive() {
    receive_right made = receive_right::make();
    if (!source_.one_in(32)) return made;
    const mach_port_name_t name = std::move(made).release();
    mach_port_t previous = MACH_PORT_NULL;
    mach_port_request_notification(mach_task_self(), name, MACH_NOTIFY_PORT_DESTROYED, 0,
                                   port_.name(), MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous);
    is_revocable_ = true;
    return receive_right::adopt_revocable(name);
  }

  byte_source& source_;
  receive_right port_ = receive_right::make();
  std::vector<std::byte> body_;
  std::uint32_t counts_[3]{};
  bool is_revocable_ = false;
};

received through(message m) {
  const receive_right port = receive_right::make();
  require(try_send(port.make_send(), std::move(m)).has_value(), "the kernel has refused a message");
  received got;
  std::size_t expected = 0;
  require(try_receive(port.name(), expected, got) == MACH_MSG_SUCCESS, "no message");
  return got;
}

template <std::size_t N>
bool are_equal(const array<std::uint16_t, N>& got, const std::vector<std::uint16_t>& sent) {
  return std::equal(got.begin(), got.end(), sent.begin(), sent.end());
}

void decode_spoken(received& m) {
  judge expected(m);
  const kern_return_t code = expected.of_spoken();
  auto got = decode<spoken>(m);
  require(got.has_value() == (code == KERN_SUCCESS), "a request is taken for another");
  if (!got) return require(got.error() == code, "a request is refused by another code");
  require(got->name == expected.texts[0] && got->end == expected.texts[1], "another text");
  require(are_equal(got->values, expected.values), "other values");
  require(got->loud == (expected.loud != 0), "another bool");
  received again = through(encode<spoken>(*got));
  require(decode<spoken>(again)->last == got->last, "another request");
}

void decode_everything(received& m, bool is_revocable) {
  judge expected(m);
  const kern_return_t code = expected.of_everything(is_revocable);
  auto got = decode<everything>(m);
  require(got.has_value() == (code == KERN_SUCCESS), "a request is taken for another");
  if (!got) return require(got.error() == code, "a request is refused by another code");
  require(got->name == expected.texts[0], "another text");
  require(are_equal(got->values, expected.values), "other values");
  require(got->send && got->once && got->receive && got->any && got->answer, "a right is missing");
  const std::size_t rights = got->rights.size(), size = got->memory.size();
  received again = through(encode<everything>(std::move(*got)));
  const auto repeated = decode<everything>(again);
  require(repeated->rights.size() == rights && repeated->memory.size() == size, "another request");
}

void play(byte_source input) {
  const std::uint32_t before = names_here();
  for (int i = 0; i < 4 && !input.empty(); ++i) {
    forger requests(input);
    received m = through(requests.make());
    if (m.id() == spoken::id) {
      decode_spoken(m);
    } else {
      decode_everything(m, requests.is_revocable());
    }
    m = through(forger(input).make_reply(spoken::id));
    static_cast<void>(decode_reply<spoken>(m));
    m = through(forger(input).make_reply(everything::id));
    static_cast<void>(decode_reply<everything>(m));
  }
  require(names_here() == before, "a right is left");
}

}  // namespace
}  // namespace kedge::mach

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  kedge::mach::play(fuzz::byte_source({data, size}));
  return 0;
}
