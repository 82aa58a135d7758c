"""Compares our <sys/event.h> and <mach/...> with Apple's: every constant, type, size, offset and signature that ours declare,
and the names that Apple's declare and ours lack.

Usage: header_proof.py ROOT COMPILER [HEADER...]
COMPILER is the folder of the compiler that tools/dev cross installs. With HEADERs, compares only these, and does not
compare the lists with the differences.

Nothing is listed by hand. For each header and processor, clang's syntax tree and preprocessor give the declarations of
our header itself. The script writes a question in C++ for each of them ("the value of EV_ADD", "the type of kevent64")
and compiles the same questions against both sets of headers. The answers are in the mangled names of the resulting
symbols, which contain no typedef. g++ answers for our headers too. The 64-bit integers count as one type: it is long on
Linux and long long on Darwin.

The differences must be exactly those of allowed.txt beside this file, each with its reason. Declarations that the
compiler's headers, which end at macOS 13, do not have must be in unproven.txt. Each name that Apple's header itself
declares must be declared once our header of that name is included, or be in lacking.txt with its reason. Ends with
"headers: N passed, N failed", where each header and processor counts as one and the lists as one more.
"""

import concurrent.futures
import fnmatch
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile

PROCESSORS = ("x86_64", "aarch64")
ROOTS = ("runtime/kqueue/include", "mach/kernel/abi/include")
LANGUAGE = ["-x", "c++", "-std=c++20", "-w"]

# Their annotations say since when a function is there. Ours are empty, so only their names and shapes are compared.
ANNOTATIONS = ("Availability.h", "os/availability.h")

PRELUDE = """
template <int N, class T> void type() {}
template <int N, long long V> void value() {}
"""
# The arguments that a function-like macro is called with.
SAMPLES = ("0u", "1u", "3u", "17u", "20u", "300u", "0x12345678u", "0x80000000u", "0xfedcba98u")

DEFINE = re.compile(r"#define (\w+)(\(([^)]*)\))?(?: (.*))?$")
MARKER = re.compile(r'# (\d+) "([^"]*)"')
TYPE_ANSWER = re.compile(r"_Z4typeILi(\d+)E(\w+)EvvE?\b")
VALUE_ANSWER = re.compile(r"_Z5valueILi(\d+)ELx(n?\d+)EEvv")
BITS_ANSWER = re.compile(r"^@bits(\d+) = .*?global (.*?), align", re.MULTILINE)
FAILED_LINE = re.compile(r"^probe\.cc:(\d+):\d+: (?:fatal )?error:", re.MULTILINE)


