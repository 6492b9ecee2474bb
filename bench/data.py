#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bulk bench on real processes: ./dev bench data [--pairs N] [--folders F,G] [--mib N]

1. data_bench: bytes between a client and chunk servers beside a plain TCP reference that does the
   same work with as many connections and processes, in turn (see data_bench --help).
2. The whole path: `ballast put` and `ballast get` of one file on a local cluster, metadata, sessions
   and fsyncs included, program start to program end, as medians; and the largest memory of the
   client and of the chunk servers."""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "cmake" / "dev"))
sys.dont_write_bytecode = True

from local_cluster import Cluster  # noqa: E402


def peak(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0


def run_client(cluster, *arguments):
    """Runs `ballast`; its peak memory in MiB."""
    process = subprocess.Popen([cluster.binaries / "ballast", *map(str, arguments)],
                               env=cluster.environment())
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"bench: ballast {arguments[0]} failed")
    return usage.ru_maxrss / 1024


def hold_memory(folder, mib):
    """Takes and frees as much memory as a run will fill, so that no run pays for first touch."""
    path = folder / "held"
    block = b"\1" * (1 << 20)
    with open(path, "wb") as file:
        for _ in range(mib):
            file.write(block)
    path.unlink()


def whole_path(folder, mib, replicas, rounds):
    rates = {"put": [], "get": []}
    client = 0
    with tempfile.TemporaryDirectory(prefix="ballast-bench-", dir=folder) as scratch:
        scratch = Path(scratch)
        cluster = Cluster(scratch / "cluster")
        cluster.start(servers=4, settings={"grace": "0s"})
        try:
            source, target = scratch / "source", scratch / "target"
            with open("/dev/urandom", "rb") as random, open(source, "wb") as file:
                for _ in range(mib):
                    file.write(random.read(1 << 20))
            for number in range(rounds):
                if str(folder).startswith("/dev/shm"):
                    hold_memory(scratch, mib * (replicas + 1))
                key = f"bench/{number}"
                for name, arguments in (("put", (source, key, "--replicas", replicas)),
                                        ("get", (key, target))):
                    begin = time.monotonic()
                    client = max(client, run_client(cluster, name, *arguments))
                    rates[name].append(mib / (time.monotonic() - begin))
                if subprocess.run(["cmp", source, target]).returncode != 0:
                    raise SystemExit("bench: the bytes differ")
                target.unlink()
                cluster.ballast("rm", key)
                time.sleep(2)  # let the chunk servers free their files
            server = max(peak(cluster.pid(name)) for name in cluster.names("chunkserver"))
        finally:
            cluster.stop()
    row = "  ".join(f"{name} {statistics.median(r):5.0f} ({min(r):.0f}-{max(r):.0f}) MiB/s"
                    for name, r in rates.items())
    print(f"{folder}, {replicas} replicas: {row}; "
          f"peak memory: client {client:.0f} MiB, chunk server {server:.0f} MiB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--folders", default=f"/dev/shm,{TOP / 'build'}")
    arguments = parser.parse_args()
    subprocess.run([TOP / "build/release/bin/data_bench", "--folders", arguments.folders,
                    "--pairs", str(arguments.pairs), "--bytes", f"{arguments.mib}MiB"], check=True)
    print(f"\nwhole path: ballast put and get of {arguments.mib} MiB, medians of {arguments.pairs}",
          flush=True)
    for folder in arguments.folders.split(","):
        for replicas in (2, 3):
            whole_path(Path(folder), arguments.mib, replicas, arguments.pairs)


if __name__ == "__main__":
    main()
