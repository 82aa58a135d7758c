// message_text: the message buffer of a player. It is filled from the tokens of a trace before a
// call (GRAMMAR, msg), and written as text after it. The buffer owns the memory that it allocates
// for sent messages, and that received messages brought, until take_received().
#pragma once

#include <mach/mach.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace conformance {

// How the text of a message reads and writes names, senders and users in the task that plays.
struct message_names {
  std::function<mach_port_name_t(std::string_view)> read;
  std::function<std::string(mach_port_name_t)> write;
  // Writes a name in a notification, which may belong to another task.
  std::function<std::string(mach_port_name_t)> write_notified;
  // Writes ":task=T" or ":kernel".
  std::function<std::string(const audit_token_t&)> write_sender;
  // Writes the user of this process as the user of the recordings.
  std::function<std::string(const security_token_t&)> write_user;
};

// Memory that a message allocated in the calling process. Its owner must release it.
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

  // Clears the buffer and fills it by the tokens of a `msg` operation. Ignores opt= and tr=, which
  // the caller reads. Throws bad_script.
  void fill(const std::vector<std::string_view>& tokens, mach_msg_option_t option,
            const message_names& names);
  mach_msg_size_t send_size = 0;
  mach_msg_size_t receive_size = 0;
  mach_port_name_t receive_name = MACH_PORT_NULL;
  mach_msg_priority_t priority = 0;

  // Returns true if the buffer is as fill() left it.
  bool unchanged() const noexcept;

  // Returns the text of the first `size` bytes of the message and, if `has_trailer`, of the
  // trailer.
  std::string write(mach_msg_size_t size, bool has_trailer, const message_names& names);
  std::string write_trailer(mach_msg_size_t at, const message_names& names) const;

  // Writes "@buf" for the address of the buffer, else a hexadecimal number.
  std::string write_context(std::uint64_t context) const;
  std::uint64_t read_context(std::string_view token) const;

  // Returns the memory that the written messages brought. The caller owns it.
  std::vector<region> take_received() noexcept { return std::exchange(received_, {}); }

  // Copies a message that was received earlier back into the buffer.
  void restore(const std::vector<std::byte>& message);

 private:
  // What the tokens of a message say beyond the bytes in the buffer.
  struct given_fields {
    bool is_complex = false;
    std::optional<std::uint32_t> descriptor_count;
    std::string_view send_size;
    std::string_view header_size;
  };

  void release_sent() noexcept;
  bool read_field(std::string_view key, std::string_view value, given_fields& given,
                  const message_names& names);
  void set_right(std::string_view text, mach_port_name_t& name, unsigned shift,
                 const message_names& names);
  void begin_body(given_fields& given);
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
  std::size_t used_ = 0;           // all bytes from here on are zero
  std::vector<std::byte> before_;  // the bytes after fill(), as far as a failing call can write
  std::uint32_t descriptors_ = 0;
  std::vector<region> sent_, received_;
};

}  // namespace conformance
