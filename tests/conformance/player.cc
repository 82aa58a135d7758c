// Executes the operations of the grammar, one function for each that needs more than a line.
#include "player.h"

#include <mach/vm_map.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "constant_names.h"
#include "script.h"

// Apple's headers hide it.
extern "C" mach_port_name_t mach_reply_port(void);

namespace conformance {
namespace {

using kedge::mach::kernel::create_task;
using kedge::mach::kernel::current_task_guard;
using kedge::mach::kernel::guard_behaviour;
using kedge::mach::kernel::guard_exception;
using kedge::mach::kernel::set_current_task;
using kedge::mach::kernel::set_guard_behaviour;
using kedge::mach::kernel::task;
using kedge::mach::kernel::task_self_port;
using kedge::mach::kernel::terminate_task;

// The names of each task begin this far above those of the task before, so that the names of two
// tasks differ.
constexpr std::uint32_t names_apart = 1024;

// An array of names that the kernel returned. The destructor deallocates it.
class given_array {
 public:
  mach_port_name_t* names = nullptr;
  mach_msg_type_number_t count = 0;

  given_array() = default;
  given_array(const given_array&) = delete;
  given_array& operator=(const given_array&) = delete;
  ~given_array() {
    vm_deallocate(mach_task_self(), reinterpret_cast<vm_address_t>(names),
                  count * sizeof(mach_port_name_t));
  }
};

// Returns true if the operation leaves the names of the task unchanged, done or failed.
bool keeps_names(std::string_view operation) {
  constexpr std::array<std::string_view, 17> all{
      "get_attributes", "set_attributes", "names",       "get_refs",    "get_set_status",
      "peek",           "set_mscount",    "set_seqno",   "guard",       "guard_flags",
      "unguard",        "swap_guard",     "get_context", "set_context", "get_srights",
      "insert_member",  "rename"};
  return std::find(all.begin(), all.end(), operation) != all.end();
}

std::string field(const char* name, std::uint64_t value) {
  return std::string(" ") + name + "=" + std::to_string(value);
}

}  // namespace

class player::arguments {
 public:
  explicit arguments(std::vector<std::string_view> words) : words_(std::move(words)) {}

  bool left() const noexcept { return next_ < words_.size(); }
  std::string_view next() {
    if (!left()) throw bad_script("an argument is missing", words_.empty() ? "" : words_.back());
    return words_[next_++];
  }
  template <typename T>
  T number() {
    return read_number<T>(next());
  }
  const std::vector<std::string_view>& all() {
    next_ = words_.size();
    return words_;
  }

 private:
  std::vector<std::string_view> words_;
  std::size_t next_ = 0;
};

player::player() : message_names_(names_for_messages()) {}

player::~player() {
  for (played_task& each : tasks_) {
    release(each.received_memory);
    terminate_task(each.handle);
  }
}

void player::create_tasks(std::string_view count) {
  const auto number = read_number<std::size_t>(count);
  if (!tasks_.empty()) throw bad_script("tasks are created once", count);
  if (number == 0 || number > 64) throw bad_script("no number of tasks", count);
  tasks_.resize(number);
  for (std::size_t index = 0; index < number; ++index) {
    played_task& made = tasks_[index];
    made.handle = create_task(static_cast<std::uint32_t>(index + 1) * names_apart);
    set_guard_behaviour(made.handle, guard_behaviour::record);
    read_token(made);
  }
  for (std::size_t index = 0; index < number; ++index) exchange_task_ports(index);
}

// Gives a task the ports of all others, which transfers need.
void player::exchange_task_ports(std::size_t index) {
  played_task& one = tasks_[index];
  const current_task_guard in(one.handle);
  one.names.hide(mach_task_self());
  for (const played_task& other : tasks_) {
    one.ports_of_tasks.push_back(task_self_port(other.handle));
    one.names.hide(one.ports_of_tasks.back());
  }
  // The names that a new task has from the start.
  given_array names, types;
  mach_port_names(mach_task_self(), &names.names, &names.count, &types.names, &types.count);
  for (mach_msg_type_number_t each = 0; each < names.count; ++each) {
    one.names.hide(names.names[each]);
  }
}

// Reads the audit token of the task, by a message to itself.
void player::read_token(played_task& played) {
  const current_task_guard in(played.handle);
  struct {
    mach_msg_header_t header;
    mach_msg_audit_trailer_t trailer;
  } buffer{};
  const mach_port_name_t port = mach_reply_port();
  buffer.header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND_ONCE, 0);
  buffer.header.msgh_remote_port = port;
  mach_msg(&buffer.header,
           MACH_SEND_MSG | MACH_RCV_MSG | MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT),
           sizeof buffer.header, sizeof buffer, port, MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL);
  played.token = buffer.trailer.msgh_audit;
  mach_port_mod_refs(mach_task_self(), port, MACH_PORT_RIGHT_RECEIVE, -1);
}

