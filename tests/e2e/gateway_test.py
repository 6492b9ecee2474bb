#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The gateway as a program: what tests/cases cannot say because it needs flags, pauses or a running
cluster, or because times and texts differ. BALLAST_BIN names the folder of the binaries."""

import json
import os
import re
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path

from cluster_case import BINARIES, ClusterCase, poll_until

GATEWAY = BINARIES / "gateway"
# A chunk of this length is copied quickly on any machine.
SMALL = ("--chunk-bytes", "64KiB")


def environment():
    return {k: v for k, v in os.environ.items() if not k.startswith("BALLAST_")}


class Gateway:
    """One process and a conversation with it, in step."""

    def __init__(self, *flags, **variables):
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen([GATEWAY, *flags], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.errors,
                                        env={**environment(), **variables})
        self.next_id = 0

    def send(self, kind, src="c1", **fields):
        self.next_id += 1
        body = {"type": kind, "msg_id": self.next_id, **fields}
        line = json.dumps({"src": src, "dest": "n1", "body": body}) + "\n"
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()
        return self.next_id

    def receive(self):
        line = self.process.stdout.readline()
        return json.loads(line)["body"] if line else None

    def ask(self, kind, **fields):
        msg_id = self.send(kind, **fields)
        body = self.receive()
        assert body["in_reply_to"] == msg_id, body
        return body

    def heartbeat(self, server, *chunks, usage=50):
        return self.ask("heartbeat", server=server, chunks=chunks, disk_usage_pct=usage)

    def servers(self):
        return {row["server"]: row for row in self.ask("server_status")["servers"]}

    def said(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace").splitlines()

    def end(self):
        """Ends the input; what was still said on standard output, and the exit code."""
        self.process.stdin.close()
        rest = self.process.stdout.read()
        code = self.process.wait()
        self.process.stdout.close()
        return rest, code

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.errors.close()
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                pipe.close()
            except BrokenPipeError:
                pass


class GatewayCase(unittest.TestCase):

    def start(self, *flags, **variables):
        gateway = Gateway(*flags, **variables)
        self.addCleanup(gateway.kill)
        return gateway

    def assert_ends_well(self, gateway):
        self.assertEqual(gateway.end(), (b"", 0))

    def assert_error(self, body, code, pattern="."):
        self.assertEqual((body["type"], body["code"]), ("error", code), body)
        self.assertRegex(body["text"], pattern)


class EmbeddedTest(GatewayCase):

    def test_status_tells_servers_chunks_and_age(self):
        gateway = self.start()
        gateway.heartbeat("cs2", "a", "b", "a")
        gateway.heartbeat("cs1")
        status = gateway.ask("server_status")["servers"]
        self.assertEqual([row["server"] for row in status], ["cs1", "cs2"])
        self.assertEqual([row["chunks"] for row in status], [0, 2])
        for row in status:
            self.assertEqual(row["status"], "alive")
            self.assertIsInstance(row["last_heartbeat_ms_ago"], int)
            self.assertGreaterEqual(row["last_heartbeat_ms_ago"], 0)
        self.assert_ends_well(gateway)

    def test_three_missed_heartbeats_make_a_server_dead(self):
        gateway = self.start("--heartbeat-interval", "200ms")
        gateway.heartbeat("cs1", "a", usage=90)
        gateway.heartbeat("cs2", "b", usage=10)
        self.assertEqual(gateway.servers()["cs1"]["status"], "alive")

        def cs1_is_dead():
            gateway.heartbeat("cs2", "b", usage=10)
            return gateway.servers()["cs1"]["status"] == "dead"

        poll_until(cs1_is_dead, 30, "cs1 dead")
        servers = gateway.servers()
        self.assertEqual(servers["cs1"]["chunks"], 0)
        self.assertGreaterEqual(servers["cs1"]["last_heartbeat_ms_ago"], 600)
        self.assertEqual(servers["cs2"]["status"], "alive")
        # A dead server does not count.
        self.assertEqual(gateway.ask("rebalance_check")["average_utilization_pct"], 10)
        gateway.heartbeat("cs1", "a", usage=90)
        servers = gateway.servers()
        self.assertEqual((servers["cs1"]["status"], servers["cs1"]["chunks"]), ("alive", 1))
        self.assert_ends_well(gateway)

    def test_a_move_transfers_the_chunk(self):
        gateway = self.start(*SMALL)
        gateway.heartbeat("cs1", "a", "b", usage=90)
        gateway.heartbeat("cs2", usage=10)
        done = gateway.ask("rebalance_execute", moves=[{"chunk": "a", "from": "cs1", "to": "cs2"}])
        self.assertEqual((done["moved"], done["bytes_transferred"]), (1, 65536))
        self.assertNotIn("failed", done)

        def moved():
            gateway.heartbeat("cs1", "b", usage=80)
            gateway.heartbeat("cs2", usage=20)
            servers = gateway.servers()
            return (servers["cs1"]["chunks"], servers["cs2"]["chunks"]) == (1, 1)

        poll_until(moved, 30, "the chunk counted at its target")
        self.assert_ends_well(gateway)

    def test_moves_that_cannot_be_are_listed_and_the_others_made(self):
        gateway = self.start(*SMALL)
        gateway.heartbeat("cs1", "a", "b")
        gateway.heartbeat("cs2", "c")
        done = gateway.ask("rebalance_execute", moves=[
            {"chunk": "nowhere", "from": "cs1", "to": "cs2"},
            {"chunk": "a", "from": "cs1", "to": "cs2"},
            {"chunk": "c", "from": "cs1", "to": "cs2"},
        ])
        self.assertEqual((done["moved"], done["bytes_transferred"]), (1, 65536))
        self.assertEqual([f["chunk"] for f in done["failed"]], ["nowhere", "c"])
        self.assertTrue(all(f["reason"] for f in done["failed"]))
        self.assert_ends_well(gateway)

    def test_missing_keys_and_unmet_preconditions(self):
        gateway = self.start()
        self.assert_error(gateway.ask("read", key="k"), 20)
        self.assert_error(gateway.ask("cas", key="k", **{"from": 1, "to": 2}), 20)
        gateway.ask("write", key="k", value=1)
        self.assert_error(gateway.ask("cas", key="k", **{"from": 2, "to": 3}), 22)
        self.assertEqual(gateway.ask("read", key="k")["value"], 1)
        self.assert_error(gateway.ask("read", key=""), 12)
        self.assert_error(gateway.ask("write", key="k" * 2000, value=1), 12)
        self.assert_ends_well(gateway)

    def test_values_of_up_to_64_kib_come_back(self):
        gateway = self.start()
        value = [{"n": i, "t": "x" * 1000} for i in range(60)]
        self.assertEqual(gateway.ask("write", key="k", value=value)["type"], "write_ok")
        self.assert_error(gateway.ask("write", key="k", value="x" * 65535), 12)
        self.assertEqual(gateway.ask("read", key="k")["value"], value)
        self.assert_ends_well(gateway)

    def test_a_pool_routes_until_it_is_empty_again(self):
        gateway = self.start()
        self.assert_error(gateway.ask("get_server", key="k"), 11)
        self.assertEqual(gateway.ask("add_server", server="s1")["servers"], ["s1"])
        self.assertEqual(gateway.ask("get_server", key="k")["server"], "s1")
        self.assertEqual(gateway.ask("remove_server", server="s1")["servers"], [])
        self.assert_error(gateway.ask("remove_server", server="s1"), 20)
        self.assert_error(gateway.ask("get_server", key="k"), 11)
        self.assert_ends_well(gateway)

    def test_the_end_of_input_waits_for_everything(self):
        gateway = self.start()
        gateway.send("rebalance_execute", moves=[{"chunk": "a", "from": "s1", "to": "s2"}])
        gateway.send("write", key="k", value=1)
        rest, code = gateway.end()
        bodies = [json.loads(line)["body"] for line in rest.splitlines()]
        self.assertEqual([b["type"] for b in bodies], ["rebalance_execute_ok", "write_ok"])
        self.assertEqual(code, 0)


class ProcessTest(GatewayCase):

    def test_what_is_no_message_is_said_with_its_line(self):
        gateway = self.start()
        gateway.process.stdin.write(b"\ngarbage\n[1]\n")
        gateway.send("make_coffee")
        self.assert_error(gateway.receive(), 10)
        self.assert_ends_well(gateway)
        said = [line for line in gateway.said() if "gateway.bad_input" in line]
        self.assertEqual(len(said), 2, said)
        self.assertRegex(said[0], r"line=2 .*no JSON")
        self.assertRegex(said[1], r"line=3 .*must be an object")

    def test_a_stop_signal_ends_it_in_order(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            gateway = self.start()
            gateway.ask("write", key="k", value=1)
            gateway.process.send_signal(number)
            self.assertEqual(gateway.process.wait(), 0)

    def test_nothing_is_left_behind(self):
        with tempfile.TemporaryDirectory() as folder:
            gateway = self.start("--folder", folder, *SMALL)
            gateway.heartbeat("cs1", "a")
            self.assert_ends_well(gateway)
            self.assertEqual(os.listdir(folder), [])
            gateway = self.start("--folder", folder)
            gateway.ask("write", key="k", value=1)
            gateway.process.send_signal(signal.SIGTERM)
            self.assertEqual(gateway.process.wait(), 0)
            self.assertEqual(os.listdir(folder), [])

    def test_closed_output_ends_it_with_one(self):
        gateway = self.start()
        gateway.process.stdout.close()
        gateway.send("make_coffee")
        self.assertEqual(gateway.process.wait(), 1)

    def test_no_input_at_all_is_fine(self):
        done = subprocess.run([GATEWAY], stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              env=environment())
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""))

    def test_a_cluster_that_cannot_start_ends_nothing(self):
        gateway = self.start("--folder", "/dev/null/nowhere")
        self.assert_error(gateway.ask("server_status"), 11)
        self.assertEqual(gateway.ask("init", node_id="n1", node_ids=["n1"])["type"], "init_ok")
        self.assert_ends_well(gateway)

    def test_misuse_is_one_line_and_exit_code_two(self):
        for flags in (["--frob"], ["--cluster", "nowhere"], ["--chunk-bytes", "0"],
                      ["--chunk-bytes", "65MiB"], ["--heartbeat-interval", "1us"], ["message"],
                      ["--cluster", "h:1", "--folder", "x"]):
            done = subprocess.run([GATEWAY, *flags], stdin=subprocess.DEVNULL, capture_output=True,
                                  text=True, check=False, env=environment())
            self.assertEqual(done.returncode, 2, flags)
            self.assertEqual(done.stdout, "")
            self.assertRegex(done.stderr, re.compile(r"\Agateway: [^\n]+\n\Z"))

    def test_help_and_version(self):
        for flag in ("--help", "--version"):
            done = subprocess.run([GATEWAY, flag], capture_output=True, check=True)
            self.assertNotEqual(done.stdout, b"")


class RemoteTest(ClusterCase, GatewayCase):
    SERVERS = 2

    def remote(self):
        return self.start("--cluster", self.cluster.shardctl)

    def test_values_are_objects_of_the_cluster(self):
        gateway = self.remote()
        gateway.ask("write", key="from/gateway", value={"a": 1})
        self.assertEqual(self.get("from/gateway"), b'{"a":1}')
        self.put("from/client", b"plain text")
        self.assertEqual(gateway.ask("read", key="from/client")["value"], "plain text")
        self.assert_ends_well(gateway)

    def test_configurations_are_not_for_messages(self):
        gateway = self.remote()
        self.assert_error(gateway.ask("set_config", version=1, shards=[0]), 10)
        self.assert_error(gateway.ask("config_update", version=1, shards=[0]), 10)
        self.assert_ends_well(gateway)

    def test_the_environment_names_the_cluster(self):
        gateway = self.start(BALLAST_CLUSTER=self.cluster.shardctl)
        self.assert_error(gateway.ask("set_config", version=1, shards=[0]), 10)
        self.assert_ends_well(gateway)


class UnreachableTest(GatewayCase):

    def test_a_cluster_that_is_not_there_is_temporarily_unavailable(self):
        gateway = self.start("--cluster", "127.0.0.1:1")
        self.assertEqual(gateway.ask("init", node_id="n1", node_ids=["n1"])["type"], "init_ok")
        self.assert_error(gateway.ask("server_status"), 11)
        self.assert_ends_well(gateway)


if __name__ == "__main__":
    unittest.main(verbosity=2)
