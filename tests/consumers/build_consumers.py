"""Builds and runs programs that depend on Kedge as its users' programs do, outside of its tree.

Usage: build_consumers.py ROOT BAZEL_FLAG... Each program is built by Bazel from a copy of the tree, and by CMake and by Make
with pkg-config from an installed copy, against the static and the shared libraries. Programs with the main loops of GLib and
libuv run the tests of tests/runtime/host_test.cc. An example puts TLS on a stream, where OpenSSL is installed. gdb prints the tasks of a program as the program does. Programs that are
linked wrongly must say so. Prints what failed and "consumers: N passed, N failed", and exits with 1 if any failed.
"""

import glob
import json
import os
import pty
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

SAYS = {"square": "square: 144\n", "pipes": "pipes: in order\n", "port": "port: received 17\n"}
SOURCES = ("square.cc", "pipes.c", "port.c")
KINDS = ("static", "shared")
NOT_SEEN = "kedge: kqueue() does not see these calls of the program: "


class Failure(Exception):
    pass


def run(*command, cwd=None, env=None, status=0, said=""):
    """Runs a command that must exit with `status`, with `said` as its standard input. Returns what it wrote to standard output
    and standard error."""
    result = subprocess.run(command, cwd=cwd, env=dict(os.environ, **(env or {})), input=said, capture_output=True, text=True,
                            check=False)
    if status is not None and result.returncode != status:
        raise Failure(f"{' '.join(command)} exited with {result.returncode}:\n{result.stdout[-3000:]}{result.stderr[-6000:]}")
    return result.stdout, result.stderr


class Workshop:
    """A temporary folder with a copy of the tree, its CMake build, installed copies and the consumers."""

    def __init__(self, root, home, bazel_flags):
        self.root, self.home, self.bazel_flags = root, home, bazel_flags
        self.consumers = os.path.join(root, "tests/consumers")
        self.tree, self.out = self.at("kedge"), self.at("out")
        shutil.copytree(root, self.tree, ignore=shutil.ignore_patterns(".git", ".bazel", "bazel-*", "out", "__pycache__"))

    def at(self, *path):
        return os.path.join(self.home, *path)

    def consumer(self, name, copy):
        """A folder with the programs and the files of the build system `name`."""
        folder = self.at(copy)
        shutil.copytree(os.path.join(self.consumers, name), folder)
        for source in SOURCES:
            shutil.copy(os.path.join(self.consumers, source), folder)
        return folder

    def libraries(self, kind):
        """The library folder of an installed copy, also below a folder of the processor's name."""
        return os.path.dirname(glob.glob(self.at(kind, "lib", "**", "pkgconfig"), recursive=True)[0])

    def environment(self, kind):
        return {"PKG_CONFIG_PATH": os.path.join(self.libraries(kind), "pkgconfig"), "LD_LIBRARY_PATH": self.libraries(kind)}

    def flags(self, kind, *what):
        """What pkg-config says of kedge-kqueue."""
        return run("pkg-config", *what, "kedge-kqueue", env=self.environment(kind))[0].split()


def expect(*command, env=None):
    """Runs a program, which must say what it always says, and nothing to standard error."""
    said, complaint = run(*command, env=env)
    if said != SAYS[os.path.basename(command[-1])] or complaint:
        raise Failure(f"{command[-1]} says: {said}{complaint}")


def build_by_cmake(shop):
    """The libraries, once: both kinds consist of the same objects. They are installed, and moved: a copy for each kind."""
    run("cmake", "-S", shop.tree, "-B", shop.out, "-DCMAKE_BUILD_TYPE=None", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON",
        "-DCMAKE_CXX_FLAGS=-O0 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror")
    run("cmake", "--build", shop.out, "--parallel", str(os.cpu_count()))
    run("cmake", "--install", shop.out, "--prefix", shop.at("installed"))
    os.rename(shop.at("installed"), shop.at("shared"))
    run("cmake", "-DBUILD_SHARED_LIBS=OFF", shop.out)
    run("cmake", "--build", shop.out)
    run("cmake", "--install", shop.out, "--prefix", shop.at("static"))


