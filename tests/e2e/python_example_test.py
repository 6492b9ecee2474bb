# SPDX-License-Identifier: Apache-2.0
"""examples/python on a cluster of real processes: it and the C++ client read what the other wrote."""

import json
import os
import shutil
import signal
import subprocess
import sys
import unittest

from cluster_case import TOP, ClusterCase, poll_until

EXAMPLE = TOP / "examples/python"
PYTHON = "/usr/bin/python3"  # the one that Debian's packages are for
MIB = 1 << 20
CHUNK_DATA_OFFSET = 8192  # docs/formats/chunk_file.md


class PythonCase(ClusterCase):

    def environment(self):
        return {**self.cluster.environment(), "BALLAST_PYTHON_STUBS": str(self.scratch / "stubs")}

    def command(self, script, *arguments):
        return [PYTHON, "-B", EXAMPLE / script, *map(str, arguments)]

    def python(self, *arguments, script="ballast.py", **options):
        """Any outcome is fine; bytes in, bytes out."""
        return subprocess.run(self.command(script, *arguments), env=self.environment(),
                              capture_output=True, timeout=120, check=False, **options)

    def done(self, *arguments, **options):
        """Must succeed; returns standard output."""
        run = self.python(*arguments, **options)
        self.assertEqual(run.returncode, 0, run.stderr.decode())
        return run.stdout

    def refused(self, code, *arguments, **options):
        """Must fail with one line; returns it."""
        run = self.python(*arguments, **options)
        self.assertEqual(run.returncode, code, run.stderr.decode())
        lines = run.stderr.decode().splitlines()
        self.assertEqual(len(lines), 1, run.stderr.decode())
        return lines[0]

    def python_put(self, key, data, *flags):
        self.done(*flags, "put", "-", key, input=data)

    def python_get(self, key):
        return self.done("get", key, "-")

    def begin_put(self, key, *flags):
        return subprocess.Popen(self.command("ballast.py", *flags, "put", "-", key),
                                env=self.environment(), stdin=subprocess.PIPE,
                                stderr=subprocess.PIPE)

    def leader(self):
        members = json.loads(self.cluster.ballast("status", "--json").stdout)["members"]
        return next(member for member in members if member.get("is_leader"))


