// The structures that MIG declares for the routines of interface_test.cc, written by hand. MIG
// packs them to four bytes, and pads what is shorter.
#pragma once

#include <mach/mach.h>
#include <mach/mig_errors.h>

#include <cstdint>

namespace mig {

#pragma pack(push, 4)

// routine nothing(service);
struct nothing_request {
  mach_msg_header_t Head;
};
struct nothing_reply {
  mach_msg_header_t Head;
  NDR_record_t NDR;
  kern_return_t RetCode;
};

// routine count_letters(service; in word: c_string[*:1024]; out letters: uint64_t);
struct count_letters_request {
  mach_msg_header_t Head;
  NDR_record_t NDR;
  mach_msg_type_number_t wordOffset;
  mach_msg_type_number_t wordCnt;
  char word[1024];
};
struct count_letters_reply {
  mach_msg_header_t Head;
  NDR_record_t NDR;
  kern_return_t RetCode;
  std::uint64_t letters;
};

// routine small(service; in a: uint8_t; in b: bool; in c: uint16_t; in d: uint64_t; out e:
// uint8_t);
struct small_request {
  mach_msg_header_t Head;
  NDR_record_t NDR;
  std::uint8_t a;
  char aPad[3];
  bool b;
  char bPad[3];
  std::uint16_t c;
  char cPad[2];
  std::uint64_t d;
};
struct small_reply {
  mach_msg_header_t Head;
  NDR_record_t NDR;
  kern_return_t RetCode;
  std::uint8_t e;
  char ePad[3];
};

// type point_t = struct[2] of int32_t; type tag_t = array[6] of char;
// routine fixed(service; in tag: tag_t; in at: point_t; out halves: array[3] of uint16_t);
struct fixed_request {
  mach_msg_header_t Head;
  NDR_record_t NDR;
  char tag[6];
  char tagPad[2];
  std::int32_t at[2];
};
struct fixed_reply {
  mach_msg_header_t Head;
  NDR_record_t NDR;
  kern_return_t RetCode;
  std::uint16_t halves[3];
  char halvesPad[2];
};

// routine swap(service; in given: mach_port_move_send_t; out got: mach_port_move_send_t);
struct swap_request {
  mach_msg_header_t Head;
  mach_msg_body_t msgh_body;
  mach_msg_port_descriptor_t given;
};
struct swap_reply {
  mach_msg_header_t Head;
  mach_msg_body_t msgh_body;
  mach_msg_port_descriptor_t got;
};

// routine all_rights(service; in number: uint32_t; in send: mach_port_move_send_t;
//     in once: mach_port_move_send_once_t; in receive: mach_port_move_receive_t;
//     out receive: mach_port_move_receive_t; out number: uint32_t);
struct all_rights_request {
  mach_msg_header_t Head;
  mach_msg_body_t msgh_body;
  mach_msg_port_descriptor_t send;
  mach_msg_port_descriptor_t once;
  mach_msg_port_descriptor_t receive;
  NDR_record_t NDR;
  std::uint32_t number;
};
struct all_rights_reply {
  mach_msg_header_t Head;
  mach_msg_body_t msgh_body;
  mach_msg_port_descriptor_t receive;
  NDR_record_t NDR;
  std::uint32_t number;
};

// routine pass_on(service; in right: polymorphic; in reply: polymorphic);
struct pass_on_request {
  mach_msg_header_t Head;
  mach_msg_body_t msgh_body;
  mach_msg_port_descriptor_t right;
  mach_msg_port_descriptor_t answer;
};

// routine samples(service; in values: array[*:7] of uint16_t; in scale: uint32_t;
//     out sums: array[*:4] of uint64_t; out note: c_string[*:13]; out count: uint32_t);
struct samples_request {
  mach_msg_header_t Head;
  NDR_record_t NDR;
  mach_msg_type_number_t valuesCnt;
  std::uint16_t values[7];
  char valuesPad[2];
  std::uint32_t scale;
};
struct samples_reply {
  mach_msg_header_t Head;
  NDR_record_t NDR;
  kern_return_t RetCode;
  mach_msg_type_number_t sumsCnt;
  std::uint64_t sums[4];
  mach_msg_type_number_t noteOffset;
  mach_msg_type_number_t noteCnt;
  char note[13];
  char notePad[3];
  std::uint32_t count;
};

// routine render(service; in page: pointer_t; in width: uint32_t; out picture: pointer_t);
struct render_request {
  mach_msg_header_t Head;
  mach_msg_body_t msgh_body;
  mach_msg_ool_descriptor_t page;
  NDR_record_t NDR;
  mach_msg_type_number_t pageCnt;
  std::uint32_t width;
};
struct render_reply {
  mach_msg_header_t Head;
  mach_msg_body_t msgh_body;
  mach_msg_ool_descriptor_t picture;
  NDR_record_t NDR;
  mach_msg_type_number_t pictureCnt;
};

// routine subscribe(service; in watchers: array[] of mach_port_move_send_t;
//     in reports: array[] of mach_port_move_send_once_t; out ports: array[] of
//     mach_port_move_receive_t);
struct subscribe_request {
  mach_msg_header_t Head;
  mach_msg_body_t msgh_body;
  mach_msg_ool_ports_descriptor_t watchers;
  mach_msg_ool_ports_descriptor_t reports;
  NDR_record_t NDR;
  mach_msg_type_number_t watchersCnt;
  mach_msg_type_number_t reportsCnt;
};
struct subscribe_reply {
  mach_msg_header_t Head;
  mach_msg_body_t msgh_body;
  mach_msg_ool_ports_descriptor_t ports;
  NDR_record_t NDR;
  mach_msg_type_number_t portsCnt;
};

// simpleroutine show(service; in width: uint32_t; in picture: pointer_t; in title: c_string[*:8];
//     in watcher: mach_port_move_send_t; in height: uint32_t);
struct show_request {
  mach_msg_header_t Head;
  mach_msg_body_t msgh_body;
  mach_msg_ool_descriptor_t picture;
  mach_msg_port_descriptor_t watcher;
  NDR_record_t NDR;
  std::uint32_t width;
  mach_msg_type_number_t pictureCnt;
  mach_msg_type_number_t titleOffset;
  mach_msg_type_number_t titleCnt;
  char title[8];
  std::uint32_t height;
};

#pragma pack(pop)

}  // namespace mig
