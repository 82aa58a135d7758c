// Implements mach_msg_server(), mach_msg_server_once() and mach_msg_server_importance()
// (Libsyscall's mach_msg_server.c): receive a request, call the handler, send its reply.
#include <mach/mach.h>

#include <unistd.h>

namespace {

using handler = boolean_t (*)(mach_msg_header_t* request, mach_msg_header_t* reply);

mach_msg_size_t round_to_pages(mach_msg_size_t size) {
  const auto page = static_cast<mach_msg_size_t>(sysconf(_SC_PAGESIZE));
  return (size + page - 1) & ~(page - 1);
}

// Pages for one message.
class buffer {
 public:
  buffer() = default;
  buffer(const buffer&) = delete;
  buffer& operator=(const buffer&) = delete;
  ~buffer() { release(); }

  kern_return_t allocate(mach_msg_size_t size) {
    release();
    const kern_return_t result = vm_allocate(mach_task_self(), &at_, size, VM_FLAGS_ANYWHERE);
    size_ = result == KERN_SUCCESS ? size : 0;
    return result;
  }
  mig_reply_error_t& message() { return *reinterpret_cast<mig_reply_error_t*>(at_); }

 private:
  void release() {
    if (size_ > 0) vm_deallocate(mach_task_self(), at_, size_);
    size_ = 0;
  }

  vm_address_t at_ = 0;
  mach_msg_size_t size_ = 0;
};

// Destroys a reply that was not sent, which the server still owns.
void destroy_unsent(mach_msg_header_t& reply) {
  const mach_msg_type_name_t local = MACH_MSGH_BITS_LOCAL(reply.msgh_bits);
  if (MACH_PORT_VALID(reply.msgh_local_port) &&
      (local == MACH_MSG_TYPE_MOVE_SEND || local == MACH_MSG_TYPE_MOVE_SEND_ONCE)) {
    mach_port_deallocate(mach_task_self(), reply.msgh_local_port);
    reply.msgh_local_port = MACH_PORT_NULL;
  }
  mach_msg_destroy(&reply);
}

class server {
 public:
  server(handler handle, mach_msg_size_t max_size, mach_port_t from, mach_msg_options_t options)
      : handle_(handle),
        max_size_(max_size),
        from_(from),
        options_(options & ~(MACH_SEND_MSG | MACH_RCV_MSG | MACH_RCV_VOUCHER)),
        trailer_size_(REQUESTED_TRAILER_SIZE(options_)) {}

  kern_return_t prepare() {
    const bool trailer = (options_ & MACH_SEND_TRAILER) != 0;
    const kern_return_t result =
        reply_.allocate(round_to_pages(max_size_ + (trailer ? MAX_TRAILER_SIZE : 0u)));
    return result == KERN_SUCCESS ? make_room(max_size_) : result;
  }

  // Serves one request. An error in the handler's reply is not an error of the server.
  mach_msg_return_t serve() {
    const mach_msg_return_t received = receive();
    if (received != MACH_MSG_SUCCESS) return received;
    mach_msg_header_t& request = request_.message().Head;
    mach_msg_header_t& reply = reply_.message().Head;
    reply = {};
    handle_(&request, &reply);
    // A complex reply has its descriptor count where other replies have RetCode.
    const kern_return_t handled =
        MACH_MSGH_BITS_IS_COMPLEX(reply.msgh_bits) ? KERN_SUCCESS : reply_.message().RetCode;
    if (handled == MIG_NO_REPLY) return MACH_MSG_SUCCESS;
    if (handled != KERN_SUCCESS) {
      // Destroys the request, except its reply right, which is in the reply now.
      request.msgh_remote_port = MACH_PORT_NULL;
      mach_msg_destroy(&request);
    }
    return reply.msgh_remote_port == MACH_PORT_NULL ? MACH_MSG_SUCCESS : send(reply);
  }

 private:
  kern_return_t make_room(mach_msg_size_t size) {
    const mach_msg_size_t whole = round_to_pages(size + trailer_size_);
    room_ = options_ & MACH_RCV_LARGE ? whole : size + trailer_size_;
    return request_.allocate(whole);
  }

  mach_msg_return_t receive() {
    for (;;) {
      mach_msg_header_t& request = request_.message().Head;
      const mach_msg_return_t result = mach_msg(&request, MACH_RCV_MSG | options_, 0, room_, from_,
                                                MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL);
      if (result != MACH_RCV_TOO_LARGE || !(options_ & MACH_RCV_LARGE)) return result;
      const kern_return_t grown = make_room(request.msgh_size);
      if (grown != KERN_SUCCESS) return grown;
    }
  }

  // Sends with a time-out of 0 unless by a send-once right, which never waits: a client that does
  // not receive must not block the server.
  mach_msg_return_t send(mach_msg_header_t& reply) {
    const bool once = MACH_MSGH_BITS_REMOTE(reply.msgh_bits) == MACH_MSG_TYPE_MOVE_SEND_ONCE;
    const mach_msg_return_t result =
        mach_msg(&reply, MACH_SEND_MSG | options_ | (once ? 0 : MACH_SEND_TIMEOUT), reply.msgh_size,
                 0, MACH_PORT_NULL, MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL);
    switch (result) {
      case MACH_SEND_INVALID_DEST:
      case MACH_SEND_TIMED_OUT:
      case MACH_SEND_INTERRUPTED:
        destroy_unsent(reply);
        return MACH_MSG_SUCCESS;
      default:
        return result;
    }
  }

  const handler handle_;
  const mach_msg_size_t max_size_;
  const mach_port_t from_;
  const mach_msg_options_t options_;
  const mach_msg_size_t trailer_size_;
  mach_msg_size_t room_ = 0;
  buffer request_, reply_;
};

}  // namespace

extern "C" {

mach_msg_return_t mach_msg_server_once(handler demux, mach_msg_size_t max_size,
                                       mach_port_t rcv_name, mach_msg_options_t options) {
  server one(demux, max_size, rcv_name, options);
  const kern_return_t prepared = one.prepare();
  return prepared == KERN_SUCCESS ? one.serve() : prepared;
}

mach_msg_return_t mach_msg_server(handler demux, mach_msg_size_t max_size, mach_port_t rcv_name,
                                  mach_msg_options_t options) {
  server one(demux, max_size, rcv_name, options);
  mach_msg_return_t result = one.prepare();
  while (result == MACH_MSG_SUCCESS) result = one.serve();
  return result;
}

mach_msg_return_t mach_msg_server_importance(handler demux, mach_msg_size_t max_size,
                                             mach_port_t rcv_name, mach_msg_options_t options) {
  return mach_msg_server(demux, max_size, rcv_name, options);
}

}  // extern "C"
