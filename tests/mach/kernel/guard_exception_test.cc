// Guard exceptions (EXC_GUARD): which violation raises which exception, and what its delivery does.
// The tests let this kernel record exceptions. Darwin cannot: there an exception is fatal, or is
// not delivered.
#include <doctest/doctest.h>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <functional>
#include <string>

#include "kedge/mach/kernel/extension.h"
#include "test_message.h"

using namespace test;

namespace {

using namespace kedge::mach::kernel;

// Records the guard exceptions of the current task while an object lives.
class recorder {
 public:
  recorder() {
    set_guard_behaviour(task_of_thread(), guard_behaviour::record);
    take_guard_exceptions(task_of_thread());  // of earlier cases
  }
  ~recorder() { set_guard_behaviour(task_of_thread(), guard_behaviour::ordinary); }
  recorder(const recorder&) = delete;
  recorder& operator=(const recorder&) = delete;

  // Returns the exception raised since the last call, at most one; without a code if none was.
  guard_exception last() const {
    const std::vector<guard_exception> raised = take_guard_exceptions(task_of_thread());
    CHECK(raised.size() <= 1);
    return raised.empty() ? guard_exception{} : raised.front();
  }
};

mach_port_name_t new_guarded(mach_port_context_t guard, std::uint32_t flags = 0) {
  mach_port_options_t options{};
  options.flags = MPO_CONTEXT_AS_GUARD | flags;
  mach_port_name_t name = MACH_PORT_NULL;
  mach_port_construct(mach_task_self(), &options, guard, &name);
  return name;
}

// Returns what `action` writes to standard error.
std::string stderr_of(const std::function<void()>& action) {
  int ends[2]{};
  REQUIRE(pipe(ends) == 0);
  const int before = dup(STDERR_FILENO);
  dup2(ends[1], STDERR_FILENO);
  action();
  dup2(before, STDERR_FILENO);
  close(before);
  close(ends[1]);
  std::string text;
  char next = 0;
  while (read(ends[0], &next, 1) == 1) text += next;
  close(ends[0]);
  return text;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string text_of(mach_port_name_t name) {
  char text[16];
  std::snprintf(text, sizeof text, "port 0x%x", name);
  return text;
}

}  // namespace

TEST_CASE(
    "destruct with a wrong guard raises DESTROY, with the right guard it destroys the right") {
  const recorder records;
  const mach_port_name_t port = new_guarded(7, MPO_STRICT);
  CHECK(status_of(port).mps_flags ==
        (MACH_PORT_STATUS_FLAG_GUARDED | MACH_PORT_STATUS_FLAG_STRICT_GUARD));
  mach_port_context_t context = 1;
  CHECK(mach_port_get_context(mach_task_self(), port, &context) == KERN_SUCCESS);
  CHECK(context == 0);
  CHECK(mach_port_destruct(mach_task_self(), port, 0, 8) == KERN_INVALID_ARGUMENT);
  const guard_exception raised = records.last();
  CHECK(raised.code == kGUARD_EXC_DESTROY);
  CHECK(raised.name == port);
  CHECK(raised.subcode == 7);
  CHECK(raised.always_fatal);
  CHECK(mach_port_destruct(mach_task_self(), port, 0, 7) == KERN_SUCCESS);
}

TEST_CASE("each violation of a guard fails and raises its own exception") {
  const recorder records;
  const mach_port_name_t port = new_guarded(7), strict = new_guarded(7, MPO_STRICT),
                         fixed = new_guarded(7, MPO_IMMOVABLE_RECEIVE);
  CHECK(end_receive(port) == KERN_INVALID_RIGHT);
  CHECK(records.last().code == kGUARD_EXC_DESTROY);
  CHECK(mach_port_destroy(mach_task_self(), port) == KERN_INVALID_RIGHT);
  CHECK(records.last().code == kGUARD_EXC_DESTROY);
  CHECK(mach_port_unguard(mach_task_self(), port, 8) == KERN_INVALID_ARGUMENT);
  CHECK(records.last().code == kGUARD_EXC_INCORRECT_GUARD);
  CHECK(mach_port_unguard(mach_task_self(), new_port(), 8) == KERN_INVALID_ARGUMENT);
  CHECK(records.last().code == kGUARD_EXC_UNGUARDED);
  CHECK(mach_port_set_context(mach_task_self(), strict, 8) == KERN_INVALID_ARGUMENT);
  CHECK(records.last().code == kGUARD_EXC_SET_CONTEXT);
  CHECK(mach_port_insert_right(mach_task_self(), fixed, fixed, MACH_MSG_TYPE_MOVE_RECEIVE) ==
        KERN_INVALID_CAPABILITY);
  CHECK(records.last().code == kGUARD_EXC_IMMOVABLE);
  const mach_port_name_t to = new_service();
  CHECK(message(to, MACH_MSG_TYPE_COPY_SEND, 0, {{fixed, MACH_MSG_TYPE_MOVE_RECEIVE}}).send() ==
        MACH_SEND_INVALID_RIGHT);
  CHECK(records.last().code == kGUARD_EXC_IMMOVABLE);
}

TEST_CASE(
    "a guarded descriptor with a wrong guard consumes the header's rights, not the guarded one") {
  const recorder records;
  const mach_port_name_t to = new_service(), guarded = new_guarded(7), bare = new_port();
  const auto refused = [&](mach_port_name_t moving, mach_msg_guard_flags_t flags,
                           mach_port_context_t context, std::uint64_t guard) {
    CAPTURE(flags);
    CAPTURE(context);
    message m(to, MACH_MSG_TYPE_COPY_SEND);
    CHECK(m.with(guarded_descriptor(moving, flags, context)).send() == MACH_SEND_INVALID_RIGHT);
    const guard_exception raised = records.last();
    CHECK(raised.code == kGUARD_EXC_INCORRECT_GUARD);
    CHECK(raised.name == moving);
    CHECK(raised.subcode == guard);
    CHECK(type_of(moving) == MACH_PORT_TYPE_RECEIVE);
  };
  refused(guarded, MACH_MSG_GUARD_FLAGS_IMMOVABLE_RECEIVE, 8, 7);
  refused(guarded, MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND, 0, 7);
  refused(bare, MACH_MSG_GUARD_FLAGS_IMMOVABLE_RECEIVE, 0, 0);
}

TEST_CASE(
    "a descriptor whose right an earlier one has moved raises SEND_INVALID_RIGHT with its name") {
  const recorder records;
  const mach_port_name_t port = new_service(), both = new_service();
  CHECK(message(port, MACH_MSG_TYPE_COPY_SEND, 0,
                {{both, MACH_MSG_TYPE_MOVE_SEND}, {both, MACH_MSG_TYPE_MOVE_SEND}})
            .send() == MACH_SEND_INVALID_RIGHT);
  const guard_exception raised = records.last();
  CHECK(raised.code == kGUARD_EXC_SEND_INVALID_RIGHT);
  CHECK(raised.name == both);
}

TEST_CASE("an exception in the process's own task writes guard and port to stderr and aborts") {
  int status = 0;
  const std::string said = stderr_of([&] {
    const pid_t child = fork();
    if (child == 0) {
      const rlimit no_core{};
      setrlimit(RLIMIT_CORE, &no_core);
      std::signal(SIGABRT, SIG_DFL);
      const mach_port_name_t port = new_guarded(7);
      std::fprintf(stderr, "%s\n", text_of(port).c_str());
      mach_port_destruct(mach_task_self(), port, 0, 8);
      _exit(0);
    }
    waitpid(child, &status, 0);
  });
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGABRT);
  const std::string name = said.substr(0, said.find('\n'));
  CHECK(contains(said, "mach_port_destruct: EXC_GUARD: guard DESTROY "));
  CHECK(contains(said.substr(name.size()), name));
}

