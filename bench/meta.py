#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Metadata bench on real processes: ./dev bench meta [--seconds S] [--pairs N] [--objects N] [--json]

Starts one shardctl and one master of one voter (no chunk servers: the values are inline) on the disk
that holds --scratch and measures, as medians of --pairs runs taken in turn:
  fsync       fdatasync after a 4 KiB append to a file on the same disk: the reference for put x 1
  put x 1     durable puts of 100 B by one client (acknowledged after fdatasync of the log)
  put x 64    the same by 64 clients; syncs/put shows the group commit
  get x 1/64  linearizable gets
then the time from exec to the first answered read of a master that holds --objects objects."""

import argparse
import json
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

from local_cluster import Cluster, poll_until  # noqa: E402


def fsync_rate(folder, seconds):
    """fdatasync calls per second, each after a 4 KiB append."""
    path = folder / "fsync-reference"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    block = b"\0" * 4096
    count = 0
    end = time.monotonic() + seconds
    begin = time.monotonic()
    while time.monotonic() < end:
        os.write(fd, block)
        os.fdatasync(fd)
        count += 1
    rate = count / (time.monotonic() - begin)
    os.close(fd)
    path.unlink()
    return rate


def bench(cluster, operation, clients, seconds, keys, connections=4):
    done = subprocess.run(
        [cluster.binaries / "meta_bench", "--cluster", cluster.shardctl, "--operation", operation,
         "--clients", str(clients), "--time", f"{seconds}s", "--keys", str(keys),
         "--connections", str(connections)],
        check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def memory(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--scratch", default=str(TOP / "build"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    keys = 100_000
    rows = {}

    with tempfile.TemporaryDirectory(prefix="ballast-bench-", dir=arguments.scratch) as folder:
        cluster = Cluster(Path(folder) / "cluster")
        cluster.start(servers=0)
        try:
            bench(cluster, "load", 1, 1, keys)
            for _ in range(arguments.pairs):
                rows.setdefault("fsync", []).append(
                    {"per_second": fsync_rate(Path(folder), arguments.seconds)})
                for operation in ("put", "get"):
                    for clients in (1, 64):
                        rows.setdefault(f"{operation} x {clients}", []).append(
                            bench(cluster, operation, clients, arguments.seconds, keys))
            loaded = bench(cluster, "load", 1, 1, arguments.objects)
            resident = memory(cluster.pid("master1"))
            times = []
            for _ in range(3):
                cluster.stop_process("master1")
                begin = time.monotonic()
                cluster.start_process("master1")
                poll_until(lambda: cluster.ballast("stat", "bench/000000000001",
                                                   check=False).returncode == 0, 120, "loading")
                times.append(time.monotonic() - begin)
        finally:
            cluster.stop()

    def median(name, field):
        return statistics.median(run[field] for run in rows[name])

    result = {name: {field: median(name, field) for field in runs[0]
                     if isinstance(runs[0][field], (int, float)) and field not in
                     ("clients", "value_bytes")}
              for name, runs in rows.items()}
    result["load"] = {"objects": arguments.objects, "batched_puts_per_second": loaded["per_second"],
                      "restart_to_first_read_s": statistics.median(times),
                      "master_resident_bytes": resident}
    if arguments.json:
        print(json.dumps(result, indent=1))
        return
    print(f"{'':12} {'per second':>12} {'p50 us':>9} {'p99 us':>9} {'syncs/put':>10}")
    for name in rows:
        row = result[name]
        print(f"{name:12} {row['per_second']:12.0f} {row.get('p50_us', 0):9.0f} "
              f"{row.get('p99_us', 0):9.0f} {row.get('syncs_per_put', 0):10.3f}")
    print(f"\n{arguments.objects} objects: {loaded['per_second']:.0f} batched durable puts/s, "
          f"master {resident / 2**20:.0f} MiB; start to first read "
          f"{statistics.median(times):.2f} s (median of 3)")


if __name__ == "__main__":
    main()
