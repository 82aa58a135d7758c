// message, new_port(), type_of() ...: messages and ports for the tests, by Darwin's C interface
// only.
#pragma once

#include <mach/mach.h>
#include <mach/notify.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <vector>

namespace test {

// Makes a receive right, a port set or a dead name.
inline mach_port_name_t new_port(mach_port_right_t right = MACH_PORT_RIGHT_RECEIVE) {
  mach_port_name_t name = MACH_PORT_NULL;
  mach_port_allocate(mach_task_self(), right, &name);
  return name;
}

// Makes a receive right and a send right to it, under one name.
inline mach_port_name_t new_service() {
  const mach_port_name_t name = new_port();
  mach_port_insert_right(mach_task_self(), name, name, MACH_MSG_TYPE_MAKE_SEND);
  return name;
}

// Makes a send-once right to the port.
inline mach_port_name_t new_send_once(mach_port_name_t port) {
  mach_port_name_t once = MACH_PORT_NULL;
  mach_msg_type_name_t type = 0;
  mach_port_extract_right(mach_task_self(), port, MACH_MSG_TYPE_MAKE_SEND_ONCE, &once, &type);
  return once;
}

// Returns the rights and requests of the name; 0 if it is not in use.
inline mach_port_type_t type_of(mach_port_name_t name) {
  mach_port_type_t type = 0;
  return mach_port_type(mach_task_self(), name, &type) == KERN_SUCCESS ? type : 0;
}

// Returns the user references of one kind of right; 0xdead if the call fails.
inline mach_port_urefs_t refs_of(mach_port_name_t name, mach_port_right_t right) {
  mach_port_urefs_t refs = 0xdead;
  return mach_port_get_refs(mach_task_self(), name, right, &refs) == KERN_SUCCESS ? refs : 0xdead;
}

inline mach_port_status_t status_of(mach_port_name_t name) {
  mach_port_status_t status{};
  mach_msg_type_number_t count = MACH_PORT_RECEIVE_STATUS_COUNT;
  mach_port_get_attributes(mach_task_self(), name, MACH_PORT_RECEIVE_STATUS,
                           reinterpret_cast<mach_port_info_t>(&status), &count);
  return status;
}

inline kern_return_t set_limit(mach_port_name_t name, mach_port_msgcount_t limit) {
  mach_port_limits_t limits{limit};
  return mach_port_set_attributes(mach_task_self(), name, MACH_PORT_LIMITS_INFO,
                                  reinterpret_cast<mach_port_info_t>(&limits),
                                  MACH_PORT_LIMITS_INFO_COUNT);
}

// Destroys the receive right.
inline kern_return_t end_receive(mach_port_name_t name) {
  return mach_port_mod_refs(mach_task_self(), name, MACH_PORT_RIGHT_RECEIVE, -1);
}

// A buffer in which a message is built, from which it is sent and into which it is received.
class message {
 public:
  struct port {
    mach_port_name_t name;
    mach_msg_type_name_t disposition;
  };

  message() = default;
  message(mach_port_name_t to, mach_msg_type_name_t disposition, mach_msg_id_t id = 0,
          std::initializer_list<port> ports = {}, const char* body = "") {
    header().msgh_bits = MACH_MSGH_BITS(disposition, 0u);
    header().msgh_remote_port = to;
    header().msgh_id = id;
    size = sizeof(mach_msg_header_t);
    if (ports.size() > 0) {
      header().msgh_bits |= MACH_MSGH_BITS_COMPLEX;
      const mach_msg_body_t count{static_cast<mach_msg_size_t>(ports.size())};
      append(&count, sizeof count);
      for (const port& each : ports) {
        mach_msg_port_descriptor_t descriptor{};
        descriptor.name = each.name;
        descriptor.disposition = each.disposition & 0xff;
        descriptor.type = MACH_MSG_PORT_DESCRIPTOR;
        append(&descriptor, sizeof descriptor);
      }
    }
    append(body, std::strlen(body));
    size = (size + 3) & ~3u;
  }

  message& reply_to(mach_port_name_t name, mach_msg_type_name_t disposition) {
    header().msgh_local_port = name;
    header().msgh_bits |= MACH_MSGH_BITS(0u, disposition);
    return *this;
  }

  // Adds a descriptor. Must be called before with_body().
  template <typename Descriptor>
  message& with(const Descriptor& descriptor) {
    if (!MACH_MSGH_BITS_IS_COMPLEX(header().msgh_bits)) {
      header().msgh_bits |= MACH_MSGH_BITS_COMPLEX;
      size += sizeof(mach_msg_body_t);
    }
    ++bytes[sizeof(mach_msg_header_t)];  // the count
    append(&descriptor, sizeof descriptor);
    return *this;
  }
  message& with_body(const char* body) {
    append(body, std::strlen(body));
    size = (size + 3) & ~3u;
    return *this;
  }
  // The descriptor that begins `offset` bytes behind the count of descriptors.
  template <typename Descriptor>
  Descriptor at(std::size_t offset = 0) {
    Descriptor found;
    std::memcpy(&found, bytes + sizeof(mach_msg_base_t) + offset, sizeof found);
    return found;
  }

