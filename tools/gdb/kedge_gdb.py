"""Prints the tasks of a loop as loop::dump() does, of a stopped program or of a core file.

    (gdb) source tools/gdb/kedge_gdb.py
    (gdb) kedge-dump                # every loop that is a variable of some frame, or that some frame belongs to
    (gdb) kedge-dump server->loop

It calls no function of the program. The program needs its symbols, and debug information (-g) of its own code and of Kedge's; of
its own code is enough for g++, and for clang with -fstandalone-debug.

A core file does not say when it was written. There "? s (until 12.500)" stands for a number of seconds: until kedge::clock, which
is CLOCK_MONOTONIC on Linux, reads 12.5 s.
"""

import functools
import re
import time

import gdb  # pylint: disable=import-error

DEEPEST = 32  # levels of indentation, as in loop.cc
FRAMES = 200  # of each thread, in which loops are looked for

# What describe() prints of the operations that print one text, by their classes.
TEXTS = {
    "async_generator::next_operation": "the next value of a generator",
    "attempt_operation": "an attempt",
    "callback_operation": "a callback",
    "completion::wait_operation": "a completion",
    "foreign_operation": "an awaitable of another library",
    "forever_operation": "a cancellation",
    "local_operation": "a task-local value",
    "mach::port_destroyed_operation": "the return of a receive right",
    "mach::send_once_gone_operation": "the end of a send-once right",
    "offload_operation": "a function on another thread",
    "shield_operation": "a shielded branch",
    "signal_set::next_operation": "a signal",
    "start_operation": "the start of a child",
    "task_operation": "a task",
    "this_task::state_operation": "its own state",
    "until_operation": "a value",
    "with_value_operation": "a branch with a value",
    "yield_operation": "its turn",
}
# What the request of a source_operation wants, and the transfer of a memory_operation.
AIMS = {
    "auto_reset_event::wait_request": "an event",
    "barrier::arrival": "others at a barrier",
    "channel::receive_request": "an item of a channel",
    "channel::send_request": "room in a channel",
    "event::wait_request": "an event",
    "latch::wait_request": "a latch",
    "mutex::lock_request": "a mutex",
    "net::memory_read": "bytes of a stream in memory",
    "net::memory_write": "room in a stream in memory",
    "scope::room_request": "room in a scope",
    "semaphore::acquire_request": "permits of a semaphore",
}
# What the transfer of a transfer_operation waits for. Others are transfers of the program's.
TRANSFERS = {
    "accepting": "accepted from",
    "connection_attempt": "connected",
    "read_bytes": "read",
    "wait_until_readable": "readable",
    "wait_until_writable": "writable",
    "write_bytes": "written",
}
# The enumerators of cancel_cause.
CAUSES = ("requested", "failure", "superseded", "deadline")
# What branch_name() gives.
OWNERS = {
    "attempt_operation": "attempt",
    "loop::root_of": "run",
    "named_branch_operation": "task",
    "scope::record": "child",
    "scope_operation::body_record": "body of with_scope",
    "shield_operation": "shield",
    "when_all_operation": "when_all",
    "when_all_range_operation": "when_all",
    "when_any_operation": "when_any",
    "when_any_range_operation": "when_any",
    "with_timeout_operation": "with_timeout",
    "with_value_operation": "with_value",
}


# --- Names of classes -------------------------------------------------------------------------------------------------


def arguments_of(name):
    """The template arguments of the first template in a name."""
    begin = name.find("<")
    if begin < 0:
        return []
    parts, depth, start = [], 0, begin + 1
    for at in range(begin, len(name)):
        c = name[at]
        if c in "<({[":
            depth += 1
        elif c in ")}]" or (c == ">" and name[at - 1] != "-"):
            depth -= 1
        if depth == 0 or (c == "," and depth == 1):
            parts.append(name[start:at].strip())
            start = at + 1
        if depth == 0:
            break
    return [part for part in parts if part]


def plain(name):
    """A name without template arguments, and without "kedge::" in front."""
    text, depth = "", 0
    for at, c in enumerate(name):
        if c == "<":
            depth += 1
        elif c == ">" and name[at - 1] != "-":
            depth -= 1
        elif depth == 0:
            text += c
    return text.removeprefix("kedge::")


# --- Objects ----------------------------------------------------------------------------------------------------------


