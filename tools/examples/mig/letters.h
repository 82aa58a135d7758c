// The messages of the subsystem "letters", as MIG declares them. Written by hand, for C: neither
// program in C knows anything but <mach/mach.h> and this.
//
//     subsystem letters 5000;
//     routine count_letters(service: mach_port_t;
//                           in word: c_string[*:1024]; out letters: uint64_t);
//     routine draw(service: mach_port_t;
//                  in samples: array[*:7] of int16_t; in scale: uint32_t;
//                  in watcher: mach_port_move_send_t; out picture: pointer_t);
//     simpleroutine stop(service: mach_port_t);
#pragma once

#include <mach/mach.h>
#include <mach/mig_errors.h>

#include <stdint.h>

enum { COUNT_LETTERS = 5000, DRAW = 5001, STOP = 5002, REPLY = 100 };

#pragma pack(push, 4)

typedef struct {
  mach_msg_header_t Head;
  NDR_record_t NDR;
  mach_msg_type_number_t wordOffset;
  mach_msg_type_number_t wordCnt;
  char word[1024];
} count_letters_request_t;

typedef struct {
  mach_msg_header_t Head;
  NDR_record_t NDR;
  kern_return_t RetCode;
  uint64_t letters;
} count_letters_reply_t;

typedef struct {
  mach_msg_header_t Head;
  mach_msg_body_t msgh_body;
  mach_msg_port_descriptor_t watcher;
  NDR_record_t NDR;
  mach_msg_type_number_t samplesCnt;
  int16_t samples[7];
  char samplesPad[2];
  uint32_t scale;
} draw_request_t;

typedef struct {
  mach_msg_header_t Head;
  mach_msg_body_t msgh_body;
  mach_msg_ool_descriptor_t picture;
  NDR_record_t NDR;
  mach_msg_type_number_t pictureCnt;
} draw_reply_t;

typedef struct {
  mach_msg_header_t Head;
} stop_request_t;

#pragma pack(pop)

// MIG rounds what is variable up to words.
static inline mach_msg_size_t round_to_words(mach_msg_size_t size) {
  return (size + 3) & ~(mach_msg_size_t)3;
}

#ifdef __cplusplus
extern "C" {
#endif

// server.c: serves the requests to the port `service`, which the caller owns, until stop().
void serve_letters(mach_port_t service);
// client.c: calls each routine of `service`, and prints the results.
void ask_for_letters(mach_port_t service);

#ifdef __cplusplus
}
#endif
