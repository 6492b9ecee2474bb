# SPDX-License-Identifier: Apache-2.0
"""Dockerfile, docker-compose.yml and the image's entry point, checked without an engine: what they name
exists, and what the programs need is there. Run by Debian's Python, for its python3-yaml."""

import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import yaml

from cluster_case import BINARIES, TOP

PORTS = {"shardctl": 7400, "master": 7500, "chunkserver": 7600}


def read(path):
    return (TOP / path).read_text()


def kind(service):
    return re.sub(r"\d+$", "", service)


def help_text(*command):
    return subprocess.run([BINARIES / command[0], *command[1:], "--help"], text=True, timeout=30,
                          capture_output=True, check=True).stdout


class ComposeFileTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.file = yaml.safe_load(read("docker-compose.yml"))
        cls.services = cls.file["services"]
        cls.servers = {n: s for n, s in cls.services.items() if n != "client"}

    def test_there_are_six_servers_and_a_client(self):
        kinds = sorted(kind(name) for name in self.servers)
        self.assertEqual(kinds, ["chunkserver"] * 4 + ["master", "shardctl"])
        self.assertIn("client", self.services)
        self.assertEqual(set(self.file), {"services", "volumes", "x-ballast", "x-chunkserver",
                                          "x-health"})

    def test_only_servers_are_started_by_up(self):
        for name in self.servers:
            self.assertNotIn("profiles", self.services[name])
            self.assertEqual(self.services[name]["restart"], "unless-stopped")
            self.assertEqual(self.services[name]["command"], [kind(name)])
        self.assertEqual(self.services["client"]["profiles"], ["client"])
        self.assertEqual(self.services["client"]["restart"], "no")

    def test_health_checks_ask_the_port_that_is_listened_on(self):
        self.assertIn("HOST:PORT", help_text("ballast", "health"))
        for name, service in self.servers.items():
            port = PORTS[kind(name)]
            self.assertEqual(service["healthcheck"]["test"],
                             ["CMD", "ballast", "health", f"127.0.0.1:{port}"])
            listen = service["environment"][f"BALLAST_{kind(name).upper()}_LISTEN"]
            self.assertEqual(listen, f"0.0.0.0:{port}")

    def test_every_variable_is_a_flag_of_the_program_or_of_the_entry_point(self):
        entry = read("docker/entrypoint.sh")
        for name, service in self.services.items():
            program = kind(name)
            known = help_text("ballast") if name == "client" else (
                help_text(program, "format") + help_text(program, "run"))
            for variable, value in service["environment"].items():
                self.assertIsInstance(value, str, f"{variable}: quote it")
                in_entry = f"${{{variable}:-" in entry
                self.assertTrue(f"(Env:{variable})" in known or in_entry, f"{name}: {variable}")

    def test_required_flags_of_run_are_given(self):
        for name, service in self.servers.items():
            required = re.findall(r"REQUIRED \(Env:(\w+)\)", help_text(kind(name), "run"))
            self.assertEqual(required, [f"BALLAST_{kind(name).upper()}_FOLDER"])
            self.assertIn("--folder", read("docker/entrypoint.sh"))
            self.assertNotIn(required[0], service["environment"], "the entry point gives it")

    def test_servers_are_known_by_their_service_names(self):
        for name, service in self.servers.items():
            environment = service["environment"]
            for variable, value in environment.items():
                for host in re.findall(r"(?:^|=|,)([a-z]\w*):\d+", value):
                    self.assertIn(host, self.servers, f"{name}: {variable}")
            if kind(name) == "chunkserver":
                self.assertEqual(environment["BALLAST_CHUNKSERVER_ADVERTISE"], f"{name}:7600")
            else:
                variable = f"BALLAST_{kind(name).upper()}_VOTERS"
                self.assertIn(f"{name}:{PORTS[kind(name)]}", environment[variable])

    def test_chunk_servers_lie_in_enough_zones_for_three_copies(self):
        zones = {s["environment"]["BALLAST_CHUNKSERVER_ZONE"] for n, s in self.servers.items()
                 if kind(n) == "chunkserver"}
        self.assertGreaterEqual(len(zones), 3)

    def test_every_server_has_a_volume_of_its_own(self):
        for name, service in self.servers.items():
            self.assertEqual(service["volumes"], [f"{name}:/data"])
        self.assertEqual(sorted(self.file["volumes"]), sorted(self.servers))

    def test_servers_wait_for_shardctl(self):
        for name, service in self.services.items():
            if name != "shardctl":
                self.assertEqual(service["depends_on"]["shardctl"], {"condition": "service_healthy"})

    def test_nothing_is_privileged_or_published(self):
        for name, service in self.services.items():
            self.assertEqual(service["cap_drop"], ["ALL"], name)
            self.assertIn("no-new-privileges:true", service["security_opt"], name)
            for key in ("ports", "privileged", "network_mode", "cap_add", "user"):
                self.assertNotIn(key, service, name)