void player::update_live_names(played_task& played) {
  if (played.ended) return played.names.set_live({});
  const current_task_guard in(played.handle);
  given_array names, types;
  mach_port_names(mach_task_self(), &names.names, &names.count, &types.names, &types.count);
  played.names.set_live({names.names, names.names + names.count});
}

message_names player::names_for_messages() {
  return {.read = [this](std::string_view token) { return tasks_[current_].names.read(token); },
          .write = [this](mach_port_name_t name) { return write_name(name); },
          .write_notified = [this](mach_port_name_t name) { return write_notified(name); },
          .write_sender = [this](const audit_token_t& token) -> std::string {
            constexpr audit_token_t kernel = KERNEL_AUDIT_TOKEN_VALUE;
            if (std::memcmp(&token, &kernel, sizeof token) == 0) return ":kernel";
            for (std::size_t index = 0; index < tasks_.size(); ++index) {
              if (std::memcmp(&token, &tasks_[index].token, sizeof token) == 0) {
                return ":task=" + std::to_string(index);
              }
            }
            return ":task=?";
          },
          .write_user =
              [](const security_token_t& token) {
                // The recorded tasks ran as the user of the kernel, those of a replay run as the
                // user of this process.
                constexpr security_token_t recorded = KERNEL_SECURITY_TOKEN_VALUE;
                const security_token_t own{
                    {static_cast<unsigned>(geteuid()), static_cast<unsigned>(getegid())}};
                const bool known = std::memcmp(&token, &own, sizeof token) == 0;
                const security_token_t& written = known ? recorded : token;
                return ":uid=" + std::to_string(written.val[0]) +
                       ",gid=" + std::to_string(written.val[1]);
              }};
}

mach_port_name_t player::read_name(arguments& from) {
  return tasks_[current_].names.read(from.next());
}

std::string player::write_name(mach_port_name_t name) {
  if (std::exchange(stale_, false)) update_live_names(tasks_[current_]);
  return tasks_[current_].names.write(name);
}

std::string player::write_notified(mach_port_name_t name) {
  const std::string own = write_name(name);
  if (own != "gone") return own;
  for (std::size_t index = 0; index < tasks_.size(); ++index) {
    if (index == current_) continue;
    if (const auto known = tasks_[index].names.write_known(name)) {
      return std::to_string(index) + ":" + *known;
    }
  }
  return own;
}

std::string player::write_guards() {
  std::vector<guard_exception> raised;
  {
    const current_task_guard outside(task{});
    raised = take_guard_exceptions(tasks_[current_].handle);
  }
  std::string text;
  for (const guard_exception& each : raised) {
    text += " guard=" + write_hex(each.code) + ":" + write_name(each.name) + ":" +
            buffer_.write_context(each.subcode);
    if (each.always_fatal) text += ":fatal";
  }
  return text;
}

mach_port_type_t player::type_of(std::size_t index, std::string_view name) {
  played_task& of = tasks_.at(index);
  const mach_port_name_t sought = of.names.read(name);
  const current_task_guard in(of.handle);
  given_array names, types;
  if (!of.ended) {
    mach_port_names(mach_task_self(), &names.names, &names.count, &types.names, &types.count);
  }
  for (mach_msg_type_number_t each = 0; each < names.count; ++each) {
    if (names.names[each] == sought) return types.names[each];
  }
  return MACH_PORT_TYPE_NONE;
}

bool player::is_in_set(std::size_t index, std::string_view name) {
  if ((type_of(index, name) & MACH_PORT_TYPE_RECEIVE) == 0) return false;
  const current_task_guard in(tasks_[index].handle);
  mach_port_status_t status{};
  mach_msg_type_number_t count = MACH_PORT_RECEIVE_STATUS_COUNT;
  mach_port_get_attributes(mach_task_self(), tasks_[index].names.read(name),
                           MACH_PORT_RECEIVE_STATUS, reinterpret_cast<mach_port_info_t>(&status),
                           &count);
  return status.mps_pset != 0;
}

