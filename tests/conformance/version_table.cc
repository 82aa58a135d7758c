// Decides tag by tag whether a result is right in the macOS 15 profile.
#include "version_table.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "constant_names.h"
#include "player.h"
#include "script.h"
#include "trace.h"

namespace conformance {
namespace {

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  if (at == std::string_view::npos) return std::string(text);
  return std::string(text.substr(0, at)).append(to).append(text.substr(at + from.size()));
}

std::string without_guard(std::string_view text) {
  return std::string(text.substr(0, text.find(" guard=")));
}

// Returns what follows `beginning` in `text`, or nothing.
std::string_view after(std::string_view text, std::string_view beginning) {
  return text.starts_with(beginning) ? text.substr(beginning.size()) : std::string_view();
}

// Returns the two parts of NAME:DISPOSITION.
std::array<std::string_view, 2> name_and_disposition(std::string_view value) {
  const std::size_t colon = value.find(':');
  if (colon == std::string_view::npos) return {value, ""};
  return {value.substr(0, colon), value.substr(colon + 1)};
}

bool names_send_right(std::string_view disposition) {
  return MACH_MSG_TYPE_PORT_ANY_SEND(read_disposition(disposition));
}

// Returns the value of a token `key=value`, or nothing.
std::string_view value_of(std::string_view key, const std::vector<std::string_view>& words) {
  for (const std::string_view word : words) {
    if (word.starts_with(key) && word.substr(key.size()).starts_with('=')) {
      return word.substr(key.size() + 1);
    }
  }
  return {};
}

bool has_unknown_descriptor(const std::vector<std::string_view>& words) {
  return std::any_of(words.begin(), words.end(), [](std::string_view word) {
    const std::string_view type = after(word, "d=type");
    return !type.empty() && read_number<unsigned>(type) > MACH_MSG_DESCRIPTOR_MAX;
  });
}

// Returns true if newer kernels check the descriptors of a sent message in another order. A message
// with fewer bytes than a complex one has, or without whole words, is refused for that alone.
bool differs_in_descriptors(std::string_view recorded, const std::vector<std::string_view>& words) {
  if (recorded.starts_with("= MACH_SEND_INVALID_RIGHT") ||
      recorded.starts_with("= MACH_SEND_INVALID_MEMORY")) {
    return has_unknown_descriptor(words);
  }
  const std::string_view size = value_of("ssize", words);
  if (recorded != "= MACH_SEND_MSG_TOO_SMALL" || size.empty()) return false;
  const auto bytes = read_number<mach_msg_size_t>(size);
  return bytes >= sizeof(mach_msg_base_t) && bytes % 4 == 0;
}

std::uint32_t room_of(const std::vector<std::string_view>& words) {
  const std::string_view size = value_of("rsize", words);
  return size.empty() ? 4096u : read_number<std::uint32_t>(size);
}

// Returns the size of the trailer in a result, or 0 without a trailer.
std::uint32_t trailer_size(std::string_view result) {
  const std::size_t at = result.find(" tr=");
  if (at == std::string_view::npos) return 0;
  return read_number<std::uint32_t>(split(result.substr(at), ':').at(1));
}

}  // namespace

bool complete_tags(trace_line& line, player& before) {
  if (!line.result) return false;
  const std::string_view recorded = *line.result;
  const std::vector<std::string_view> words = split(line.text, ' ');
  if (words.size() == 4 && words[1] == "extract_member") {
    return recorded == "= KERN_NOT_IN_SET" &&
           before.is_member(read_number<std::size_t>(words[0]), words[2], words[3]);
  }
  const bool is_attribute =
      words.size() >= 4 && (words[1] == "get_attributes" || words[1] == "set_attributes");
  if (is_attribute && words[3] == "9") line.tags.emplace_back("flavor");
  if (words.size() < 3 || words[1] != "msg") return false;
  if (recorded.starts_with("= MACH_RCV_TOO_LARGE err") &&
      sizeof(mach_msg_header_t) + trailer_size(recorded) > room_of(words) && line.tags.empty()) {
    line.tags.emplace_back("tiny-receive-buffer");
  }
  return differs_in_descriptors(recorded, words);
}

newer_result::newer_result(const std::vector<std::string>& tags, std::string_view operation,
                           player& before)
    : tags_(tags), words_(split(operation, ' ')) {
  const auto task = read_number<std::size_t>(words_.front());
  words_.erase(words_.begin());
  const bool receives = std::find(tags.begin(), tags.end(), "receive-deadname-guard") != tags.end();
  const std::string_view name = words_.front() != "msg" ? words_.at(1)
                                : receives              ? value("rn")
                                                        : name_and_disposition(value("to"))[0];
  if (!name.empty()) {
    type_ = before.type_of(task, name);
    in_set_ = before.is_in_set(task, name);
  }
}

std::string_view newer_result::value(std::string_view key) const {
  return value_of(key, words_);
}

