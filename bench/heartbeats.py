#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Heartbeats at scale on real processes: ./dev bench heartbeats [--servers N] [--chunks N] [--json]

Starts one shardctl and one master of one voter and measures, by processor time from /proc:
  idle       --servers simulated chunk servers with a stream each, a heartbeat every 5 s, nothing to
             report: the master's share of one core over --seconds, and bytes of a heartbeat
  reference  the same senders against a bare gRPC server that answers each message
  report     one server that lists --chunks chunks: the master's processor seconds; then the same again
             while metadata is read by 4 clients: their p99 beside that without a report; then the
             stream breaks and comes back; then it does so after a change was lost
  memory     in one process, without the network: resident size of a leader's replicated state and
             replica map from 1 M to 10 M chunks of objects of 1,000, 3 replicas each"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "cmake" / "dev"))
sys.dont_write_bytecode = True

from local_cluster import Cluster  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mib(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0


class Bench:
    """heartbeats_bench: it says what it does in lines of JSON, and goes on when told."""

    def __init__(self, binaries, operation, *arguments):
        self.process = subprocess.Popen(
            [binaries / "heartbeats_bench", "--operation", operation, *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def phase(self, name):
        line = self.process.stdout.readline()
        said = json.loads(line) if line else {}
        if said.get("phase") != name:
            raise SystemExit(f"heartbeats_bench: {name} was due, not {said}")
        return said

    def go(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def beat(binaries, pid, seconds, *arguments, registered=None):
    bench = Bench(binaries, "beat", *arguments)
    try:
        if registered is not None:
            bench.phase("registered")
            pid = registered()
            bench.go()
        before = bench.phase("steady")
        cpu = cpu_seconds(pid)
        begin = time.monotonic()
        time.sleep(seconds)
        spent = cpu_seconds(pid) - cpu
        lasted = time.monotonic() - begin
        bench.go()
        after = bench.phase("measured")
        return {"cpu_pct": 100 * spent / lasted,
                "answered_per_second": (after["answered"] - before["answered"]) / lasted,
                "missed": after["missed"] - before["missed"], "broken": after["broken"],
                "idle_bytes": after["idle_bytes"], "resident_mib": resident_mib(pid)}
    finally:
        bench.end()


def idle(arguments, folder):
    rows = {}
    cluster = Cluster(folder)
    cluster.start(servers=0)
    common = ["--servers", arguments.servers, "--connections", arguments.connections,
              "--cluster", cluster.shardctl]
    try:
        def restart():
            # A new leader gives everybody a full window, however long registering took.
            cluster.stop_process("master1")
            cluster.start_process("master1")
            return cluster.pid("master1")

        rows["master"] = beat(cluster.binaries, None, arguments.seconds, *common,
                              registered=restart)
        echo = Bench(cluster.binaries, "echo")
        address = echo.phase("serving")["address"]
        rows["reference"] = beat(cluster.binaries, echo.process.pid, arguments.seconds, *common,
                                 "--address", address)
        echo.end()
    finally:
        cluster.stop()
    return rows


def read(cluster, seconds):
    done = subprocess.run(
        [cluster.binaries / "meta_bench", "--cluster", cluster.shardctl, "--operation", "get",
         "--clients", "4", "--time", f"{seconds}s", "--keys", "1000"],
        check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def report(arguments, folder):
    rows = {}
    cluster = Cluster(folder)
    cluster.start(servers=0)
    try:
        subprocess.run([cluster.binaries / "meta_bench", "--cluster", cluster.shardctl,
                        "--operation", "load", "--clients", "1", "--keys", "1000"], check=True,
                       stdout=subprocess.DEVNULL)
        bench = Bench(cluster.binaries, "report", "--cluster", cluster.shardctl,
                      "--chunks", arguments.chunks)
        bench.phase("created")
        pid = cluster.pid("master1")
        seconds = 5.0
        for phase in ("listed", "listed again", "offered", "resynchronised"):
            time.sleep(2)
            reader = None
            if phase == "listed again":
                rows["reads before"] = read(cluster, seconds)
                reader = subprocess.Popen(
                    [cluster.binaries / "meta_bench", "--cluster", cluster.shardctl, "--operation",
                     "get", "--clients", "4", "--time", f"{seconds}s", "--keys", "1000"],
                    stdout=subprocess.PIPE, text=True)
                time.sleep(0.3)
            cpu = cpu_seconds(pid)
            bench.go()
            said = bench.phase(phase)
            said["cpu_s"] = cpu_seconds(pid) - cpu
            rows[phase] = said
            seconds = max(1.0, said["seconds"])
            if reader is not None:
                rows["reads meanwhile"] = json.loads(reader.communicate()[0])
                del said["cpu_s"]  # the readers' is in it
        bench.go()
        bench.end()
        rows["resident_mib"] = resident_mib(pid)
    finally:
        cluster.stop()
    return rows


def show(result):
    if "idle" in result:
        print(f"{'':12} {'% of a core':>12} {'answers/s':>10} {'bytes':>6} {'missed':>7} "
              f"{'broken':>7} {'MiB':>7}")
        for name, row in result["idle"].items():
            print(f"{name:12} {row['cpu_pct']:12.1f} {row['answered_per_second']:10.0f} "
                  f"{row['idle_bytes']:6} {row['missed']:7} {row['broken']:7} "
                  f"{row['resident_mib']:7.0f}")
    if "report" in result:
        print(f"\n{'':16} {'CPU s':>8} {'wall s':>8} {'messages':>9} {'replicas':>9} {'bytes':>11}")
        for name in ("listed", "listed again", "offered", "resynchronised"):
            row = result["report"][name]
            cpu = f"{row['cpu_s']:8.2f}" if "cpu_s" in row else f"{'':8}"
            print(f"{name:16} {cpu} {row['seconds']:8.2f} {row['messages']:9} "
                  f"{row['replicas']:9} {row['bytes']:11}")
        for name in ("reads before", "reads meanwhile"):
            row = result["report"][name]
            print(f"{name:16} {row['per_second']:.0f}/s, p50 {row['p50_us']:.0f} us, "
                  f"p99 {row['p99_us']:.0f} us")
    if "memory" in result:
        row = result["memory"]
        print(f"\nmemory: {row['bytes_per_chunk']:.1f} bytes a chunk ({row['chunks']} chunks, "
              f"{row['replicas']} replicas, {row['resident_many'] / 2**20:.0f} MiB)")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=1_000)
    parser.add_argument("--chunks", type=int, default=1_100_000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--only", choices=("idle", "report", "memory"))
    parser.add_argument("--scratch", default=str(TOP / "build"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    wanted = [arguments.only] if arguments.only else ["idle", "report", "memory"]
    result = {}
    for part in wanted:
        if part == "memory":
            binaries = Cluster(Path(arguments.scratch) / "no-cluster").binaries
            done = subprocess.run([binaries / "replica_memory_bench"], check=True,
                                  capture_output=True, text=True)
            result[part] = json.loads(done.stdout)
            continue
        with tempfile.TemporaryDirectory(prefix="ballast-bench-", dir=arguments.scratch) as folder:
            run = idle if part == "idle" else report
            result[part] = run(arguments, Path(folder) / "cluster")
    if arguments.json:
        print(json.dumps(result, indent=1))
    else:
        show(result)


if __name__ == "__main__":
    main()
