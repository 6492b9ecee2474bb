#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A gibibyte of bad input, in several kinds, through the real gateway: good messages in between are
answered, memory stays below 256 MiB, and it ends with exit code 0.

BALLAST_BIN names the folder of the binaries.
"""

import json
import os
import queue
import random
import subprocess
import threading
import unittest
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
GATEWAY = Path(os.environ.get("BALLAST_BIN", TOP / "build/release/bin")) / "gateway"
MIB = 1 << 20
PEAK_MAX = 256 * MIB


def message(kind, msg_id, **fields):
    body = {"type": kind, "msg_id": msg_id, **fields}
    return json.dumps({"src": "c1", "dest": "n1", "body": body}).encode()


class Gateway:
    """The process, its replies by in_reply_to, and what it says on standard error."""

    def __init__(self):
        self.process = subprocess.Popen([GATEWAY], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        self.replies = queue.Queue()
        self.said = []
        self.readers = [threading.Thread(target=self.read_replies, daemon=True),
                        threading.Thread(target=self.read_errors, daemon=True)]
        for reader in self.readers:
            reader.start()
        self.next_id = 1000000

    def read_replies(self):
        for line in self.process.stdout:
            self.replies.put(json.loads(line))
        self.replies.put(None)

    def read_errors(self):
        for line in self.process.stderr:
            self.said.append(line)

    def send(self, data):
        self.process.stdin.write(data)

    def good_message(self):
        """A message in a line of its own; returns its number."""
        self.next_id += 1
        self.send(b"\n" + message("make_coffee", self.next_id) + b"\n")
        return self.next_id

    def wait_for(self, msg_id):
        """The replies up to and with the one to msg_id."""
        self.process.stdin.flush()
        before = []
        while True:
            reply = self.replies.get()
            if reply is None:
                raise AssertionError(f"the gateway ended: {self.said[-3:]}")
            before.append(reply)
            if reply["body"]["in_reply_to"] == msg_id:
                return before

    def peak_bytes(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        line = next(x for x in status.splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024

    def end(self):
        self.process.stdin.close()
        code = self.process.wait()
        for reader in self.readers:
            reader.join()
        self.process.stdout.close()
        self.process.stderr.close()
        return code


class GatewayHostileTest(unittest.TestCase):

    def run_kind(self, blocks, count):
        """`count` times the blocks, each followed by a good message."""
        gateway = Gateway()
        self.addCleanup(gateway.process.kill)
        for _ in range(count):
            for block in blocks:
                gateway.send(block)
            asked = gateway.good_message()
            self.assertEqual(gateway.wait_for(asked)[-1]["body"]["code"], 10)
        self.assertLess(gateway.peak_bytes(), PEAK_MAX)
        self.assertEqual(gateway.end(), 0)
        self.assertLess(len(gateway.said), 10000)
        return gateway

    def test_random_bytes(self):
        rng = random.Random(1)
        self.run_kind([rng.randbytes(MIB) for _ in range(16)], 16)

    def test_an_endless_string(self):
        gateway = self.run_kind([b'{"src":"c1","x":"' + b"x" * MIB] + [b"x" * MIB] * 255, 1)
        self.assertEqual(len(gateway.said), 1)

    def test_brackets_without_end(self):
        self.run_kind([b"[" * MIB] * 64, 2)

    def test_brackets_a_line_each(self):
        self.run_kind([b"[\n" * (MIB // 2)] * 8, 4)

    def test_objects_that_nest_over_lines(self):
        line = b'{"a":{"b":{"c":{"d":{"e":"eeeeeeeeeeeeeeeeeeeeee"},"f":[1,2,3],"g":\n'
        self.run_kind([line * (MIB // len(line))] * 16, 8)

    def test_many_small_bad_lines(self):
        line = b'{"src":5,"dest":"n1","body":{"type":"read","msg_id":3,"key":"kkkkkkkkkkk"}}x\n'
        self.run_kind([line * (MIB // len(line))] * 8, 8)

    def test_blanks(self):
        self.run_kind([b"[\n" + b" " * MIB] + [b" " * MIB] * 63, 2)

    def test_values_that_fill_every_limit(self):
        names = [f"c{i}" for i in range(500000)]
        many = message("heartbeat", 1, server="s", chunks=names, disk_usage_pct=101)
        long = message("write", 2, value="v" * (15 * MIB))
        flat = b'{"src":"c1","dest":"n1","body":{"type":"x","msg_id":3,"v":[' + b"{}," * 5000000 + b"1]}}"
        gateway = Gateway()
        self.addCleanup(gateway.process.kill)
        for _ in range(4):
            for value in (many, long, flat):
                gateway.send(value + b"\n")
            replies = gateway.wait_for(3)
            self.assertEqual([r["body"]["code"] for r in replies], [12, 12, 12])
        self.assertLess(gateway.peak_bytes(), PEAK_MAX)
        self.assertEqual(gateway.end(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
