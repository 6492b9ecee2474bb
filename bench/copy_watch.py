# SPDX-License-Identifier: Apache-2.0
"""What heal.py and rebalance.py share: a scratch cluster, and what can be seen of its copies from
outside: the master's log, the files that appear, the bytes that processes write."""

import datetime
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "cmake" / "dev"))
sys.dont_write_bytecode = True

from local_cluster import Cluster, poll_until  # noqa: E402,F401

MIB = 1 << 20
SETTINGS = {"heartbeat-interval": "1s", "default-replicas": "2", "min-replicas": "2",
            "grace": "0s"}


class LogFollower:
    """The lines of a process's log as they come: (wall time, event, {name: value})."""

    LINE = re.compile(r"^(\S+Z) \S+ (\S+) ?(.*)$")
    FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)')

    def __init__(self, path):
        self._path = path
        self._offset = path.stat().st_size
        self._rest = b""
        self.lines = []

    def poll(self):
        with open(self._path, "rb") as file:
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            match = self.LINE.match(line.decode(errors="replace"))
            if match:
                stamp = datetime.datetime.fromisoformat(match[1].replace("Z", "+00:00"))
                self.lines.append((stamp.timestamp(), match[2], dict(self.FIELD.findall(match[3]))))

    def all(self, event, **fields):
        self.poll()
        return [line for line in self.lines if line[1] == event and
                all(line[2].get(name) == value for name, value in fields.items())]

    def wait(self, count, seconds, what, event, **fields):
        poll_until(lambda: len(self.all(event, **fields)) >= count, seconds, what)
        return self.all(event, **fields)


class WriteMeter:
    """Samples what processes give to write calls: for chunk servers, the bytes of chunks that they
    receive (sockets are not counted), and little else."""

    PERIOD = 0.02

    def __init__(self, pids):
        self._pids = pids
        self.samples = {name: [] for name in pids}  # (wall time, bytes)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        files = {name: open(f"/proc/{pid}/io", "rb", buffering=0)
                 for name, pid in self._pids.items()}
        while not self._stop.wait(self.PERIOD):
            for name, file in list(files.items()):
                try:
                    file.seek(0)
                    text = file.read(512)
                except OSError:
                    del files[name]
                    continue
                self.samples[name].append((time.time(), int(text.split()[3])))

    def stop(self):
        self._stop.set()
        self._thread.join()

    def bytes(self, name, begin, end):
        part = [b for t, b in self.samples[name] if begin <= t <= end]
        return part[-1] - part[0] if part else 0

    def window_rates(self, names, begin, end):
        """Bytes a second, of these processes together, in each window of one second."""
        sums = [(rows[0][0], sum(row[1] for row in rows))
                for rows in zip(*(self.samples[name] for name in names))
                if begin <= rows[0][0] <= end]
        rates = []
        last = 0
        for first, (t, b) in enumerate(sums):
            while last < len(sums) and sums[last][0] - t < 1:
                last += 1
            if last == len(sums):
                break
            rates.append((sums[last][1] - b) / (sums[last][0] - t))
        return rates


class HeldMemory:
    """Memory that is given back when the copies begin: on this kind of machine fresh pages must be
    got from the host, which is slower than any copy."""

    def __init__(self, binaries, size):
        self._process = subprocess.Popen([binaries / "heal_bench", "hold", "--bytes", str(size)],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._process.stdout.readline()

    def release(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class BenchCluster:
    """A scratch cluster below `folder`, for `with`."""

    def __init__(self, folder, servers, settings, capacity=""):
        self.scratch = Path(tempfile.mkdtemp(prefix="ballast-bench-", dir=folder))
        self.cluster = Cluster(self.scratch / "cluster", die_with_parent=True)
        self._start = {"servers": servers, "settings": {**SETTINGS, **settings},
                       "capacity": capacity}

    def __enter__(self):
        try:
            self.cluster.start(**self._start)
        except BaseException:
            shutil.rmtree(self.scratch, ignore_errors=True)
            raise
        return self

    def __exit__(self, *_):
        self.cluster.stop()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def run(self, verb, **flags):
        """A verb of heal_bench; what it says."""
        return run_part(self.cluster.binaries, verb, cluster=self.cluster.shardctl, **flags)

    def start_foreground(self, **flags):
        return subprocess.Popen(
            part_command(self.cluster.binaries, "foreground", cluster=self.cluster.shardctl, **flags),
            stdout=subprocess.PIPE, text=True)

    def fill(self, objects, object_bytes, chunk_bytes, threads=4):
        self.run("fill", objects=objects, object_bytes=object_bytes, chunk_bytes=chunk_bytes,
                 threads=threads)
        # Reports of what was written are in when nothing is amiss any more.
        poll_until(lambda: self.cluster.ballast("fsck", check=False).returncode == 0, 60,
                   "reports of what was written")

    def chunk_names(self, name):
        return {path.name for path in (self.cluster.path(name) / "chunks").rglob("*")
                if path.is_file()}

    def meter(self):
        return WriteMeter({name: self.cluster.pid(name) for name in self.cluster.names("chunkserver")
                           if self.cluster.pid(name)})

    def new_files(self, name, since):
        """When each chunk file was begun and written last, of those begun after `since`, ascending:
        (time, time)."""
        done = subprocess.run(["find", self.cluster.path(name) / "chunks", "-type", "f", "-exec",
                               "stat", "--format=%.W %.Y", "{}", "+"],
                              capture_output=True, text=True, check=True)
        rows = [line.split() for line in done.stdout.splitlines()]
        return sorted((float(born), float(written)) for born, written in rows
                      if float(born) > since)


def part_command(binaries, verb, **flags):
    # Of all verbs first, then the verb's own.
    shared = ("cluster", "objects", "object_bytes", "chunk_bytes", "threads")
    words = [str(binaries / "heal_bench")]
    for own in (False, True):
        words += [verb] if own else []
        for name, value in flags.items():
            if (name not in shared) == own:
                words += [f"--{name.replace('_', '-')}", str(value)]
    return words


def run_part(binaries, verb, **flags):
    done = subprocess.run(part_command(binaries, verb, **flags), check=True, capture_output=True,
                          text=True)
    return json.loads(done.stdout)


def kill_and_wait_for_death(bench, name, hold_bytes):
    """Ends a chunk server as a crash would, and returns the log, from before, and when the master
    declared it dead."""
    log = LogFollower(bench.cluster.folder / "master1.log")
    held = HeldMemory(bench.cluster.binaries, hold_bytes)
    bench.cluster.kill_process(name)
    time.sleep(1.7)  # the death comes 2 to 3.1 s after: three intervals after the last heartbeat
    held.release()
    dead = log.wait(1, 30, "the death", "master.server_liveness", to="dead")
    return log, dead[0][0]


def median(rows, field):
    return statistics.median(row[field] for row in rows)


def spread(rows, field, digits=0):
    values = [row[field] for row in rows]
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def folders_of(text):
    for folder in text.split(","):
        os.makedirs(folder, exist_ok=True)
        yield folder