bool player::is_member(std::size_t index, std::string_view port, std::string_view set) {
  if ((type_of(index, set) & MACH_PORT_TYPE_PORT_SET) == 0) return false;
  const current_task_guard in(tasks_[index].handle);
  given_array members;
  mach_port_get_set_status(mach_task_self(), tasks_[index].names.read(set), &members.names,
                           &members.count);
  const auto end = members.names + members.count;
  return std::find(members.names, end, tasks_[index].names.read(port)) != end;
}

std::string player::play(std::string_view line) {
  if (tasks_.empty()) throw bad_script("an operation before any task", line);
  std::vector<std::string_view> words = split(line, ' ');
  if (words.size() < 2) throw bad_script("no operation", line);
  const auto index = read_number<std::size_t>(words[0]);
  if (index >= tasks_.size()) throw bad_script("no such task", words[0]);
  const std::string_view operation = words[1];
  words.erase(words.begin(), words.begin() + 2);
  current_ = index;
  played_task& here = tasks_[index];
  if (here.ended) return "= SKIP";

  arguments rest(std::move(words));
  std::string result = "= ";
  {
    const current_task_guard in(here.handle);
    stale_ = !keeps_names(operation);
    result += execute(operation, rest);
    if (rest.left()) throw bad_script("too many arguments", line);
    result += write_guards();
  }
  // Names of other tasks change only by a transfer, which updates them itself.
  if (stale_) update_live_names(here);
  here.names.retire();
  return result;
}

std::string player::execute(std::string_view operation, arguments& words) {
  if (operation == "msg") return message(words);
  if (operation == "msg_destroy") return destroy_message();
  if (operation == "allocate") return allocate(words);
  if (operation == "construct") return construct(words);
  if (operation == "names") return list_names();
  if (operation == "extract_right") return extract_right(words);
  if (operation == "get_set_status") return get_set_status(words);
  if (operation == "get_attributes") return get_attributes(words);
  if (operation == "set_attributes") return set_attributes(words);
  if (operation == "request_notification") return request_notification(words);
  if (operation == "peek") return peek(words);
  if (operation == "xfer") return transfer(words);
  if (operation == "kill") return kill();
  if (operation == "reply_port") return "OK name=" + write_name(mach_reply_port());
  return execute_on_name(operation, words);
}

// Executes an operation whose first argument is a name, by one call.
std::string player::execute_on_name(std::string_view operation, arguments& words) {
  const mach_port_t self = mach_task_self();
  const auto name = [&] { return read_name(words); };
  const auto u64 = [&] { return buffer_.read_context(words.next()); };
  const mach_port_name_t of = name();
  if (operation == "destruct") {
    const auto delta = words.number<mach_port_delta_t>();
    return write_code(mach_port_destruct(self, of, delta, u64()));
  }
  if (operation == "deallocate") return write_code(mach_port_deallocate(self, of));
  if (operation == "destroy") return write_code(mach_port_destroy(self, of));
  if (operation == "mod_refs") {
    const mach_port_right_t right = read_right(words.next());
    return write_code(mach_port_mod_refs(self, of, right, words.number<mach_port_delta_t>()));
  }
  if (operation == "get_refs") {
    mach_port_urefs_t refs = 0;
    const kern_return_t code = mach_port_get_refs(self, of, read_right(words.next()), &refs);
    return write_code(code) + (code == KERN_SUCCESS ? field("refs", refs) : "");
  }
  if (operation == "type") {
    mach_port_type_t type = 0;
    const kern_return_t code = mach_port_type(self, of, &type);
    return write_code(code) + (code == KERN_SUCCESS ? " type=" + write_hex(type) : "");
  }
  if (operation == "insert_right") {
    const mach_port_name_t right = name();
    return write_code(mach_port_insert_right(self, of, right, read_disposition(words.next())));
  }
  if (operation == "insert_member") return write_code(mach_port_insert_member(self, of, name()));
  if (operation == "extract_member") return write_code(mach_port_extract_member(self, of, name()));
  if (operation == "move_member") return write_code(mach_port_move_member(self, of, name()));
  if (operation == "set_mscount") {
    return write_code(mach_port_set_mscount(self, of, words.number<mach_port_mscount_t>()));
  }
  if (operation == "set_seqno") {
    return write_code(mach_port_set_seqno(self, of, words.number<mach_port_seqno_t>()));
  }
  if (operation == "guard") {
    const std::uint64_t guard = u64();
    return write_code(mach_port_guard(self, of, guard, words.number<boolean_t>()));
  }
  if (operation == "guard_flags") {
    const std::uint64_t guard = u64();
    return write_code(mach_port_guard_with_flags(self, of, guard, read_u64(words.next())));
  }
  if (operation == "unguard") return write_code(mach_port_unguard(self, of, u64()));
  if (operation == "swap_guard") {
    const std::uint64_t old_guard = u64();
    return write_code(mach_port_swap_guard(self, of, old_guard, u64()));
  }
  if (operation == "set_context") return write_code(mach_port_set_context(self, of, u64()));
  if (operation == "get_context") {
    mach_port_context_t context = 0;
    const kern_return_t code = mach_port_get_context(self, of, &context);
    return write_code(code) +
           (code == KERN_SUCCESS ? " ctx=" + buffer_.write_context(context) : "");
  }
  if (operation == "get_srights") {
    mach_port_rights_t rights = 0;
    const kern_return_t code = mach_port_get_srights(self, of, &rights);
    return write_code(code) + (code == KERN_SUCCESS ? field("srights", rights) : "");
  }
  if (operation == "rename") return write_code(mach_port_rename(self, of, name()));
  throw bad_script("no operation", operation);
}