  mach_msg_header_t& header() { return *reinterpret_cast<mach_msg_header_t*>(bytes); }
  mach_msg_port_descriptor_t descriptor(std::size_t index) {
    mach_msg_port_descriptor_t found;
    std::memcpy(&found, bytes + sizeof(mach_msg_base_t) + index * sizeof found, sizeof found);
    return found;
  }
  mach_port_name_t port_at(std::size_t index) { return descriptor(index).name; }
  template <typename T = mach_msg_audit_trailer_t>
  T trailer() {
    T found;
    std::memcpy(&found, bytes + round_msg(header().msgh_size), sizeof found);
    return found;
  }
  // The name or count in a notification.
  natural_t notification_word() {
    natural_t word = 0;
    std::memcpy(&word, bytes + sizeof(mach_msg_header_t) + sizeof(NDR_record_t), sizeof word);
    return word;
  }

  mach_msg_return_t send(mach_msg_option_t option = 0) {
    return mach_msg(&header(), MACH_SEND_MSG | MACH_SEND_TIMEOUT | option, size, 0, MACH_PORT_NULL,
                    0, MACH_PORT_NULL);
  }
  mach_msg_return_t receive(mach_port_name_t from, mach_msg_option_t option = 0,
                            mach_msg_size_t room = sizeof bytes) {
    return mach_msg(&header(), MACH_RCV_MSG | MACH_RCV_TIMEOUT | option, 0, room, from, 0,
                    MACH_PORT_NULL);
  }

  mach_msg_size_t size = 0;
  alignas(8) unsigned char bytes[1024]{};

 private:
  void append(const void* what, std::size_t length) {
    std::memcpy(bytes + size, what, length);
    size += static_cast<mach_msg_size_t>(length);
  }
};

inline mach_msg_port_descriptor_t port_descriptor(mach_port_name_t name,
                                                  mach_msg_type_name_t disposition) {
  mach_msg_port_descriptor_t made{};
  made.name = name;
  made.disposition = disposition & 0xff;
  made.type = MACH_MSG_PORT_DESCRIPTOR;
  return made;
}

// Deallocates pages, and keeps their addresses unused while the object lives: else another thread's
// next allocation could be there.
class hole {
 public:
  hole(void* memory, std::size_t size) : memory_(memory), size_(size) {
    gone_ = vm_deallocate(mach_task_self(), reinterpret_cast<vm_address_t>(memory), size) ==
                KERN_SUCCESS &&
            mmap(memory, size, PROT_NONE, MAP_PRIVATE | MAP_ANON, -1, 0) == memory;
  }
  ~hole() { munmap(memory_, size_); }
  hole(const hole&) = delete;
  hole& operator=(const hole&) = delete;

  bool gone() const { return gone_; }

 private:
  void* memory_;
  std::size_t size_;
  bool gone_;
};

inline mach_msg_ool_descriptor_t memory_descriptor(
    const void* address, mach_msg_size_t size,
    mach_msg_copy_options_t copy = MACH_MSG_PHYSICAL_COPY, bool deallocate = false) {
  mach_msg_ool_descriptor_t made{};
  made.address = const_cast<void*>(address);
  made.size = size;
  made.copy = copy & 0xff;
  made.deallocate = deallocate;
  made.type = MACH_MSG_OOL_DESCRIPTOR;
  return made;
}

inline mach_msg_ool_ports_descriptor_t ports_descriptor(const mach_port_name_t* names,
                                                        mach_msg_size_t count,
                                                        mach_msg_type_name_t disposition) {
  mach_msg_ool_ports_descriptor_t made{};
  made.address = const_cast<mach_port_name_t*>(names);
  made.count = count;
  made.disposition = disposition & 0xff;
  made.type = MACH_MSG_OOL_PORTS_DESCRIPTOR;
  return made;
}

inline mach_msg_guarded_port_descriptor_t guarded_descriptor(mach_port_name_t name,
                                                             mach_msg_guard_flags_t flags,
                                                             mach_port_context_t context = 0) {
  mach_msg_guarded_port_descriptor_t made{};
  made.context = context;
  made.flags = flags & 0xffff;
  made.disposition = MACH_MSG_TYPE_MOVE_RECEIVE;
  made.type = MACH_MSG_GUARDED_PORT_DESCRIPTOR;
  made.name = name;
  return made;
}

// Receives and destroys the next message of the port. Returns its id, or -1 if none is queued.
inline mach_msg_id_t next_id(mach_port_name_t from) {
  message got;
  if (got.receive(from) != MACH_MSG_SUCCESS) return -1;
  const mach_msg_id_t id = got.header().msgh_id;
  mach_msg_destroy(&got.header());
  return id;
}

// Requests a notification to the port `notify`.
inline kern_return_t request(mach_port_name_t name, mach_msg_id_t id, mach_port_mscount_t sync,
                             mach_port_name_t notify, mach_port_name_t* previous = nullptr) {
  mach_port_t unused = MACH_PORT_NULL;
  return mach_port_request_notification(mach_task_self(), name, id, sync, notify,
                                        MACH_MSG_TYPE_MAKE_SEND_ONCE,
                                        previous ? previous : &unused);
}

}  // namespace test
