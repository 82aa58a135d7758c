"""Writes compile_commands.json from Bazel's CppCompile actions, for editors.

Usage: bazel aquery --output=jsonproto 'mnemonic("CppCompile", //...)' | compile_commands.py ROOT INCLUDE_FOLDER

Bazel provides headers under "kedge/..." by folders of links inside its output (_virtual_includes). An editor should open
the tree's own files instead, so the script makes links kedge/runtime, kedge/mach and so on from INCLUDE_FOLDER into the
tree.
"""

import json
import os
import sys

# Options that only g++ accepts. Editors read the file with clang.
GCC_ONLY = ("-fno-canonical-system-headers",)
ROOMS = ("runtime", "mach", "net")


def link_rooms(root, include_folder):
    os.makedirs(os.path.join(include_folder, "kedge"), exist_ok=True)
    for room in ROOMS:
        link = os.path.join(include_folder, "kedge", room)
        if os.path.lexists(link):
            os.remove(link)
        os.symlink(os.path.join(root, room), link)


def without_virtual_includes(arguments, include_folder):
    """Returns the arguments for clang without Bazel's virtual folders, and with include_folder instead."""
    result, position = [arguments[0], f"-I{include_folder}"], 1
    while position < len(arguments):
        argument = arguments[position]
        with_value = argument in ("-I", "-iquote", "-isystem")
        value = arguments[position + 1] if with_value else argument[2:] if argument.startswith("-I") else ""
        if "_virtual_includes" not in value and argument not in GCC_ONLY:
            result += [argument, value] if with_value else [argument]
        position += 2 if with_value else 1
    return result


def main():
    root, include_folder = sys.argv[1:]
    link_rooms(root, include_folder)
    commands = []
    for action in json.load(sys.stdin).get("actions", []):
        arguments = action["arguments"]
        source = arguments[arguments.index("-c") + 1] if "-c" in arguments else None
        if source and not source.startswith("external/"):
            arguments = without_virtual_includes(arguments, include_folder)
            commands.append({"directory": root, "file": source, "arguments": arguments})
    json.dump(commands, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