bool newer_result::allows(std::string_view recorded, std::string_view got) const {
  return std::any_of(tags_.begin(), tags_.end(),
                     [&](const std::string& tag) { return allows(tag, recorded, got); });
}

bool newer_result::allows(std::string_view tag, std::string_view recorded,
                          std::string_view got) const {
  if (tag == "rename") return got == replaced(recorded, "KERN_NOT_SUPPORTED", "MIG_BAD_ID");
  if (tag == "guard-code") return got == replaced(recorded, " guard=0x2:", " guard=0x1:");
  if (tag == "flavor") return allows_flavor(recorded, got);
  if (tag == "voucher-order") return got == with_voucher_first(recorded);
  if (tag == "tiny-receive-buffer") return allows_cut_trailer(recorded, got);
  if (tag == "move_member-null") {
    return got == (recorded == "= OK" && !in_set_ ? "= KERN_NOT_IN_SET" : recorded);
  }
  if (tag == "receive-deadname-guard") {
    // A right that the kernel does not yet know to be dead is not a dead name, but the list of
    // names shows it as one.
    return got == recorded || (type_ == MACH_PORT_TYPE_DEAD_NAME && got == without_guard(recorded));
  }
  if (tag == "large-small-buffer") {
    // Newer kernels return the size too.
    const std::string_view size = after(got, "= MACH_RCV_TOO_LARGE large size=");
    return got == recorded || (recorded == "= MACH_RCV_TOO_LARGE" && !size.empty() &&
                               std::isdigit(static_cast<unsigned char>(size.front())));
  }
  if (tag == "dest-before-reply") {
    const bool names_port = (type_ & MACH_PORT_TYPE_PORT_RIGHTS) != 0;
    if (!recorded.starts_with("= MACH_SEND_INVALID_REPLY") || names_port) return got == recorded;
    return got == "= MACH_SEND_INVALID_DEST" ||
           // The kernel does not yet know that the right is dead.
           (type_ == MACH_PORT_TYPE_DEAD_NAME && got == recorded);
  }
  throw bad_script("no such tag in the version table", tag);
}

bool newer_result::allows_flavor(std::string_view recorded, std::string_view got) const {
  if (words_.at(2) == "9") {
    if (words_[1] == "null" || words_[1] == "dead") return got == "= KERN_INVALID_RIGHT";
    if (type_ == MACH_PORT_TYPE_NONE) return got == "= KERN_INVALID_NAME";
    return got ==
           (type_ & MACH_PORT_TYPE_RECEIVE ? "= KERN_INVALID_CAPABILITY" : "= KERN_INVALID_RIGHT");
  }
  // Newer kernels do not allocate a table that was only asked for.
  return got == recorded || (recorded == "= OK size=nz" && got == "= OK size=0");
}

// Newer kernels check the disposition of the voucher early, but after that of the reply port.
std::string newer_result::with_voucher_first(std::string_view recorded) const {
  const auto [reply, reply_type] = name_and_disposition(value("re"));
  const auto [voucher, voucher_type] = name_and_disposition(value("vo"));
  const bool bad_reply =
      !reply_type.empty() && !names_send_right(reply_type) &&
      (read_disposition(reply_type) != MACH_MSG_TYPE_PORT_NONE || reply != "null");
  const bool has_voucher =
      !voucher_type.empty() && read_disposition(voucher_type) != MACH_MSG_TYPE_PORT_NONE;
  const bool bad_voucher =
      has_voucher &&
      (voucher == "dead" || (voucher_type != "move_send" && voucher_type != "copy_send"));
  if (recorded == "= MACH_SEND_MSG_TOO_SMALL" || bad_reply || !bad_voucher) {
    return std::string(recorded);
  }
  return "= MACH_SEND_INVALID_VOUCHER guard=0x20000:" + std::string(voucher) + ":0x0";
}

// Newer kernels write nothing into less than a header, and cut a trailer at the end of the buffer.
bool newer_result::allows_cut_trailer(std::string_view recorded, std::string_view got) const {
  const std::uint32_t room = room_of(words_);
  if (!recorded.starts_with("= MACH_RCV_TOO_LARGE err")) return got == recorded;
  if (room < sizeof(mach_msg_header_t)) return got == "= MACH_RCV_INVALID_DATA";
  const std::size_t trailer = recorded.find(" tr=");
  if (trailer == std::string_view::npos) return got == recorded;
  // The fields of the text, and where in the buffer each ends.
  const std::vector<std::string_view> expected = split(recorded.substr(trailer), ':');
  if (got.size() < trailer || got.substr(0, trailer) != recorded.substr(0, trailer)) return false;
  const std::vector<std::string_view> fields = split(got.substr(trailer), ':');
  constexpr std::array<std::uint32_t, 7> ends{32, 32, 36, 44, 76, 84, 92};
  for (std::size_t index = 0; index < expected.size() && index < ends.size(); ++index) {
    if (ends[index] > room) break;
    if (index >= fields.size() || fields[index] != expected[index]) return false;
  }
  return true;
}

}  // namespace conformance
