// <bsm/libbsm.h>: reads the fields of an audit token, which identifies the sender of a message.
#pragma once

#include <sys/types.h>

#include <bsm/audit.h>
#include <mach/message.h>

#ifdef __cplusplus
extern "C" {
#endif

// Any pointer may be null. The terminal id is zero: this kernel has no terminals.
void audit_token_to_au32(audit_token_t atoken, uid_t* auidp, uid_t* euidp, gid_t* egidp,
                         uid_t* ruidp, gid_t* rgidp, pid_t* pidp, au_asid_t* asidp, au_tid_t* tidp);

uid_t audit_token_to_auid(audit_token_t atoken);
uid_t audit_token_to_euid(audit_token_t atoken);
gid_t audit_token_to_egid(audit_token_t atoken);
uid_t audit_token_to_ruid(audit_token_t atoken);
gid_t audit_token_to_rgid(audit_token_t atoken);
pid_t audit_token_to_pid(audit_token_t atoken);
au_asid_t audit_token_to_asid(audit_token_t atoken);
// Distinguishes processes that have had the same pid. Here it also distinguishes the tasks of one
// process.
int audit_token_to_pidversion(audit_token_t atoken);

#ifdef __cplusplus
}
#endif
