# SPDX-License-Identifier: Apache-2.0
"""A cluster of real processes stores, returns, and goes on when processes die."""

import json
import unittest

from cluster_case import ClusterCase, ClusterError, poll_until

MIB = 1 << 20


class SmokeTest(ClusterCase):

    def test_returns_what_was_stored(self):
        for size in (0, 1, 100, 4096, 4097, 65536, 3 * MIB + 17):
            with self.subTest(size=size):
                data = self.random_bytes(size, seed=size)
                self.put(f"sizes/{size}", data)
                self.assert_same(self.get(f"sizes/{size}"), data)

    def test_lists_in_order_and_removes(self):
        for key in ("list/b", "list/a", "list/c"):
            self.put(key, key.encode())
        listed = self.cluster.ballast("ls", "list/").stdout
        self.assertLess(listed.index("list/a"), listed.index("list/b"))
        self.assertLess(listed.index("list/b"), listed.index("list/c"))
        self.cluster.ballast("rm", "list/b")
        self.assertNotIn("list/b", self.cluster.ballast("ls", "list/").stdout)
        with self.assertRaises(ClusterError):
            self.get("list/b")

    def test_reads_go_on_without_a_chunk_server(self):
        data = self.random_bytes(2 * MIB, seed=1)
        self.put("killed", data)
        for name in self.cluster.names("chunkserver"):
            self.cluster.kill_process(name)
            self.assert_same(self.get("killed"), data, f"without {name}")
            self.cluster.start_process(name)
            self.cluster.wait_ready()

    def test_reads_go_on_while_a_chunk_server_hangs(self):
        data = self.random_bytes(2 * MIB, seed=2)
        self.put("paused", data)
        for name in self.cluster.names("chunkserver"):
            self.cluster.pause_process(name)
            self.assert_same(self.get("paused"), data, f"while {name} hangs")
            self.cluster.resume_process(name)

    def test_everything_survives_kill_9_of_everything(self):
        data = self.random_bytes(2 * MIB, seed=3)
        self.put("everything/large", data)
        self.put("everything/small", b"small")
        for name in self.cluster.names():
            self.cluster.kill_process(name)
        self.cluster.start_all()
        self.cluster.wait_ready()
        self.assert_same(self.get("everything/large"), data)
        self.assertEqual(self.get("everything/small"), b"small")

    def test_a_restarted_master_knows_what_it_acknowledged(self):
        self.put("master", b"before")
        self.cluster.restart_process("master1", kill=True)
        self.assertEqual(self.get("master"), b"before")
        self.put("master", b"after")
        self.assertEqual(self.get("master"), b"after")

    def test_a_dead_server_is_noticed_and_welcomed_back(self):
        count = self.cluster.alive_servers()
        self.cluster.kill_process("chunkserver1")
        poll_until(lambda: self.cluster.alive_servers() == count - 1, 30, "death is not noticed")
        self.cluster.start_process("chunkserver1")
        poll_until(lambda: self.cluster.alive_servers() == count, 30, "return is not noticed")

    def test_every_process_stops_in_order_when_asked(self):
        for name in self.cluster.names():
            self.assertTrue(self.cluster.stop_process(name), f"{name} had to be killed")

    def test_status_is_readable_by_machines(self):
        json.loads(self.cluster.ballast("status", "--json").stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
