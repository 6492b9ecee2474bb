#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rebalancing bench on real processes: ./dev bench rebalance [--pairs N] [--folders F,G] [--quick] [--json]

An empty chunk server joins five that are 60 % full (two replicas, chunks of 16 MiB); what moves is what
the plan says, 45 % of a server. From the master's line that begins the episode to its line about the
last replica:
  free       without limits, beside plain TCP programs that copy as many bytes from five to one with as
             many connections (they neither log nor delete), in turn, --pairs times, in every folder
  limited    rebalance-mbps: the time beside bytes / limit, and the largest rate in any second
  clients    readers of random ranges of 1 MiB in closed loops, alone and then while a server has died and
             another one has come, with repair and rebalancing at their limits for the whole cluster:
             throughput beside (alone - limits), and the 99th percentile beside that alone

MB are 10^6 bytes."""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.dont_write_bytecode = True

from copy_watch import (  # noqa: E402
    MIB, TOP, BenchCluster, HeldMemory, LogFollower, folders_of, kill_and_wait_for_death, median,
    poll_until, run_part, spread)

CHUNK = 16 * MIB
OBJECT = 64 * MIB
SERVERS = 5
NEW = "chunkserver6"
BINARIES = TOP / "build/release/bin"


class Level:
    """Five servers at 60 %."""

    def __init__(self, folder, capacity, settings):
        # By hand: what begins while it is filled would be no episode of the bench.
        self._bench = BenchCluster(folder, SERVERS, {**settings, "rebalance-auto": "off"},
                                   capacity=capacity)
        self.objects = round(capacity * SERVERS * 0.6 / 2 / OBJECT)

    def __enter__(self):
        bench = self._bench.__enter__()
        try:
            bench.fill(self.objects, OBJECT, CHUNK)
            poll_until(lambda: self.is_known(bench), 20, "heartbeats that tell of what was written")
        except BaseException:
            self._bench.__exit__()
            raise
        return self, bench

    def is_known(self, bench):
        servers = json.loads(bench.cluster.ballast("servers", "--json").stdout)
        return sum(server["used_bytes"] for server in servers) >= 2 * self.objects * OBJECT

    def __exit__(self, *_):
        self._bench.__exit__()


def wait_for_episode(log, timeout):
    """When it began, when its last replica was there, how many and how many failed."""
    log.wait(1, timeout, "the end of the episode", "master.rebalance_ended")
    began = log.all("master.rebalance_began")[0]
    moves = log.all("master.replica_copied", purpose="rebalance")
    ended = log.all("master.rebalance_ended")[0]
    return {"began": began[0], "ended": moves[-1][0], "settled": ended[0], "moves": len(moves),
            "failed": len(log.all("master.copy_failed")), "plans": int(ended[2]["plans"]),
            "bytes": int(ended[2]["bytes"])}


def level(folder, capacity, settings):
    """An empty server joins. One row."""
    with Level(folder, capacity, settings) as (_, bench):
        log = LogFollower(bench.cluster.folder / "master1.log")
        held = HeldMemory(BINARIES, capacity // 2)
        bench.cluster.add_chunkserver(6)
        bench.cluster.wait_ready()
        meter = bench.meter()
        held.release()
        bench.cluster.ballast("settings", "--rebalance-auto", "on")
        episode = wait_for_episode(log, 300)
        meter.stop()
        check = json.loads(bench.cluster.ballast("rebalance", "check", "--json").stdout)
        seconds = episode["ended"] - episode["began"]
        return {**episode, "mb": episode["bytes"] / 1e6, "seconds": seconds,
                "mb_per_s": episode["bytes"] / 1e6 / seconds,
                "window_mb_per_s": max(meter.window_rates([NEW], episode["began"],
                                                          episode["ended"]), default=0) / 1e6,
                "over": len(check["overloaded"]) + len(check["underloaded"])}


def free(folder, capacity, pairs):
    ours, theirs = [], []
    for pair in range(pairs):
        row = level(folder, capacity, {"rebalance-mbps": 0, "rebalance-mbps-total": 0})
        other = run_part(BINARIES, "reference", folder=f"{folder}/ballast-bench-reference",
                         chunk_bytes=CHUNK, chunks=row["moves"], servers=SERVERS + 1, targets=1,
                         streams=8)
        ours.append(row)
        theirs.append(other)
        print(f"{folder}, no limits, pair {pair + 1} of {pairs}: {row['moves']} moves, "
              f"{row['mb_per_s']:.0f} / {other['mb_per_s']:.0f} MB/s", file=sys.stderr)
    ratios = [100 * o["mb_per_s"] / t["mb_per_s"] for o, t in zip(ours, theirs)]
    return {"folder": folder, "ours": ours, "reference": theirs, "ratios_pct": ratios,
            "ratio_pct": statistics.median(ratios)}


def limited(folder, capacity, mbps, rounds):
    runs = []
    for _ in range(rounds):
        run = level(folder, capacity, {"rebalance-mbps": mbps, "rebalance-mbps-total": 0})
        runs.append({**run, "time_pct": 100 * run["seconds"] / (run["mb"] / mbps),
                     "window_pct": 100 * run["window_mb_per_s"] / mbps})
        print(f"{folder}, {mbps} MB/s: {run['mb']:.0f} MB in {run['seconds']:.1f} s, "
              f"{runs[-1]['time_pct']:.0f} % of bytes / limit; largest second "
              f"{runs[-1]['window_pct']:.1f} %; {run['plans']} plans", file=sys.stderr)
    return {"folder": folder, "mbps": mbps, "runs": runs, "time_pct": median(runs, "time_pct"),
            "window_pct": max(run["window_pct"] for run in runs)}


def clients(folder, capacity, mbps, seconds, readers, rounds):
    runs = []
    settings = {"repair-mbps": 0, "rebalance-mbps": 0, "repair-mbps-total": mbps,
                "rebalance-mbps-total": mbps}
    for _ in range(rounds):
        with Level(folder, capacity, settings) as (filled, bench):
            flags = {"objects": filled.objects, "object_bytes": OBJECT, "threads": readers,
                     "time": f"{seconds}s"}
            bench.run("foreground", **{**flags, "time": "1s"})
            alone = bench.run("foreground", **flags)
            bench.cluster.add_chunkserver(6)
            bench.cluster.wait_ready()
            log, _ = kill_and_wait_for_death(bench, "chunkserver1", capacity)
            bench.cluster.ballast("settings", "--rebalance-auto", "on")
            log.wait(1, 60, "the episode", "master.rebalance_began")
            log.wait(1, 60, "the first move", "master.replica_copied", purpose="rebalance")
            meter = bench.meter()
            begin = time.time()
            loaded = bench.run("foreground", **flags)
            end = time.time()
            meter.stop()
            copied = sum(meter.bytes(name, begin, end) for name in meter.samples) / 1e6
            busy = {purpose: len([line for line in log.all("master.replica_copied", purpose=purpose)
                                  if begin <= line[0] <= end]) * CHUNK / 1e6 / (end - begin)
                    for purpose in ("repair", "rebalance")}
        run = {"alone": alone, "loaded": loaded, "copied_mb_per_s": copied / (end - begin),
               "repair_mb_per_s": busy["repair"], "rebalance_mb_per_s": busy["rebalance"],
               "throughput_pct": 100 * loaded["mb_per_s"] / (alone["mb_per_s"] - 2 * mbps),
               "p99_ratio": loaded["p99_ms"] / alone["p99_ms"]}
        runs.append(run)
        print(f"{folder}, {readers} readers: alone {alone['mb_per_s']:.0f} MB/s, p99 "
              f"{alone['p99_ms']:.1f} ms; with copies of {run['copied_mb_per_s']:.0f} MB/s "
              f"{loaded['mb_per_s']:.0f} MB/s, p99 {loaded['p99_ms']:.1f} ms", file=sys.stderr)
    return {"folder": folder, "readers": readers, "mbps": mbps, "runs": runs,
            "throughput_pct": median(runs, "throughput_pct"), "p99_ratio": median(runs, "p99_ratio"),
            "copied_mb_per_s": median(runs, "copied_mb_per_s")}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--folders", default=f"/dev/shm,{TOP / 'build'}")
    parser.add_argument("--mbps", type=int, default=60, help="rebalance-mbps of 'limited'")
    parser.add_argument("--clients-mbps", type=int, default=40,
                        help="repair-mbps-total and rebalance-mbps-total of 'clients'")
    parser.add_argument("--readers", type=int, default=2, help="closed loops of 'clients'")
    parser.add_argument("--only", choices=("free", "limited", "clients"), help="a part of it")
    parser.add_argument("--quick", action="store_true", help="small and once: does it work at all?")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    begin = time.monotonic()
    pairs = 1 if arguments.quick else arguments.pairs
    capacity = (512 if arguments.quick else 1024) * MIB
    folders = list(folders_of(arguments.folders))
    if arguments.quick:
        folders = folders[:1]
    result = {"free": [], "limited": [], "clients": []}
    if arguments.only in (None, "free"):
        result["free"] = [free(folder, capacity, pairs) for folder in folders]
    if arguments.only in (None, "limited"):
        result["limited"] = [limited(folders[0], capacity, arguments.mbps, pairs)]
    if arguments.only in (None, "clients"):
        result["clients"] = [clients(folders[0], capacity, arguments.clients_mbps,
                                     2 if arguments.quick else 6, arguments.readers, pairs)]
    result["seconds"] = time.monotonic() - begin
    if arguments.json:
        print(json.dumps(result, indent=1))
        return
    print(f"\nAn empty server joins five at 60 % ({capacity // MIB} MiB each); medians (min-max) of "
          f"{pairs}")
    for row in result["free"]:
        print(f"{Path(row['folder']).name:6} no limits: {spread(row['ours'], 'mb_per_s')} MB/s, "
              f"reference {spread(row['reference'], 'mb_per_s')} MB/s, ratio {row['ratio_pct']:.0f} %")
    for row in result["limited"]:
        print(f"{Path(row['folder']).name:6} {row['mbps']} MB/s: {spread(row['runs'], 'mb')} MB in "
              f"{spread(row['runs'], 'seconds', 1)} s, {row['time_pct']:.0f} % of bytes / limit; "
              f"largest second {row['window_pct']:.1f} % of the limit")
    for row in result["clients"]:
        alone = [run["alone"] for run in row["runs"]]
        loaded = [run["loaded"] for run in row["runs"]]
        print(f"{Path(row['folder']).name:6} {row['readers']} readers, repair and rebalancing at "
              f"{row['mbps']} MB/s each: {spread(alone, 'mb_per_s')} MB/s alone, "
              f"{spread(loaded, 'mb_per_s')} with {row['copied_mb_per_s']:.0f} MB/s of copies, "
              f"{row['throughput_pct']:.0f} % of (alone - limits); p99 {spread(alone, 'p99_ms', 1)} ms "
              f"alone, {spread(loaded, 'p99_ms', 1)} ms, ratio {row['p99_ratio']:.2f}")
    print(f"{result['seconds']:.0f} s in all")


if __name__ == "__main__":
    main()
