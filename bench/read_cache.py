#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What it brings that all clients read a chunk from the same replica: ./dev bench read_cache

Three chunk servers hold all of the data each (three replicas), on the disk of --scratch. Each runs in a
memory cgroup of its own, so that its page cache holds a part of the data only; the caches of all three
together hold all of it. Readers in closed loops get whole objects by a Zipf law:
  preferred  each chunk from the replica that the masters name first, the same for every client
  random     each from any replica (GetOptions::replica_choice, `ballast get --spread`)
In turn, --pairs times; before each half the chunks are dropped from the page caches, then as many reads
as are measured warm them up again. The hit ratio is the part of the bytes given to readers
that the servers did not have to get from the disk (/proc/PID/io).

All of it with the disk as it is, and with as much of it for each server as --disk-mib says: a
virtual machine's disk may be faster than two cores can read it, a server's hard disk is not."""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "cmake" / "dev"))
sys.dont_write_bytecode = True

from local_cluster import Cluster  # noqa: E402
from limited_group import LimitedGroup, NotAvailable  # noqa: E402

MIB = 1 << 20
CHOICES = ("preferred", "random")


class Bench:
    """A cluster whose chunk servers are limited."""

    def __init__(self, arguments, cluster, groups):
        self._arguments = arguments
        self._cluster = cluster
        self._groups = groups
        self._seed = 0

    def run(self, *extra):
        a = self._arguments
        done = subprocess.run(
            [self._cluster.binaries / "read_cache_bench", "--cluster", self._cluster.shardctl,
             "--objects", str(a.objects), "--object-bytes", str(a.object_kib << 10),
             "--clients", str(a.clients), "--zipf", str(a.zipf), *map(str, extra)],
            check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(done.stdout) if done.stdout else {}

    def _disk_bytes(self):
        total = 0
        for name in self._groups:
            for line in Path(f"/proc/{self._cluster.pid(name)}/io").read_text().splitlines():
                if line.startswith("read_bytes:"):
                    total += int(line.split()[1])
        return total

    def drop_caches(self):
        """Chunks are on the disk, so their pages can go. What is left of them."""
        for name in self._groups:
            for folder, _, files in os.walk(self._cluster.path(name)):
                for file in files:
                    fd = os.open(Path(folder) / file, os.O_RDONLY)
                    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                    os.close(fd)
        return sum(group.cached_bytes() for group in self._groups.values())

    def half(self, choice):
        flags = ["--reads", self._arguments.reads] + (["--spread"] if choice == "random" else [])
        left = self.drop_caches()
        self._seed += 1
        self.run("--seed", 1000 + self._seed, *flags)
        before = self._disk_bytes()
        row = self.run("--seed", self._seed, *flags)
        from_disk = self._disk_bytes() - before
        return {
            "hit_ratio": 1 - from_disk / row["bytes"],
            "mib_per_s": row["bytes"] / MIB / row["seconds"],
            "disk_mib_per_s": from_disk / MIB / row["seconds"],
            "p50_ms": row["p50_ms"],
            "p99_ms": row["p99_ms"],
            "cached_mib_after_drop": left / MIB,
            "cached_mib": [group.cached_bytes() / MIB for group in self._groups.values()],
        }


def measure(arguments, scratch, groups):
    """The rows of each choice, by the disks' MiB/s; 0: as it is."""
    cluster = Cluster(scratch / "cluster", die_with_parent=True)
    rows = {}
    try:
        cluster.start(servers=len(groups), settings={"default-replicas": 3, "min-replicas": 2})
        for name, group in groups.items():
            group.add(cluster.pid(name))
        bench = Bench(arguments, cluster, groups)
        bench.run("--operation", "load")
        for disk in dict.fromkeys((0, arguments.disk_mib)):
            try:
                for group in groups.values():
                    group.limit_reads(scratch, disk * MIB)
            except NotAvailable as error:
                if disk != 0:
                    print(f"disks of {disk} MiB/s: left out: {error}", file=sys.stderr)
                    continue
            part = rows.setdefault(disk, {choice: [] for choice in CHOICES})
            for pair in range(arguments.pairs):
                for choice in CHOICES if pair % 2 == 0 else reversed(CHOICES):
                    row = bench.half(choice)
                    part[choice].append(row)
                    print(f"{disk_text(disk)}, pair {pair + 1} of {arguments.pairs}, {choice}: "
                          f"{100 * row['hit_ratio']:.1f} % hits, {row['mib_per_s']:.0f} MiB/s",
                          file=sys.stderr, flush=True)
    finally:
        cluster.stop()
    return rows


def disk_text(disk):
    return f"disks of {disk} MiB/s" if disk else "the disk as it is"


def median(rows, field):
    return statistics.median(row[field] for row in rows)


def spread(rows, field, factor=1):
    values = [factor * row[field] for row in rows]
    return f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


def report(arguments, rows):
    data = arguments.objects * arguments.object_kib / 1024
    print(f"{data:.0f} MiB of data ({arguments.objects} objects), all of it on each of 3 servers of "
          f"{arguments.limit_mib} MiB, page cache and process together; Zipf {arguments.zipf}, "
          f"{arguments.clients} readers, {arguments.reads} reads a half; medians of "
          f"{arguments.pairs}")
    for disk, part in rows.items():
        print(f"\n{disk_text(disk):20} {'hits, %':>20} {'MiB/s':>22} {'from disk, MiB/s':>22} "
              f"{'p50, ms':>8} {'p99, ms':>8}")
        for choice in CHOICES:
            runs = part[choice]
            print(f"{choice:20} {spread(runs, 'hit_ratio', 100):>20} {spread(runs, 'mib_per_s'):>22} "
                  f"{spread(runs, 'disk_mib_per_s'):>22} {median(runs, 'p50_ms'):8.1f} "
                  f"{median(runs, 'p99_ms'):8.1f}")
        ratios = [a["mib_per_s"] / b["mib_per_s"] for a, b in zip(*(part[c] for c in CHOICES))]
        cached = {c: ", ".join(f"{mib:.0f}" for mib in part[c][-1]["cached_mib"]) for c in CHOICES}
        print(f"throughput, preferred / random: {statistics.median(ratios):.2f} "
              f"({min(ratios):.2f}-{max(ratios):.2f}); cached at the end, MiB: "
              f"{cached['preferred']} / {cached['random']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=640)
    parser.add_argument("--object-kib", type=int, default=1024)
    parser.add_argument("--limit-mib", type=int, default=288, help="memory of each chunk server")
    parser.add_argument("--disk-mib", type=int, default=64,
                        help="MiB/s of each server's disk in the second part; 0: no such part")
    parser.add_argument("--zipf", type=float, default=0.9, help="exponent of the law")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--reads", type=int, default=8_000, help="a half")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--scratch", default=str(TOP / "build"))
    parser.add_argument("--quick", action="store_true", help="one pair of 2,000 reads")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.pairs, arguments.reads = 1, 2000
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the groups are removed
    groups = {}
    with tempfile.TemporaryDirectory(prefix="ballast-bench-", dir=arguments.scratch) as scratch:
        try:
            for number in (1, 2, 3):
                groups[f"chunkserver{number}"] = LimitedGroup(
                    f"ballast-bench-{os.getpid()}-{number}", arguments.limit_mib * MIB)
            rows = measure(arguments, Path(scratch), groups)
        except NotAvailable as error:
            print(f"read_cache: left out: {error}")
            return
        finally:
            for group in groups.values():
                group.close()
    if arguments.json:
        print(json.dumps(rows, indent=1))
    else:
        report(arguments, rows)


if __name__ == "__main__":
    main()
