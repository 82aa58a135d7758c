// Messages as traces describe them (GRAMMAR, msg): the one buffer, filled from tokens before a
// call, and written down after it.
#pragma once

#include <mach/mach.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace conformance {

// What a message's text needs to know of the task that plays.
struct message_names {
  std::function<mach_port_name_t(std::string_view)> read;
  std::function<std::string(mach_port_name_t)> write;
  // Of a name in a notification, which may belong to another task.
  std::function<std::string(mach_port_name_t)> write_notified;
  // ":task=T" or ":kernel".
  std::function<std::string(const audit_token_t&)> write_sender;
  // The identity that the recordings have is the one that the tasks of the replay have.
  std::function<std::string(const security_token_t&)> write_user;
};

// Memory that the calling process got for a message, and must give back.
struct region {
  vm_address_t address;
  vm_size_t size;
};
void release(std::vector<region>& memory) noexcept;

class message_buffer {
 public:
  message_buffer();
  ~message_buffer();
  message_buffer(const message_buffer&) = delete;
  message_buffer& operator=(const message_buffer&) = delete;

  std::uint64_t address() const noexcept { return address_; }
  mach_msg_header_t* header() const noexcept {
    return reinterpret_cast<mach_msg_header_t*>(address_);
  }

  // Empties it, and fills it by the tokens of a `msg` operation; all but option and tr= are its
  // business. Throws bad_script.
  void fill(const std::vector<std::string_view>& tokens, mach_msg_option_t option,
            const message_names& names);
  mach_msg_size_t send_size = 0;
  mach_msg_size_t receive_size = 0;
  mach_port_name_t receive_name = MACH_PORT_NULL;
  mach_msg_priority_t priority = 0;

  // Whether the call has left the buffer as fill() did.
  bool unchanged() const noexcept;

  // The message in the buffer as far as `size`; then, if asked for, its trailer.
  std::string write(mach_msg_size_t size, bool trailer, const message_names& names);
  std::string write_trailer(mach_msg_size_t at, const message_names& names) const;

  // "@buf" for its address, else "0x" and the number.
  std::string write_context(std::uint64_t context) const;
  std::uint64_t read_context(std::string_view token) const;

  // The memory that the written messages have brought; the caller's from here on.
  std::vector<region> take_received() noexcept { return std::exchange(received_, {}); }

  // Puts a message that was received earlier back to where it was.
  void restore(const std::vector<std::byte>& message);

 private:
  void release_sent() noexcept;
  void add_descriptor(std::string_view text, const message_names& names);
  void add_memory(const std::vector<std::string_view>& parts);
  void add_ports(const std::vector<std::string_view>& parts, const message_names& names);
  void append(const void* bytes, std::size_t size);
  vm_address_t new_region(vm_size_t size, bool given_away);

  std::string write_descriptor(mach_msg_size_t& at, mach_msg_size_t end,
                               const message_names& names);
  std::string write_memory(const mach_msg_ool_descriptor_t& memory);
  std::string write_ports(const mach_msg_ool_ports_descriptor_t& ports, const message_names& names);
  std::string write_body(mach_msg_size_t at, mach_msg_size_t end, const message_names& names) const;

  std::byte* bytes() const noexcept { return reinterpret_cast<std::byte*>(address_); }
  template <typename T>
  T at(std::size_t offset) const noexcept;

  vm_address_t address_ = 0;
  std::size_t filled_ = 0;
  std::size_t used_ = 0;           // so many bytes are not zero at most
  std::vector<std::byte> before_;  // what fill() left, as far as a failing call can write
  std::uint32_t descriptors_ = 0;
  std::vector<region> sent_, received_;
};

}  // namespace conformance
