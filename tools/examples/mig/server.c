// A server in C, with what MIG's generator would write for it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "letters.h"

static int stopped;

// The server's functions, which MIG's stubs call.

static kern_return_t do_count_letters(const char* word, uint64_t* letters) {
  if (word[0] == '\0') return KERN_INVALID_ARGUMENT;
  *letters = strlen(word);
  return KERN_SUCCESS;
}

static kern_return_t do_draw(const int16_t* samples, mach_msg_type_number_t samples_count,
                             uint32_t scale, mach_port_t watcher, vm_address_t* picture,
                             mach_msg_type_number_t* picture_size) {
  *picture_size = samples_count * scale;
  const kern_return_t made =
      vm_allocate(mach_task_self(), picture, *picture_size, VM_FLAGS_ANYWHERE);
  if (made != KERN_SUCCESS) return made;
  for (mach_msg_type_number_t i = 0; i < samples_count; ++i) {
    memset((char*)*picture + i * scale, samples[i] < 0 ? '-' : '+', scale);
  }
  return mach_port_deallocate(mach_task_self(), watcher);
}

// The stubs. Each checks its request, and fills its reply in.

static kern_return_t count_letters_stub(const count_letters_request_t* in,
                                        count_letters_reply_t* out) {
  const mach_msg_size_t least = sizeof *in - sizeof in->word;
  if (MACH_MSGH_BITS_IS_COMPLEX(in->Head.msgh_bits) || in->Head.msgh_size < least ||
      in->Head.msgh_size > sizeof *in || in->wordCnt > sizeof in->word ||
      in->Head.msgh_size != least + round_to_words(in->wordCnt) ||
      memchr(in->word, '\0', in->wordCnt) == NULL) {
    return MIG_BAD_ARGUMENTS;
  }
  uint64_t letters = 0;  // that of the reply is not aligned
  const kern_return_t result = do_count_letters(in->word, &letters);
  out->letters = letters;
  out->Head.msgh_size = sizeof *out;
  return result;
}

static kern_return_t draw_stub(const draw_request_t* in, draw_reply_t* out) {
  const mach_msg_size_t room = sizeof in->samples + sizeof in->samplesPad;
  const mach_msg_size_t least = sizeof *in - room;
  if (!MACH_MSGH_BITS_IS_COMPLEX(in->Head.msgh_bits) || in->msgh_body.msgh_descriptor_count != 1 ||
      in->Head.msgh_size < least || in->Head.msgh_size > sizeof *in) {
    return MIG_BAD_ARGUMENTS;
  }
  if (in->watcher.type != MACH_MSG_PORT_DESCRIPTOR ||
      in->watcher.disposition != MACH_MSG_TYPE_MOVE_SEND) {
    return MIG_TYPE_ERROR;
  }
  const mach_msg_size_t held =
      round_to_words(in->samplesCnt * (mach_msg_size_t)sizeof in->samples[0]);
  if (in->samplesCnt > 7 || in->Head.msgh_size != least + held) return MIG_BAD_ARGUMENTS;
  // What follows the samples has moved up.
  const draw_request_t* const behind = (const draw_request_t*)((const char*)in + held - room);

  vm_address_t picture = 0;
  mach_msg_type_number_t size = 0;
  const kern_return_t result =
      do_draw(in->samples, in->samplesCnt, behind->scale, in->watcher.name, &picture, &size);
  if (result != KERN_SUCCESS) return result;
  out->Head.msgh_bits |= MACH_MSGH_BITS_COMPLEX;
  out->Head.msgh_size = sizeof *out;
  out->msgh_body.msgh_descriptor_count = 1;
  memset(&out->picture, 0, sizeof out->picture);
  out->picture.address = (void*)picture;
  out->picture.size = size;
  out->picture.deallocate = 1;
  out->picture.copy = MACH_MSG_VIRTUAL_COPY;
  out->picture.type = MACH_MSG_OOL_DESCRIPTOR;
  out->NDR = NDR_record;
  out->pictureCnt = size;
  return KERN_SUCCESS;
}

// What mach_msg_server() calls with each message.
static boolean_t letters_server(mach_msg_header_t* in, mach_msg_header_t* out) {
  mig_reply_error_t* const error = (mig_reply_error_t*)out;
  out->msgh_bits = MACH_MSGH_BITS(MACH_MSGH_BITS_REMOTE(in->msgh_bits), 0);
  out->msgh_remote_port = in->msgh_remote_port;
  out->msgh_local_port = MACH_PORT_NULL;
  out->msgh_size = sizeof *error;
  out->msgh_id = in->msgh_id + REPLY;
  kern_return_t result = KERN_SUCCESS;
  switch (in->msgh_id) {
    case COUNT_LETTERS:
      result = count_letters_stub((const count_letters_request_t*)in, (count_letters_reply_t*)out);
      break;
    case DRAW:
      result = draw_stub((const draw_request_t*)in, (draw_reply_t*)out);
      if (result == KERN_SUCCESS) return 1;  // a reply with descriptors has no code
      break;
    case STOP:
      stopped = 1;
      result = MIG_NO_REPLY;
      break;
    default:
      result = MIG_BAD_ID;
      break;
  }
  error->NDR = NDR_record;
  error->RetCode = result;
  if (result != KERN_SUCCESS) out->msgh_size = sizeof *error;
  return result != MIG_BAD_ID;
}

void serve_letters(mach_port_t service) {
  stopped = 0;
  while (!stopped) {
    const mach_msg_return_t served = mach_msg_server_once(
        letters_server, sizeof(count_letters_request_t), service, MACH_MSG_OPTION_NONE);
    if (served == MACH_MSG_SUCCESS) continue;
    fprintf(stderr, "mach_msg_server_once: %x\n", (unsigned)served);
    exit(EXIT_FAILURE);
  }
}