class Object:
    """An address and a type. A gdb.Value of a class would ask for its run-time type, which gdb often does not know, and says so."""

    def __init__(self, address, of):
        self.address, self.type = address, of.strip_typedefs().unqualified()

    def __int__(self):
        return int(gdb.Value(self.address).cast(self.type.pointer()).dereference())

    def __bool__(self):
        return int(self) != 0

    def target(self):
        """What a pointer points to."""
        return Object(int(self), self.type.target())

    def text(self):
        """What a char* points to."""
        return gdb.Value(int(self)).cast(gdb.lookup_type("char").pointer()).string()


def object_at(address, class_name):
    try:
        return Object(address, gdb.lookup_type(class_name))
    except gdb.error as error:
        raise gdb.GdbError(f"kedge-dump: no debug information of {class_name}: compile Kedge with -g too, or the program with"
                           " clang's -fstandalone-debug") from error


def word(address):
    return int(gdb.Value(address).cast(gdb.lookup_type("unsigned long").pointer()).dereference())


def symbol_at(address):
    """The symbol to which an address belongs, or ""."""
    text = gdb.execute(f"info symbol {address}", to_string=True).strip()
    return "" if text.startswith("No symbol") else re.sub(r"( \+ \d+)?( in section .*)?$", "", text)


@functools.lru_cache(maxsize=None)
def class_of_table(table):
    symbol = symbol_at(table)
    return symbol.removeprefix("vtable for ") if symbol.startswith("vtable for ") else ""


@functools.lru_cache(maxsize=None)
def type_of_table(table):
    """The type of the objects with a virtual table: the largest one among those whose virtual functions are in the table. gdb does not
    find the type of a template over a lambda by its name."""
    best = None
    for slot in range(32):
        function = word(table + 8 * slot)
        if function < 4096 or not symbol_at(function):
            break
        block = gdb.block_for_pc(function)
        while block is not None and block.function is None:
            block = block.superblock
        for symbol in block or ():
            if symbol.name == "this":
                found = symbol.type.target().unqualified().strip_typedefs()
                if best is None or found.sizeof > best.sizeof:
                    best = found
    return best


def start_of(address):
    """The address of the object of which the polymorphic base at an address is a part."""
    return (address + word(word(address) - 16)) % 2**64


def class_at(address):
    return class_of_table(word(address))


def whole(address):
    """The object of which the polymorphic base at an address is a part, or None if the program has no debug information of it."""
    start = start_of(address)
    found = type_of_table(word(start))
    return None if found is None else Object(start, found)


def field_of(of, name):
    """The type of a member, its bases' members included, and its offset in bytes; or None."""
    for f in of.strip_typedefs().fields():
        if not hasattr(f, "bitpos"):  # static
            continue
        if f.name == name and not f.is_base_class:
            return f.type, f.bitpos // 8
        if f.is_base_class or not f.name:  # a base, or an anonymous union
            found = field_of(f.type, name)
            if found is not None:
                return found[0], found[1] + f.bitpos // 8
    return None


def member(value, name):
    """A member of an object or of what a pointer points to, or what the member refers to; None if there is none."""
    if value is not None and value.type.code == gdb.TYPE_CODE_PTR:
        value = value.target()
    found = None if value is None else field_of(value.type, name)
    if found is None:
        return None
    at = Object(value.address + found[1], found[0])
    return Object(word(at.address), at.type.target()) if at.type.code == gdb.TYPE_CODE_REF else at


