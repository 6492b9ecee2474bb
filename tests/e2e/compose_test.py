# SPDX-License-Identifier: Apache-2.0
"""docker-compose.yml in a real engine. Not in ctest: ./dev test --full runs it; says so and skips where
no engine can be had."""

import json
import os
import signal
import subprocess
import time
import unittest

from cluster_case import BINARIES, TOP, poll_until
from container_engine import Engine, NoEngine

MIB = 1 << 20
SERVICES = ["chunkserver1", "chunkserver2", "chunkserver3", "chunkserver4", "master1", "shardctl"]
HEALTHY_SECONDS = 120  # for a busy machine; the measured time is printed


class ComposeTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        try:
            cls.engine = Engine()
            cls.enterClassContext(cls.engine)
        except NoEngine as reason:
            raise unittest.SkipTest(f"no container engine: {reason}")
        cls.image = f"ballast-test:{os.getpid()}"
        cls.project = f"ballasttest{os.getpid()}"
        cls.engine.environment.update(BALLAST_IMAGE=cls.image, COMPOSE_PROJECT_NAME=cls.project)
        build = subprocess.run(
            ["bash", "-euc", '. cmake/dev/lib.sh; . cmake/dev/image.sh; prebuilt_image "$@"', "bash",
             BINARIES, "--network", "host", "--build-arg", f"BASE={cls.engine.base}"],
            cwd=TOP, env=cls.engine.environment, capture_output=True, text=True, check=False)
        if build.returncode != 0:
            raise AssertionError(build.stdout[-3000:] + build.stderr[-3000:])
        cls.addClassCleanup(cls.engine.docker, "rmi", "--force", cls.image, check=False)
        cls.addClassCleanup(cls.compose, "down", "--volumes", "--remove-orphans", check=False)
        begin = time.monotonic()
        cls.compose("up", "--detach", "--no-build")
        cls.wait_healthy()
        print(f"six containers healthy after {time.monotonic() - begin:.1f} s", flush=True)

    @classmethod
    def compose(cls, *arguments, check=True, **options):
        done = subprocess.run([*cls.engine.compose, *map(str, arguments)], cwd=TOP,
                              env=cls.engine.environment, capture_output=True, check=False,
                              timeout=300, **options)
        if check and done.returncode != 0:
            raise AssertionError(f"compose {arguments}: {done.stderr.decode()[-3000:]}")
        return done

    @classmethod
    def client(cls, *arguments, **options):
        return cls.compose("run", "--rm", "-T", "client", *arguments, **options)

    @classmethod
    def containers(cls, *filters):
        """Ids of the project's containers, stopped ones included."""
        arguments = [f"--filter={f}" for f in (f"label=com.docker.compose.project={cls.project}",
                                               *filters)]
        return cls.engine.docker("ps", "--all", "--quiet", *arguments).stdout.split()

    @classmethod
    def container(cls, service):
        return cls.containers(f"label=com.docker.compose.service={service}")[0]

    @classmethod
    def inspect(cls, service, template):
        return cls.engine.docker("inspect", "--format", template,
                                 cls.container(service)).stdout.strip()

    @classmethod
    def wait_healthy(cls):
        poll_until(lambda: len(cls.containers("health=healthy")) == len(SERVICES), HEALTHY_SECONDS,
                   "containers are not healthy")

    def setUp(self):
        self.compose("up", "--detach", "--no-build")
        self.wait_healthy()
        poll_until(lambda: self.alive() == 4, HEALTHY_SECONDS, "chunk servers are not alive")

    def alive(self):
        done = self.engine.docker("exec", self.container("master1"), "ballast", "--cluster",
                                  "shardctl:7400", "--json", "servers", check=False)
        servers = json.loads(done.stdout) if done.returncode == 0 else []
        return sum(server["liveness"] == "alive" for server in servers)

    def put(self, key, data):
        self.client("ballast", "put", "-", key, input=data)

    def assert_stored(self, key, data):
        got = self.client("ballast", "get", key, "-").stdout
        self.assertEqual(len(got), len(data), key)
        self.assertTrue(got == data, f"{key}: the bytes differ")

    # --- what a cluster does -------------------------------------------------------------------

    def test_the_servers_lie_in_three_zones_under_their_names(self):
        servers = json.loads(self.client("ballast", "--json", "servers").stdout)
        self.assertEqual(sorted(server["address"] for server in servers),
                         [f"chunkserver{n}:7600" for n in range(1, 5)])
        self.assertEqual(len({server["zone"] for server in servers}), 3)

    def test_files_of_this_folder_can_be_put(self):
        self.client("ballast", "put", "README.md", "readme")
        self.assert_stored("readme", (TOP / "README.md").read_bytes())

    def test_a_killed_chunk_server_costs_nothing(self):
        data = os.urandom(MIB) * 20
        self.put("large", data)
        self.put("small", b"small")
        self.engine.docker("kill", self.container("chunkserver2"))
        self.assert_stored("large", data)
        self.assert_stored("small", b"small")
        self.put("meanwhile", data)
        self.assert_stored("meanwhile", data)

    def test_crashed_servers_are_started_again_by_the_engine(self):
        self.put("before", b"the crash")
        for service in ("master1", "chunkserver1", "shardctl"):
            before = self.inspect(service, "{{.State.StartedAt}}")
            os.kill(int(self.inspect(service, "{{.State.Pid}}")), signal.SIGKILL)
            poll_until(lambda: self.inspect(service, "{{.State.StartedAt}}") != before,
                       HEALTHY_SECONDS, f"{service} is not started again")
        self.wait_healthy()
        self.assert_stored("before", b"the crash")

    def test_the_data_survive_the_containers(self):
        data = os.urandom(MIB)
        self.put("kept", data)
        self.compose("down")
        self.compose("up", "--detach", "--no-build")
        self.wait_healthy()
        self.assert_stored("kept", data)

    def test_servers_stop_in_order_when_asked(self):
        self.compose("stop")
        for service in SERVICES:
            self.assertEqual(self.inspect(service, "{{.State.ExitCode}}"), "0",
                             f"{service} had to be killed")

    def test_a_master_whose_volume_is_gone_is_not_replaced_by_an_empty_one(self):
        script = ("folder=$(mktemp -d); BALLAST_DATA=$folder timeout 60 ballast-entrypoint master; "
                  "code=$?; ls \"$folder\"; exit $code")
        done = self.compose(
            "run", "--rm", "-T", "--no-deps", "-e", "BALLAST_MASTER_SHARDCTL=shardctl:7400", "-e",
            "BALLAST_MASTER_VOTERS=1=master1:7500", "client", "sh", "-c", script, check=False)
        self.assertEqual(done.returncode, 1, done.stderr.decode())
        self.assertIn(b"bring its volume back", done.stderr)
        self.assertEqual(done.stdout, b"", "nothing was formatted")

    @staticmethod
    def programs():
        return subprocess.run(["bash", "-euc", ". cmake/dev/lib.sh; programs"], cwd=TOP, text=True,
                              capture_output=True, check=True).stdout.split()

    def test_the_gateway_speaks_through_the_client_service(self):
        bodies = [{"type": "init", "node_id": "n1", "node_ids": ["n1"]},
                  {"type": "write", "key": "kept", "value": [1, "two"]},
                  {"type": "read", "key": "kept"}, {"type": "read", "key": "never"}]
        lines = "".join(json.dumps({"src": "c1", "dest": "n1", "body": {**body, "msg_id": number}}) +
                        "\n" for number, body in enumerate(bodies, 1))
        done = self.client("gateway", "--cluster", "shardctl:7400", input=lines.encode())
        replies = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([reply["body"]["type"] for reply in replies],
                         ["init_ok", "write_ok", "read_ok", "error"], done.stderr.decode())
        self.assertEqual([reply["body"]["in_reply_to"] for reply in replies], [1, 2, 3, 4])
        self.assertEqual({(reply["src"], reply["dest"]) for reply in replies}, {("n1", "c1")})
        self.assertEqual(replies[2]["body"]["value"], [1, "two"])
        self.assertEqual(replies[3]["body"]["code"], 20)
        # It is the cluster's, not the gateway's own: another gateway knows it.
        again = self.client("gateway", "--cluster", "shardctl:7400", input="".join(
            line for line in lines.splitlines(keepends=True) if "write" not in line).encode())
        self.assertEqual(json.loads(again.stdout.splitlines()[1])["body"]["value"], [1, "two"])

    # --- the image -----------------------------------------------------------------------------

    def test_nothing_runs_as_root(self):
        for service in SERVICES:
            process = self.engine.docker("top", self.container(service), "-o", "uid,pid")
            uids = {line.split()[0] for line in process.stdout.splitlines()[1:]}
            self.assertEqual(uids, {"10001"}, service)

    def test_the_image_is_only_what_runs(self):
        done = self.client("sh", "-c", "command -v gcc clang git python3 || echo none")
        self.assertEqual(done.stdout.strip(), b"none")

    def test_programs_can_be_asked_for_their_flags(self):
        for program in self.programs():
            done = self.client(program, "--help")
            self.assertIn(f"Usage: {program}".encode(), done.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