TEST_CASE("an exception in another task writes to stderr and ends that task only") {
  const task other = create_task();
  mach_port_name_t port = MACH_PORT_NULL;
  const std::string said = stderr_of([&] {
    const current_task_guard there(other);
    port = new_guarded(7);
    CHECK(mach_port_destruct(mach_task_self(), port, 0, 8) == KERN_INVALID_ARGUMENT);
    CHECK(mach_port_deallocate(mach_task_self(), port) == KERN_TERMINATED);
    message m(port, MACH_MSG_TYPE_MAKE_SEND);
    CHECK(m.send() == MACH_SEND_INVALID_DEST);
    CHECK(m.receive(port) == MACH_RCV_INVALID_NAME);
  });
  CHECK(contains(said, "mach_port_destruct: EXC_GUARD: guard DESTROY "));
  CHECK(contains(said, text_of(port)));
  CHECK(new_port() != MACH_PORT_NULL);
}

TEST_CASE("a send without a required reply port ends a hardened task, not an ordinary one") {
  for (const guard_behaviour behaviour : {guard_behaviour::ordinary, guard_behaviour::hardened}) {
    const task other = create_task();
    set_guard_behaviour(other, behaviour);
    const bool hardened = behaviour == guard_behaviour::hardened;
    CAPTURE(hardened);
    const std::string said = stderr_of([&] {
      const current_task_guard there(other);
      mach_port_options_t options{};
      options.flags = MPO_ENFORCE_REPLY_PORT_SEMANTICS | MPO_INSERT_SEND_RIGHT;
      mach_port_name_t port = MACH_PORT_NULL;
      REQUIRE(mach_port_construct(mach_task_self(), &options, 0, &port) == KERN_SUCCESS);
      message m(port, MACH_MSG_TYPE_COPY_SEND);
      CHECK(m.reply_to(new_port(), MACH_MSG_TYPE_MAKE_SEND_ONCE).send() == MACH_SEND_INVALID_REPLY);
      CHECK(mach_port_deallocate(mach_task_self(), port) ==
            (hardened ? KERN_TERMINATED : KERN_SUCCESS));
    });
    CHECK(contains(said, "mach_msg: EXC_GUARD: guard REQUIRE_REPLY_PORT_SEMANTICS ") == hardened);
    terminate_task(other);
  }
}