std::string player::allocate(arguments& words) {
  mach_port_name_t name = MACH_PORT_NULL;
  const kern_return_t code = mach_port_allocate(mach_task_self(), read_right(words.next()), &name);
  return write_code(code) + (code == KERN_SUCCESS ? " name=" + write_name(name) : "");
}

std::string player::construct(arguments& words) {
  mach_port_options_t options{};
  mach_port_context_t context = 0;
  while (words.left()) {
    const std::string_view word = words.next();
    if (word.starts_with("flags=")) {
      options.flags = read_number<std::uint32_t>(word.substr(6), 16);
    } else if (word.starts_with("qlimit=")) {
      options.mpl.mpl_qlimit = read_number<mach_port_msgcount_t>(word.substr(7));
    } else if (word.starts_with("ctx=")) {
      context = buffer_.read_context(word.substr(4));
    } else {
      throw bad_script("no option of construct", word);
    }
  }
  mach_port_name_t name = MACH_PORT_NULL;
  const kern_return_t code = mach_port_construct(mach_task_self(), &options, context, &name);
  return write_code(code) + (code == KERN_SUCCESS ? " name=" + write_name(name) : "");
}

std::string player::list_names() {
  given_array names, types;
  const kern_return_t code =
      mach_port_names(mach_task_self(), &names.names, &names.count, &types.names, &types.count);
  if (code != KERN_SUCCESS) return write_code(code);
  const symbols& known = tasks_[current_].names;
  std::vector<std::pair<std::size_t, mach_port_type_t>> listed;
  std::vector<mach_port_type_t> unknown;
  for (mach_msg_type_number_t each = 0; each < names.count; ++each) {
    if (known.hides(names.names[each])) continue;
    if (const std::size_t symbol = known.symbol_of(names.names[each])) {
      listed.emplace_back(symbol, types.names[each]);
    } else {
      unknown.push_back(types.names[each]);
    }
  }
  std::sort(listed.begin(), listed.end());
  std::sort(unknown.begin(), unknown.end());
  std::string text = "OK";
  for (const auto& [symbol, type] : listed) {
    text += " p" + std::to_string(symbol) + ":" + write_hex(type);
  }
  for (const mach_port_type_t type : unknown) text += " ?:" + write_hex(type);
  return text;
}

std::string player::extract_right(arguments& words) {
  const mach_port_name_t of = read_name(words);
  mach_port_t right = MACH_PORT_NULL;
  mach_msg_type_name_t type = MACH_MSG_TYPE_PORT_NONE;
  const kern_return_t code =
      mach_port_extract_right(mach_task_self(), of, read_disposition(words.next()), &right, &type);
  if (code != KERN_SUCCESS) return write_code(code);
  return "OK name=" + write_name(right) + " disp=" + write_disposition(type);
}

std::string player::get_set_status(arguments& words) {
  given_array members;
  const kern_return_t code =
      mach_port_get_set_status(mach_task_self(), read_name(words), &members.names, &members.count);
  if (code != KERN_SUCCESS) return write_code(code);
  std::vector<std::size_t> listed;
  std::size_t unknown = 0;
  for (mach_msg_type_number_t each = 0; each < members.count; ++each) {
    const std::size_t symbol = tasks_[current_].names.symbol_of(members.names[each]);
    symbol ? listed.push_back(symbol) : static_cast<void>(++unknown);
  }
  std::sort(listed.begin(), listed.end());
  std::string text;
  for (const std::size_t symbol : listed) {
    text += (text.empty() ? "p" : "+p") + std::to_string(symbol);
  }
  for (; unknown > 0; --unknown) text += text.empty() ? "?" : "+?";
  return "OK members=" + (text.empty() ? "-" : text);
}

