# SPDX-License-Identifier: Apache-2.0
"""Routing pools on real processes: every path names the same server for a key, also after a crash."""

import json
import os
import subprocess
import unittest

from cluster_case import TOP, ClusterCase

KEYS = [f"user:{number}" for number in range(40)]
PYTHON = "/usr/bin/python3"  # the one that Debian's packages are for


class PoolTest(ClusterCase):
    SERVERS = 1
    SETTINGS = {"heartbeat-interval": "1s", "min-replicas": "1", "default-replicas": "1"}

    def pool(self, *arguments, **options):
        return self.cluster.ballast("pool", *arguments, **options).stdout

    def routes(self, count=1):
        """Key -> its servers, by the shard controller."""
        lines = self.pool("route", "caches", *KEYS, "--count", count).splitlines()
        return {line.split()[0]: line.split()[1:] for line in lines}

    def gateway(self, *bodies):
        """The replies' bodies."""
        lines = [json.dumps({"src": "c1", "dest": "n1", "body": {"msg_id": number, **body}})
                 for number, body in enumerate(bodies)]
        done = subprocess.run(
            [self.cluster.binaries / "gateway", "--cluster", self.cluster.shardctl, "--pool", "caches"],
            input="\n".join(lines), capture_output=True, text=True, timeout=60, check=True)
        return [json.loads(line)["body"] for line in done.stdout.splitlines()]

    def python_routes(self):
        environment = {**self.cluster.environment(),
                       "BALLAST_PYTHON_STUBS": str(self.scratch / "stubs")}
        done = subprocess.run(
            [PYTHON, "-B", TOP / "examples/python/ballast.py", "route", "caches", *KEYS],
            env=environment, capture_output=True, text=True, timeout=120, check=True)
        return {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}

    def test_every_path_names_the_same_servers_and_a_crash_changes_none(self):
        self.pool("create", "caches")
        self.pool("add", "caches", "10.0.0.1:11211", "10.0.0.2:11211", "10.0.0.3:11211")
        self.pool("add", "caches", "big", "--weight", "2.5")
        routes = self.routes(count=4)
        self.assertEqual({len(servers) for servers in routes.values()}, {4})
        self.assertGreater(len({servers[0] for servers in routes.values()}), 2)
        self.assertEqual(self.python_routes(), routes)
        replies = self.gateway(*[{"type": "get_server", "key": key} for key in KEYS])
        self.assertEqual({key: reply["servers"] for key, reply in zip(KEYS, replies)}, routes)

        self.cluster.kill_process("shardctl")
        self.cluster.start_process("shardctl")
        self.assertEqual(self.routes(count=4), routes)

        # Only what belonged to the server that drains goes elsewhere: to the next in its order.
        self.pool("drain", "caches", "big")
        for key, servers in self.routes().items():
            wanted = routes[key][1] if routes[key][0] == "big" else routes[key][0]
            self.assertEqual(servers, [wanted], key)
        shown = self.pool("show", "caches")
        self.assertIn("draining", shown)
        self.assertIn("weight 2.5", shown)
        self.pool("undrain", "caches", "big")
        self.assertEqual(self.routes(count=4), routes)

        # The gateway's changes are everybody's.
        added, removed = self.gateway({"type": "add_server", "server": "new"},
                                      {"type": "remove_server", "server": "new"})
        self.assertIn("new", added["servers"])
        self.assertNotIn("new", removed["servers"])
        self.assertEqual(self.routes(count=4), routes)

    def test_mistakes_are_told_in_one_line(self):
        self.pool("create", "small")
        for arguments, text in (
                (("show", "none"), "no pool 'none'"),
                (("remove", "small", "x"), "no server 'x'"),
                (("drain", "small", "x"), "no server 'x'"),
                (("create", "small", "--points", "7"), "1024 points"),
                (("create", "a b"), "a pool's name")):
            done = self.cluster.ballast("pool", *arguments, check=False)
            self.assertEqual(done.returncode, 1, arguments)
            self.assertIn(text, done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        done = self.cluster.ballast("pool", "add", "small", "x", "--weight", "-1", check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("no server takes requests", self.pool("route", "small", "k"))
        listed = json.loads(self.pool("list", "--json"))
        self.assertIn("small", [pool["name"] for pool in listed["pools"]])
        self.pool("delete", "small")
        self.assertNotIn("small", self.pool("list"))


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    unittest.main()
