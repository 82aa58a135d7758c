"""Compares the CPU time of tools/examples/http_server with that of nginx, for the same files in the same run.

Usage: http_against_nginx.py HTTP_SERVER [--rounds N] [--seconds N] [--calls]. Needs nginx, wrk and Linux. Both serve a file of
1 KiB and one of 1 MiB, by one process each: nginx with the settings of Debian but without an access log, and again without
tcp_nopush, which costs it much on the loopback interface. In each round wrk asks all in turn. Prints the median of user and
system time per request, and of the ratios of the rounds. With --calls it prints the system calls per request of each server
instead, which needs strace.
"""

import argparse
import collections
import os
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

FILES = {"1 KiB": (1024, "1k.bin", 50), "1 MiB": (1 << 20, "1m.bin", 10)}  # size, name, connections
NGINX = """daemon off; user {user}; worker_processes 1; pid {home}/pid; error_log {home}/error;
events {{ worker_connections 768; }}
http {{
  sendfile on; tcp_nopush {nopush}; types_hash_max_size 2048; keepalive_requests 1000000000;
  include /etc/nginx/mime.types; default_type application/octet-stream; access_log off;
  client_body_temp_path {home}/b; proxy_temp_path {home}/p; fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u;
  scgi_temp_path {home}/s;
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


def start_kedge(program, root):
    server = subprocess.Popen([program, "--root", root, "--port", "0"], stdout=subprocess.PIPE, text=True)
    return server, int(server.stdout.readline().rsplit(":", 1)[1]), [server.pid]


def start_nginx(home, root, nopush, port):
    home = os.path.join(home, nopush)
    os.mkdir(home)
    config = os.path.join(home, "nginx.conf")
    with open(config, "w", encoding="utf-8") as file:
        file.write(NGINX.format(home=home, root=root, nopush=nopush, port=port, user="root" if os.geteuid() == 0 else "nobody"))
    server = subprocess.Popen([shutil.which("nginx") or "/usr/sbin/nginx", "-c", config, "-e", os.path.join(home, "error")],
                              stderr=subprocess.DEVNULL)
    while True:
        with open(f"/proc/{server.pid}/task/{server.pid}/children", encoding="utf-8") as file:
            workers = [int(pid) for pid in file.read().split()]
        if workers:
            return server, port, [server.pid, *workers]
        if server.poll() is not None:
            raise SystemExit("nginx does not start")
        time.sleep(0.05)


def cpu_of(pids):
    """Seconds of user and system time."""
    ticks = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def ask(port, name, connections, seconds):
    """Lets wrk ask for some seconds. Returns how many requests were answered."""
    said = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}", f"http://127.0.0.1:{port}/{name}"],
                          capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(said)
    return int(re.search(r"(\d+) requests in", said)[1])


def count_calls(servers, args):
    for title, (_, name, connections) in FILES.items():
        for server, (_, port, pids) in servers.items():
            with tempfile.NamedTemporaryFile("r") as table:
                with subprocess.Popen(["strace", "-f", "-c", "-o", table.name, "-p", str(pids[-1])],
                                      stderr=subprocess.DEVNULL) as strace:
                    time.sleep(0.5)
                    requests = ask(port, name, connections, args.seconds)
                    strace.send_signal(signal.SIGINT)
                rows = [line.split() for line in table.read().splitlines()]
            calls = {row[-1]: int(row[3]) / requests for row in rows if len(row) > 4 and row[3].isdigit() and row[-1] != "total"}
            print(f"{title} {server}: {sum(calls.values()):.2f} calls: " +
                  ", ".join(f"{call} {n:.2f}" for call, n in sorted(calls.items(), key=lambda each: -each[1]) if n >= 0.01))


def compare_cpu(servers, args):
    for title, (_, name, connections) in FILES.items():
        cost = collections.defaultdict(list)
        for _ in range(args.rounds):
            for server, (_, port, pids) in servers.items():
                before = cpu_of(pids)
                requests = ask(port, name, connections, args.seconds)
                cost[server].append((cpu_of(pids) - before) / requests * 1e6)
        print(f"{title}: kedge {statistics.median(cost['kedge']):.2f} us per request")
        for server in list(cost)[1:]:
            ratios = [ours / theirs for ours, theirs in zip(cost["kedge"], cost[server])]
            print(f"  {server}: {statistics.median(cost[server]):.2f} us, ratio {statistics.median(ratios):.2f}"
                  f" ({min(ratios):.2f} to {max(ratios):.2f})", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--calls", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.chmod(home, 0o755)
        root = os.path.join(home, "root")
        os.mkdir(root)
        for size, name, _ in FILES.values():
            with open(os.path.join(root, name), "wb") as file:
                file.write(os.urandom(size))
        servers = {"kedge": start_kedge(args.program, root), "nginx": start_nginx(home, root, "on", 8917),
                   "nginx without tcp_nopush": start_nginx(home, root, "off", 8918)}
        try:
            (count_calls if args.calls else compare_cpu)(servers, args)
        finally:
            for server, _, _ in servers.values():
                server.terminate()
                server.wait()


if __name__ == "__main__":
    main()