class Side:
    """One set of headers, one compiler and one processor."""

    def __init__(self, command, flags):
        self.command, self.flags = command, flags

    def run(self, text, *more):
        """Runs the compiler over a text. Returns its status, output and errors."""
        done = subprocess.run([*self.command, *LANGUAGE, *self.flags, *more, "-"], input=text, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        return done.returncode, done.stdout, done.stderr.replace("<stdin>:", "probe.cc:")

    def has(self, header):
        return self.run(f"#include <{header}>\n", "-E")[0] == 0

    def answers(self, header, questions):
        """Returns number to answer of each question. A question that does not compile has no answer."""
        asked, found = dict(questions), {}
        while True:
            lines = [f"#include <{header}>", *PRELUDE.splitlines()]
            at = {}
            for number, text in asked.items():
                lines.append(text)
                at[len(lines)] = number
            emit = ["-S", "-o", "-"] + (["-emit-llvm"] if self.command[-1] != "g++" else [])
            limit = ["-fmax-errors=0"] if self.command[-1] == "g++" else ["-ferror-limit=0"]
            status, output, errors = self.run("\n".join(lines) + "\n", *emit, *limit)
            if status == 0:
                break
            wrong = {at[int(line)] for line in FAILED_LINE.findall(errors) if int(line) in at}
            if not wrong:
                raise SystemExit(f"header_proof: <{header}> does not compile:\n{errors[:3000]}")
            for number in wrong:
                del asked[number]
        for number, mangled in TYPE_ANSWER.findall(output):
            found[int(number)] = plain_type(mangled)
        for number, value in VALUE_ANSWER.findall(output):
            found[int(number)] = value.replace("n", "-")
        for number, initialiser in BITS_ANSWER.findall(output):
            found[int(number)] = re.sub(r"%[\w.\"]+", "", initialiser)
        return found


def plain_type(mangled):
    """Returns a mangled type in which both 64-bit integers are the same."""
    # A name has its length in front, so a letter outside of a name is a code.
    out, at = [], 0
    while at < len(mangled):
        array, name = re.match(r"A\d*_", mangled[at:]), re.match(r"\d+", mangled[at:])
        if array:
            out.append(array[0])
            at += array.end()
        elif name:
            end = at + name.end() + int(name[0])
            out.append(mangled[at:end])
            at = end
        else:
            out.append({"y": "m", "x": "l"}.get(mangled[at], mangled[at]))
            at += 1
    return "".join(out)


# --- What a header declares ------------------------------------------------------------------------------------

def macros_of(side, header, path=None):
    """Returns name to (parameters or None, text) of each macro that the file at path defines.

    Without a path, of each macro that is defined after the header.
    """
    status, output, errors = side.run(f"#include <{header}>\n", "-E", "-dD" if path else "-dM")
    if status != 0:
        raise SystemExit(f"header_proof: <{header}>: {errors[:2000]}")
    found, here = {}, path is None
    for line in output.splitlines():
        marker, define = MARKER.match(line), DEFINE.match(line)
        if marker and path:
            here = marker[2] == path
        elif define and here:
            parameters = None if define[2] is None else [p.strip() for p in define[3].split(",") if p.strip()]
            found[define[1]] = (parameters, " ".join((define[4] or "").split()))
    return found


def with_files(node, current):
    """Adds the file to each location of a syntax tree for which clang omitted it as the file of the previous location."""
    if isinstance(node, dict):
        if "offset" in node:
            current[0] = node.setdefault("file", current[0])
        for key, child in node.items():
            if key != "includedFrom":
                with_files(child, current)
    elif isinstance(node, list):
        for child in node:
            with_files(child, current)


def file_of(node):
    place = node.get("loc", {})
    return place.get("expansionLoc", place).get("file")


def flattened(declarations):
    """Yields the declarations at file scope, those in extern "C" blocks included."""
    for node in declarations:
        if node.get("kind") == "LinkageSpecDecl":
            yield from flattened(node.get("inner", []))
        else:
            yield node


def fields_of(record):
    """Yields the name of each field and whether it is a bit-field. Fields of unnamed members count as the record's own."""
    for node in record.get("inner", []):
        if node.get("kind") in ("FieldDecl", "IndirectFieldDecl") and "name" in node:
            yield node["name"], node.get("isBitfield", False)


def declarations_of(side, header, path):
    """Yields (kind, name, node) of each declaration in the file at path, or in all files if path is None."""
    status, output, errors = side.run(f"#include <{header}>\n", "-fsyntax-only", "-Xclang", "-ast-dump=json")
    if status != 0:
        raise SystemExit(f"header_proof: <{header}>: {errors[:2000]}")
    tree = json.loads(output)
    with_files(tree, [None])
    records = {}
    for node in flattened(tree["inner"]):
        if path is not None and file_of(node) != path or node.get("isImplicit"):
            continue
        kind, name = node["kind"], node.get("name")
        if kind == "CXXRecordDecl":
            records[node["id"]] = node
            if name and node.get("completeDefinition"):
                yield "record", f"{node['tagUsed']} {name}", node
        elif kind == "EnumDecl":
            for constant in node.get("inner", []):
                if constant["kind"] == "EnumConstantDecl":
                    yield "enumerator", constant["name"], constant
        elif kind == "TypedefDecl":
            # A typedef of an unnamed structure is that structure's name.
            owned = [inner.get("ownedTagDecl", {}).get("id") for inner in node.get("inner", [])]
            unnamed = [records[key] for key in owned if key in records and "name" not in records[key]]
            if unnamed:
                yield "record", name, unnamed[0]
            else:
                yield "typedef", name, node
        elif kind == "FunctionDecl":
            yield "function", name, node
        elif kind == "VarDecl":
            yield "variable", name, node


# --- Questions -------------------------------------------------------------------------------------------------

class Questions:
    """The questions for both sides: number to C++ text, number to subject, and the fields of each record."""

    def __init__(self):
        self.texts, self.subjects, self.records = {}, {}, {}

    def ask(self, subject, form, *parts):
        number = len(self.texts)
        self.texts[number] = form.format(*parts, n=number)
        self.subjects[number] = subject

    def type(self, subject, expression):
        self.ask(subject, "template void type<{n}, {0}>();", expression)

    def value(self, subject, expression):
        self.ask(subject, "template void value<{n}, (long long)({0})>();", expression)


def calls_of(name, parameters):
    """Returns calls of a function-like macro with combinations of SAMPLES."""
    few = SAMPLES if len(parameters) == 1 else SAMPLES[:6] if len(parameters) == 2 else SAMPLES[2:6:2]
    return [f"{name}({', '.join(arguments)})" for arguments in itertools.product(few, repeat=len(parameters))]


def questions_about(side, header, path):
    asked = Questions()
    for kind, name, node in declarations_of(side, header, path):
        if kind == "record":
            asked.records[name] = {field for field, _ in fields_of(node)}
            asked.value(f"size of {name}", f"sizeof({name})")
            asked.value(f"alignment of {name}", f"alignof({name})")
            for field, is_bits in fields_of(node):
                asked.type(f"type of {name}.{field}", f"decltype((({name}*)0)->{field})")
                if not is_bits:
                    asked.value(f"offset of {name}.{field}", f"__builtin_offsetof({name}, {field})")
                else:
                    asked.ask(f"bits of {name}.{field}", "{0} bits{n} = {{ .{1} = ({2})-1 }};", name, field,
                              f"decltype((({name}*)0)->{field})")
        elif kind == "enumerator":
            asked.value(f"value of {name}", name)
        elif kind == "typedef":
            asked.type(f"type {name}", name)
        else:
            asked.type(f"type of {name}", f"decltype(::{name})")
    for name, (parameters, text) in macros_of(side, header, path).items():
        if parameters:
            for call in calls_of(name, parameters):
                asked.value(f"value of {call}", call)
            asked.type(f"type of {call}", f"decltype(({call}))")
        elif text and parameters is None:
            asked.value(f"value of {name}", name)
            asked.type(f"type of {name}", f"decltype(({name}))")
        elif text:
            asked.type(f"type of {name}()", f"decltype(({name}()))")
    return asked


# --- What our headers lack -------------------------------------------------------------------------------------

def path_in(side, header):
    """Returns the path of the file that an include of the header finds."""
    for line in side.run(f"#include <{header}>\n", "-E")[1].splitlines():
        marker = MARKER.match(line)
        if marker and marker[2].endswith("/" + header):
            return marker[2]
    raise SystemExit(f"header_proof: <{header}> is nowhere")


def names_of(declarations, macros):
    # Of a structure without its keyword: a type of this name is as good.
    return {name.split()[-1] for _, name, _ in declarations if name} | set(macros)


def lacking_of(header, ours, apple):
    """Returns lines "<header> name" of the names that Apple's file declares, and an include of ours does not."""
    path = path_in(apple, header)
    theirs = names_of(declarations_of(apple, header, path), macros_of(apple, header, path))
    mine = names_of(declarations_of(ours, header, None), macros_of(ours, header))
    return [f"<{header}> {name}" for name in sorted(theirs - mine)]


class LackingList:
    """lacking.txt: the names that our headers lack, under the reason for it."""

    def __init__(self, path):
        # Header to patterns of names, and what is wrong with the file.
        self.patterns, self.wrong, self.used = {}, [], set()
        reason, last_reason, last = None, "", ("", "")
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                line = line.rstrip()
                if not line or line.startswith("#"):
                    continue
                if not line.startswith("<"):
                    if line <= last_reason:
                        self.wrong.append(f"lacking.txt:{number}: the reason is not in order")
                    reason, last_reason, last = line, line, ("", "")
                    continue
                header, *names = line.split()
                if reason is None or not names:
                    self.wrong.append(f"lacking.txt:{number}: has no reason, or no name")
                for name in names:
                    if (header, name) <= last or name in self.patterns.get(header, []):
                        self.wrong.append(f"lacking.txt:{number}: {name} is not in order, or twice in the file")
                    last = (header, name)
                    self.patterns.setdefault(header, []).append(name)

    def allows(self, line):
        header, name = line.split()
        found = [(place, pattern) for place in (header, "<*>") for pattern in self.patterns.get(place, ())
                 if fnmatch.fnmatchcase(name, pattern)]
        self.used.update(found)
        return bool(found)

    def unused(self):
        return [f"lacking.txt: {header} does not lack {pattern}" for header, patterns in sorted(self.patterns.items())
                for pattern in patterns if (header, pattern) not in self.used]


# --- Differences -----------------------------------------------------------------------------------------------

def differences(header, path, ours, gnu, apple):
    """Returns lines "<header> subject: ours X, Apple's Y", and the number of comparisons."""
    asked = questions_about(ours, header, path)
    mine = ours.answers(header, asked.texts)
    theirs = apple.answers(header, {number: asked.texts[number] for number in mine})
    gnus = gnu.answers(header, {number: text for number, text in asked.texts.items() if number in mine}) if gnu else mine
    lines, compared = [], 0
    my_macros, their_macros = macros_of(ours, header, path), macros_of(apple, header)
    constants = {macro_of(asked.subjects[number]) for number in mine if asked.subjects[number].startswith("value of")}

    def differ(subject, own, other):
        lines.append(f"<{header}> {subject}: ours {own}, Apple's {other}")

    for number, answer in mine.items():
        subject = asked.subjects[number]
        if macro_of(subject) in my_macros.keys() - their_macros.keys():
            continue  # the loop over the macros reports it
        compared += 1
        if theirs.get(number) != answer:
            differ(subject, answer, theirs.get(number, "missing"))
        elif gnus.get(number) != answer and not subject.startswith("bits"):
            differ(subject, f"{gnus.get(number, 'missing')} under g++", answer)
    for number in asked.texts.keys() - mine.keys():
        # A macro that is not a constant expression is compared as text. Every other subject must have an answer.
        if macro_of(asked.subjects[number]) not in my_macros:
            differ(asked.subjects[number], "unanswerable", "not asked")
    for name, (parameters, text) in my_macros.items():
        compared += 1
        if name not in their_macros:
            value = [mine[number] for number, subject in asked.subjects.items()
                     if subject == f"value of {name}" and number in mine]
            differ(f"macro {name}", value[0] if value else "there", "missing")
        elif (parameters is None) != (their_macros[name][0] is None):
            differ(f"macro {name}", "of another shape", "as it is")
        elif header in ANNOTATIONS and not text:
            continue
        elif name not in constants and squeezed(text) != squeezed(their_macros[name][1]):
            differ(f"text of {name}", text, their_macros[name][1])
    their_records = {name: {field for field, _ in fields_of(node)}
                     for kind, name, node in declarations_of(apple, header, None) if kind == "record"}
    if compared == 0 and declares_something(path):
        differ("everything", "unseen", "not asked")
    for name, fields in asked.records.items():
        for field in sorted(their_records.get(name, set()) - fields):
            differ(f"field {name}.{field}", "missing", "there")
    return lines, compared


def declares_something(path):
    """Returns whether the file has more than comments, includes and pragmas."""
    with open(path, encoding="utf-8") as file:
        text = re.sub(r"//[^\n]*|/\*.*?\*/", "", file.read(), flags=re.DOTALL)
    return any(line.strip() and not re.match(r"\s*#\s*(include|pragma)", line) for line in text.splitlines())


def macro_of(subject):
    """Returns the name in the subject of a question: NAME for "value of NAME" and for "value of NAME(1u)"."""
    return re.split(r" of | ", subject, maxsplit=1)[-1].split("(")[0]


def squeezed(text):
    return re.sub(r"\s+", "", text)


def lists_of(folder):
    """Returns the allowed and the unproven differences, each with its reason, and the lines without a reason."""
    lists, wrong = [], []
    for name in ("allowed.txt", "unproven.txt"):
        entries = {}
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                line = line.strip()
                if not line or line.startswith("#"):
                    continue
                difference, _, reason = line.partition("  # ")
                if not reason:
                    wrong.append(f"{name}:{number}: has no reason")
                entries[difference.strip()] = reason
        lists.append(entries)
    return lists[0], lists[1], wrong


def main():
    root, compiler, *only = sys.argv[1:]
    folders = [os.path.join(root, folder) for folder in ROOTS]
    allowed, unproven, wrong = lists_of(os.path.join(root, "tools/header_proof"))
    may_lack = LackingList(os.path.join(root, "tools/header_proof/lacking.txt"))
    wrong += may_lack.wrong
    headers = sorted((os.path.relpath(os.path.join(at, name), folder), os.path.join(at, name))
                     for folder in folders for at, _, names in os.walk(folder) for name in names)
    headers = [(header, path) for header, path in headers if not only or header in only]
    includes = [flag for folder in folders for flag in ("-I", folder)]

    def clang(target, *system):
        folders = ["include", *(f"libc/include/{name}" for name in system)]
        return Side([f"{compiler}/zig", "clang"],
                    [f"--target={target}", "-nostdinc", *(flag for name in folders
                                                          for flag in ("-isystem", f"{compiler}/lib/{name}"))])

    def compare(job):
        (header, path), cpu = job
        ours = clang(f"{cpu}-linux-gnu", f"{cpu}-linux-gnu", "generic-glibc",
                     f"{cpu.replace('x86_64', 'x86')}-linux-any", "any-linux-any")
        ours.flags += includes
        apple = clang(f"{cpu}-apple-macosx13.0", f"{cpu}-macos.13-none", "any-macos.13-any", "any-macos-any")
        gnu = Side(["g++"], includes) if cpu == os.uname().machine else None
        if not apple.has(header):
            return [f"<{header}>: ours there, Apple's missing"], 1, []
        return *differences(header, path, ours, gnu, apple), lacking_of(header, ours, apple)

    jobs = list(itertools.product(headers, PROCESSORS))
    passed = failed = total = 0
    seen, lacked = set(), set()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for ((header, _), cpu), (lines, compared, lacking) in zip(jobs, pool.map(compare, jobs)):
            seen.update(lines)
            new = [line for line in lines if line not in allowed and line not in unproven]
            lost = [line for line in lacking if not may_lack.allows(line)]
            total, lacked = total + compared, lacked | set(lacking)
            passed, failed = passed + (not new and not lost), failed + bool(new or lost)
            print(f"{cpu} <{header}>: {compared} compared, {len(lines)} differ, {len(lacking)} lacking, "
                  f"{len(new) + len(lost)} of them without a reason")
            print("".join(f"  DIFFERS: {line}\n" for line in new), end="")
            print("".join(f"  LACKS: {line}\n" for line in lost), end="")
    if not only:
        wrong += [f"there is no difference {line!r}" for line in (allowed.keys() | unproven.keys()) - seen]
        wrong += may_lack.unused()
    print("".join(f"  LISTS: {line}\n" for line in wrong), end="")
    passed, failed = passed + (not wrong), failed + bool(wrong)
    print(f"{total} comparisons; {len(allowed)} differences have a reason, {len(unproven)} names are unproven, "
          f"{len(lacked)} names of Apple's are lacking")
    print(f"headers: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