def first_member(value):
    """The first member of an object, of its first member and so on: the number in a time_point, the pointer in a handle."""
    while value.type.code == gdb.TYPE_CODE_STRUCT:
        f = value.type.fields()[0]
        value = Object(value.address + f.bitpos // 8, f.type)
    return value


def target_of(shared):
    """What a std::shared_ptr points to, or None."""
    pointer = None if shared is None else first_member(shared)
    return pointer.target() if pointer is not None and pointer else None


def text_of(string):
    """The text of a std::string."""
    pointer = member(member(string, "_M_dataplus"), "_M_p")
    if pointer is not None:
        return pointer.text()
    return gdb.Value(string.address).cast(string.type.pointer()).dereference().format_string().strip('"')  # of libc++


def place_of(location):
    """A std::source_location as print_place() prints it, or None if it is unknown."""
    known = first_member(location)
    if not known:
        return None
    file, _, line = [member(known, f.name) for f in known.target().type.fields()[:3]]
    if int(line) == 0:
        return None
    name = file.text()
    return f"{name[max(name.rfind('kedge/'), 0):]}:{int(line)}"


# --- Waits ------------------------------------------------------------------------------------------------------------


class Waiter:
    """A coroutine that awaits, or a branch, and its operation."""

    def __init__(self, address, dump):
        self.address, self.dump = address, dump
        self.base = object_at(address, "kedge::waiter")
        arguments = arguments_of(class_at(address))
        self.op_class = arguments[0] if arguments else class_at(address)
        self.op = member(whole(address), "op_")

    def given_name(self):
        if not self.op_class.startswith("kedge::named_operation<") or self.op is None:
            return None
        return text_of(member(self.op, "name_"))

    def outer(self):
        """The waiter that awaits this one's coroutine. Null for a branch."""
        coroutine = int(first_member(member(self.base, "coroutine_")))
        if coroutine == 0:
            return None
        # The promise is behind the two functions of the frame, and begins with its kedge::frame.
        return Waiter(int(member(object_at(coroutine + 16, "kedge::frame"), "continuation_")), self.dump)

    def text(self):
        """As describe() prints it."""
        text = self.dump.operation_text(self.op_class, self.op, bool(member(self.base, "deferred_")))
        if class_at(self.address).startswith("kedge::awaiting<"):
            location = member(whole(self.address), "place_")
            text += ", at " + ((location is not None and place_of(location)) or "somewhere")
        return text

    def state(self):
        if member(self.base, "withdrawn_"):
            return ": cancelled in its wait for "
        return ": ready, after " if int(member(self.base, "next_")) != 0 else ": waits for "


class Dump:
    """The tree of one loop."""

    def __init__(self, loop):
        self.loop, self.lines, self.depth = loop, [], 0
        # Of a program on this machine that runs by the system's clock.
        thread = gdb.selected_thread()
        is_live = thread is not None and thread.is_valid() and "core" not in gdb.execute("info target", to_string=True).lower()
        self.now = time.clock_gettime(time.CLOCK_MONOTONIC) if is_live and int(member(loop, "time_")) == 0 else None

    def line(self, text):
        deep = f"[{self.depth}] " if self.depth > DEEPEST else ""
        self.lines.append("  " * min(self.depth, DEEPEST) + deep + text)

    def print(self):
        """The tree in pre-order, older contexts first."""
        scope = member(self.loop, "tasks")
        stack = [(int(c), 0) for c in self.below(member(scope, "context_"))]
        while stack:
            address, self.depth = stack.pop()
            context = object_at(address, "kedge::context")
            self.print_context(context)
            stack += [(int(c), self.depth + 1) for c in self.below(context)]
        self.depth = 0
        self.print_leaves(scope)
        return self.lines

    @staticmethod
    def below(context):
        """The contexts below one, the newest first, so that the oldest is popped first."""
        child = member(context, "first_child_")
        while int(child) != 0:
            yield child
            child = member(child, "next_")

    def print_context(self, context):
        holder = int(member(context, "holder_"))
        if holder == 0:
            self.line("a scope whose body is being made")
            return
        branch = Waiter(holder, self)
        owner = int(member(object_at(holder, "kedge::branch_base"), "owner_"))
        name, place = branch.given_name(), place_of(member(context, "place_"))
        text = self.owner_text(owner) + (f' "{name}"' if name is not None else "")
        text = f"branch of {text}" if place is None else f"{text} from {place}"
        if member(context, "cancelled_"):
            text += f" (cancelled: {CAUSES[int(member(context, 'cause_'))]})"
        waits = int(member(context, "suspended_on_"))
        if waits != 0:
            self.print_wait(text, Waiter(waits, self))
        else:
            self.line(text + (": running" if int(member(branch.base, "outcome_")) == 0 else ": has ended"))
        if plain(class_at(start_of(owner))) == "scope_operation::body_record":
            self.depth += 1
            self.print_leaves(member(whole(owner), "scope_"))
            self.depth -= 1

    def print_leaves(self, scope):
        leaf = member(scope, "newest_leaf_")
        while int(leaf) != 0:
            record = whole(int(leaf))
            if record is None:
                self.line(f"child from {place_of(member(leaf, 'spawned_at')) or 'somewhere'}: waits for {class_at(int(leaf))}")
            else:
                branch = Waiter(member(record, "branch_").address, self)
                name = branch.given_name()
                text = "child" + (f' "{name}"' if name is not None else "")
                self.print_wait(f"{text} from {place_of(member(leaf, 'spawned_at')) or 'somewhere'}", branch)
            leaf = member(leaf, "older")

    def print_wait(self, text, innermost):
        self.line(text + innermost.state() + innermost.text())
        outer = innermost.outer()
        while outer is not None and (after := outer.outer()) is not None:
            self.line("  in " + outer.text())
            outer = after

    def owner_text(self, owner):
        class_name = plain(class_at(start_of(owner)))
        if class_name == "with_cleanup_operation":
            return "clean-up" if member(whole(owner), "has_cleaned_") else "body of with_cleanup"
        return OWNERS.get(class_name, class_name)

    def seconds(self, deadline):
        """The seconds until a time_point of kedge::clock."""
        if deadline is None:
            return "? s"
        at = int(first_member(deadline)) / 1e9
        return f"? s (until {at:.3f})" if self.now is None else f"{max(at - self.now, 0):.3f} s"

    def operation_text(self, class_name, op, deferred):
        """What an operation prints. An operation of the program's own has the name of its class."""
        name = plain(class_name)
        if name in TEXTS:
            return TEXTS[name]
        if name == "named_operation":
            return self.operation_text(arguments_of(class_name)[0], member(op, "op_"), deferred)
        if name == "named_branch_operation":
            return f'"{Waiter(member(op, "held").address, self).given_name()}"' if op is not None else "a name"
        if name in ("source_operation", "net::memory_operation"):
            request = plain(arguments_of(class_name)[0])
            return AIMS.get(request, request)
        if name.startswith("when_a"):
            count = len(arguments_of(class_name)) if "range" not in name else member(op, "count")
            return ("all of " if name.startswith("when_all") else "any of ") + ("?" if count is None else str(int(count)))
        if name == "select_operation":
            return f"one of {len(arguments_of(class_name))}"
        special = getattr(self, "text_of_" + name.replace("::", "_"), None)
        return special(class_name, op, deferred) if special is not None else name

    def text_of_sleep_operation(self, _, op, deferred):
        if deferred or op is None or int(member(op, "waiter_")) == 0:
            return "its turn to sleep"
        return f"{self.seconds(member(op, 'time_'))} to pass"

    def text_of_with_timeout_operation(self, _, op, __):
        if op is None:
            return "a wait with a limit"
        held = Waiter(member(op, "held").address, self)
        text = self.operation_text(held.op_class, held.op, bool(member(held.base, "deferred_")))
        return text if int(member(op, "waiter_")) == 0 else f"{text}, for {self.seconds(member(op, 'deadline_'))} at most"

    def text_of_with_cleanup_operation(self, _, op, __):
        return "a clean-up" if member(op, "has_cleaned_") else "a body with a clean-up"

    def text_of_scope_operation(self, _, op, __):
        if op is None:
            return "a scope"
        return f"a scope of {int(member(op, 'size_'))} children{'' if member(op, 'body_done_') else ' and their body'}"

    def text_of_transfer_operation(self, class_name, op, _):
        direction, transfer = arguments_of(class_name)[:2]
        is_read = direction.endswith("0") or direction.endswith("reading")
        aim = TRANSFERS.get(plain(transfer).split("::")[-1], "read" if is_read else "written")
        file = member(op, "file_")
        is_open = file is not None and bool(first_member(file))
        fd = int(member(object_at(int(first_member(file)), "kedge::descriptor_file"), "fd_")) if is_open else -1
        return f"fd {fd} to be {aim}"

    def text_of_interval_next_operation(self, _, op, __):
        state = target_of(member(op, "state_"))
        if state is None or int(member(op, "waiter_")) == 0:
            return "a tick of an interval"
        return f"a tick of an interval, in {self.seconds(member(state, 'due'))}"

    def text_of_wall_sleep_operation(self, _, op, __):
        if op is None or not member(op, "waiter_"):
            return "its turn to sleep"
        at = int(first_member(member(op, "deadline_"))) / 1e9
        return "the wall clock, in " + (f"{max(at - time.time(), 0):.3f} s" if self.now is not None else f"? s (until {at:.3f})")

    def text_of_process_exited_operation(self, _, op, __):
        child = target_of(member(op, "child_"))
        pid = -1 if op is not None and child is None else member(child, "pid_")
        return f"process {'?' if pid is None else int(pid)} to exit"

    def text_of_mach_died_operation(self, _, op, __):
        return f"the death of port {self.port(member(op, 'name_'))}"

    def text_of_mach_receive_operation(self, _, op, __):
        return f"a message on port {self.port(self.name_of_source(op))}"

    def text_of_mach_no_senders_operation(self, _, op, __):
        return f"no senders to port {self.port(self.name_of_source(op))}"

    def text_of_mach_send_operation(self, _, op, __):
        return f"room in the queue of port {self.port(member(member(op, 'to_'), 'name_'))}"

    def text_of_mach_call_operation(self, class_name, op, deferred):
        sent = member(op, "sent_")
        return "a reply" if sent else self.text_of_mach_send_operation(class_name, member(op, "sending_"), deferred)

    def text_of_mach_typed_call_operation(self, _, op, deferred):
        return self.text_of_mach_call_operation("kedge::mach::call_operation", member(op, "untyped_"), deferred)

    @staticmethod
    def name_of_source(op):
        hold = member(op, "source_")
        return member(first_member(hold), "name_") if hold is not None and first_member(hold) else None

    @staticmethod
    def port(name):
        return f"0x{0 if name is None else int(name):x}"

    def text_of_event_operation(self, _, op, __):
        source = target_of(member(op, "source_"))
        if source is None:
            return "an event"
        name, state = class_at(source.address), whole(source.address)
        if "watch_file" in name:
            path = member(state, "path_")
            return f"a change of {text_of(path) if path is not None else '?'}"
        if "death_watch" in name:
            return "the death of one of several ports"
        if "user_event" in name:
            return "a user event"
        fd = member(state, "fd_")
        number = "?" if fd is None else int(fd)
        return f"a change of the file of fd {number}" if "vnode" in name else f"out-of-band data of fd {number}"


# --- Loops ------------------------------------------------------------------------------------------------------------


def loop_behind(value):
    """The address of the loop that a variable is, refers to or points to, or None."""
    of = value.type.strip_typedefs()
    if of.code in (gdb.TYPE_CODE_PTR, gdb.TYPE_CODE_REF):
        target = of.target().unqualified().strip_typedefs()
        if target.name in ("kedge::loop", "kedge::reactor"):
            return int(value) if of.code == gdb.TYPE_CODE_PTR else int(value.referenced_value().address)
        return None
    return int(value.address) if of.unqualified().name == "kedge::loop" and value.address is not None else None


def is_loop(address):
    """Whether a variable has a loop by now. Optimised code leaves variables with values that are out of date."""
    try:
        context = member(member(object_at(address, "kedge::loop"), "tasks"), "context_")
        return int(member(context, "reactor_")) == address
    except gdb.error:
        return False


def loops_in(frame):
    block = None
    try:
        block = frame.block()
    except RuntimeError:  # no debug information
        return
    while block is not None:
        for symbol in block:
            if not (symbol.is_variable or symbol.is_argument):
                continue
            try:
                address = loop_behind(symbol.value(frame))
            except (gdb.error, gdb.MemoryError):  # optimised out
                continue
            if address and is_loop(address):
                yield address
        if block.function is not None:
            return
        block = block.superblock


def all_loops():
    found = {}
    selected = gdb.selected_thread()
    for thread in sorted(gdb.selected_inferior().threads(), key=lambda t: t.num):
        thread.switch()
        frame = gdb.newest_frame()
        for _ in range(FRAMES):
            if frame is None or not frame.is_valid():
                break
            for address in loops_in(frame):
                found.setdefault(address, thread.num)
            frame = frame.older()
    if selected is not None:
        selected.switch()
    return found


class KedgeDump(gdb.Command):
    """kedge-dump [LOOP]: prints the tasks of a loop, as loop::dump() does.
LOOP is an expression that gives a loop, or a pointer to one. Without it: every loop that is a variable of some frame."""

    def __init__(self):
        super().__init__("kedge-dump", gdb.COMMAND_STACK, gdb.COMPLETE_EXPRESSION)

    def invoke(self, argument, from_tty):
        if argument:
            value = gdb.parse_and_eval(argument)
            address = loop_behind(value)
            if address is None:
                raise gdb.GdbError(f"kedge-dump: {argument} is not a kedge::loop")
            self.write(address)
            return
        loops = all_loops()
        if not loops:
            raise gdb.GdbError("kedge-dump: no frame has a loop; name one, as in kedge-dump server->loop")
        for address in loops:
            if len(loops) > 1:
                gdb.write(f"loop {address:#x}\n")
            self.write(address)

    @staticmethod
    def write(address):
        gdb.write("".join(line + "\n" for line in Dump(object_at(address, "kedge::loop")).print()))


KedgeDump()