class DockerfileTest(unittest.TestCase):

    def test_packages_of_the_build_come_from_the_one_list(self):
        text = re.sub(r"^#.*$", "", read("Dockerfile"), flags=re.M)
        build, run = re.split(r"^FROM \$\{BASE\}$", text, flags=re.M)
        self.assertIn("./dev setup", build)
        self.assertIn("$(programs)", build)
        self.assertNotIn("apt-get", build, "./dev setup installs what cmake/dev/packages.txt lists")
        self.assertEqual(run.count("apt-get install"), 1)
        self.assertIn("runtime_packages.txt", run)

    def test_packages_of_the_image_are_those_that_the_programs_name(self):
        listed = {line for line in read("docker/runtime_packages.txt").splitlines()
                  if line and not line.startswith("#")}
        paths = dict(re.findall(r"^\s+(\S+) \([^)]*x86-64[^)]*\) => (\S+)$", subprocess.run(
            ["/sbin/ldconfig", "-p"], text=True, capture_output=True, check=True).stdout, re.M))
        libraries = set()
        for program in self.programs():
            dynamic = subprocess.run(["readelf", "-d", BINARIES / program], text=True,
                                     capture_output=True, check=True).stdout
            libraries |= set(re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic))
        self.assertIn("libgrpc++.so.1.51", libraries)
        # A package may own a file as /lib/... or as /usr/lib/..., which are the same folder.
        files = {str(Path(paths[library]).resolve()).removeprefix("/usr") for library in libraries}
        owners = subprocess.run(["dpkg-query", "-S", *files, *[f"/usr{f}" for f in files]],
                                text=True, capture_output=True, check=False).stdout
        found = re.findall(r"^([^:,]+)(?::\w+)?: (?:/usr)?(/\S+)$", owners, re.M)
        self.assertEqual({file for _, file in found}, files, "each is of some package")
        self.assertEqual(listed, {package for package, _ in found})

    def test_every_program_is_in_the_image(self):
        self.assertGreaterEqual(set(self.programs()),
                                {"shardctl", "master", "chunkserver", "gateway", "ballast"})
        for program in self.programs():
            self.assertTrue((BINARIES / program).exists(), program)

    @staticmethod
    def programs():
        return subprocess.run(["bash", "-euc", ". cmake/dev/lib.sh; programs"], cwd=TOP, text=True,
                              capture_output=True, check=True).stdout.split()

    def test_it_runs_as_a_user_without_rights_on_a_volume_of_its_own(self):
        run = read("Dockerfile").split("FROM ${BASE}\n")[1]
        self.assertRegex(run, r"(?m)^USER ballast$")
        self.assertRegex(run, r"(?m)^VOLUME /data$")
        self.assertIn("install -d -o ballast -g ballast", run)

    def test_builds_do_not_enter_the_context(self):
        ignored = read(".dockerignore").splitlines()
        self.assertIn("build", ignored)
        self.assertIn(".git", ignored)

    def test_what_is_copied_exists(self):
        for line in re.findall(r"^COPY (?!--from)(.*)$", read("Dockerfile"), re.M):
            for source in line.split()[:-1]:
                self.assertTrue((TOP / source).exists(), source)


class EntryPointTest(unittest.TestCase):

    def setUp(self):
        self.scratch = Path(tempfile.mkdtemp(prefix="ballast-entry-"))
        self.addCleanup(shutil.rmtree, self.scratch)

    def run_entry(self, *arguments, **environment):
        return subprocess.run(
            [TOP / "docker/entrypoint.sh", *arguments], text=True, capture_output=True, timeout=60,
            env={"PATH": f"{BINARIES}:/usr/bin:/bin", "BALLAST_DATA": str(self.scratch),
                 **environment}, check=False)

    @unittest.skipUnless(shutil.which("shellcheck"), "shellcheck is not installed")
    def test_shellcheck_finds_nothing(self):
        done = subprocess.run(["shellcheck", TOP / "docker/entrypoint.sh"], text=True,
                              capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_other_commands_are_run_as_they_are(self):
        done = self.run_entry("echo", "two words", "*")
        self.assertEqual((done.returncode, done.stdout), (0, "two words *\n"))
        self.assertIn("Usage: master", self.run_entry("master", "--help").stdout)

    def test_a_folder_is_formatted_once(self):
        wrong = {"BALLAST_SHARDCTL_LISTEN": "203.0.113.1:1"}  # so that run ends by itself
        first = self.run_entry("shardctl", **wrong)
        self.assertEqual(first.returncode, 1, first.stderr)
        self.assertIn("formatted cluster", first.stderr)
        identity = (self.scratch / "shardctl/identity").read_bytes()
        again = self.run_entry("shardctl", **wrong)
        self.assertNotIn("formatted", again.stderr)
        self.assertEqual((self.scratch / "shardctl/identity").read_bytes(), identity)

    def test_a_folder_of_something_else_is_left_alone(self):
        folder = self.scratch / "shardctl"
        folder.mkdir()
        (folder / "diary").write_text("mine")
        done = self.run_entry("shardctl")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("diary", done.stderr)
        self.assertNotIn("formatted cluster", done.stderr)
        self.assertEqual([path.name for path in folder.iterdir()], ["diary"])

    def test_missing_variables_are_named(self):
        self.assertIn("BALLAST_MASTER_SHARDCTL", self.run_entry("master").stderr)
        self.assertIn("BALLAST_CHUNKSERVER_SHARDCTL", self.run_entry("chunkserver").stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
