"""Proves that the header proof can fail: puts one fault at a time into a copy of our headers, or of the list of what they
lack, which the proof must name.

Usage: wrong_headers.py ROOT COMPILER. Ends with "headers: N passed, N failed", and exits with 1 if any failed.
"""

import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile

HEADERS = ("runtime/kqueue/include", "mach/kernel/abi/include")
LISTS = "tools/header_proof"
EVENT, MESSAGE, PORT = "sys/event.h", "mach/message.h", "mach/port.h"

# The header, its text, the text to put in its place, and the difference that the proof must print, or the name that it
# must print as lacking.
FAULTS = [
    (EVENT, "#define EV_CLEAR 0x0020", "#define EV_CLEAR 0x0021", "value of EV_CLEAR: ours 33, Apple's 32"),
    (EVENT, "#define EV_CLEAR 0x0020", "#define EV_CLEAR 0x0020u", "type of EV_CLEAR: ours j, Apple's i"),
    (EVENT, "#pragma pack(push, 4)", "#pragma pack(push, 8)", "alignment of struct kevent: ours 8, Apple's 4"),
    (EVENT, "  uint64_t ext[2];", "  uint64_t ext[4];", "size of struct kevent64_s: ours 64, Apple's 48"),
    (EVENT, "  int64_t data;", "  uint64_t data;", "type of struct kevent64_s.data: ours m, Apple's l"),
    (EVENT, "  int16_t filter;\n  uint16_t flags;", "  uint16_t flags;\n  int16_t filter;",
     "offset of struct kevent.flags: ours 8, Apple's 10"),
    (EVENT, "int kqueue(void);", "int kqueue(int);", "type of kqueue: ours FiiE, Apple's FivE"),
    (EVENT, "int kqueue(void);", "int kqueue(void);\nint kqueue2(void);", "type of kqueue2: ours FivE, Apple's missing"),
    (MESSAGE, "unsigned int pad2 : 16;", "unsigned int pad2 : 8;", "bits of mach_msg_port_descriptor_t.disposition"),
    (MESSAGE, "  mach_msg_id_t msgh_id;", "  mach_msg_id_t msg_id;", "type of mach_msg_header_t.msg_id"),
    (MESSAGE, "((local) << 8))", "((local) << 9))", "value of MACH_MSGH_BITS("),
    (PORT, "kGUARD_EXC_IMMOVABLE = 32", "kGUARD_EXC_IMMOVABLE = 33", "value of kGUARD_EXC_IMMOVABLE: ours 33"),
    (PORT, "typedef integer_t mach_port_delta_t;", "typedef natural_t mach_port_delta_t;",
     "type mach_port_delta_t: ours j, Apple's i"),
    (PORT, "#define MACH_PORT_QLIMIT_KERNEL 65534\n", "", "lacks MACH_PORT_QLIMIT_KERNEL"),
    ("mach/semaphore.h", "kern_return_t semaphore_signal(semaphore_t semaphore);", "", "lacks semaphore_signal"),
    ("mach/vm_inherit.h", "VM_INHERIT_NONE", "VM_INHERIT_NOT", "lacks VM_INHERIT_NONE"),
]
# A line of lacking.txt, the text to put in its place, what the proof must print, and the headers that it needs for that.
LIST_FAULTS = [
    ("<mach/vm_inherit.h> VM_INHERIT_DONATE_COPY", "", "LACKS: <mach/vm_inherit.h> VM_INHERIT_DONATE_COPY",
     ["mach/vm_inherit.h"]),
    ("<mach/vm_inherit.h> VM_INHERIT_DONATE_COPY", "<mach/vm_inherit.h> VM_INHERIT_COPY VM_INHERIT_DONATE_COPY",
     "LISTS: lacking.txt: <mach/vm_inherit.h> does not lack VM_INHERIT_COPY", []),  # all
    ("<mach/vm_inherit.h> VM_INHERIT_DONATE_COPY", "<mach/vm_inherit.h> VM_INHERIT_DONATE_COPY VM_INHERIT_A",
     "VM_INHERIT_A is not in order", ["mach/vm_inherit.h"]),
]


def replace_in(path, text_there, instead):
    """Replaces the first text in the file. Returns false if there is none."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if text_there not in text:
        return False
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace(text_there, instead, 1))
    return True


def run_proof(root, compiler, changed, text_there, instead, *only):
    """Returns the proof's output for a copy of our headers and lists with one fault, or why there is none."""
    with tempfile.TemporaryDirectory() as copy:
        for folder in (*HEADERS, LISTS):
            shutil.copytree(os.path.join(root, folder), os.path.join(copy, folder))
        paths = [os.path.join(copy, folder, changed) for folder in (*HEADERS, LISTS)]
        if not any(os.path.exists(path) and replace_in(path, text_there, instead) for path in paths):
            return f"{changed} does not contain {text_there!r}"
        proof = os.path.join(root, LISTS, "header_proof.py")
        done = subprocess.run([sys.executable, proof, copy, compiler, *only], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        return done.stdout if done.returncode else "the proof passes"


def main():
    root, compiler = sys.argv[1:]
    faults = []
    for header, text_there, instead, difference in FAULTS:
        word, _, name = difference.partition(" ")
        expected = f"LACKS: <{header}> {name}" if word == "lacks" else f"DIFFERS: <{header}> {difference}"
        faults.append((header, text_there, instead, expected, [header]))
    faults += [("lacking.txt", *fault) for fault in LIST_FAULTS]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        outputs = pool.map(lambda fault: run_proof(root, compiler, *fault[:3], *fault[4]), faults)
    for (changed, _, instead, expected, _), output in zip(faults, outputs):
        if expected not in output:
            failed += 1
            print(f"FAILED: {changed} with {instead!r}: the proof does not print {expected!r}:\n{output}")
    print(f"headers: {len(faults) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
