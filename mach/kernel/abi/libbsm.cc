// Implements audit_token_to_*() (OpenBSM).
#include <bsm/libbsm.h>

namespace {

// The indices of the fields in a token, as Darwin's set_security_token_task_internal() fills them.
enum : unsigned { auid, euid, egid, ruid, rgid, pid, asid, pidversion };

template <typename T>
void store(T* where, unsigned word) {
  if (where) *where = static_cast<T>(word);
}

}  // namespace

extern "C" {

void audit_token_to_au32(audit_token_t atoken, uid_t* auidp, uid_t* euidp, gid_t* egidp,
                         uid_t* ruidp, gid_t* rgidp, pid_t* pidp, au_asid_t* asidp,
                         au_tid_t* tidp) {
  store(auidp, atoken.val[auid]);
  store(euidp, atoken.val[euid]);
  store(egidp, atoken.val[egid]);
  store(ruidp, atoken.val[ruid]);
  store(rgidp, atoken.val[rgid]);
  store(pidp, atoken.val[pid]);
  store(asidp, atoken.val[asid]);
  if (tidp) *tidp = {0, 0};
}

uid_t audit_token_to_auid(audit_token_t atoken) {
  return atoken.val[auid];
}

uid_t audit_token_to_euid(audit_token_t atoken) {
  return atoken.val[euid];
}

gid_t audit_token_to_egid(audit_token_t atoken) {
  return atoken.val[egid];
}

uid_t audit_token_to_ruid(audit_token_t atoken) {
  return atoken.val[ruid];
}

gid_t audit_token_to_rgid(audit_token_t atoken) {
  return atoken.val[rgid];
}

pid_t audit_token_to_pid(audit_token_t atoken) {
  return static_cast<pid_t>(atoken.val[pid]);
}

au_asid_t audit_token_to_asid(audit_token_t atoken) {
  return static_cast<au_asid_t>(atoken.val[asid]);
}

int audit_token_to_pidversion(audit_token_t atoken) {
  return static_cast<int>(atoken.val[pidversion]);
}

}  // extern "C"