def compare_lists_of_files(shop):
    """Both build systems compile the same files, and install or publish the same headers."""
    with open(os.path.join(shop.out, "compile_commands.json"), encoding="utf-8") as file:
        compiled = {os.path.relpath(command["file"], shop.tree) for command in json.load(file)}
    installed = {os.path.relpath(os.path.join(folder, name), shop.at("shared/include/kedge"))
                 for folder, _, names in os.walk(shop.at("shared/include/kedge")) for name in names}

    def query(what):
        labels = run("bazel", "query", "--noshow_progress", f'kind("source file", {what})', cwd=shop.root)[0].split()
        return {label.removeprefix("//").replace(":", "/").removeprefix("/") for label in labels if label.startswith("//")}

    of_bazel = {path for path in query("deps(//:kedge)") if path.endswith(".cc")}
    headers = {path for path in query("labels(srcs, labels(hdrs, //:kedge + //mach/kernel:kernel)) +"
                                      " labels(hdrs, //runtime/base + //runtime/kqueue:extension + //runtime/kqueue:event_header +"
                                      " //mach/kernel:extension)") if path.endswith(".h")}
    for what, bazels, cmakes in (("compiles", of_bazel, compiled), ("publishes", headers, installed)):
        if bazels != cmakes or not bazels:
            raise Failure(f"Bazel alone {what} {sorted(bazels - cmakes)}, CMake alone {sorted(cmakes - bazels)}")


def consume_by_cmake(shop, kind):
    folder = shop.consumer("cmake", f"cmake_{kind}")
    out = os.path.join(folder, "out")
    # The copy with both kinds serves the shared ones. That with static ones alone is chosen by nothing but its being there.
    run("cmake", "-S", folder, "-B", out, f"-DCMAKE_PREFIX_PATH={shop.at(kind)}")
    run("cmake", "--build", out, "--parallel", str(os.cpu_count()))
    for program in SAYS:
        expect(os.path.join(out, program))


def consume_static_of_both(shop):
    """Where both kinds are installed, a component chooses the static ones."""
    folder = shop.consumer("cmake", "cmake_component")
    path, out = os.path.join(folder, "CMakeLists.txt"), os.path.join(folder, "out")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace("0.1 REQUIRED", "0.1 REQUIRED COMPONENTS static"))
    run("cmake", "-S", folder, "-B", out, f"-DCMAKE_PREFIX_PATH={shop.at('shared')}")
    run("cmake", "--build", out, "--target", "pipes")
    expect(os.path.join(out, "pipes"))
    if "libkedge" in run("readelf", "-d", os.path.join(out, "pipes"))[0]:
        raise Failure("pipes needs a shared library of Kedge's")