class ExchangeTest(PythonCase):

    def test_both_clients_read_what_the_other_wrote(self):
        for size in (0, 1, 4096, 4097, 65536, 65537, 3 * MIB + 17):
            with self.subTest(size=size):
                data = self.random_bytes(size, seed=size)
                self.python_put(f"python/{size}", data)
                self.assert_same(self.get(f"python/{size}"), data, "C++ of Python")
                self.put(f"cpp/{size}", data)
                self.assert_same(self.python_get(f"cpp/{size}"), data, "Python of C++")

    def test_files_of_several_chunks_go_both_ways(self):
        data = self.random_bytes(70 * MIB, seed=1)
        source, target = self.scratch / "film", self.scratch / "copy"
        source.write_bytes(data)
        self.done("put", source, "film/python")
        self.assert_same(self.get("film/python"), data, "C++ of Python")
        self.cluster.ballast("put", source, "film/cpp", timeout=120)
        self.done("get", "film/cpp", target)
        self.assert_same(target.read_bytes(), data, "Python of C++")
        facts = [json.loads(self.cluster.ballast("stat", key, "--json").stdout)
                 for key in ("film/python", "film/cpp")]
        self.assertEqual([f["chunk_count"] for f in facts], [2, 2])
        self.assertEqual(facts[0]["crc32c"], facts[1]["crc32c"])

    def test_more_chunks_than_one_page_of_them(self):
        data = self.random_bytes(65536 * 1030 + 5, seed=2)
        self.put("pages/k", data, "--chunk-size", "64KiB")
        self.assert_same(self.python_get("pages/k"), data)

    def test_a_source_that_ends_at_a_chunk_border(self):
        data = self.random_bytes(2 * 65536, seed=3)
        self.python_put("border/k", data, "--chunk-bytes", 65536)
        self.assertEqual(json.loads(self.cluster.ballast(
            "stat", "border/k", "--json").stdout)["chunk_count"], 2)
        self.assert_same(self.get("border/k"), data)

    def test_lists_what_the_other_client_lists(self):
        keys = sorted(["list/b", "list/a", "list/é", "list/z", "listed"], key=lambda k: k.encode())
        for key in keys:
            self.python_put(key, b"x")
        for prefix in ("list/", "list", "no/such"):
            self.assertEqual(self.done("ls", prefix).decode(),
                             self.cluster.ballast("ls", prefix).stdout)
        self.done("rm", "list/z")
        self.assertNotIn("list/z", self.done("ls", "list/").decode())

    def test_status_tells_the_cluster_and_its_servers(self):
        text = self.done("status").decode()
        status = json.loads(self.cluster.ballast("status", "--json").stdout)
        self.assertIn(status["cluster_id"], text)
        self.assertEqual(text.count("alive"), self.SERVERS)
        self.assertIn(self.cluster.address("master1") + "  leader", text)

    def test_facts_and_preconditions(self):
        self.python_put("facts/k", b"one", "--timeout", 20)
        self.assertIn("size_bytes  3\n", self.done("stat", "facts/k").decode())
        self.assertIn("GENERATION_MISMATCH", self.refused(
            1, "put", "-", "facts/k", "--if-generation-match", 0, input=b"two"))
        large = self.random_bytes(100_000, seed=4)
        self.assertIn("GENERATION_MISMATCH", self.refused(
            1, "put", "-", "facts/k", "--if-generation-match", 0, input=large))
        self.assertEqual(self.get("facts/k"), b"one")
        generation = json.loads(self.cluster.ballast("stat", "facts/k", "--json").stdout)["generation"]
        self.done("put", "-", "facts/k", "--if-generation-match", generation, input=large)
        self.assert_same(self.get("facts/k"), large)

    def test_errors_are_one_line(self):
        target = self.scratch / "never"
        self.assertIn("no such object", self.refused(1, "get", "no/such", target))
        self.assertFalse(target.exists(), "a failed get leaves no file")
        self.assertIn("1024", self.refused(1, "put", "-", "k" * 1025, input=b"x"))
        self.assertIn("missing", self.refused(1, "put", self.scratch / "missing", "k"))
        line = self.refused(1, "--cluster", "127.0.0.1:1", "--timeout", 1, "ls")
        self.assertIn("BALLAST_CLUSTER", line)
        self.assertEqual(self.python("dance").returncode, 2)

    def test_programs_that_start_together_make_the_stubs_once(self):
        stubs = self.scratch / "new-stubs"
        environment = {**self.environment(), "BALLAST_PYTHON_STUBS": str(stubs)}
        programs = [subprocess.Popen(self.command("ballast.py", "status"), env=environment,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                    for _ in range(4)]
        for program in programs:
            _, errors = program.communicate(timeout=60)
            self.assertEqual(program.returncode, 0, errors.decode())
        self.assertEqual(len(os.listdir(stubs)), 1)

    def test_the_library_as_its_documentation_uses_it(self):
        script = ("import io, sys\n"
                  f"sys.path.insert(0, {str(EXAMPLE)!r})\n"
                  "from ballast_client import Client\n"
                  f"with Client({self.cluster.shardctl!r}, chunk_bytes=1 << 20) as client:\n"
                  "    data = bytes(range(256)) * 12000\n"
                  "    client.put('library/k', data, replicas=2, metadata={'lang': 'en'})\n"
                  "    out = io.BytesIO()\n"
                  "    facts = client.get('library/k', out, offset=1048570, length=100000)\n"
                  "    assert out.getvalue() == data[1048570:1148570]\n"
                  "    assert facts.metadata[0].value == 'en' and facts.wanted_replicas == 2\n"
                  "    client.delete('library/k')\n"
                  "    assert list(client.list('library/')) == []\n")
        run = subprocess.run([PYTHON, "-B", "-c", script], env=self.environment(),
                             capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(run.returncode, 0, run.stderr)


class FaultsTest(PythonCase):

    def chunk_files(self, name):
        return {p for p in (self.cluster.path(name) / "chunks").rglob("*") if p.is_file()}

    def flip(self, path):
        with open(path, "r+b") as file:
            file.seek(CHUNK_DATA_OFFSET + 700_000)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 0x10]))

    def test_a_flipped_byte_is_never_returned(self):
        before = {name: self.chunk_files(name) for name in self.cluster.names("chunkserver")}
        data = self.random_bytes(2 * MIB, seed=10)
        self.python_put("rot/k", data)
        files = [path for name, old in before.items() for path in self.chunk_files(name) - old]
        self.assertEqual(len(files), 3, "wanted replicas")
        for path in files[:2]:
            self.flip(path)
        for _ in range(2):
            self.assert_same(self.python_get("rot/k"), data)
        for path in files:
            if path.exists():
                self.flip(path)

        before = {name: self.chunk_files(name) for name in self.cluster.names("chunkserver")}
        self.python_put("rotten/k", data)
        for name, old in before.items():
            for path in self.chunk_files(name) - old:
                self.flip(path)
        target = self.scratch / "old"
        target.write_bytes(b"old")
        line = self.refused(1, "--timeout", 5, "get", "rotten/k", target)
        self.assertRegex(line, "checksum|CHECKSUM|damaged|no live replica")
        self.assertEqual(target.read_bytes(), b"old")

    def test_reads_go_on_without_a_chunk_server(self):
        data = self.random_bytes(2 * MIB, seed=11)
        self.python_put("killed/k", data)
        for name in self.cluster.names("chunkserver"):
            self.cluster.kill_process(name)
            self.assert_same(self.python_get("killed/k"), data, f"without {name}")
            self.cluster.start_process(name)
            self.cluster.wait_ready()

    def test_reads_go_on_while_a_chunk_server_hangs(self):
        data = self.random_bytes(2 * MIB, seed=12)
        self.put("paused/k", data)
        name = self.first_holder("paused/k")
        self.cluster.pause_process(name)
        self.assert_same(self.python_get("paused/k"), data, f"while {name} hangs")

    def first_holder(self, key):
        """The server that a get of the one-chunk object asks first."""
        reply = json.loads(self.done(
            self.cluster.address("master1"), "ballast.v1.Master/GetObject",
            json.dumps({"key": key}), script="reflect.py"))
        address = reply["chunks"][0]["replicas"][0]["address"]
        return next(n for n in self.cluster.names() if self.cluster.address(n) == address)

    def test_a_chunk_server_dies_in_mid_write(self):
        data = self.random_bytes(24 * MIB, seed=13)
        for victim in self.cluster.names("chunkserver")[:2]:
            put = self.begin_put(f"mid-write/{victim}", "--chunk-bytes", 4 * MIB)
            put.stdin.write(data[:10 * MIB])
            put.stdin.flush()
            self.cluster.kill_process(victim)
            _, errors = put.communicate(data[10 * MIB:], timeout=120)
            self.assertEqual(put.returncode, 0, errors.decode())
            self.assert_same(self.get(f"mid-write/{victim}"), data)
            self.cluster.start_process(victim)
            self.cluster.wait_ready()

    def test_the_master_dies_in_mid_write(self):
        data = self.random_bytes(24 * MIB, seed=14)
        put = self.begin_put("mid-write/master", "--chunk-bytes", 4 * MIB)
        put.stdin.write(data[:10 * MIB])
        put.stdin.flush()
        self.cluster.restart_process("master1", kill=True)
        _, errors = put.communicate(data[10 * MIB:], timeout=120)
        self.assertEqual(put.returncode, 0, errors.decode())
        self.assert_same(self.python_get("mid-write/master"), data)

    def test_an_interrupted_put_leaves_nothing(self):
        put = self.begin_put("stopped/k", "--chunk-bytes", 4 * MIB)
        put.stdin.write(bytes(10 * MIB))
        put.stdin.flush()
        poll_until(lambda: self.leader()["draft_count"] == 1, 20, "no draft")
        put.send_signal(signal.SIGINT)
        self.assertEqual(put.wait(20), 130)
        put.stdin.close()
        put.stderr.close()
        self.assertEqual(self.leader()["draft_count"], 0)
        self.assertIn("no such object", self.refused(1, "stat", "stopped/k"))


