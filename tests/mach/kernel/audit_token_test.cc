// <bsm/libbsm.h>: the fields of an audit token.
#include <doctest/doctest.h>

#include <bsm/libbsm.h>
#include <unistd.h>

#include "test_message.h"

using namespace test;

TEST_CASE("audit_token_to_* return the fields of a token, also through au32 with null pointers") {
  const audit_token_t token{{1, 2, 3, 4, 5, 6, 7, 8}};
  CHECK(audit_token_to_auid(token) == 1);
  CHECK(audit_token_to_euid(token) == 2);
  CHECK(audit_token_to_egid(token) == 3);
  CHECK(audit_token_to_ruid(token) == 4);
  CHECK(audit_token_to_rgid(token) == 5);
  CHECK(audit_token_to_pid(token) == 6);
  CHECK(audit_token_to_asid(token) == 7);
  CHECK(audit_token_to_pidversion(token) == 8);
  uid_t auid = 0, euid = 0, ruid = 0;
  gid_t egid = 0, rgid = 0;
  pid_t pid = 0;
  au_asid_t asid = 0;
  au_tid_t tid{};
  audit_token_to_au32(token, &auid, &euid, &egid, &ruid, &rgid, &pid, &asid, &tid);
  CHECK(auid == 1);
  CHECK(euid == 2);
  CHECK(egid == 3);
  CHECK(ruid == 4);
  CHECK(rgid == 5);
  CHECK(pid == 6);
  CHECK(asid == 7);
  audit_token_to_au32(token, nullptr, nullptr, nullptr, nullptr, nullptr, &pid, nullptr, nullptr);
  CHECK(pid == 6);
}

TEST_CASE("the token of a received message has the sender's process, user and group") {
  const mach_port_name_t port = new_service();
  REQUIRE(message(port, MACH_MSG_TYPE_COPY_SEND).send() == MACH_MSG_SUCCESS);
  message m;
  REQUIRE(m.receive(port, MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT)) == MACH_MSG_SUCCESS);
  const audit_token_t token = m.trailer().msgh_audit;
  CHECK(audit_token_to_pid(token) == getpid());
  CHECK(audit_token_to_euid(token) == geteuid());
  CHECK(audit_token_to_egid(token) == getegid());
  CHECK(audit_token_to_ruid(token) == getuid());
  CHECK(audit_token_to_rgid(token) == getgid());
  CHECK(audit_token_to_pidversion(token) > 0);
}
