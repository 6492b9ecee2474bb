# SPDX-License-Identifier: Apache-2.0
"""The ballast command on a real cluster: every size and way in and out, what it prints, how it ends."""

import hashlib
import json
import os
import re
import signal
import subprocess
import time
import unittest
from pathlib import Path

from cluster_case import ClusterCase, poll_until

KIB = 1 << 10
MIB = 1 << 20
CHUNK = 64 * MIB


class ClientTest(ClusterCase):

    def ballast(self, *arguments, **options):
        """Any outcome is fine; bytes in, bytes out."""
        return subprocess.run([self.cluster.binaries / "ballast", *map(str, arguments)],
                              env=self.cluster.environment(), capture_output=True, timeout=120,
                              check=False, **options)

    def done(self, *arguments, **options):
        """Must succeed; returns standard output."""
        run = self.ballast(*arguments, **options)
        self.assertEqual(run.returncode, 0, run.stderr.decode())
        return run.stdout

    def refused(self, code, *arguments, **options):
        """Must fail with one line; returns it."""
        run = self.ballast(*arguments, **options)
        self.assertEqual(run.returncode, code, run.stderr.decode())
        self.assertEqual(run.stdout, b"")
        lines = run.stderr.decode().splitlines()
        self.assertEqual(len(lines), 1, lines)
        self.assertTrue(lines[0].startswith("ballast: "), lines)
        return lines[0]

    def leader(self):
        members = json.loads(self.done("status", "--json"))["members"]
        return next(member for member in members if member.get("is_leader"))

    @staticmethod
    def high_water(pid):
        """The most memory that a process ever had, in bytes; 0 if it is gone. (wait4's ru_maxrss
        would count what this interpreter had when it forked.)"""
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return 0
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        return int(found.group(1)) * KIB if found else 0

    # --- bytes ---------------------------------------------------------------------------------

    def test_every_size_comes_back(self):
        data = self.random_bytes(CHUNK + 1, 1)
        for size in (0, 1, 4096, 4097, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, CHUNK - 1, CHUNK,
                     CHUNK + 1):
            self.put("sizes/k", data[:size])
            self.assert_same(self.get("sizes/k"), data[:size], f"{size} bytes")
            facts = json.loads(self.done("stat", "sizes/k", "--json"))
            self.assertEqual(facts["size_bytes"], size)
            self.assertEqual(facts["inline"], size <= 4096)
            self.assertEqual(facts["chunk_count"], 0 if size <= 4096 else -(-size // CHUNK))

    def test_a_large_file_goes_in_and_out_by_file_and_pipe(self):
        source = self.scratch / "large"
        digest = hashlib.sha256()
        with open(source, "wb") as out:
            for seed in range(200):
                block = self.random_bytes(MIB, seed)
                digest.update(block)
                out.write(block)
        self.done("put", source, "large/file")
        with open(source, "rb") as stdin:
            # Through a real pipe, whose length nobody knows.
            with subprocess.Popen(["cat"], stdin=stdin, stdout=subprocess.PIPE) as cat:
                self.done("put", "-", "large/pipe", stdin=cat.stdout)
        with open(source, "rb") as stdin:
            self.done("put", "-", "large/redirected", stdin=stdin)
        crcs = set()
        for key in ("large/file", "large/pipe", "large/redirected"):
            target = self.scratch / "back"
            self.done("get", key, target)
            self.assertEqual(hashlib.sha256(target.read_bytes()).digest(), digest.digest(), key)
            self.assertEqual(hashlib.sha256(self.done("get", key, "-")).digest(), digest.digest(), key)
            facts = json.loads(self.done("stat", key, "--json"))
            crcs.add(facts["crc32c"])
            self.assertEqual(facts["chunk_count"], 13 if key == "large/pipe" else 4)
        self.assertEqual(len(crcs), 1)
        self.done("rm", "large/file", "large/pipe", "large/redirected")

    def test_cp_copies_bytes_and_metadata(self):
        for size in (0, 100, 4096, 4097, 40 * MIB + 17):
            data = self.random_bytes(size, size)
            self.put("cp/from", data, "--meta", "lang=en", "--meta", "note=a=b")
            copied = json.loads(self.done("cp", "cp/from", "cp/to", "--json"))
            self.assertEqual((copied["key"], copied["source"], copied["size_bytes"]),
                             ("cp/to", "cp/from", size))
            self.assert_same(self.get("cp/to"), data, f"{size} bytes")
            source, target = (json.loads(self.done("stat", key, "--json"))
                              for key in ("cp/from", "cp/to"))
            self.assertEqual(target["metadata"], {"lang": "en", "note": "a=b"})
            self.assertEqual(target["crc32c"], source["crc32c"])
            self.assertEqual(target["generation"], copied["generation"])
            self.assertEqual(source["generation"], copied["source_generation"])
            self.assertEqual(target["chunk_count"], 0 if size <= 4096 else -(-size // (16 * MIB)))
        self.assertIn("no such object", self.refused(1, "cp", "cp/missing", "cp/other").lower())
        self.assertIn("onto itself", self.refused(2, "cp", "cp/to", "cp/to"))
        self.refused(1, "cp", "cp/from", "cp/to", "--if-generation-match", "0")
        self.assertEqual(self.done("cp", "cp/from", "cp/new", "--if-generation-match", "0",
                                   "--replicas", "2"), b"")
        self.assertEqual(json.loads(self.done("stat", "cp/new", "--json"))["wanted_replicas"], 2)
        self.done("rm", "cp/from", "cp/to", "cp/new")

    def test_cp_needs_little_memory(self):
        self.put("cp/large", self.random_bytes(300 * MIB, 3))
        with subprocess.Popen([self.cluster.binaries / "ballast", "cp", "cp/large", "cp/again"],
                              env=self.cluster.environment()) as copy:
            peak = 0
            while copy.poll() is None:
                peak = max(peak, self.high_water(copy.pid))
        self.assertEqual(copy.returncode, 0)
        self.assertGreater(peak, 16 * MIB, "it was seen at work")
        self.assertLess(peak, 192 * MIB)
        facts = [json.loads(self.done("stat", key, "--json")) for key in ("cp/large", "cp/again")]
        self.assertEqual(facts[0]["crc32c"], facts[1]["crc32c"])
        self.done("rm", "cp/large", "cp/again")

    def test_replicas_changes_what_is_wanted_and_nothing_else(self):
        self.put("replicas/k", self.random_bytes(MIB, 4))
        before = json.loads(self.done("stat", "replicas/k", "--json"))
        self.assertEqual(json.loads(self.done("replicas", "replicas/k", "2", "--json")),
                         {"key": "replicas/k", "wanted_replicas": 2})
        after = json.loads(self.done("stat", "replicas/k", "--json"))
        self.assertEqual(after, before | {"wanted_replicas": 2})
        self.put("replicas/inline", b"small")
        self.refused(1, "replicas", "replicas/inline", "2")
        self.refused(1, "replicas", "replicas/missing", "2")
        self.refused(2, "replicas", "replicas/k", "6")
        self.done("rm", "replicas/k", "replicas/inline")

    def test_ranges(self):
        data = self.random_bytes(3 * MIB + 17, 2)
        self.put("ranges/k", data, "--chunk-size", "1MiB")
        for first, last in ((0, 0), (0, 99), (65535, 65536), (MIB - 1, 2 * MIB), (3 * MIB, 9 * MIB)):
            got = self.done("get", "ranges/k", "-", "--range", f"{first}-{last}")
            self.assert_same(got, data[first:last + 1], f"{first}-{last}")
        self.assert_same(self.done("get", "ranges/k", "-", "--range", f"{2 * MIB}-"), data[2 * MIB:])
        self.assert_same(self.done("get", "ranges/k", "-", "--offset", "1MiB", "--length", "1KiB"),
                         data[MIB:MIB + KIB])
        self.assert_same(self.done("get", "ranges/k", "-", "--spread", "--offset", "77"), data[77:])
        target = self.scratch / "part"
        self.done("get", "ranges/k", target, "--range", "5-14")
        self.assertEqual(target.read_bytes(), data[5:15])
        line = self.refused(1, "get", "ranges/k", "-", "--offset", len(data))
        self.assertIn(str(len(data)), line)

    def test_a_file_is_named_after_the_key_and_replaced_as_a_whole(self):
        self.put("names/a.txt", b"new")
        folder = self.scratch / "folder"
        folder.mkdir()
        (folder / "a.txt").write_bytes(b"old")
        self.done("get", "names/a.txt", cwd=folder)
        self.assertEqual((folder / "a.txt").read_bytes(), b"new")
        self.refused(1, "get", "names/missing", "a.txt", cwd=folder)
        self.assertEqual((folder / "a.txt").read_bytes(), b"new")
        self.assertEqual(os.listdir(folder), ["a.txt"])

    # --- what is said --------------------------------------------------------------------------

    def test_list_is_ordered_and_can_be_walked(self):
        keys = sorted([f"list/{n:04}" for n in range(205)] + ["list/é", "list/ü x"],
                      key=lambda key: key.encode())
        source = self.scratch / "tiny"
        source.write_bytes(b"x")
        stream = "\n".join(keys)
        run = subprocess.run(["xargs", "-d", "\n", "-P", "8", "-I", "{}",
                              self.cluster.binaries / "ballast", "put", source, "{}"],
                             input=stream.encode(), env=self.cluster.environment(), check=False,
                             capture_output=True, timeout=300)
        self.assertEqual(run.returncode, 0, run.stderr.decode())
        self.assertEqual(self.done("ls", "list/").decode().splitlines(), keys)
        first = self.done("ls", "list/", "--limit", 100).decode().splitlines()
        rest = self.done("ls", "list/", "--start-after", first[-1]).decode().splitlines()
        self.assertEqual(first + rest, keys)
        lines = self.done("ls", "list/", "--json").decode().splitlines()
        self.assertEqual([json.loads(line)["key"] for line in lines], keys)
        self.assertIn("UTC  list/0000", self.done("ls", "list/", "--long").decode())
        self.done("rm", *keys)
        self.assertEqual(self.done("ls", "list/"), b"")

    def test_preconditions_compare_and_set(self):
        small, large = self.scratch / "small", self.scratch / "larger"
        small.write_bytes(b"s")
        large.write_bytes(self.random_bytes(100 * KIB, 3))
        for source in (small, large):
            key = f"conditions/{source.name}"
            made = json.loads(self.done("put", source, key, "--if-generation-match", 0, "--json"))
            self.refused(1, "put", source, key, "--if-generation-match", 0)
            again = json.loads(self.done("put", source, key, "--if-generation-match",
                                         made["generation"], "--json"))
            self.assertGreater(again["generation"], made["generation"])
            self.refused(1, "rm", key, "--if-generation-match", made["generation"])
            self.done("rm", key, "--if-generation-match", again["generation"])
            self.assertIn("no such object", self.refused(1, "stat", key))

    def test_metadata_and_replicas_are_kept(self):
        self.put("facts/k", self.random_bytes(100 * KIB, 4), "--meta", "lang=en,de", "--meta", "n=1",
                 "--replicas", "2")
        facts = json.loads(self.done("stat", "facts/k", "--json"))
        self.assertEqual(facts["metadata"], {"lang": "en,de", "n": "1"})
        self.assertEqual(facts["wanted_replicas"], 2)
        self.assertIn("meta.lang", self.done("stat", "facts/k").decode())

    def test_status_servers_and_settings_tell_the_same_in_text_and_json(self):
        status = json.loads(self.done("status", "--json"))
        self.assertEqual(status["config_version"], 1)
        self.assertEqual(len(status["servers"]), self.SERVERS)
        self.assertIn(status["cluster_id"], self.done("status").decode())
        servers = json.loads(self.done("servers", "--json"))
        text = self.done("servers").decode()
        for server in servers:
            self.assertIn(server["address"], text)
            self.assertEqual(server["liveness"], "alive")
        settings = json.loads(self.done("settings", "--json"))
        self.assertEqual(settings["min_replicas"], 2)
        self.done("settings", "--grace", "9m")
        self.assertIn("9m", self.done("settings").decode())
        self.done("settings", "set", "--grace", "10m")

    def test_health_asks_one_server_of_any_kind(self):
        for name in self.cluster.names():
            self.assertEqual(self.done("health", self.cluster.address(name)), b"serving\n")
        self.assertEqual(json.loads(self.done("health", self.cluster.shardctl, "--json")),
                         {"serving": True})
        self.refused(1, "health", "127.0.0.1:1")
        self.refused(2, "health", "nowhere")
        self.cluster.pause_process("chunkserver1")
        self.refused(1, "health", self.cluster.address("chunkserver1"), "--timeout", "300ms")

    def test_errors_are_one_line_and_say_what_to_do(self):
        self.assertIn("no such object", self.refused(1, "get", "nothing", "-"))
        self.assertIn("no such object", self.refused(1, "rm", "nothing"))
        self.assertIn("missing-file", self.refused(1, "put", "missing-file", "k"))
        self.assertIn("folder", self.refused(1, "put", self.scratch, "k"))
        self.assertIn("1024", self.refused(1, "put", os.devnull, "k" * 1025))
        self.refused(1, "put", os.devnull, "")
        self.refused(1, "put", os.devnull, b"\xff".decode(errors="surrogateescape"))
        self.refused(2, "dance")
        self.refused(2, "put", "one")
        line = self.refused(1, "ls", "--cluster", "127.0.0.1:1", "--timeout", "1s")
        self.assertIn("BALLAST_CLUSTER", line)
        run = self.ballast("stat", "nothing", "--json")
        self.assertEqual(json.loads(run.stderr)["error"]["reason"], "OBJECT_NOT_FOUND")

    def test_a_closed_pipe_ends_the_command(self):
        self.put("pipe/k", self.random_bytes(8 * MIB, 5))
        with subprocess.Popen([self.cluster.binaries / "ballast", "get", "pipe/k", "-"],
                              env=self.cluster.environment(), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as get:
            get.stdout.read(10)
            get.stdout.close()
            self.assertEqual(get.wait(20), 1)
            self.assertIn(b"standard output", get.stderr.read())

    # --- interruption --------------------------------------------------------------------------

    def test_an_interrupted_put_leaves_nothing(self):
        with subprocess.Popen([self.cluster.binaries / "ballast", "put", "-", "stopped/k"],
                              env=self.cluster.environment(), stdin=subprocess.PIPE,
                              stderr=subprocess.PIPE) as put:
            put.stdin.write(bytes(20 * MIB))
            put.stdin.flush()
            poll_until(lambda: self.leader()["draft_count"] == 1, 20, "no draft")
            put.send_signal(signal.SIGINT)
            self.assertEqual(put.wait(20), 130)
            self.assertIn(b"nothing was stored", put.stderr.read())
            put.stdin.close()
        self.assertEqual(self.leader()["draft_count"], 0)
        self.assertIn("no such object", self.refused(1, "stat", "stopped/k"))

    def test_an_interrupted_get_leaves_no_file(self):
        self.put("stopped/g", self.random_bytes(4 * MIB, 6), "--chunk-size", "1MiB")
        servers = self.cluster.names("chunkserver")
        for name in servers:
            self.cluster.pause_process(name)
        folder = self.scratch / "get"
        folder.mkdir()
        with subprocess.Popen([self.cluster.binaries / "ballast", "get", "stopped/g"], cwd=folder,
                              env=self.cluster.environment(), stderr=subprocess.PIPE) as get:
            poll_until(lambda: os.listdir(folder), 20, "no partial file")
            get.send_signal(signal.SIGTERM)
            self.assertEqual(get.wait(30), 130)
        self.assertEqual(os.listdir(folder), [])

    # --- limits --------------------------------------------------------------------------------

    def test_memory_does_not_grow_with_the_object(self):
        size = 512 * MIB
        limit = (64 + 4 * 3) * MIB
        source = self.scratch / "sparse"
        with open(source, "wb") as out:
            out.truncate(size)
        commands = (("put", source, "memory/k", "--replicas", "2"), ("get", "memory/k", "-"),
                    ("get", "memory/k", self.scratch / "copy"), ("put", "-", "memory/p"))
        for command in commands:
            with subprocess.Popen([self.cluster.binaries / "ballast", *map(str, command)],
                                  env=self.cluster.environment(), stdin=subprocess.PIPE,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
                if command[1] == "-":
                    with open(source, "rb") as data:
                        while block := data.read(MIB):
                            process.stdin.write(block)
                process.stdin.close()
                high = 0
                while process.poll() is None:
                    high = max(high, self.high_water(process.pid))
                    time.sleep(0.01)
                self.assertEqual(process.returncode, 0, process.stderr.read())
            print(f"{command[0]} {command[1]}: {high // MIB} MiB at most", flush=True)
            self.assertLess(high, limit, command)
            self.assertGreater(high, MIB, "not measured")
        Path(source).unlink()
        self.done("rm", "memory/k", "memory/p")


class OneServerTest(ClusterCase):
    SERVERS = 1

    def test_a_put_says_what_to_set(self):
        source = self.scratch / "source"
        source.write_bytes(self.random_bytes(100 * KIB, 7))
        run = self.cluster.ballast("put", source, "k", check=False, timeout=60)
        self.assertEqual(run.returncode, 1)
        self.assertEqual(len(run.stderr.splitlines()), 1)
        self.assertIn("ballast settings --min-replicas 1", run.stderr)
        self.cluster.ballast("put", source, "k", "--replicas", "1")
        self.cluster.ballast("settings", "--min-replicas", "1")
        run = self.cluster.ballast("put", source, "k2")
        self.assertIn("warning", run.stderr)
        self.assertEqual(self.get("k2"), source.read_bytes())


if __name__ == "__main__":
    unittest.main(verbosity=2)