class ReflectTest(PythonCase):
    SERVERS = 1

    def reflect(self, *arguments):
        return self.done(*arguments, script="reflect.py").decode()

    def test_every_server_tells_its_services(self):
        for name, service in (("shardctl", "ShardControl"), ("master1", "Master"),
                              ("chunkserver1", "ChunkData")):
            self.assertIn(f"ballast.v1.{service}\n", self.reflect(self.cluster.address(name)))
            health = json.loads(self.reflect(self.cluster.address(name),
                                             "grpc.health.v1.Health/Check"))
            self.assertEqual(health["status"], "SERVING")

    def test_describes_services_and_messages(self):
        master = self.cluster.address("master1")
        self.assertIn("ballast.v1.Master/StatObject(ballast.v1.StatObjectRequest) returns "
                      "(ballast.v1.StatObjectResponse)\n", self.reflect(master, "ballast.v1.Master"))
        self.assertIn("metadata: repeated ballast.v1.UserMetadata\n",
                      self.reflect(master, "ballast.v1.ObjectInfo"))

    def test_calls_methods_with_json(self):
        self.put("reflected/k", b"four")
        cluster = json.loads(self.reflect(self.cluster.shardctl,
                                          "ballast.v1.ShardControl/GetCluster"))
        self.assertEqual(cluster["cluster_id"], self.cluster.state["cluster_id"])
        arguments = [self.cluster.address("master1"), "ballast.v1.Master/StatObject",
                     '{"key": "reflected/k"}']
        self.assertEqual(json.loads(self.reflect(*arguments))["object"]["size_bytes"], "4")
        by_header = self.reflect("--cluster", "", "--header",
                                 f"ballast-cluster-id: {cluster['cluster_id']}", *arguments)
        self.assertEqual(json.loads(by_header)["object"]["size_bytes"], "4")
        status = json.loads(self.reflect(self.cluster.address("chunkserver1"),
                                         "ballast.v1.ChunkData/GetServerStatus"))
        self.assertGreater(int(status["capacity_bytes"]), 0)

    def test_errors_are_one_line(self):
        master = self.cluster.address("master1")
        for arguments, word in (
                ((master, "ballast.v1.Nothing"), "not found"),
                ((master, "ballast.v1.Master/Nothing"), "Nothing"),
                ((master, "ballast.v1.Master/StatObject", '{"no": 1}'), "no"),
                ((master, "ballast.v1.Master/StatObject", '{"key": "no/such"}'), "NOT_FOUND"),
                (("--cluster", "", master, "ballast.v1.Master/ListServers"), "ballast-cluster-id"),
                (("127.0.0.1:1",), "UNAVAILABLE")):
            self.assertIn(word, self.refused(1, *arguments, script="reflect.py"))


if __name__ == "__main__":
    if not shutil.which("grpc_python_plugin"):
        sys.exit("grpc_python_plugin is missing: ./dev setup")
    unittest.main(verbosity=2)
