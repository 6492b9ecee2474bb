#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Healing bench on real processes: ./dev bench heal [--pairs N] [--folders F,G] [--quick] [--json]

Three chunk servers, two replicas; one server is killed (kill -9), so that each of the other two
copies from the other what it does not have. In every folder:
  large      chunks of 64 MiB without limits, beside plain TCP programs that make as many copies of
             the same bytes with as many connections and processes: read, checksum, send, receive,
             checksum, write, fsync of file and folder. In turn, --pairs times.
  small      chunks of 64 KiB and of 8 KiB, likewise, two pairs at most
then, in the first folder, limits: repair-mbps (each server) and repair-mbps-total (all together), what
part of the limit is used while there is work, and the largest rate in any window of one second.

MB are 10^6 bytes. A copy begins when its file appears and ends with the master's line about it;
`start` is from the line that declares the server dead to the first file."""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.dont_write_bytecode = True

from copy_watch import (  # noqa: E402
    MIB, TOP, BenchCluster, folders_of, kill_and_wait_for_death, median, run_part, spread)

FREE = {"repair-mbps": 0, "repair-mbps-total": 0}
VICTIM = "chunkserver1"
KIB = 1 << 10


def heal(folder, load, settings):
    """Kills a server and looks on. One row."""
    with BenchCluster(folder, 3, settings) as bench:
        bench.fill(**load)
        lost = len(bench.chunk_names(VICTIM))
        chunk = min(load["chunk_bytes"], load["object_bytes"])
        meter = bench.meter()
        log, dead = kill_and_wait_for_death(bench, VICTIM, lost * chunk)
        copied = log.wait(lost, 300, f"{lost} copies", "master.replica_copied", purpose="repair")
        meter.stop()
        failed = len(log.all("master.copy_failed"))
        others = [n for n in bench.cluster.names("chunkserver") if n != VICTIM]
        files = {name: bench.new_files(name, dead - 1) for name in others}
        began = sorted(born for rows in files.values() for born, _ in rows)
        end = copied[-1][0]
        total = lost * chunk
        row = {
            "chunks": lost, "mb": total / 1e6, "failed": failed,
            "start_ms": 1e3 * (began[0] - dead),
            "seconds": end - dead,
            "mb_per_s": total / 1e6 / (end - began[0]),
            "chunks_per_s": lost / (end - began[0]),
        }
        # Servers write a prefix for each chunk, and lines to their logs, which are no traffic.
        written = sum(meter.bytes(name, dead, end + 1) for name in others)
        payload = min(1, total / max(written, 1)) / 1e6
        # While copies still wait to begin there is work for every part of the limit.
        row["waiting_mb_per_s"] = payload * sum(
            meter.bytes(name, began[0], began[-1]) for name in others
        ) / max(began[-1] - began[0], 1e-3)
        # A server has work until it has all of what it lacks, which is known here.
        row["server_mb_per_s"] = min(
            len(rows) * chunk / 1e6 / (max(written for _, written in rows) - rows[0][0])
            for rows in files.values() if rows)
        row["window_mb_per_s"] = payload * max(
            [rate for name in others for rate in meter.window_rates([name], dead, end)], default=0)
        row["total_window_mb_per_s"] = payload * max(meter.window_rates(others, dead, end),
                                                     default=0)
        return row


def reference(binaries, folder, row, chunk, streams):
    return run_part(binaries, "reference", folder=f"{folder}/ballast-bench-reference",
                    chunk_bytes=chunk, chunks=row["chunks"], streams=streams)


def pairs_of(folder, name, load, streams, pairs):
    ours, theirs, ratios = [], [], []
    chunk = min(load["chunk_bytes"], load["object_bytes"])
    binaries = TOP / "build/release/bin"
    for pair in range(pairs):
        row = heal(folder, load, FREE)
        other = reference(binaries, folder, row, chunk, streams)
        ours.append(row)
        theirs.append(other)
        ratios.append(100 * row["mb_per_s"] / other["mb_per_s"])
        print(f"{folder}, {name}, pair {pair + 1} of {pairs}: {row['mb_per_s']:.0f} / "
              f"{other['mb_per_s']:.0f} MB/s, {row['chunks_per_s']:.0f} / "
              f"{other['chunks_per_s']:.0f} chunks/s, start {row['start_ms']:.0f} ms",
              file=sys.stderr)
    return {"folder": folder, "load": name, "streams": streams, "ours": ours, "reference": theirs,
            "ratio_pct": statistics.median(ratios), "ratios_pct": ratios}


def limits(folder, name, load, mbps, rounds):
    rows = []
    for kind, settings in (("each server", {"repair-mbps": mbps, "repair-mbps-total": 0}),
                           ("total", {"repair-mbps": 0, "repair-mbps-total": mbps})):
        runs = []
        for _ in range(rounds):
            run = heal(folder, load, settings)
            used = run["server_mb_per_s" if kind == "each server" else "waiting_mb_per_s"]
            window = run["window_mb_per_s" if kind == "each server" else "total_window_mb_per_s"]
            runs.append({**run, "used_pct": 100 * used / mbps, "window_pct": 100 * window / mbps})
            print(f"{folder}, {name}, {kind} {mbps} MB/s: {runs[-1]['used_pct']:.1f} % used, largest window "
                  f"{runs[-1]['window_pct']:.1f} %", file=sys.stderr)
        rows.append({"folder": folder, "load": name, "kind": kind, "mbps": mbps, "runs": runs,
                     "used_pct": median(runs, "used_pct"),
                     "window_pct": max(run["window_pct"] for run in runs)})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--folders", default=f"/dev/shm,{TOP / 'build'}")
    parser.add_argument("--mbps", type=int, default=60,
                        help="the limits to be kept, once each; half of it with small chunks")
    parser.add_argument("--only", choices=("large", "small", "limits"), help="a part of it")
    parser.add_argument("--quick", action="store_true", help="small and once: does it work at all?")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    begin = time.monotonic()
    scale = 8 if arguments.quick else 1
    pairs = 1 if arguments.quick else arguments.pairs
    loads = {
        "large, 64 MiB": ({"objects": 32 // scale, "object_bytes": 64 * MIB,
                           "chunk_bytes": 64 * MIB}, 2),
        "small, 64 KiB": ({"objects": 64 // scale, "object_bytes": 2 * MIB,
                           "chunk_bytes": 64 * KIB}, 8),
        "small, 8 KiB": ({"objects": 2400 // scale, "object_bytes": 8 * KIB, "chunk_bytes": 64 * KIB,
                          "threads": 32}, 8),
    }
    result = {"copies": [], "limits": []}
    folders = list(folders_of(arguments.folders))
    if arguments.quick:
        folders = folders[:1]
    for folder in folders:
        for name, (load, streams) in loads.items():
            if arguments.only in (None, name.split(",")[0]):
                result["copies"].append(
                    pairs_of(folder, name, load, streams,
                             pairs if name.startswith("large") else min(pairs, 2)))
    if arguments.only in (None, "limits"):
        for name, load, mbps in (
                ("16 MiB", {"objects": 64 // scale, "object_bytes": 16 * MIB,
                            "chunk_bytes": 16 * MIB}, arguments.mbps),
                ("64 KiB", {"objects": 8 // scale, "object_bytes": 32 * MIB,
                            "chunk_bytes": 64 * KIB}, arguments.mbps // 2)):
            result["limits"] += limits(folders[0], name, load, mbps, 1)
    result["seconds"] = time.monotonic() - begin
    if arguments.json:
        print(json.dumps(result, indent=1))
        return
    print(f"\nCopies of a dead server's chunks to the other two; medians (min-max) of {pairs} pairs (small: 2 at most)\n"
          f"{'folder':12} {'chunks':14} {'MB/s':18} {'reference':18} {'ratio':>7}  "
          f"{'chunks/s':18} {'reference':18} {'start, ms':12}")
    for row in result["copies"]:
        print(f"{Path(row['folder']).name:12} {row['load']:14} {spread(row['ours'], 'mb_per_s'):18} "
              f"{spread(row['reference'], 'mb_per_s'):18} {row['ratio_pct']:5.0f} %  "
              f"{spread(row['ours'], 'chunks_per_s'):18} "
              f"{spread(row['reference'], 'chunks_per_s'):18} {spread(row['ours'], 'start_ms'):12}")
    for row in result["limits"]:
        print(f"{Path(row['folder']).name:12} limit {row['mbps']} MB/s, {row['kind']}, chunks of "
              f" {row['load']}: "
              f"{row['used_pct']:.1f} % used while there is work; largest second "
              f"{row['window_pct']:.1f} %")
    print(f"{result['seconds']:.0f} s in all")


if __name__ == "__main__":
    main()
