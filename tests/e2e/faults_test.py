# SPDX-License-Identifier: Apache-2.0
"""Bad input and faults, on real processes: a clear error or no error at all, and nothing lost."""

import json
import os
import shutil
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path

from cluster_case import Cluster, ClusterCase, poll_until

MIB = 1 << 20
CHUNK_DATA_OFFSET = 8192  # docs/formats/chunk_file.md


class FaultCase(ClusterCase):

    def run_ballast(self, *arguments, **options):
        return self.cluster.ballast(*arguments, check=False, timeout=120, **options)

    def assert_refused(self, done, code, *words):
        """Exit code, one line on standard error, which says what it is about."""
        self.assertEqual(done.returncode, code, done.stderr)
        lines = done.stderr.strip().splitlines()
        self.assertEqual(len(lines), 1, done.stderr)
        for word in words:
            self.assertIn(word.lower(), lines[0].lower())

    def begin_put(self, key, *flags):
        """A put whose bytes come from the returned process's standard input."""
        return subprocess.Popen([self.cluster.binaries / "ballast", "put", "-", key, *flags],
                                env=self.cluster.environment(), stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def begin_get(self, key, *flags):
        """A get whose bytes go to the returned process's standard output."""
        return subprocess.Popen([self.cluster.binaries / "ballast", "get", key, "-", *flags],
                                env=self.cluster.environment(), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)

    def servers(self):
        return json.loads(self.cluster.ballast("servers", "--json").stdout)

    def chunk_files(self, name):
        return sorted(p for p in (self.cluster.path(name) / "chunks").rglob("*") if p.is_file())


class BadInputTest(FaultCase):
    SERVERS = 3

    def test_keys_that_cannot_be(self):
        source = self.scratch / "small"
        source.write_bytes(b"x")
        for key, word in (("", "empty"), ("k" * 1025, "1025"), (b"bad\xff", "utf-8")):
            with self.subTest(key=key):
                done = subprocess.run(
                    [self.cluster.binaries / "ballast", "put", source, key],
                    env=self.cluster.environment(), capture_output=True, timeout=60)
                self.assertNotEqual(done.returncode, 0)
                text = done.stderr.decode(errors="replace")
                self.assertEqual(len(text.strip().splitlines()), 1, text)
                self.assertIn(word, text.lower())

    def test_a_key_of_1024_bytes_is_fine(self):
        self.put("k" * 1024, b"longest")
        self.assertEqual(self.get("k" * 1024), b"longest")

    def test_unknown_keys(self):
        target = self.scratch / "never"
        for arguments in (("get", "no/such", target), ("stat", "no/such"), ("rm", "no/such")):
            self.assert_refused(self.run_ballast(*arguments), 1, "no/such")
        self.assertFalse(target.exists(), "a failed get leaves no file")

    def test_missing_files_and_folders_as_source(self):
        self.assert_refused(self.run_ballast("put", self.scratch / "nothing", "key"), 1, "nothing")
        self.assert_refused(self.run_ballast("put", self.scratch, "key"), 1)

    def test_ranges(self):
        data = self.random_bytes(300_000, seed=5)
        self.put("range", data)
        self.assert_same(self.get("range", "--offset", "65530", "--length", "20"),
                         data[65530:65550])
        self.assert_same(self.get("range", "--offset", "299999"), data[299999:])
        self.assert_same(self.get("range", "--offset", "299990", "--length", "999"),
                         data[299990:])
        target = self.scratch / "past"
        self.assert_refused(
            self.run_ballast("get", "range", target, "--offset", "300001"), 1, "300000")
        self.assertFalse(target.exists())

    def test_preconditions(self):
        self.put("cas", b"one", "--if-generation-match", "0")
        source = self.scratch / "two"
        source.write_bytes(b"two")
        self.assert_refused(
            self.run_ballast("put", source, "cas", "--if-generation-match", "0"), 1, "generation")
        generation = json.loads(self.cluster.ballast("stat", "cas", "--json").stdout)["generation"]
        self.put("cas", b"two", "--if-generation-match", str(generation))
        self.assertEqual(self.get("cas"), b"two")

    def test_a_client_of_another_cluster_is_refused(self):
        with tempfile.TemporaryDirectory(prefix="ballast-e2e-") as folder:
            other = Cluster(Path(folder) / "other")
            self.addCleanup(other.stop)
            other.start(servers=0, shards=16)
            # A chunk server of one cluster that is pointed at the other must not join it.
            name = self.cluster.names("chunkserver")[0]
            self.cluster.stop_process(name)
            arguments = list(self.cluster.processes[name]["arguments"])
            arguments[arguments.index("--shardctl") + 1] = other.shardctl
            done = subprocess.run([self.cluster.binaries / arguments[0], *arguments[1:]],
                                  capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 1, done.stderr)
            errors = [line for line in done.stderr.splitlines() if "chunkserver.failed" in line]
            self.assertEqual(len(errors), 1, done.stderr)
            self.assertIn("belongs to cluster", errors[0])

    def test_two_servers_on_one_folder(self):
        name = self.cluster.names("chunkserver")[0]
        arguments = list(self.cluster.processes[name]["arguments"])
        arguments[arguments.index("--listen") + 1] = "127.0.0.1:0"
        done = subprocess.run([self.cluster.binaries / arguments[0], *arguments[1:]],
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("another process", done.stderr.splitlines()[-1])
        self.assertIsNotNone(self.cluster.pid(name), "the first one goes on")

    def test_unformatted_folders(self):
        for binary in ("chunkserver", "master", "shardctl"):
            with self.subTest(binary=binary):
                arguments = ["run", "--folder", str(self.scratch / "blank")]
                if binary != "shardctl":
                    arguments += ["--shardctl", self.cluster.shardctl]
                done = subprocess.run([self.cluster.binaries / binary, *arguments],
                                      capture_output=True, text=True, timeout=60)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
                self.assertIn("format", done.stderr)


class CrashTest(FaultCase):
    SERVERS = 4

    def test_a_chunk_server_dies_in_mid_write(self):
        data = self.random_bytes(150 * MIB, seed=7)
        put = self.begin_put("mid-write")
        half = 100 * MIB
        put.stdin.write(data[:half])
        put.stdin.flush()
        self.cluster.kill_process("chunkserver2")
        out, err = put.communicate(data[half:], timeout=120)
        self.assertEqual(put.returncode, 0, err)
        self.assert_same(self.get("mid-write"), data)

    def test_a_chunk_server_dies_in_mid_read(self):
        data = self.random_bytes(400 * MIB, seed=8)
        self.put("mid-read", data)
        for victim in ("chunkserver1", "chunkserver2"):
            get = self.begin_get("mid-read")
            got = get.stdout.read(10 * MIB)
            self.cluster.kill_process(victim)
            out, err = get.communicate(timeout=120)
            self.assertEqual(get.returncode, 0, err)
            self.assert_same(got + out, data, f"without {victim}")
            self.cluster.start_process(victim)
            self.cluster.wait_ready()

    def load(self, prefix, stop, written, errors):
        """Puts small and large objects until told to stop; notes what was acknowledged."""
        number = 0
        while not stop.is_set():
            key = f"{prefix}/{number}"
            data = self.random_bytes(70_000 if number % 4 == 0 else 100, seed=number)
            done = subprocess.run([self.cluster.binaries / "ballast", "put", "-", key],
                                  input=data, env=self.cluster.environment(), capture_output=True,
                                  timeout=120)
            if done.returncode == 0:
                written[key] = data
            else:
                errors.append(done.stderr.decode(errors="replace"))
            number += 1

    def test_control_processes_die_under_load(self):
        for victim in ("master1", "shardctl", "master1"):
            stop, written, errors = threading.Event(), {}, []
            load = threading.Thread(target=self.load, args=(f"load-{victim}", stop, written,
                                                            errors))
            load.start()
            try:
                poll_until(lambda: len(written) > 10, 60, "nothing is written")
                self.cluster.restart_process(victim, kill=True)
                before = len(written)
                poll_until(lambda: len(written) > before + 10, 60, "nothing is written any more")
            finally:
                stop.set()
                load.join()
            self.assertEqual(errors, [], f"{victim} came back within the clients' patience")
            for key, data in written.items():
                self.assert_same(self.get(key), data, key)

    def test_reads_and_writes_go_on_without_shardctl(self):
        self.put("before", b"1")
        put = self.begin_put("during")  # knows its configuration by then
        put.stdin.write(b"x" * MIB)
        put.stdin.flush()
        poll_until(lambda: self.cluster.pid("shardctl"), 10, "shardctl runs")
        self.cluster.kill_process("shardctl")
        out, err = put.communicate(b"y" * (80 * MIB), timeout=60)
        self.assertEqual(put.returncode, 0, err)
        self.cluster.start_process("shardctl")
        self.assert_same(self.get("during"), b"x" * MIB + b"y" * (80 * MIB))

    def test_one_flipped_byte_is_never_returned(self):
        data = self.random_bytes(2 * MIB, seed=9)
        before = {name: set(self.chunk_files(name)) for name in self.cluster.names("chunkserver")}
        self.put("rot", data)
        holders = []
        for name, files in before.items():
            new = set(self.chunk_files(name)) - files
            if new:
                holders.append((name, new.pop()))
        self.assertEqual(len(holders), 3, "wanted replicas")
        # Rot in all replicas but one, so that whichever is read first, it shows.
        for name, path in holders[:2]:
            with open(path, "r+b") as file:
                file.seek(CHUNK_DATA_OFFSET + 700_000)
                byte = file.read(1)
                file.seek(-1, os.SEEK_CUR)
                file.write(bytes([byte[0] ^ 0x10]))
        for _ in range(3):
            self.assert_same(self.get("rot"), data)
        # Found and reported: at least by the replica that was asked first.
        poll_until(lambda: any("corrupt" in self.cluster.log(name) for name, _ in holders[:2]) or
                   self.first_replica_is_good("rot", holders[2][0]), 20, "rot is not reported")

    def first_replica_is_good(self, key, good):
        info = json.loads(self.cluster.ballast("stat", key, "--json").stdout)
        text = json.dumps(info)
        return self.cluster.address(good) in text


class FullDiskCase(FaultCase):
    SERVERS = 0
    SETTINGS = {"heartbeat-interval": "300ms", "default-replicas": 2, "min-replicas": 2}

    def used_bytes(self):
        return sum(s["used_bytes"] for s in self.servers())


class FullDiskTest(FullDiskCase):

    def test_full_servers_are_avoided_and_full_clusters_refuse_cleanly(self):
        for number in (1, 2, 3):
            self.cluster.add_chunkserver(number, capacity="300MiB" if number < 3 else "100MiB")
        self.cluster.wait_ready()
        data = self.random_bytes(150 * MIB, seed=1)
        self.put("first", data)
        # Server 3 cannot take much more; what it cannot take goes elsewhere.
        self.put("second", data[:80 * MIB])
        self.assert_same(self.get("first"), data)
        self.assert_same(self.get("second"), data[:80 * MIB])
        poll_until(lambda: self.used_bytes() > 400 * MIB, 20, "usage is not reported")
        source = self.scratch / "too-much"
        source.write_bytes(self.random_bytes(400 * MIB, seed=2))
        before = self.used_bytes()
        done = self.run_ballast("put", source, "third")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr.lower(), "room|space|full")
        self.assertEqual(self.run_ballast("stat", "third").returncode, 1)
        poll_until(lambda: self.used_bytes() <= before + MIB, 60,
                   "what the failed put used is not freed")
        self.assert_same(self.get("first"), data)


class FillingDiskTest(FullDiskCase):

    @unittest.skipUnless(os.geteuid() == 0, "mounting a small tmpfs needs root")
    def test_a_disk_that_fills_behind_our_back(self):
        mount = self.scratch / "small-disk"
        mount.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "ballast", mount],
                              capture_output=True, text=True)
        if done.returncode != 0:
            self.skipTest(f"no mount here: {done.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", mount])
        for number in (1, 2, 3):
            name = self.cluster.add_chunkserver(number, start=False)
            if number == 1:
                shutil.move(self.cluster.path(name), mount / name)
                self.cluster.path(name).symlink_to(mount / name)
            self.cluster.start_process(name)
        self.addCleanup(self.cluster.stop_process, "chunkserver1")
        self.cluster.wait_ready()
        data = self.random_bytes(100 * MIB, seed=3)
        put = self.begin_put("squeezed")
        put.stdin.write(data[:30 * MIB])
        put.stdin.flush()
        with open(mount / "ballast", "wb") as filler:
            try:
                while True:
                    filler.write(b"\1" * MIB)
                    filler.flush()
            except OSError:
                pass
        out, err = put.communicate(data[30 * MIB:], timeout=120)
        self.assertEqual(put.returncode, 0, err)
        self.assert_same(self.get("squeezed"), data)
        (mount / "ballast").unlink()


if __name__ == "__main__":
    unittest.main(verbosity=2)
