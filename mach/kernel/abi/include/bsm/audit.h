// <bsm/audit.h>: types of the fields of an audit token.
#pragma once

#include <stdint.h>
#include <sys/types.h>

#define AU_DEFAUDITID ((uid_t) - 1)

typedef uid_t au_id_t;
typedef pid_t au_asid_t;

// The terminal id of an audit session.
struct au_tid {
  int32_t port;
  uint32_t machine;
};
typedef struct au_tid au_tid_t;
