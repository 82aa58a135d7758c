// Who sent a message: what the audit token in its trailer tells.
#pragma once

#include <sys/types.h>

#include <bsm/audit.h>
#include <mach/message.h>

#ifdef __cplusplus
extern "C" {
#endif

// Any pointer may be null. There are no terminals here: the id is zero.
void audit_token_to_au32(audit_token_t atoken, uid_t* auidp, uid_t* euidp, gid_t* egidp,
                         uid_t* ruidp, gid_t* rgidp, pid_t* pidp, au_asid_t* asidp, au_tid_t* tidp);

uid_t audit_token_to_auid(audit_token_t atoken);
uid_t audit_token_to_euid(audit_token_t atoken);
gid_t audit_token_to_egid(audit_token_t atoken);
uid_t audit_token_to_ruid(audit_token_t atoken);
gid_t audit_token_to_rgid(audit_token_t atoken);
pid_t audit_token_to_pid(audit_token_t atoken);
au_asid_t audit_token_to_asid(audit_token_t atoken);
// Tells the uses of a pid apart; here also the tasks of one process.
int audit_token_to_pidversion(audit_token_t atoken);

#ifdef __cplusplus
}
#endif
