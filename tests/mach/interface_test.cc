// Typed requests and replies: layouts, bytes, refusals and calls.
#include "kedge/mach/interface.h"

#include <doctest/doctest.h>
#include <mach/mach.h>
#include <mach/mig_errors.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <ostream>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "kedge/mach/immovable.h"
#include "kedge/mach/port_destroyed.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"
#include "kedge/mach/typed_call.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/with_timeout.h"
#include "mig_layouts.h"
#include "space_names.h"
#include "take_message.h"

namespace kedge::mach {
namespace {

using namespace std::chrono_literals;

struct nothing {
  static constexpr mach_msg_id_t id = 4000;
  struct reply {};
};

struct count_letters {
  static constexpr mach_msg_id_t id = 5000;
  text<1024> word;
  struct reply {
    std::uint64_t letters;
  };
};

struct small {
  static constexpr mach_msg_id_t id = 5001;
  std::uint8_t a;
  bool b;
  std::uint16_t c;
  std::uint64_t d;
  struct reply {
    std::uint8_t e;
  };
};

struct switches {
  static constexpr mach_msg_id_t id = 5090;
  std::array<std::array<bool, 2>, 2> on;
};

struct point {
  std::int32_t x;
  std::int32_t y;
};

struct fixed {
  static constexpr mach_msg_id_t id = 5002;
  std::array<char, 6> tag;
  point at;
  struct reply {
    std::array<std::uint16_t, 3> halves;
  };
};

struct swap {
  static constexpr mach_msg_id_t id = 5003;
  send_right given;
  struct reply {
    send_right got;
  };
};

struct all_rights {
  static constexpr mach_msg_id_t id = 5004;
  std::uint32_t number;
  send_right send;
  send_once_right once;
  receive_right receive;
  struct reply {
    receive_right receive;
    std::uint32_t number;
  };
};

struct pass_on {
  static constexpr mach_msg_id_t id = 5005;
  any_right right;
  reply_right answer;
  struct reply {};
};

struct samples {
  static constexpr mach_msg_id_t id = 5006;
  array<std::uint16_t, 7> values;
  std::uint32_t scale;
  struct reply {
    array<std::uint64_t, 4> sums;
    text<13> note;
    std::uint32_t count;
  };
};

struct render {
  static constexpr mach_msg_id_t id = 5007;
  memory_region page;
  std::uint32_t width;
  struct reply {
    memory_region picture;
  };
};

struct subscribe {
  static constexpr mach_msg_id_t id = 5008;
  std::vector<send_right> watchers;
  std::vector<send_once_right> reports;
  struct reply {
    std::vector<receive_right> ports;
  };
};

struct show {
  static constexpr mach_msg_id_t id = 5009;
  std::uint32_t width;
  memory_region picture;
  text<8> title;
  send_right watcher;
  std::uint32_t height;
};

struct long_texts {
  static constexpr mach_msg_id_t id = 5010;
  text<250'000> first;
  text<250'000> second;
};

static_assert(layout_of<nothing>.max_size == sizeof(mig::nothing_request));
static_assert(reply_layout_of<nothing>.max_size == sizeof(mig::nothing_reply));
static_assert(sizeof(mig::nothing_reply) == sizeof(mig_reply_error_t));

static_assert(layout_of<count_letters>.members[0].offset ==
              offsetof(mig::count_letters_request, wordOffset));
static_assert(layout_of<count_letters>.max_size == sizeof(mig::count_letters_request));
static_assert(layout_of<count_letters>.min_size == sizeof(mig::count_letters_request) - 1024);
static_assert(reply_layout_of<count_letters>.members[0].offset ==
              offsetof(mig::count_letters_reply, letters));
static_assert(reply_layout_of<count_letters>.max_size == sizeof(mig::count_letters_reply));

static_assert(layout_of<small>.ndr == offsetof(mig::small_request, NDR));
static_assert(layout_of<small>.members[0].offset == offsetof(mig::small_request, a));
static_assert(layout_of<small>.members[1].offset == offsetof(mig::small_request, b));
static_assert(layout_of<small>.members[2].offset == offsetof(mig::small_request, c));
static_assert(layout_of<small>.members[3].offset == offsetof(mig::small_request, d));
static_assert(layout_of<small>.max_size == sizeof(mig::small_request));
static_assert(layout_of<small>.min_size == sizeof(mig::small_request));
static_assert(reply_layout_of<small>.max_size == sizeof(mig::small_reply));

static_assert(layout_of<fixed>.members[0].offset == offsetof(mig::fixed_request, tag));
static_assert(layout_of<fixed>.members[1].offset == offsetof(mig::fixed_request, at));
static_assert(layout_of<fixed>.max_size == sizeof(mig::fixed_request));
static_assert(reply_layout_of<fixed>.members[0].offset == offsetof(mig::fixed_reply, halves));
static_assert(reply_layout_of<fixed>.max_size == sizeof(mig::fixed_reply));

static_assert(layout_of<swap>.members[0].descriptor == offsetof(mig::swap_request, given));
static_assert(layout_of<swap>.ndr == 0);
static_assert(layout_of<swap>.max_size == sizeof(mig::swap_request));
static_assert(reply_layout_of<swap>.ndr == 0);
static_assert(reply_layout_of<swap>.max_size == sizeof(mig::swap_reply));

static_assert(layout_of<all_rights>.descriptors == 3);
static_assert(layout_of<all_rights>.members[0].offset == offsetof(mig::all_rights_request, number));
static_assert(layout_of<all_rights>.members[1].descriptor ==
              offsetof(mig::all_rights_request, send));
static_assert(layout_of<all_rights>.members[2].descriptor ==
              offsetof(mig::all_rights_request, once));
static_assert(layout_of<all_rights>.members[3].descriptor ==
              offsetof(mig::all_rights_request, receive));
static_assert(layout_of<all_rights>.ndr == offsetof(mig::all_rights_request, NDR));
static_assert(layout_of<all_rights>.max_size == sizeof(mig::all_rights_request));
static_assert(reply_layout_of<all_rights>.members[1].offset ==
              offsetof(mig::all_rights_reply, number));
static_assert(reply_layout_of<all_rights>.max_size == sizeof(mig::all_rights_reply));

static_assert(layout_of<pass_on>.members[1].descriptor == offsetof(mig::pass_on_request, answer));
static_assert(layout_of<pass_on>.max_size == sizeof(mig::pass_on_request));

static_assert(layout_of<samples>.members[0].offset == offsetof(mig::samples_request, valuesCnt));
static_assert(layout_of<samples>.members[1].offset == offsetof(mig::samples_request, scale));
static_assert(layout_of<samples>.max_size == sizeof(mig::samples_request));
static_assert(layout_of<samples>.min_size == sizeof(mig::samples_request) - 16);
static_assert(reply_layout_of<samples>.members[0].offset == offsetof(mig::samples_reply, sumsCnt));
static_assert(reply_layout_of<samples>.members[1].offset ==
              offsetof(mig::samples_reply, noteOffset));
static_assert(reply_layout_of<samples>.members[2].offset == offsetof(mig::samples_reply, count));
static_assert(reply_layout_of<samples>.max_size == sizeof(mig::samples_reply));
static_assert(reply_layout_of<samples>.min_size == sizeof(mig::samples_reply) - 32 - 16);

static_assert(layout_of<render>.members[0].descriptor == offsetof(mig::render_request, page));
static_assert(layout_of<render>.members[0].offset == offsetof(mig::render_request, pageCnt));
static_assert(layout_of<render>.members[1].offset == offsetof(mig::render_request, width));
static_assert(layout_of<render>.max_size == sizeof(mig::render_request));
static_assert(reply_layout_of<render>.max_size == sizeof(mig::render_reply));

static_assert(layout_of<subscribe>.members[1].descriptor ==
              offsetof(mig::subscribe_request, reports));
static_assert(layout_of<subscribe>.members[1].offset ==
              offsetof(mig::subscribe_request, reportsCnt));
static_assert(layout_of<subscribe>.max_size == sizeof(mig::subscribe_request));
static_assert(reply_layout_of<subscribe>.max_size == sizeof(mig::subscribe_reply));

static_assert(layout_of<show>.members[0].offset == offsetof(mig::show_request, width));
static_assert(layout_of<show>.members[1].descriptor == offsetof(mig::show_request, picture));
static_assert(layout_of<show>.members[1].offset == offsetof(mig::show_request, pictureCnt));
static_assert(layout_of<show>.members[2].offset == offsetof(mig::show_request, titleOffset));
static_assert(layout_of<show>.members[3].descriptor == offsetof(mig::show_request, watcher));
static_assert(layout_of<show>.members[4].offset == offsetof(mig::show_request, height));
static_assert(layout_of<show>.max_size == sizeof(mig::show_request));

// The words of a message as it was received, from its size on: the size, the id, the number of
// descriptors if there are any, the descriptors, and the body. Names and addresses are left out,
// and released.
std::vector<std::uint32_t> words_of(message m) {
  const receive_right port = receive_right::make();
  const send_right to = port.make_send();
  REQUIRE(try_send(to, std::move(m)));
  alignas(8) std::array<std::byte, 4096> raw{};
  auto& header = *reinterpret_cast<mach_msg_header_t*>(raw.data());
  REQUIRE(mach_msg(&header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0,
                   static_cast<mach_msg_size_t>(raw.size()), port.name(), 0,
                   MACH_PORT_NULL) == MACH_MSG_SUCCESS);
  std::vector<std::uint32_t> words(header.msgh_size / 4);
  std::memcpy(words.data(), raw.data(), header.msgh_size);
  std::vector<std::uint32_t> shown{header.msgh_size, static_cast<std::uint32_t>(header.msgh_id)};
  std::size_t at = 6;
  if (MACH_MSGH_BITS_IS_COMPLEX(header.msgh_bits)) {
    const std::uint32_t descriptors = words[at++];
    shown.push_back(descriptors);
    for (std::uint32_t i = 0; i < descriptors; ++i) {
      const bool is_port = words[at + 2] >> 24 == MACH_MSG_PORT_DESCRIPTOR;
      shown.push_back(words[at + 2] & 0xffff0000);   // the disposition, the type
      if (!is_port) shown.push_back(words[at + 3]);  // the size or count
      at += is_port ? 3 : 4;
    }
  }
  shown.insert(shown.end(), words.begin() + static_cast<std::ptrdiff_t>(at), words.end());
  mach_msg_destroy(&header);
  return shown;
}

// Sends the message, and gives it as it was received.
received through(message m) {
  const receive_right port = receive_right::make();
  const send_right to = port.make_send();
  REQUIRE(try_send(to, std::move(m)));
  return take(port);
}

template <class T>
kern_return_t refusal(message m) {
  received got = through(std::move(m));
  const auto decoded = decode<T>(got);
  return decoded ? KERN_SUCCESS : decoded.error();
}

constexpr std::uint32_t ndr_first = 0, ndr_second = 1;  // of a little-endian machine
// What a descriptor is, in its third word.
constexpr std::uint32_t a_send = 17u << 16, a_once = 18u << 16, a_receive = 16u << 16;
constexpr std::uint32_t memory = 1u << 24, ports = 2u << 24;
using words = std::vector<std::uint32_t>;

std::vector<send_once_right> one_once(const receive_right& port) {
  std::vector<send_once_right> rights;
  rights.push_back(port.make_send_once());
  return rights;
}

}  // namespace

TEST_CASE("a request has the bytes of MIG's") {
  const receive_right port = receive_right::make();
  const send_right to_port = port.make_send();

  CHECK(words_of(encode<nothing>()) == words{24, 4000});
  // The count of the text has its zero.
  CHECK(words_of(encode<count_letters>("kedge")) ==
        words{48, 5000, ndr_first, ndr_second, 0, 6, 0x6764656b, 0x00000065});
  CHECK(words_of(encode<count_letters>("")) ==
        words{44, 5000, ndr_first, ndr_second, 0, 1, 0x00000000});
  CHECK(words_of(encode<count_letters>("abc")) ==
        words{44, 5000, ndr_first, ndr_second, 0, 4, 0x00636261});
  CHECK(words_of(encode<small>(0xff, true, 0x1234, 0x1122334455667788)) ==
        words{52, 5001, ndr_first, ndr_second, 0xff, 1, 0x1234, 0x55667788, 0x11223344});
  CHECK(words_of(encode<fixed>(std::array<char, 6>{'a', 'b', 'c', 'd', 'e', 'f'}, point{-1, 2})) ==
        words{48, 5002, ndr_first, ndr_second, 0x64636261, 0x00006665, 0xffffffff, 2});
  CHECK(words_of(encode<swap>(to_port)) == words{40, 5003, 1, a_send});
  CHECK(words_of(encode<all_rights>(9, to_port, port.make_send_once(), receive_right::make())) ==
        words{76, 5004, 3, a_send, a_once, a_receive, ndr_first, ndr_second, 9});
  CHECK(words_of(encode<pass_on>(send_right(to_port), reply_right(port.make_send_once()))) ==
        words{52, 5005, 2, a_send, a_once});
  CHECK(words_of(encode<pass_on>(receive_right::make(), reply_right(send_right(to_port)))) ==
        words{52, 5005, 2, a_receive, a_send});
  CHECK(words_of(encode<samples>(std::array<std::uint16_t, 3>{1, 2, 3}, 8)) ==
        words{48, 5006, ndr_first, ndr_second, 3, 0x00020001, 0x00000003, 8});
  CHECK(words_of(encode<samples>(std::vector<std::uint16_t>(), 8)) ==
        words{40, 5006, ndr_first, ndr_second, 0, 8});
  CHECK(words_of(encode<render>(memory_region::make(5000), 640)) ==
        words{60, 5007, 1, memory, 5000, ndr_first, ndr_second, 5000, 640});
  CHECK(words_of(encode<subscribe>(std::vector(2, to_port), one_once(port))) ==
        words{76, 5008, 2, ports | a_send, 2, ports | a_once, 1, ndr_first, ndr_second, 2, 1});
  CHECK(words_of(encode<show>(640, memory_region::make(8), "title", to_port, 480)) ==
        words{92, 5009, 2, memory, 8, a_send, ndr_first, ndr_second, 640, 8, 0, 6, 0x6c746974,
              0x00000065, 480});
}

TEST_CASE("a reply has the bytes of MIG's") {
  const receive_right port = receive_right::make();

  CHECK(words_of(encode_reply<nothing>({})) == words{36, 4100, ndr_first, ndr_second, 0});
  CHECK(words_of(encode_reply<count_letters>({5})) ==
        words{44, 5100, ndr_first, ndr_second, 0, 5, 0});
  CHECK(words_of(encode_reply<small>({7})) == words{40, 5101, ndr_first, ndr_second, 0, 7});
  CHECK(words_of(encode_reply<fixed>({{1, 2, 3}})) ==
        words{44, 5102, ndr_first, ndr_second, 0, 0x00020001, 3});
  CHECK(words_of(encode_reply<swap>({port.make_send()})) == words{40, 5103, 1, a_send});
  CHECK(words_of(encode_reply<all_rights>({receive_right::make(), 6})) ==
        words{52, 5104, 1, a_receive, ndr_first, ndr_second, 6});
  samples::reply sums{{}, "ok", 2};
  sums.sums.push_back(1);
  sums.sums.push_back(0x500000000);
  CHECK(words_of(encode_reply<samples>(std::move(sums))) ==
        words{72, 5106, ndr_first, ndr_second, 0, 2, 1, 0, 0, 5, 0, 3, 0x00006b6f, 2});
  CHECK(words_of(encode_reply<render>({memory_region::make(3)})) ==
        words{56, 5107, 1, memory, 3, ndr_first, ndr_second, 3});
  CHECK(words_of(encode_reply<subscribe>({})) ==
        words{56, 5108, 1, ports | a_receive, 0, ndr_first, ndr_second, 0});
  CHECK(words_of(encode_error(5000, KERN_FAILURE)) == words{36, 5100, ndr_first, ndr_second, 5});
}

TEST_CASE("a request arrives as it was made, with every kind of member") {
  const std::size_t before = names_in_space();
  {
    const receive_right port = receive_right::make();
    const send_right to_port = port.make_send();

    received m = through(encode<small>(0xff, true, 0x1234, 0x1122334455667788));
    const auto numbers = decode<small>(m).value();
    CHECK(numbers.a == 0xff);
    CHECK(numbers.b);
    CHECK(numbers.c == 0x1234);
    CHECK(numbers.d == 0x1122334455667788);

    m = through(encode<fixed>(std::array<char, 6>{'a', 'b', 'c', 'd', 'e', 'f'}, point{-1, 2}));
    const auto places = decode<fixed>(m).value();
    CHECK(places.tag == std::array<char, 6>{'a', 'b', 'c', 'd', 'e', 'f'});
    CHECK(places.at.x == -1);
    CHECK(places.at.y == 2);

    receive_right moved = receive_right::make();
    const send_right to_moved = moved.make_send();
    m = through(encode<all_rights>(9, to_port, port.make_send_once(), std::move(moved)));
    const auto rights = decode<all_rights>(m).value();
    CHECK(rights.number == 9);
    CHECK(rights.send.name() == to_port.name());
    CHECK(rights.once);
    CHECK(rights.receive.name() == to_moved.name());

    m = through(encode<pass_on>(receive_right::make(), reply_right(send_right(to_port))));
    auto passed = decode<pass_on>(m).value();
    CHECK(passed.right.what() == any_right::kind::receive);
    CHECK(passed.answer.disposition() == MACH_MSG_TYPE_MOVE_SEND);
    m = through(encode<pass_on>(port.make_send_once(), reply_right(port.make_send_once())));
    passed = decode<pass_on>(m).value();
    CHECK(passed.right.what() == any_right::kind::send_once);
    CHECK(passed.answer.disposition() == MACH_MSG_TYPE_MOVE_SEND_ONCE);

    m = through(encode<samples>(std::array<std::uint16_t, 3>{1, 2, 3}, 8));
    const auto values = decode<samples>(m).value();
    CHECK(std::vector(values.values.begin(), values.values.end()) ==
          std::vector<std::uint16_t>{1, 2, 3});
    CHECK(values.scale == 8);

    m = through(encode<render>(memory_region::copy_of(std::as_bytes(std::span("picture"))), 640));
    const auto rendered = decode<render>(m).value();
    CHECK(rendered.page.text() == std::string_view("picture", 8));
    CHECK(rendered.width == 640);
    m = through(encode<render>(memory_region(), 640));
    CHECK(decode<render>(m).value().page.size() == 0);

    m = through(encode<subscribe>(std::vector(2, to_port), one_once(port)));
    const auto subscribed = decode<subscribe>(m).value();
    REQUIRE(subscribed.watchers.size() == 2);
    CHECK(subscribed.watchers[1].name() == to_port.name());
    CHECK(subscribed.reports.size() == 1);

    m = through(encode<show>(640, memory_region::make(8), "title", to_port, 480));
    const auto shown = decode<show>(m).value();
    CHECK(shown.width == 640);
    CHECK(shown.picture.size() == 8);
    CHECK(shown.title == "title");
    CHECK(shown.watcher.name() == to_port.name());
    CHECK(shown.height == 480);

    // A struct of the caller's is one argument.
    count_letters built;
    built.word = std::string("built");
    m = through(encode<count_letters>(std::move(built)));
    CHECK(decode<count_letters>(m).value().word == "built");
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a text fills its room, with the zero, and a text behind one moves up") {
  const std::string longest(1023, 'x');
  received m = through(encode<count_letters>(longest));
  CHECK(m.bytes().size() == sizeof(mig::count_letters_request) - sizeof(mach_msg_header_t));
  CHECK(decode<count_letters>(m).value().word == longest);

  m = through(encode_reply<samples>({{}, "twelve chars", 3}));
  const auto reply = decode_reply<samples>(m).value();
  CHECK(reply.sums.empty());
  CHECK(reply.note == "twelve chars");
  CHECK(reply.count == 3);
}

TEST_CASE("what a member cannot hold is refused before anything is sent") {
  CHECK_THROWS_AS(text<4>("four"), std::length_error);
  CHECK_THROWS_AS(text<8>(std::string_view("a\0b", 3)), std::invalid_argument);
  CHECK_THROWS_AS((array<std::uint16_t, 2>(std::vector<std::uint16_t>(3))), std::length_error);
  array<std::uint16_t, 2> full(std::vector<std::uint16_t>{1, 2});
  CHECK_THROWS_AS(full.push_back(3), std::length_error);
  CHECK(full.size() == 2);
  CHECK_THROWS_AS(static_cast<void>(encode<small>(256, true, 0, 0)), std::out_of_range);
  CHECK_THROWS_AS(static_cast<void>(encode<small>(-1, true, 0, 0)), std::out_of_range);
}

TEST_CASE("a text and an array copy what they hold") {
  text<8> word("kedge");
  const text<8> copied = word;
  word = "port";
  CHECK(copied == "kedge");
  CHECK(std::strlen(copied.c_str()) == 5);
  CHECK(word.view() == "port");
  word = std::string_view();
  CHECK(word.empty());

  array<std::uint16_t, 4> values(std::array<std::uint16_t, 2>{1, 2});
  const array<std::uint16_t, 4> kept = values;
  values.resize(1);
  values.resize(3);
  CHECK(std::vector(values.begin(), values.end()) == std::vector<std::uint16_t>{1, 0, 0});
  CHECK(std::vector(kept.begin(), kept.end()) == std::vector<std::uint16_t>{1, 2});
}

// What a MIG server answers.
TEST_CASE("a message that is not the request is refused by MIG's codes") {
  const std::size_t before = names_in_space();
  {
    const receive_right port = receive_right::make();
    const send_right to = port.make_send();
    const auto with = [](mach_msg_id_t id, auto&&... parts) {
      return message(id, NDR_record, std::forward<decltype(parts)>(parts)...);
    };
    const std::uint32_t zero = 0, one = 1, two = 2, five = 5, many = 1025;
    const std::uint32_t most = std::numeric_limits<std::uint32_t>::max();
    const std::uint32_t kedg = 0x6764656b;

    CHECK(refusal<count_letters>(with(4999, zero, two, kedg)) == MIG_BAD_ID);

    // The size.
    CHECK(refusal<nothing>(message(4000, zero)) == MIG_BAD_ARGUMENTS);
    CHECK(refusal<small>(with(5001, zero, zero, zero, zero)) == MIG_BAD_ARGUMENTS);
    CHECK(refusal<small>(with(5001, zero, zero, zero, zero, zero, zero)) == MIG_BAD_ARGUMENTS);
    CHECK(refusal<count_letters>(message(5000)) == MIG_BAD_ARGUMENTS);
    CHECK(refusal<count_letters>(with(5000, zero)) == MIG_BAD_ARGUMENTS);
    CHECK(refusal<count_letters>(with(5000, zero, five, kedg)) == MIG_BAD_ARGUMENTS);
    CHECK(refusal<count_letters>(with(5000, zero, one, zero, zero)) == MIG_BAD_ARGUMENTS);
    CHECK(refusal<count_letters>(with(5000, zero, most, kedg)) == MIG_BAD_ARGUMENTS);
    CHECK(refusal<count_letters>(with(5000, zero, many, std::string(1028, 'a'))) ==
          MIG_BAD_ARGUMENTS);
    CHECK(refusal<samples>(with(5006, two, zero)) == MIG_BAD_ARGUMENTS);
    CHECK(refusal<samples>(with(5006, most, zero, zero)) == MIG_BAD_ARGUMENTS);
    CHECK(refusal<samples>(with(5006, zero, zero, zero)) == MIG_BAD_ARGUMENTS);
    CHECK(refusal<samples>(with(5006, two, zero, zero)) == KERN_SUCCESS);
    // The count of the second text would be read far behind the message.
    CHECK(refusal<long_texts>(with(5010, zero, std::uint32_t{200'000}, zero, zero, zero)) ==
          MIG_BAD_ARGUMENTS);
    // More than the array has room for, with a size that fits.
    CHECK(refusal<samples>(with(5006, std::uint32_t{8}, zero, zero, zero, zero, zero)) ==
          MIG_BAD_ARGUMENTS);

    // The zero at the end of a text.
    CHECK(refusal<count_letters>(with(5000, zero, std::uint32_t{4}, kedg)) == MIG_BAD_ARGUMENTS);
    CHECK(refusal<count_letters>(with(5000, zero, zero)) == MIG_BAD_ARGUMENTS);
    CHECK(refusal<count_letters>(with(5000, zero, five, kedg, zero)) == KERN_SUCCESS);
    // What follows it does not matter.
    CHECK(refusal<count_letters>(with(5000, zero, five, zero, kedg)) == KERN_SUCCESS);

    // A bool.
    CHECK(refusal<small>(with(5001, zero, two, zero, zero, zero)) == MIG_BAD_ARGUMENTS);
    CHECK(refusal<switches>(with(5090, std::uint32_t{0x01000101})) == KERN_SUCCESS);
    CHECK(refusal<switches>(with(5090, std::uint32_t{0x02000101})) == MIG_BAD_ARGUMENTS);

    // The number of descriptors.
    CHECK(refusal<swap>(message(5003)) == MIG_BAD_ARGUMENTS);
    CHECK(refusal<swap>(message(5003, zero, zero, zero, zero)) == MIG_BAD_ARGUMENTS);
    CHECK(refusal<swap>(message(5003, to, to)) == MIG_BAD_ARGUMENTS);
    CHECK(refusal<nothing>(message(4000, to)) == MIG_BAD_ARGUMENTS);
    CHECK(refusal<swap>(message(5003, to, zero)) == MIG_BAD_ARGUMENTS);

    // Their types.
    CHECK(refusal<swap>(message(5003, port.make_send_once())) == MIG_TYPE_ERROR);
    CHECK(refusal<swap>(message(5003, receive_right::make())) == MIG_TYPE_ERROR);
    CHECK(refusal<all_rights>(message(5004, to, to, receive_right::make(), NDR_record, zero)) ==
          MIG_TYPE_ERROR);
    CHECK(refusal<all_rights>(message(5004, to, port.make_send_once(), to, NDR_record, zero)) ==
          MIG_TYPE_ERROR);
    CHECK(refusal<pass_on>(message(5005, to, receive_right::make())) == MIG_TYPE_ERROR);
    CHECK(refusal<pass_on>(message(5005, to, to)) == KERN_SUCCESS);
    CHECK(refusal<render>(message(5007, std::vector(1, to), NDR_record, one, one)) ==
          MIG_TYPE_ERROR);
    CHECK(refusal<subscribe>(message(5008, memory_region::make(8), one_once(port), NDR_record, two,
                                     one)) == MIG_TYPE_ERROR);
    CHECK(refusal<subscribe>(message(5008, one_once(port), std::vector(1, to), NDR_record, one,
                                     one)) == MIG_TYPE_ERROR);
    // A right where memory belongs makes the message shorter.
    CHECK(refusal<render>(message(5007, to, NDR_record, one, one)) == MIG_BAD_ARGUMENTS);
    CHECK(refusal<render>(message(5007, to, NDR_record, one, one, one)) == MIG_TYPE_ERROR);
    // MIG knows no guarded rights.
    CHECK(refusal<pass_on>(message(5005, immovable(receive_right::make()), to)) ==
          MIG_BAD_ARGUMENTS);

    // The count in the body and that of the descriptor.
    CHECK(refusal<render>(message(5007, memory_region::make(8), NDR_record, std::uint32_t{9},
                                  one)) == MIG_TYPE_ERROR);
    CHECK(refusal<subscribe>(message(5008, std::vector(2, to), one_once(port), NDR_record, one,
                                     one)) == MIG_TYPE_ERROR);
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a message with an empty list of descriptors is not a request without descriptors") {
  const receive_right port = receive_right::make();
  const send_right to = port.make_send();
  // Four bytes less follow the list than the text needs.
  struct {
    mach_msg_base_t base;
    NDR_record_t ndr;
    std::uint32_t offset, count;
  } raw{};
  raw.base.header.msgh_bits =
      MACH_MSGH_BITS_SET(MACH_MSG_TYPE_COPY_SEND, 0u, 0u, MACH_MSGH_BITS_COMPLEX);
  raw.base.header.msgh_remote_port = to.name();
  raw.base.header.msgh_id = count_letters::id;
  raw.count = 1;
  REQUIRE(mach_msg(&raw.base.header, MACH_SEND_MSG | MACH_SEND_TIMEOUT, sizeof raw, 0,
                   MACH_PORT_NULL, 0, MACH_PORT_NULL) == MACH_MSG_SUCCESS);
  received m = take(port);
  REQUIRE(m.complex());
  CHECK(decode<count_letters>(m).error() == MIG_BAD_ARGUMENTS);
}

TEST_CASE("a receive right that its sender can take back makes a request refused, not thrown") {
  const receive_right port = receive_right::make();
  receive_right offered = receive_right::make();
  const port_destroyed back(offered);
  received m = through(encode<pass_on>(std::move(offered), reply_right(port.make_send())));
  CHECK(decode<pass_on>(m).error() == MIG_BAD_ARGUMENTS);
  CHECK(m.take_revocable(0));
}

namespace {

// Makes the reply to a request, which it is given.
using answerer = std::function<message(received&)>;

task<> answer_one(const receive_right& port, answerer answer) {
  received m = (co_await port.receive()).value();
  message answered = answer(m);
  CHECK_FALSE(reply(m, std::move(answered)));
}

// What a call for the letters of "kedge" gives if it is answered so.
result<count_letters::reply, send_failure> call_answered(const answerer& answer) {
  loop l;
  const receive_right port = receive_right::make();
  const send_right service = port.make_send();
  l.spawn(answer_one(port, answer));
  return l.run([&]() -> task<result<count_letters::reply, send_failure>> {
    auto counted = co_await call<count_letters>(service, "kedge");
    co_return std::move(counted);
  }());
}

std::error_code error_answered(const answerer& answer) {
  auto counted = call_answered(answer);
  REQUIRE_FALSE(counted);
  CHECK_FALSE(counted.error().message());
  return counted.error().code();
}

}  // namespace

TEST_CASE("a typed call gets its typed reply") {
  const auto counted = call_answered([](received& m) {
    const auto request = decode<count_letters>(m).value();
    return encode_reply<count_letters>({request.word.size()});
  });
  CHECK(counted.value().letters == 5);
}

TEST_CASE("a typed call moves rights and memory both ways") {
  const std::size_t before = names_in_space();
  {
    loop l;
    const receive_right port = receive_right::make(), other = receive_right::make();
    const send_right service = port.make_send(), given = other.make_send();
    l.spawn(answer_one(
        port, [](received& m) { return encode_reply<swap>({decode<swap>(m).value().given}); }));
    l.run([&]() -> task<> {
      const auto swapped = co_await call<swap>(service, given);
      CHECK(swapped.value().got.name() == given.name());
    }());
    l.spawn(answer_one(
        port, [](received& m) { return encode_reply<render>({decode<render>(m).value().page}); }));
    l.run([&]() -> task<> {
      const auto rendered = co_await call<render>(service, memory_region::make(100'000), 640);
      CHECK(rendered.value().picture.size() == 100'000);
    }());
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a typed call gives the code with which the service has refused") {
  CHECK(error_answered([](received& m) { return encode_error(m.id(), KERN_FAILURE); }) ==
        kern_error(KERN_FAILURE));
  CHECK(error_answered([](received& m) { return encode_error(m.id(), MIG_BAD_ID); }) ==
        kern_error(MIG_BAD_ID));
  // In a reply of the full size, as some servers send it.
  CHECK(error_answered([](received&) {
          return message(5100, NDR_record, std::uint32_t{KERN_FAILURE}, std::uint64_t{0});
        }) == kern_error(KERN_FAILURE));
}

TEST_CASE("a typed call refuses a reply that is not its own") {
  const receive_right port = receive_right::make();
  const std::uint32_t success = KERN_SUCCESS, failure = KERN_FAILURE;
  const std::uint64_t letters = 5;
  const auto refuses = [](auto make) {
    return error_answered([&](received&) { return make(); }) == errc::bad_reply;
  };
  CHECK(call_answered([&](received&) { return message(5100, NDR_record, success, letters); }));
  CHECK(refuses([&] { return message(5101, NDR_record, success, letters); }));
  CHECK(refuses([&] { return message(5100); }));
  CHECK(refuses([&] { return message(5100, NDR_record); }));
  CHECK(refuses([&] { return message(5100, NDR_record, success); }));
  CHECK(refuses([&] { return message(5100, NDR_record, success, letters, success); }));
  CHECK(refuses([&] { return message(5100, NDR_record, failure, letters, success); }));
  CHECK(refuses([&] { return message(5100, port.make_send(), NDR_record, success, letters); }));
}

TEST_CASE("a reply with descriptors has no return code, and an error has no descriptors") {
  const receive_right port = receive_right::make();
  received m = through(encode_error(swap::id, KERN_FAILURE));
  CHECK(decode_reply<swap>(m).error() == kern_error(KERN_FAILURE));
  m = through(encode_error(swap::id, KERN_SUCCESS));
  CHECK(decode_reply<swap>(m).error() == errc::bad_reply);
  m = through(message(5103, NDR_record, std::uint32_t{KERN_FAILURE}, std::uint32_t{0}));
  CHECK(decode_reply<swap>(m).error() == errc::bad_reply);
  m = through(message(5103, port.make_send_once()));
  CHECK(decode_reply<swap>(m).error() == errc::bad_reply);
  m = through(message(5103, port.make_send(), port.make_send()));
  CHECK(decode_reply<swap>(m).error() == errc::bad_reply);
}

TEST_CASE("a typed call to a service that has died hands the request back, with its rights") {
  loop l;
  const receive_right other = receive_right::make();
  receive_right port = receive_right::make();
  const send_right service = port.make_send(), given = other.make_send();
  port.destroy();
  l.run([&]() -> task<> {
    auto swapped = co_await call<swap>(service, given);
    REQUIRE_FALSE(swapped);
    CHECK(swapped.error().code() == errc::peer_died);
    CHECK(swapped.error().message().take_send(0).name() == given.name());
  }());
}

TEST_CASE("a typed call that is not answered reports no_reply, or the deadline") {
  loop l;
  const receive_right port = receive_right::make(2);
  const send_right service = port.make_send();
  l.run([&]() -> task<> {
    const auto late = co_await with_timeout(0s, call<count_letters>(service, "kedge"));
    REQUIRE_FALSE(late);
    CHECK(late.error().code() == kedge::errc::timed_out);
  }());
  // Drops the request of each.
  l.spawn([](const receive_right& requests) -> task<> {
    static_cast<void>((co_await requests.receive()).value());
    static_cast<void>((co_await requests.receive()).value());
  }(port));
  l.run([&]() -> task<> {
    const auto unanswered = co_await call<count_letters>(service, "kedge");
    REQUIRE_FALSE(unanswered);
    CHECK(unanswered.error().code() == errc::no_reply);
  }());
}

TEST_CASE("a one-way request is sent when there is room, or handed back") {
  loop l;
  const receive_right port = receive_right::make(1);
  const send_right display = port.make_send();
  l.run([&]() -> task<> {
    const auto sent = co_await send<show>(display, 1, memory_region::make(8), "one", display, 2);
    CHECK(sent);
  }());
  auto full = try_send<show>(display, 3, memory_region::make(8), "two", display, 4);
  REQUIRE_FALSE(full);
  CHECK(full.error().code() == errc::queue_full);
  CHECK(full.error().message().take_memory(0).size() == 8);
  received m = take(port);
  const auto shown = decode<show>(m).value();
  CHECK(shown.title == "one");
  CHECK(shown.height == 2);
}

}  // namespace kedge::mach