std::string player::get_attributes(arguments& words) {
  const mach_port_name_t of = read_name(words);
  const auto flavor = words.number<mach_port_flavor_t>();
  std::array<integer_t, 32> info{};
  mach_msg_type_number_t count = 17;
  switch (flavor) {
    case MACH_PORT_LIMITS_INFO:
    case MACH_PORT_DNREQUESTS_SIZE:
      count = 1;
      break;
    case MACH_PORT_RECEIVE_STATUS:
      count = 10;
      break;
    case MACH_PORT_TEMPOWNER:
    case MACH_PORT_IMPORTANCE_RECEIVER:
    case MACH_PORT_DENAP_RECEIVER:
      count = 0;
      break;
    default:
      break;
  }
  if (words.left()) count = words.number<mach_msg_type_number_t>();
  if (count > info.size()) throw bad_script("too large a count", std::to_string(count));
  const kern_return_t code =
      mach_port_get_attributes(mach_task_self(), of, flavor, info.data(), &count);
  if (code != KERN_SUCCESS) return write_code(code);
  if (flavor == MACH_PORT_LIMITS_INFO) {
    return "OK" + field("qlimit", static_cast<std::uint32_t>(info[0]));
  }
  if (flavor == MACH_PORT_DNREQUESTS_SIZE) return info[0] ? "OK size=nz" : "OK size=0";
  if (flavor != MACH_PORT_RECEIVE_STATUS && flavor != MACH_PORT_INFO_EXT) {
    return "OK" + field("count", count);
  }
  mach_port_info_ext_t all;
  std::memcpy(&all, info.data(), sizeof all);
  const mach_port_status_t& status = all.mpie_status;
  std::string text = "OK" + field("pset", status.mps_pset) + field("seqno", status.mps_seqno) +
                     field("mscount", status.mps_mscount) + field("qlimit", status.mps_qlimit) +
                     field("msgcount", status.mps_msgcount) +
                     field("sorights", status.mps_sorights) +
                     field("srights", static_cast<std::uint32_t>(status.mps_srights)) +
                     field("pdrequest", static_cast<std::uint32_t>(status.mps_pdrequest)) +
                     field("nsrequest", static_cast<std::uint32_t>(status.mps_nsrequest)) +
                     " flags=" + write_hex(status.mps_flags);
  if (flavor == MACH_PORT_INFO_EXT) text += field("boost", all.mpie_boost_cnt);
  return text;
}

std::string player::set_attributes(arguments& words) {
  const mach_port_name_t of = read_name(words);
  const auto flavor = words.number<mach_port_flavor_t>();
  std::vector<integer_t> info;
  while (words.left()) info.push_back(words.number<integer_t>());
  integer_t none = 0;
  return write_code(mach_port_set_attributes(mach_task_self(), of, flavor,
                                             info.empty() ? &none : info.data(),
                                             static_cast<mach_msg_type_number_t>(info.size())));
}

std::string player::request_notification(arguments& words) {
  const mach_port_name_t of = read_name(words);
  const auto id = words.number<mach_msg_id_t>();
  const auto sync = words.number<mach_port_mscount_t>();
  const mach_port_name_t notify = read_name(words);
  mach_port_t previous = MACH_PORT_NULL;
  const kern_return_t code = mach_port_request_notification(
      mach_task_self(), of, id, sync, notify, read_disposition(words.next()), &previous);
  return write_code(code) + (code == KERN_SUCCESS ? " prev=" + write_name(previous) : "");
}

std::string player::peek(arguments& words) {
  const mach_port_name_t of = read_name(words);
  const auto elements = words.number<mach_msg_trailer_type_t>();
  mach_port_seqno_t seqno = words.left() ? words.number<mach_port_seqno_t>() : 0;
  mach_msg_max_trailer_t trailer{};
  mach_msg_size_t size = 0;
  mach_msg_id_t id = 0;
  mach_msg_type_number_t room = sizeof trailer;
  const kern_return_t code = mach_port_peek(
      mach_task_self(), of,
      static_cast<mach_msg_trailer_type_t>(MACH_RCV_TRAILER_ELEMENTS(elements)), &seqno, &size, &id,
      reinterpret_cast<mach_msg_trailer_info_t>(&trailer), &room);
  if (code != KERN_SUCCESS) return write_code(code);
  return "OK" + field("seqno", seqno) + field("size", size) + " id=" + std::to_string(id) +
         " tr=" + std::to_string(trailer.msgh_trailer_type) + ":" +
         std::to_string(trailer.msgh_trailer_size);
}

