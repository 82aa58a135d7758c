"""Checks a cross build: its targets became Mach-O files, and it left out exactly the targets that docs/darwin.md names.

Usage: mach_o_proof.py CPU BUILD_EVENTS_JSON DARWIN_MD //FOLDER/... [...]. Prints the targets that were left out, and "cross:
N passed, N failed", where each target counts as one and the document's list as one more. Exits with 1 if anything failed. The
folders are those that were built: the document's rows for other folders are ignored.
"""

import fnmatch
import json
import re
import sys
import urllib.parse
import urllib.request

CPU_TYPES = {"x86_64": 0x01000007, "arm64": 0x0100000C}
MAGIC_64 = 0xFEEDFACF
OBJECT, EXECUTABLE = 1, 2

# A row of the document's table: | `//folder:target` | reason |, where * stands for any part of a name.
ROW = re.compile(r"^\| `(//[^`]+)` \| \S.*\|$", re.MULTILINE)


def short(label):
    """Returns //tools/demo for //tools/demo:demo."""
    folder, _, name = label.partition(":")
    return folder if folder.rsplit("/", 1)[-1] == name else label


def is_mach_o(head, cpu, kind):
    """Returns whether a file that begins with these bytes is a Mach-O file of this processor and kind."""
    words = [int.from_bytes(head[at:at + 4], "little") for at in (0, 4, 12)]
    return words == [MAGIC_64, CPU_TYPES[cpu], kind]


def members_of(archive):
    """Yields the first 16 bytes of each object in an archive. Skips the archive's symbol table."""
    at = 8
    while at + 60 <= len(archive):
        name, size = archive[at:at + 16].decode().rstrip(), int(archive[at + 48:at + 58])
        start = at + 60
        if name.startswith("#1/"):  # BSD: the name stands before the bytes
            length = int(name[3:])
            name, start = archive[start:start + length].rstrip(b"\0").decode(), start + length
        if not name.startswith(("__.SYMDEF", "//")) and name != "/":
            yield archive[start:start + 16]
        at += 60 + size + size % 2


def fault_of(path, cpu):
    """Returns what is wrong with an output file, or None."""
    with open(path, "rb") as file:
        content = file.read()
    if content.startswith(b"!<arch>\n"):
        bad = [head for head in members_of(content) if not is_mach_o(head, cpu, OBJECT)]
        return f"has {len(bad)} objects that are not Mach-O of {cpu}" if bad else None
    return None if is_mach_o(content[:16], cpu, EXECUTABLE) else f"is not a Mach-O program of {cpu}"


class Build:
    """The targets of one build, from its events: those left out, those built with their files, and those that failed."""

    def __init__(self, events):
        self.sets = {event["id"]["namedSet"]["id"]: event["namedSetOfFiles"]
                     for event in events if "namedSet" in event["id"] and "namedSetOfFiles" in event}
        self.left_out, self.built, self.failed = set(), {}, set()
        for event in events:
            name = event["id"].get("targetCompleted")
            if name is None:
                continue
            label = short(name["label"])
            if event.get("aborted", {}).get("reason") == "SKIPPED":
                self.left_out.add(label)
            elif event.get("completed", {}).get("success"):
                self.built[label] = list(self.files_of(event["completed"]))
            else:
                self.failed.add(label)

    def files_of(self, completed):
        waiting = [file_set["id"] for group in completed.get("outputGroup", []) for file_set in group["fileSets"]]
        while waiting:
            files = self.sets[waiting.pop()]
            waiting.extend(file_set["id"] for file_set in files.get("fileSets", []))
            for file in files.get("files", []):
                yield urllib.request.url2pathname(urllib.parse.urlparse(file["uri"]).path)


def main():
    cpu, events_path, document_path, *built = sys.argv[1:]
    folders = tuple(pattern.removesuffix("...").rstrip("/") for pattern in built)
    with open(events_path, encoding="utf-8") as file:
        build = Build([json.loads(line) for line in file])
    with open(document_path, encoding="utf-8") as file:
        documented = {row for row in ROW.findall(file.read()) if row.startswith(folders)}

    for label in sorted(build.failed):
        print(f"FAILED: {label} does not build for {cpu}")
    passed, failed = 0, len(build.failed)
    for label, paths in sorted(build.built.items()):
        wrong = [(path, fault_of(path, cpu)) for path in paths if "/bin/" in path]
        wrong = [f"{path} {what}" for path, what in wrong if what]
        print("".join(f"FAILED: {label}: {line}\n" for line in wrong), end="")
        passed, failed = passed + (not wrong), failed + bool(wrong)

    print(f"Linux only, left out for {cpu}:", *sorted(build.left_out) or ["nothing"], sep="\n  ")
    untrue = [f"does not say that {label} is for Linux only" for label in sorted(build.left_out)
             if not any(fnmatch.fnmatchcase(label, row) for row in documented)]
    for row in sorted(documented):
        untrue += [f"says that {label} is for Linux only, and it was not left out"
                   for label in fnmatch.filter(sorted([*build.built, *build.failed]), row)]
        if not fnmatch.filter(build.left_out, row):
            untrue.append(f"says that {row} is for Linux only, and no target of that name was left out")
    print("".join(f"FAILED: docs/darwin.md {what}\n" for what in untrue), end="")
    if build.built and not untrue:
        passed += 1
    else:
        failed += 1
    print(f"cross: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
