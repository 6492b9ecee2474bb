# SPDX-License-Identifier: Apache-2.0
"""Repair, drains and the verbs about them, on real processes."""

import json
import os
import unittest

from cluster_case import ClusterCase, poll_until

MIB = 1 << 20
SECONDS = 60  # for a busy machine


class HealingTest(ClusterCase):
    SERVERS = 5
    SETTINGS = {"heartbeat-interval": "1s", "default-replicas": "2"}

    def ballast(self, *arguments, check=True):
        return self.cluster.ballast(*arguments, check=check).stdout

    def servers(self):
        return json.loads(self.ballast("servers", "--json"))

    def fsck_is_clean(self):
        return self.cluster.ballast("fsck", check=False).returncode == 0

    def wait_healed(self, what):
        # Twice in a row: between a death and the look at what it held, all seems well.
        poll_until(self.fsck_is_clean, SECONDS, what)

    def store(self, prefix, count):
        self.objects = {f"{prefix}/{i}": os.urandom(3 * MIB + i) for i in range(count)}
        for key, value in self.objects.items():
            self.put(key, value)

    def compare(self):
        for key, value in self.objects.items():
            self.assertEqual(self.get(key), value)

    def id_of(self, name):
        address = self.cluster.address(name)
        return next(s["server_id"] for s in self.servers() if s["address"] == address)

    def liveness(self, name):
        address = self.cluster.address(name)
        return next(s["liveness"] for s in self.servers() if s["address"] == address)

    def test_a_dead_servers_chunks_are_copied_by_themselves(self):
        self.store("dead", 12)
        self.wait_healed("reports of what was written")
        self.cluster.kill_process("chunkserver1")
        try:
            poll_until(lambda: self.liveness("chunkserver1") == "dead", SECONDS, "the death")
            self.wait_healed("the repair")
            # Another one: had nothing been copied, some object would have lost both its copies.
            self.cluster.kill_process("chunkserver2")
            self.compare()
        finally:
            for name in ("chunkserver1", "chunkserver2"):
                self.cluster.start_process(name)
        poll_until(lambda: self.liveness("chunkserver2") == "alive", SECONDS, "the return")

    def test_two_drained_servers_end_empty_and_can_be_taken_back(self):
        self.store("drain", 12)
        self.wait_healed("reports of what was written")
        names = ["chunkserver3", "chunkserver4"]
        ids = [self.id_of(name) for name in names]
        out = self.ballast("drain", ids[0], self.cluster.address(names[1]))
        self.assertIn("draining", out)
        try:
            poll_until(lambda: all(s["chunk_count"] == 0 for s in self.servers()
                                   if s["server_id"] in ids), SECONDS, "the drain")
            poll_until(lambda: self.ballast("status").count("it can be taken away") == 2, SECONDS,
                       "the news of it")
            self.compare()
        finally:
            self.ballast("undrain", *ids)

    def test_the_verbs_explain_what_is_there(self):
        self.store("explain", 1)
        key = next(iter(self.objects))
        text = self.ballast("explain", key)
        self.assertIn("2 replicas wanted", text)
        self.assertEqual(text.count("  on "), 2, text)
        explained = json.loads(self.ballast("explain", key, "--json"))
        handle = f"{int(explained['chunks'][0]['handle']):016x}"
        self.assertIn(f"chunk {handle}", self.ballast("explain", handle))
        server = self.id_of("chunkserver5")
        self.assertIn("% full", self.ballast("explain", server))
        self.assertNotEqual(self.cluster.ballast("explain", "no/such/key", check=False).returncode, 0)
        check = json.loads(self.ballast("rebalance", "check", "--json"))
        self.assertEqual(check["overloaded"], [])
        plan = json.loads(self.ballast("rebalance", "plan", "--json"))
        self.assertEqual(int(plan["moves_planned"]), 0)
        self.assertIn("nothing to do", self.ballast("rebalance", "run"))
        self.assertIn("repair", self.ballast("status"))

    def test_wrong_names_are_refused(self):
        for arguments in (["drain", "nobody"], ["fsck", "--purge", "12"], ["rebalance", "flatten"],
                          ["rebalance", "plan", "--moves", "100000"]):
            done = self.cluster.ballast(*arguments, check=False)
            self.assertNotEqual(done.returncode, 0, arguments)
            self.assertEqual(done.stdout, "")


if __name__ == "__main__":
    unittest.main()
