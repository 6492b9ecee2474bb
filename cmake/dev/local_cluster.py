#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A cluster of the real binaries on this machine: one shardctl, one master, N chunk servers.

Used by ./dev up and down, ./dev demo (through cluster.sh) and the tests in tests/e2e. What it knows
of a cluster is in FOLDER/cluster.json, so every call of the command line finds it again:

  FOLDER/cluster.json       processes: name, arguments, address, pid with start time
  FOLDER/<name>/            the process's own folder
  FOLDER/<name>.log         its standard output and error

Processes are only ever ended by a pid that is recorded here and still belongs to the process that
was started (the kernel's start time is compared).
"""

import argparse
import contextlib
import ctypes
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
DEFAULT_PORTS = {"shardctl": 7400, "master": 7500, "chunkserver": 7600}
POLL_SECONDS = 0.02


class ClusterError(Exception):
    """Something that the caller is to read, in one line."""


def _start_time(pid):
    """The kernel's start time of a living process, or None (also for zombies)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rsplit(")", 1)[1].split()
    return None if fields[0] in "ZX" else fields[19]


_LIBC = ctypes.CDLL(None)


def _die_with_parent():
    pr_set_pdeathsig = 1
    _LIBC.prctl(pr_set_pdeathsig, signal.SIGKILL)


def _port_is_free(port):
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def poll_until(done, seconds, what):
    """Calls done() until it is true; raises when `seconds` have passed."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise ClusterError(f"{what}: still not so after {seconds} s")
        time.sleep(POLL_SECONDS)


class Cluster:
    """A cluster below `folder`. Not for two users at once. With `die_with_parent` its processes are
    killed when the one that started them ends, however it ends."""

    def __init__(self, folder, binaries=None, die_with_parent=False):
        self.folder = Path(folder).resolve()
        self.binaries = Path(binaries or os.environ.get("BALLAST_BIN", TOP / "build/release/bin"))
        self.state = {"cluster_id": "", "shardctl": "", "processes": {}}
        self._die_with_parent = die_with_parent
        self._children = {}
        self._ports = None
        self.reload()

    def reload(self):
        """Takes what another user of the cluster has written meanwhile, such as a command line
        that restarted a process."""
        if self._file().exists():
            self.state = json.loads(self._file().read_text())

    # --- what there is -----------------------------------------------------------------------

    @property
    def processes(self):
        return self.state["processes"]

    @property
    def shardctl(self):
        """What BALLAST_CLUSTER is to be."""
        return self.state["shardctl"]

    def names(self, kind=""):
        return [name for name in self.processes if name.startswith(kind)]

    def address(self, name):
        return self._process(name)["address"]

    def path(self, name):
        """The process's folder."""
        return self.folder / name

    def log(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def pid(self, name):
        """The living process's pid, or None."""
        self.reload()
        process = self._process(name)
        child = self._children.get(process["pid"])
        if child is not None:
            child.poll()
        started = _start_time(process["pid"]) if process["pid"] else None
        return process["pid"] if started is not None and started == process["started"] else None

    def running(self):
        self.reload()
        return [name for name in self.names() if self.pid(name)]

    def environment(self):
        """For children that are clients of the cluster."""
        return {**os.environ, "BALLAST_CLUSTER": self.shardctl}

    def ballast(self, *arguments, check=True, **options):
        """Runs the command-line client; its CompletedProcess, with text output."""
        done = subprocess.run(
            [self.binaries / "ballast", *map(str, arguments)],
            env=self.environment(), text=True, capture_output=True, **options)
        if check and done.returncode != 0:
            raise ClusterError(f"ballast {' '.join(map(str, arguments))} ended with "
                               f"{done.returncode}: {done.stderr.strip()}")
        return done

    # --- making, starting and ending ---------------------------------------------------------

    def start(self, servers=4, shards=256, settings=None, default_ports=False, timeout=30,
              capacity=""):
        """Formats, starts and joins a new cluster, and returns when it can be used. `settings` are
        flags of `ballast settings`, such as {"grace": "1s"}; `capacity` is that of each chunk
        server, of later ones too, else the disk's. If anything fails, everything is ended again."""
        self._check_binaries()
        if self.exists():
            raise ClusterError(f"there is a cluster in {self.folder} already")
        if self.folder.exists() and any(self.folder.iterdir()):
            raise ClusterError(f"{self.folder} is not empty and holds no cluster")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._ports = self._free_ports(default_ports)
        self.state["capacity"] = str(capacity)
        try:
            self._make_shardctl(shards)
            self._make_master(shards)
            for number in range(1, servers + 1):
                self.add_chunkserver(number, start=False)
            self.start_all()
            if settings:
                self.ballast("settings", *[f"--{flag}={value}" for flag, value in settings.items()])
            self.ballast("group", "join", "1", self.address("master1"))
            self.wait_ready(timeout)
        except BaseException:
            self.stop()
            raise

    def start_all(self):
        """Starts what is not running."""
        for name in self.names():
            if not self.pid(name):
                self.start_process(name)

    def exists(self):
        return self._file().exists()

    def wipe(self):
        """Removes the folder of a cluster that is not running."""
        if self.running():
            raise ClusterError(f"a cluster is running in {self.folder}")
        if self.exists():
            shutil.rmtree(self.folder)
        self.state = {"cluster_id": "", "shardctl": "", "processes": {}}

    def wait_ready(self, timeout=30):
        """Until every running chunk server is alive for the master."""
        def ready():
            self._check_alive()
            wanted = len([n for n in self.names("chunkserver") if self.pid(n)])
            return self.alive_servers() >= wanted
        poll_until(ready, timeout, "the cluster is not ready")

    def alive_servers(self):
        """How many chunk servers the master counts as alive; -1 if it cannot be asked."""
        done = self.ballast("servers", "--json", "--timeout", "5s", check=False, timeout=20)
        if done.returncode != 0:
            return -1
        return sum(1 for server in json.loads(done.stdout) if server["liveness"] == "alive")

    def add_chunkserver(self, number, start=True, zone="", capacity=""):
        """A new, empty chunk server."""
        name = f"chunkserver{number}"
        address = self._next_address("chunkserver")
        self._run_format("chunkserver", "--folder", self.path(name),
                         "--cluster-id", self.state["cluster_id"])
        arguments = ["chunkserver", "run", "--folder", str(self.path(name)), "--listen", address,
                     "--shardctl", self.shardctl]
        if zone:
            arguments += ["--zone", zone]
        capacity = capacity or self.state.get("capacity")
        if capacity:
            arguments += ["--capacity-bytes", str(capacity)]
        self._add_process(name, address, arguments)
        if start:
            self.start_process(name)
        return name

    def start_process(self, name):
        """Starts it with the arguments it was made with; it must not be running."""
        if self.pid(name):
            raise ClusterError(f"{name} is running already, pid {self.pid(name)}")
        process = self._process(name)
        with open(self.folder / f"{name}.log", "ab") as log:
            child = subprocess.Popen(
                [self.binaries / process["arguments"][0], *process["arguments"][1:]],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=_die_with_parent if self._die_with_parent else None)
        process["pid"] = child.pid
        process["started"] = _start_time(child.pid)
        self._children[child.pid] = child
        self._save()

    def stop_process(self, name, timeout=10):
        """SIGTERM, then SIGKILL after `timeout`. True if the first was enough."""
        self._signal(name, signal.SIGTERM)
        self._signal(name, signal.SIGCONT)
        try:
            poll_until(lambda: not self.pid(name), timeout, name)
            return True
        except ClusterError:
            self.kill_process(name)
            return False

    def kill_process(self, name):
        """kill -9, and waits until it is gone."""
        self._signal(name, signal.SIGKILL)
        poll_until(lambda: not self.pid(name), 30, f"{name} does not die")

    def restart_process(self, name, kill=False):
        if self.pid(name):
            if kill:
                self.kill_process(name)
            else:
                self.stop_process(name)
        self.start_process(name)

    def pause_process(self, name):
        """SIGSTOP: alive for the kernel, silent for everybody else."""
        self._signal(name, signal.SIGSTOP)

    def resume_process(self, name):
        self._signal(name, signal.SIGCONT)

    def stop(self):
        """Ends every process: clients of others first. Names those that had to be killed."""
        self.reload()
        killed = []
        for kind in reversed(DEFAULT_PORTS):
            names = [name for name in self.names(kind) if self.pid(name)]
            for name in names:
                self._signal(name, signal.SIGCONT)
                self._signal(name, signal.SIGTERM)
            killed += [name for name in names if not self.stop_process(name)]
        return killed

    # --- inside ------------------------------------------------------------------------------

    def _file(self):
        return self.folder / "cluster.json"

    def _save(self):
        temporary = self.folder / "cluster.json.tmp"
        temporary.write_text(json.dumps(self.state, indent=1))
        temporary.replace(self._file())

    def _process(self, name):
        if name not in self.processes:
            raise ClusterError(f"no process '{name}'; there are: {', '.join(self.processes)}")
        return self.processes[name]

    def _add_process(self, name, address, arguments):
        self.processes[name] = {"address": address, "arguments": arguments, "pid": 0,
                                "started": None}
        self._save()

    def _signal(self, name, number):
        pid = self.pid(name)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _check_binaries(self):
        for binary in ("shardctl", "master", "chunkserver", "ballast"):
            if not (self.binaries / binary).exists():
                raise ClusterError(f"{self.binaries / binary} is not built: run ./dev build")

    def _check_alive(self):
        for name in self.names():
            if self._process(name)["pid"] and not self.pid(name):
                last = self.log(name).strip().splitlines()[-1:]
                raise ClusterError(f"{name} has ended: {''.join(last)}")

    def _free_ports(self, default_ports):
        """Ports that are free now. Those not default lie below the range that the kernel gives to
        outgoing connections, so that nobody takes one while its process is down."""
        def ports():
            offset = random.Random(os.getpid()).randrange(10_000)
            for step in range(10_000):
                port = 20_000 + (offset + step) % 10_000
                if _port_is_free(port):
                    yield port
        other = ports()
        defaults = {kind: iter(range(first, first + 100)) for kind, first in DEFAULT_PORTS.items()}

        def take(kind):
            if default_ports:
                for port in defaults[kind]:
                    if _port_is_free(port):
                        return port
            return next(other)
        return take

    def _next_address(self, kind):
        if self._ports is None:
            self._ports = self._free_ports(default_ports=False)
        used = {process["address"] for process in self.processes.values()}
        while True:
            address = f"127.0.0.1:{self._ports(kind)}"
            if address not in used:
                return address

    def _run_format(self, binary, *arguments):
        done = subprocess.run([self.binaries / binary, "format", *map(str, arguments)],
                              text=True, capture_output=True, timeout=60)
        if done.returncode != 0:
            raise ClusterError(done.stderr.strip() or f"{binary} format failed")
        return done.stdout.strip()

    def _make_shardctl(self, shards):
        address = self._next_address("shardctl")
        self.state["cluster_id"] = self._run_format(
            "shardctl", "--folder", self.path("shardctl"), "--shards", shards,
            "--voters", f"1={address}")
        self.state["shardctl"] = address
        self._add_process("shardctl", address,
                          ["shardctl", "run", "--folder", str(self.path("shardctl"))])

    def _make_master(self, shards):
        address = self._next_address("master")
        self._run_format(
            "master", "--folder", self.path("master1"), "--cluster-id", self.state["cluster_id"],
            "--shards", shards, "--group", 1, "--voters", f"1={address}")
        self._add_process("master1", address,
                          ["master", "run", "--folder", str(self.path("master1")),
                           "--shardctl", self.shardctl])


def up(cluster, arguments):
    begin = time.monotonic()
    if cluster.running():
        raise ClusterError(f"a cluster is running in {cluster.folder}: ./dev down ends it")
    if cluster.exists():
        there = len(cluster.names("chunkserver"))
        if arguments.servers not in (None, there) or arguments.replicas:
            raise ClusterError(f"{cluster.folder} holds a cluster of {there} chunk servers; start it "
                               "as it is, or remove it first: ./dev down --wipe")
        try:
            cluster.start_all()
            cluster.wait_ready()
        except BaseException:
            cluster.stop()
            raise
    else:
        settings = {}
        if arguments.replicas:
            settings = {"default-replicas": arguments.replicas,
                        "min-replicas": min(2, arguments.replicas)}
        cluster.start(servers=4 if arguments.servers is None else arguments.servers,
                      shards=arguments.shards, settings=settings,
                      default_ports=not arguments.any_ports, capacity=arguments.capacity)
    print(f"{len(cluster.names('chunkserver'))} chunk servers ready after "
          f"{time.monotonic() - begin:.1f} s", file=sys.stderr)
    print(cluster.shardctl)


def status(cluster):
    for name in cluster.names():
        pid = cluster.pid(name)
        print(f"{name:14} {cluster.address(name):22} {f'pid {pid}' if pid else 'not running'}")


def main():
    parser = argparse.ArgumentParser(description="A local cluster of the real binaries.")
    parser.add_argument("--folder", default=str(TOP / "build/cluster"))
    verbs = parser.add_subparsers(dest="verb", required=True)
    begin = verbs.add_parser("up", help="make and start a cluster, or start the one there is")
    begin.add_argument("--servers", type=int, help="chunk servers, default 4")
    begin.add_argument("--replicas", type=int, help="copies of a chunk, default 3")
    begin.add_argument("--shards", type=int, default=256)
    begin.add_argument("--capacity", default="",
                       help="what each chunk server takes, such as 10GiB; default the whole disk")
    begin.add_argument("--any-ports", action="store_true", help="do not prefer 7400, 7500, 7600..")
    end = verbs.add_parser("down", help="end every process")
    end.add_argument("--wipe", action="store_true", help="and remove the folder")
    verbs.add_parser("status", help="what runs where")
    add = verbs.add_parser("add-server", help="one more chunk server, empty")
    add.add_argument("number", type=int)
    for verb in ("start", "stop", "kill", "restart", "pause", "resume", "address"):
        verbs.add_parser(verb).add_argument("name")
    arguments = parser.parse_args()
    cluster = Cluster(arguments.folder)

    if arguments.verb == "up":
        up(cluster, arguments)
    elif arguments.verb == "down":
        for name in cluster.stop():
            print(f"cluster: {name} did not stop in time and was killed", file=sys.stderr)
        if arguments.wipe:
            cluster.wipe()
    elif arguments.verb == "status":
        status(cluster)
    elif arguments.verb == "add-server":
        print(cluster.add_chunkserver(arguments.number))
    elif arguments.verb == "address":
        print(cluster.address(arguments.name))
    else:
        getattr(cluster, f"{arguments.verb}_process")(arguments.name)


if __name__ == "__main__":
    try:
        main()
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        sys.exit(1)
