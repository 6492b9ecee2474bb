#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Gateway bench on the real program: ./dev bench gateway [--starts N] [--heartbeats N] [--json]

Each figure comes from fresh gateways with their embedded clusters, spoken to over pipes:
  init_ok            from exec to the reply to init
  first heartbeat    from exec to the reply to a heartbeat of 2 chunks, sent with init
  to the end         from exec to exit, for the same two messages and the end of input
(medians of --starts), and heartbeats of 100 chunks each by --servers servers in turn, as many as fit
into the pipes ahead of their replies:
  same names         every server lists the same 100 names again
  new names          every heartbeat brings 100 names never seen (each is adopted)
then moves of one chunk of 64 MiB (zeros), one after another."""

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
CHUNKS = 100


def message(kind, number, **body):
    return json.dumps({"src": "c1", "dest": "n1",
                       "body": {"type": kind, "msg_id": number, **body}}) + "\n"


def heartbeat(number, server, chunks):
    return message("heartbeat", number, server=server, chunks=chunks, disk_usage_pct=50)


class Gateway:
    """A gateway with init sent."""

    def __init__(self, binary, *first):
        self.begin = time.monotonic()
        self.process = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True, bufsize=1 << 16)
        self.send(message("init", 1, node_id="n1", node_ids=["n1"]), *first)

    def send(self, *lines):
        self.process.stdin.write("".join(lines))
        self.process.stdin.flush()

    def reply(self, kind):
        line = self.process.stdout.readline()
        body = json.loads(line)["body"]
        if body["type"] != kind:
            sys.exit(f"gateway.py: wanted {kind}, got {line}")
        return body

    def elapsed_ms(self):
        return (time.monotonic() - self.begin) * 1000

    def end(self):
        self.process.stdin.close()
        if self.process.wait(timeout=60) != 0:
            sys.exit(f"gateway.py: exit status {self.process.returncode}")


def starts(binary, count):
    times = {"init_ok": [], "first heartbeat": [], "to the end": []}
    for _ in range(count):
        gateway = Gateway(binary, heartbeat(2, "cs1", ["a", "b"]))
        gateway.reply("init_ok")
        times["init_ok"].append(gateway.elapsed_ms())
        gateway.reply("heartbeat_ok")
        times["first heartbeat"].append(gateway.elapsed_ms())
        gateway.end()
        times["to the end"].append(gateway.elapsed_ms())
    return {name: statistics.median(values) for name, values in times.items()}


def heartbeats(binary, count, servers, names_of):
    """Replies per minute; the writer runs ahead."""
    gateway = Gateway(binary)
    gateway.reply("init_ok")
    lines = [heartbeat(2 + i, f"cs{i % servers}", names_of(i)) for i in range(count)]
    begin = time.monotonic()
    writer = threading.Thread(target=lambda: gateway.send(*lines))
    writer.start()
    for _ in range(count):
        gateway.reply("heartbeat_ok")
    seconds = time.monotonic() - begin
    writer.join()
    gateway.end()
    return count / seconds * 60


def moves(binary, count):
    """Milliseconds of one rebalance_execute of one chunk."""
    gateway = Gateway(binary, heartbeat(2, "cs1", [f"m{i}" for i in range(count)]),
                      heartbeat(3, "cs2", []))
    for kind in ("init_ok", "heartbeat_ok", "heartbeat_ok"):
        gateway.reply(kind)
    times = []
    for i in range(count):
        begin = time.monotonic()
        gateway.send(message("rebalance_execute", 4 + i,
                             moves=[{"chunk": f"m{i}", "from": "cs1", "to": "cs2"}]))
        reply = gateway.reply("rebalance_execute_ok")
        times.append((time.monotonic() - begin) * 1000)
        if reply["moved"] != 1 or reply["bytes_transferred"] != 1 << 26:
            sys.exit(f"gateway.py: a move failed: {reply}")
    gateway.end()
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(TOP / "build/release/bin/gateway"))
    parser.add_argument("--starts", type=int, default=21)
    parser.add_argument("--heartbeats", type=int, default=5000)
    parser.add_argument("--servers", type=int, default=10)
    parser.add_argument("--moves", type=int, default=11)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    result = {f"{name}, ms": value
              for name, value in starts(arguments.binary, arguments.starts).items()}
    result["heartbeats a minute, same names"] = heartbeats(
        arguments.binary, arguments.heartbeats, arguments.servers,
        lambda i: [f"s{i % arguments.servers}-{n}" for n in range(CHUNKS)])
    result["heartbeats a minute, new names"] = heartbeats(
        arguments.binary, arguments.heartbeats // 5, arguments.servers,
        lambda i: [f"h{i}-{n}" for n in range(CHUNKS)])
    result["one move of 64 MiB, ms"] = moves(arguments.binary, arguments.moves)
    if arguments.json:
        print(json.dumps(result, indent=1))
        return
    for name, value in result.items():
        print(f"{name:36} {value:12.1f}")


if __name__ == "__main__":
    main()
