// A client in C, with what MIG's generator would write for it.
#include <stdio.h>
#include <string.h>

#include "letters.h"

// Sends the request of `size` bytes in `message`, and receives the reply in its place.
static kern_return_t exchange(mach_port_t service, mach_msg_header_t* message, mach_msg_size_t size,
                              mach_msg_size_t room, mach_msg_id_t id, mach_msg_bits_t complex) {
  message->msgh_bits =
      MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE) | complex;
  message->msgh_remote_port = service;
  message->msgh_local_port = mig_get_reply_port();
  message->msgh_id = id;
  const mach_msg_return_t result =
      mach_msg(message, MACH_SEND_MSG | MACH_RCV_MSG, size, room, message->msgh_local_port,
               MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL);
  if (result != MACH_MSG_SUCCESS) {
    mig_dealloc_reply_port(message->msgh_local_port);
    return result;
  }
  if (message->msgh_id == MACH_NOTIFY_SEND_ONCE) return MIG_SERVER_DIED;
  return message->msgh_id == id + REPLY ? KERN_SUCCESS : MIG_REPLY_MISMATCH;
}

static kern_return_t count_letters(mach_port_t service, const char* word, uint64_t* letters) {
  union {
    count_letters_request_t in;
    struct {
      count_letters_reply_t reply;
      mach_msg_trailer_t trailer;
    } out;
  } message;
  message.in.NDR = NDR_record;
  message.in.wordOffset = 0;
  message.in.wordCnt =
      (mach_msg_type_number_t)mig_strncpy(message.in.word, word, sizeof message.in.word);
  const mach_msg_size_t size = (mach_msg_size_t)(sizeof message.in - sizeof message.in.word) +
                               round_to_words(message.in.wordCnt);
  const kern_return_t result =
      exchange(service, &message.in.Head, size, sizeof message, COUNT_LETTERS, 0);
  if (result != KERN_SUCCESS) return result;
  const count_letters_reply_t* const reply = &message.out.reply;
  if (MACH_MSGH_BITS_IS_COMPLEX(reply->Head.msgh_bits) ||
      (reply->Head.msgh_size != sizeof *reply &&
       (reply->Head.msgh_size != sizeof(mig_reply_error_t) || reply->RetCode == KERN_SUCCESS))) {
    return MIG_TYPE_ERROR;
  }
  if (reply->RetCode != KERN_SUCCESS) return reply->RetCode;
  *letters = reply->letters;
  return KERN_SUCCESS;
}

static kern_return_t draw(mach_port_t service, const int16_t* samples,
                          mach_msg_type_number_t samples_count, uint32_t scale, mach_port_t watcher,
                          vm_address_t* picture, mach_msg_type_number_t* picture_size) {
  union {
    draw_request_t in;
    struct {
      draw_reply_t reply;
      mach_msg_trailer_t trailer;
    } out;
  } message;
  memset(&message, 0, sizeof message);
  if (samples_count > 7) return MIG_ARRAY_TOO_LARGE;
  message.in.msgh_body.msgh_descriptor_count = 1;
  message.in.watcher.name = watcher;
  message.in.watcher.disposition = MACH_MSG_TYPE_MOVE_SEND;
  message.in.watcher.type = MACH_MSG_PORT_DESCRIPTOR;
  message.in.NDR = NDR_record;
  message.in.samplesCnt = samples_count;
  memcpy(message.in.samples, samples, samples_count * sizeof samples[0]);
  // What follows the samples moves up.
  const mach_msg_size_t room = sizeof message.in.samples + sizeof message.in.samplesPad;
  const mach_msg_size_t held = round_to_words(samples_count * (mach_msg_size_t)sizeof samples[0]);
  draw_request_t* const behind = (draw_request_t*)((char*)&message.in + held - room);
  behind->scale = scale;
  const kern_return_t result =
      exchange(service, &message.in.Head, (mach_msg_size_t)sizeof message.in - room + held,
               sizeof message, DRAW, MACH_MSGH_BITS_COMPLEX);
  if (result != KERN_SUCCESS) return result;
  const draw_reply_t* const reply = &message.out.reply;
  if (!MACH_MSGH_BITS_IS_COMPLEX(reply->Head.msgh_bits)) {
    const mig_reply_error_t* const error = (const mig_reply_error_t*)reply;
    return error->Head.msgh_size == sizeof *error && error->RetCode != KERN_SUCCESS
               ? error->RetCode
               : MIG_TYPE_ERROR;
  }
  if (reply->msgh_body.msgh_descriptor_count != 1 || reply->Head.msgh_size != sizeof *reply ||
      reply->picture.type != MACH_MSG_OOL_DESCRIPTOR || reply->picture.size != reply->pictureCnt) {
    return MIG_TYPE_ERROR;
  }
  *picture = (vm_address_t)reply->picture.address;
  *picture_size = reply->pictureCnt;
  return KERN_SUCCESS;
}

static kern_return_t stop(mach_port_t service) {
  stop_request_t in;
  memset(&in, 0, sizeof in);
  in.Head.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0);
  in.Head.msgh_remote_port = service;
  in.Head.msgh_id = STOP;
  return mach_msg(&in.Head, MACH_SEND_MSG, sizeof in, 0, MACH_PORT_NULL, MACH_MSG_TIMEOUT_NONE,
                  MACH_PORT_NULL);
}

static void print_letters(mach_port_t service, const char* word) {
  uint64_t letters = 0;
  const kern_return_t result = count_letters(service, word, &letters);
  if (result != KERN_SUCCESS) {
    printf("\"%s\": error %d\n", word, result);
  } else {
    printf("%s: %llu\n", word, (unsigned long long)letters);
  }
}

void ask_for_letters(mach_port_t service) {
  print_letters(service, "kedge");
  print_letters(service, "anchors");
  print_letters(service, "");

  mach_port_t watcher = MACH_PORT_NULL;
  mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &watcher);
  mach_port_insert_right(mach_task_self(), watcher, watcher, MACH_MSG_TYPE_MAKE_SEND);
  const int16_t samples[] = {1, -1, 1};
  vm_address_t picture = 0;
  mach_msg_type_number_t size = 0;
  const kern_return_t result = draw(service, samples, 3, 4, watcher, &picture, &size);
  if (result != KERN_SUCCESS) {
    printf("draw: error %d\n", result);
  } else {
    printf("%.*s\n", (int)size, (const char*)picture);
    vm_deallocate(mach_task_self(), picture, size);
  }
  mach_port_mod_refs(mach_task_self(), watcher, MACH_PORT_RIGHT_RECEIVE, -1);
  stop(service);
}