def consume_by_subdirectory(shop):
    """In a project whose defaults would break the library, or hide its close() from the program."""
    folder = shop.consumer("cmake_subdirectory", "cmake_subdirectory")
    out = os.path.join(folder, "out")
    run("cmake", "-S", folder, "-B", out, "-DCMAKE_CXX_FLAGS=-O0", "-DCMAKE_CXX_VISIBILITY_PRESET=hidden",
        "-DCMAKE_UNITY_BUILD=ON", "-DCMAKE_INCLUDE_CURRENT_DIR=ON", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON")
    with open(os.path.join(out, "compile_commands.json"), encoding="utf-8") as file:
        of_mach = [command["command"] for command in json.load(file) if command["file"].endswith("mach_msg.cc")]
    if not of_mach or any(f"-I{shop.tree}" in command.split() for command in of_mach):
        raise Failure(f"<mach/message.h> would be the library's: {of_mach}")
    run("cmake", "--build", out, "--parallel", str(os.cpu_count()), "--target", "pipes")
    expect(os.path.join(out, "pipes"))


def consume_by_make(shop, kind):
    folder = shop.consumer("make", f"make_{kind}")
    run("make", "-C", folder, env=shop.environment(kind))
    for program in SAYS:
        expect(os.path.join(folder, program), env=shop.environment(kind))


def run_in_hosts(shop, kind):
    """The tests of a host in the main loops of GLib and libuv, and the example with GLib's."""
    folder = os.path.join(shop.consumers, "hosts")
    out = shop.at(f"hosts_{kind}")
    run("cmake", "-S", folder, "-B", out, f"-DCMAKE_PREFIX_PATH={shop.at(kind)}", f"-DKEDGE_TREE={shop.tree}")
    run("cmake", "--build", out, "--parallel", str(os.cpu_count()))
    for program in ("in_glib", "in_uv"):
        run(os.path.join(out, program))
    example = os.path.join(out, "glib_host")
    for given, status, wanted in (("20 second\n40 third\n0 first\n", 0, ("first\nsecond\nthird\n", "")),
                                  ("", 0, ("", "")),
                                  ("1000000 never\nno number\n", 1, ("", "glib_host: stol\n"))):
        said = run(example, status=status, said=given)
        if said != wanted:
            raise Failure(f"{example} with {given!r} says: {said}")
    terminal, output = pty.openpty()  # so that the example does not buffer its output
    with subprocess.Popen([example], stdin=subprocess.PIPE, stdout=output) as program:
        os.close(output)
        program.stdin.write(b"0 up\n1000000 never\n")
        program.stdin.flush()
        if os.read(terminal, 100) != b"up\r\n":
            raise Failure(f"{example} does not print while its input is open")
        program.send_signal(signal.SIGINT)
        program.wait()
    os.close(terminal)
    if program.returncode != 130:
        raise Failure(f"{example} ends with {program.returncode} on Ctrl-C")


def start_tls_echo(example, pair):
    """Returns the server, and its port."""
    server = subprocess.Popen([example, "127.0.0.1:0", *pair], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return server, server.stdout.readline().strip().rsplit(":", 1)[-1]


def echo_by_tls(port, certificate, text, *options):
    """Whether `openssl s_client`, which verifies the certificate, gets its text back."""
    with subprocess.Popen(["openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{port}", "-CAfile", certificate,
                           "-verify_return_error", *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as client:
        writer = threading.Thread(target=lambda: (client.stdin.write(text), client.stdin.flush()))
        writer.start()
        back = client.stdout.read(len(text))
        writer.join()
        client.kill()
        client.stdin.close()
    return back == text


def serve_over_tls(shop, kind):
    """The example of TLS over a stream, with the clients of OpenSSL, and with one that does not speak TLS."""
    example = shop.at(f"hosts_{kind}", "tls_echo")
    if not os.path.exists(example):
        print("consumers: skipped tls_echo and tls_stream_test, for which libssl-dev is not installed")
        return
    run(shop.at(f"hosts_{kind}", "tls_stream_test"))
    if run(example, status=2)[1] != "usage: tls_echo ADDRESS CERT KEY\n":
        raise Failure("tls_echo does not say what it takes")
    if "No such file" not in run(example, "127.0.0.1:0", "/nowhere", "/nowhere", status=1)[1]:
        raise Failure("tls_echo does not say that its certificate is missing")
    pair = shop.at("certificate.pem"), shop.at("key.pem")
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=localhost", "-out", pair[0], "-keyout", pair[1])
    server, port = start_tls_echo(example, pair)
    try:
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
            while stranger.recv(100):  # an alert, and the end
                pass
        for options in (["-tls1_2"], ["-tls1_3"]):
            for text in (b"hello\n", bytes(range(256)) * 4096):
                if not echo_by_tls(port, pair[0], text, *options):
                    raise Failure(f"tls_echo does not give {len(text)} bytes back: {options}")
    finally:
        server.terminate()
        complaint = server.communicate()[1]
    if server.returncode != 128 + signal.SIGTERM or complaint.count("handshake: ") != 1 or complaint.count("\n") != 1:
        raise Failure(f"tls_echo ends with {server.returncode} and says {complaint}")


def dump_by_debugger(shop, compiler):
    """gdb prints the same tree as loop::dump(), of a stopped program and of its core file."""
    program, core = shop.at("tree"), shop.at("core")
    flags = run("pkg-config", "--cflags", "--libs", "kedge", env=shop.environment("shared"))[0].split()
    debugging = ["-g", *(["-fstandalone-debug"] if "clang" in compiler else [])]
    run(compiler, "-std=c++20", *debugging, "-O0", "-o", program, os.path.join(shop.consumers, "debugger/tree.cc"), *flags)
    debug = ["gdb", "-nx", "-batch", "-ex", "set debuginfod enabled off", "-ex", f"source {shop.tree}/tools/gdb/kedge_gdb.py"]
    stopped = run(*debug, "-ex", "run", "-ex", "echo == the debugger\\n", "-ex", "kedge-dump", "-ex", "echo == the end\\n",
                  "-ex", f"generate-core-file {core}", program, env=shop.environment("shared"))[0]
    of_core = run(*debug, "-ex", "echo == the debugger\\n", "-ex", "kedge-dump", "-ex", "echo == the end\\n", program, core,
                  env=shop.environment("shared"))[0]
    wanted = re.search(r"== the loop\n(.*?)== the end\n", stopped, re.DOTALL)[1]
    for what, text in (("the program", stopped), ("its core file", of_core)):
        found = re.findall(r"== the debugger\n(.*?)== the end\n", text, re.DOTALL)
        if not found or without_seconds(found[-1]) != without_seconds(wanted):
            raise Failure(f"of {what} gdb prints\n{found[-1] if found else text}\nand dump() prints\n{wanted}")


def know_texts_by_debugger(shop):
    """Whatever dump() prints for an operation or a branch stands in the script for gdb too."""
    with open(os.path.join(shop.tree, "tools/gdb/kedge_gdb.py"), encoding="utf-8") as file:
        script = file.read()
    texts = {}
    for path in glob.glob(os.path.join(shop.tree, "runtime/**"), recursive=True) + \
            glob.glob(os.path.join(shop.tree, "mach/*")) + glob.glob(os.path.join(shop.tree, "net/*")):
        if path.endswith((".h", ".cc")):
            with open(path, encoding="utf-8") as file:
                text = file.read()
            describes = re.findall(r"describe\(description& line\) const noexcept[^{;]*\{(.*?)\n? *\}\n", text, re.DOTALL)
            for found in re.findall(r'line\.print\([^"]*"([^"%\\]+)', "\n".join(describes)):
                texts.setdefault(found.removesuffix(" 0x").strip(), path)
            for found in re.findall(r'branch_name\(\) const noexcept override \{\s*return [^"]*"([^"]+)"|\baim = "([^"]+)"', text):
                texts.setdefault(found[0] or found[1], path)
    lost = [f"{text!r} of {os.path.relpath(path, shop.tree)}" for text, path in texts.items() if text not in script]
    if lost or len(texts) < 40:
        raise Failure(f"tools/gdb/kedge_gdb.py does not know {lost}, of {len(texts)} texts")


def without_seconds(tree):
    return re.sub(r"\d+\.\d{3} s|\? s \(until [\d.]+\)", "N s", tree)


def consume_by_bazel(shop, kind):
    folder = shop.at("bazel")
    if not os.path.exists(folder):
        shop.consumer("bazel", "bazel")
    # Position-independent: what is compiled serves both kinds.
    mode = {"static": "off", "shared": "fully"}[kind]
    flags = [*shop.bazel_flags, f"--dynamic_mode={mode}", "--force_pic", "--symlink_prefix=out-", "--noshow_progress"]
    run("bazel", "build", *flags, "//...", cwd=folder)
    for program in SAYS:
        expect(os.path.join(folder, "out-bin", program))


def consume_by_pkg_config_elsewhere(shop):
    """The installed copy in a folder with a blank in its name; and library folders that the builder names absolutely."""
    blank = shop.at("a blank")
    os.symlink(shop.at("shared"), blank)
    where = {"PKG_CONFIG_PATH": shop.environment("shared")["PKG_CONFIG_PATH"].replace(shop.at("shared"), blank)}
    flags = shlex.split(run("pkg-config", "--cflags", "--libs", "kedge-kqueue", env=where)[0])
    program = os.path.join(shop.consumer("make", "pkg_config"), "pipes")
    run("cc", "-o", program, program + ".c", *flags)
    expect(program, env=shop.environment("shared"))

    run("cmake", "-S", shop.tree, "-B", shop.at("absolute"), "-DCMAKE_INSTALL_PREFIX=/opt/kedge",
        "-DCMAKE_INSTALL_LIBDIR=/opt/kedge/lib64")
    for variable, folder in (("libdir", "/opt/kedge/lib64"), ("includedir", "/opt/kedge/include")):
        said = run("pkg-config", f"--variable={variable}", "kedge-kqueue", env={"PKG_CONFIG_PATH": shop.at("absolute")})[0]
        if said != folder + "\n":
            raise Failure(f"{variable} is {said}")


def look_at_shared_libraries(shop):
    """Each names itself and those that it is made for, so that a process has one copy of each kernel."""
    for name, needs in (("kedge-kqueue", []), ("kedge-mach", ["kedge-kqueue"]), ("kedge", ["kedge-mach", "kedge-kqueue"])):
        said = run("readelf", "-d", os.path.join(shop.libraries("shared"), f"lib{name}.so"))[0]
        if not re.search(rf"SONAME.*\[lib{name}\.so\.\d+\.\d+\]", said):
            raise Failure(f"lib{name}.so has no soname")
        for needed in needs:
            if not re.search(rf"NEEDED.*\[lib{needed}\.so\.\d+\.\d+\]", said):
                raise Failure(f"lib{name}.so does not need lib{needed}.so")


class Link:
    """Programs of wrong_links/, linked in all the ways, and what they must say."""

    def __init__(self, shop):
        self.shop, self.count = shop, 0

    def link(self, source, *arguments, kind="shared"):
        self.count += 1
        out = self.shop.at("links", f"{self.count}_{source.removesuffix('.c')}")
        os.makedirs(os.path.dirname(out), exist_ok=True)
        run("cc", *self.shop.flags(kind, "--cflags"), "-o", out,
            os.path.join(self.shop.consumers, "wrong_links", source), *arguments)
        return out

    def library(self, source, *arguments, kind="shared"):
        return self.link(source, "-shared", "-fPIC", *arguments, kind=kind)

    def says(self, *command, **env):
        """The names of the calls that are reported, and the whole text."""
        said = run(*command, env={**self.shop.environment("shared"), **env})[1]
        if not said:
            return [], said
        if not said.startswith(NOT_SEEN) or said.count("\n") != 1:
            raise Failure(f"{command} says: {said}")
        return re.sub(r" \(of [^)]*\)", "", said.removeprefix(NOT_SEEN)).split(". ")[0].split(", "), said

    def must_report(self, calls, *command, **env):
        names, said = self.says(*command, **env)
        if not set(calls) <= set(names):
            raise Failure(f"{command} does not report {calls}, but: {said}")
        return said

    def must_be_silent(self, *command, **env):
        said = self.says(*command, **env)[1]
        if said:
            raise Failure(f"{command} says: {said}")


ALL = ["close", "closefrom", "close_range", "dup", "dup2", "dup3", "fcntl", "fcntl64", "fclose", "shutdown", "lseek",
       "lseek64", "sigaction", "signal", "sysv_signal", "sigtimedwait", "pthread_sigmask", "sigprocmask", "sigpending",
       "pselect", "ppoll", "epoll_pwait", "epoll_pwait2"]


def wrong_links(shop):
    """Yields what is tried, and how."""
    links = Link(shop)
    libs = {kind: shop.flags(kind, "--libs") for kind in KINDS}
    preloaded = os.path.join(shop.libraries("shared"), "libkedge-kqueue.so")
    behind = ["-Wl,--no-as-needed", "-lc"]

    def behind_the_c_library():
        program = links.link("first_kqueue.c", *behind, *libs["shared"])
        links.must_report(ALL, program)
        links.must_be_silent(program, LD_PRELOAD=preloaded)

    def needed_by_a_library():
        library = links.library("needs_kqueue.c", *libs["shared"])
        found = f"-Wl,-rpath-link,{shop.libraries('shared')}"
        links.must_report(ALL, links.link("calls_library.c", library, found))
        links.must_be_silent(links.link("calls_library.c", library, *libs["shared"]))

    def loaded_by_dlopen():
        program = links.link("loads_library.c")
        links.must_report(ALL, program, preloaded)

    def archive_without_some_members():
        objects = glob.glob(os.path.join(shop.out, "CMakeFiles/kedge-kqueue-objects.dir/**/*.o"), recursive=True)
        whole, part = shop.at("whole.a"), shop.at("part.a")
        run("ar", "rc", whole, *objects)
        calls = ("close_calls.cc.o", "signal_calls.cc.o", "signal_mask_calls.cc.o")
        run("ar", "rc", part, *(o for o in objects if not o.endswith(calls)))
        links.must_report(ALL, links.link("first_kqueue.c", part, "-lstdc++"))
        links.must_be_silent(links.link("first_kqueue.c", whole, "-lstdc++"))
        links.must_be_silent(links.link("first_kqueue.c", "-Wl,--gc-sections", whole, "-lstdc++"))

    def hidden_by_another_library(kind):
        hiding = links.library("hides_close.c")
        program = links.link("first_kqueue.c", "-Wl,--no-as-needed", hiding, *libs[kind], kind=kind)
        preloads = links.link("first_kqueue.c", *libs[kind], kind=kind)
        if kind == "static":  # the program's own definitions come first
            links.must_be_silent(program)
            links.must_be_silent(preloads, LD_PRELOAD=hiding)
            return
        for said in (links.must_report(["close"], program), links.must_report(["close"], preloads, LD_PRELOAD=hiding)):
            if f"close (of {hiding})." not in said:
                raise Failure(f"not {hiding} alone is reported: {said}")

    def hidden_from_other_libraries():
        links.must_report(ALL, links.link("first_kqueue.c", "-Wl,--exclude-libs,ALL", *libs["static"], kind="static"))

    def right(kind):
        program = links.link("first_kqueue.c", *libs[kind], kind=kind)
        links.must_be_silent(program)
        links.must_be_silent(program, LD_PRELOAD=links.library("wraps_close.c"))
        links.must_be_silent("fakeroot", program)

    def sanitized(compiler, sanitizer, kind):
        flags = ["-o", shop.at("pipes"), os.path.join(shop.consumers, "pipes.c"), f"-fsanitize={sanitizer}"]
        run(compiler, *shop.flags(kind, "--cflags"), *flags, *libs[kind])
        # Without randomized addresses, which GCC 12's ThreadSanitizer does not always bear.
        expect("setarch", "-R", shop.at("pipes"), env=shop.environment(kind))

    yield "behind the C library", behind_the_c_library
    yield "needed by another library only", needed_by_a_library
    yield "loaded by dlopen", loaded_by_dlopen
    yield "an archive without some of its members", archive_without_some_members
    yield "hidden from other libraries", hidden_from_other_libraries
    for kind in KINDS:
        yield f"hidden by another library, {kind}", lambda kind=kind: hidden_by_another_library(kind)
        yield f"right, {kind}", lambda kind=kind: right(kind)
        for compiler in filter(shutil.which, ("gcc", "clang-19")):
            for sanitizer in ("address", "thread"):
                yield (f"right, {kind}, {compiler} -fsanitize={sanitizer}",
                       lambda c=compiler, s=sanitizer, kind=kind: sanitized(c, s, kind))


def cases(shop):
    yield "CMake builds and installs the libraries", lambda: build_by_cmake(shop)
    yield "CMake and Bazel have the same files", lambda: compare_lists_of_files(shop)
    yield "the shared libraries need each other", lambda: look_at_shared_libraries(shop)
    for kind in KINDS:
        yield f"CMake, {kind}", lambda kind=kind: consume_by_cmake(shop, kind)
        yield f"Make and pkg-config, {kind}", lambda kind=kind: consume_by_make(shop, kind)
        yield f"Bazel, {kind}", lambda kind=kind: consume_by_bazel(shop, kind)
    yield "the main loops of GLib and libuv", lambda: run_in_hosts(shop, "shared")
    yield "TLS over a stream", lambda: serve_over_tls(shop, "shared")
    yield "gdb, the texts", lambda: know_texts_by_debugger(shop)
    for compiler in ("g++", "clang++-19"):
        yield f"gdb, {compiler}", lambda compiler=compiler: dump_by_debugger(shop, compiler)
    yield "pkg-config, elsewhere", lambda: consume_by_pkg_config_elsewhere(shop)
    yield "CMake, a component", lambda: consume_static_of_both(shop)
    yield "CMake, a subdirectory", lambda: consume_by_subdirectory(shop)
    yield from ((f"linked {what}", case) for what, case in wrong_links(shop))


def main():
    passed = failed = 0
    with tempfile.TemporaryDirectory() as home:
        shop = Workshop(os.path.abspath(sys.argv[1]), home, sys.argv[2:])
        try:
            for name, case in cases(shop):
                try:
                    case()
                    passed += 1
                except (Failure, OSError, IndexError) as failure:
                    print(f"FAILED: {name}: {failure}", flush=True)
                    failed += 1
                if not os.path.exists(shop.at("static")):  # all others need the installed copies
                    break
        finally:
            if os.path.exists(shop.at("bazel")):
                subprocess.run(["bazel", "clean", "--expunge"], cwd=shop.at("bazel"), capture_output=True, check=False)
    print(f"consumers: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