std::string player::transfer(arguments& words) {
  const mach_port_name_t of = read_name(words);
  const mach_msg_type_name_t disposition = read_disposition(words.next());
  const auto index = words.number<std::size_t>();
  if (index >= tasks_.size()) throw bad_script("no such task", std::to_string(index));
  played_task& to = tasks_[index];
  const std::string prefix = "OK name=" + std::to_string(index) + ":";
  mach_port_t right = of;
  if (MACH_PORT_VALID(of)) {
    const current_task_guard in(to.handle);
    mach_msg_type_name_t type = MACH_MSG_TYPE_PORT_NONE;
    const mach_port_name_t from =
        index == current_ ? mach_task_self() : to.ports_of_tasks[current_];
    const kern_return_t code = mach_port_extract_right(from, of, disposition, &right, &type);
    if (code != KERN_SUCCESS) return write_code(code);
  }
  update_live_names(to);
  if (index == current_) stale_ = false;
  return prefix + to.names.write(right);
}

std::string player::kill() {
  played_task& here = tasks_[current_];
  here.ended = true;
  here.received.clear();
  release(here.received_memory);
  const current_task_guard outside(task{});
  terminate_task(here.handle);
  return "OK";
}

std::string player::message(arguments& words) {
  const std::vector<std::string_view>& tokens = words.all();
  mach_msg_option_t option = MACH_SEND_TIMEOUT | MACH_RCV_TIMEOUT;
  bool identity = false;
  for (const std::string_view token : tokens) {
    if (token.starts_with("opt=")) {
      for (const std::string_view word : split(token.substr(4), ',')) option |= read_option(word);
    } else if (token.starts_with("tr=")) {
      option |= MACH_RCV_TRAILER_ELEMENTS(read_number<mach_msg_option_t>(token.substr(3)));
    }
  }
  identity = (option & MACH_RCV_LARGE_IDENTITY) != 0;
  played_task& here = tasks_[current_];
  here.received.clear();
  release(here.received_memory);
  buffer_.fill(tokens, option, message_names_);
  const mach_msg_header_t& head = *buffer_.header();
  const kern_return_t code =
      mach_msg(buffer_.header(), option, (option & MACH_SEND_MSG) ? buffer_.send_size : 0,
               (option & MACH_RCV_MSG) ? buffer_.receive_size : 0, buffer_.receive_name, 0,
               buffer_.priority);
  std::string text = write_code(code);
  if (code == MACH_MSG_SUCCESS) {
    if ((option & MACH_RCV_MSG) == 0) return text;
    text += buffer_.write(head.msgh_size, true, message_names_);
    here.received_memory = buffer_.take_received();
    const auto* first = reinterpret_cast<const std::byte*>(&head);
    here.received.assign(first, first + head.msgh_size);
    return text;
  }
  if (buffer_.unchanged()) return text;
  const kern_return_t bare = code & ~MACH_MSG_MASK;
  if (bare == MACH_RCV_TOO_LARGE && (option & MACH_RCV_LARGE)) {
    text += " large size=" + std::to_string(head.msgh_size);
    if (identity || head.msgh_local_port != MACH_PORT_NULL) {
      text += " name=" + write_name(head.msgh_local_port);
    }
  } else if (bare == MACH_RCV_TOO_LARGE) {
    text += " err" + buffer_.write(sizeof head, buffer_.receive_size >= 32, message_names_);
  } else if (bare == MACH_RCV_BODY_ERROR) {
    text += " err" + buffer_.write(head.msgh_size, true, message_names_);
  } else if ((bare & 0x4000) != 0) {
    text += " err" + buffer_.write(sizeof head, false, message_names_);
  } else {
    text += " pseudo" + buffer_.write(head.msgh_size, false, message_names_);
  }
  std::vector<region> memory = buffer_.take_received();
  release(memory);
  return text;
}

std::string player::destroy_message() {
  played_task& here = tasks_[current_];
  if (here.received.empty()) return "NONE";
  buffer_.restore(here.received);
  here.received.clear();
  here.received_memory.clear();
  mach_msg_destroy(buffer_.header());
  return "OK";
}

}  // namespace conformance
