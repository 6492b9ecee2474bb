# SPDX-License-Identifier: Apache-2.0
"""What scripts rely on of the server programs: exit codes, one-line errors, how they stop."""

import re
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest
from pathlib import Path

from cluster_case import BINARIES, poll_until

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\n")


class ShardctlProgramTest(unittest.TestCase):

    def setUp(self):
        self.scratch = Path(tempfile.mkdtemp(prefix="ballast-e2e-"))
        self.addCleanup(shutil.rmtree, self.scratch)
        self.folder = self.scratch / "shardctl"

    def shardctl(self, *arguments):
        return subprocess.run([BINARIES / "shardctl", *map(str, arguments)], text=True,
                              capture_output=True, timeout=30)

    def begin(self, *arguments):
        """A running server and the address it serves on."""
        log = self.scratch / "log"
        with open(log, "wb") as output:
            process = subprocess.Popen(
                [BINARIES / "shardctl", "run", "--folder", self.folder, "--listen", "127.0.0.1:0",
                 *arguments], stdout=output, stderr=output)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        poll_until(lambda: "shardctl.serving" in log.read_text() or process.poll() is not None, 20,
                   "shardctl does not serve")
        self.assertIsNone(process.poll(), log.read_text())
        return process, re.search(r"address=(\S+)", log.read_text()).group(1)

    def assert_one_line_error(self, done, code):
        self.assertEqual(done.returncode, code, done)
        self.assertEqual(done.stdout, "")
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("shardctl: "), done.stderr)

    def test_format_prints_the_cluster_id(self):
        done = self.shardctl("format", "--folder", self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(UUID.fullmatch(done.stdout), done.stdout)
        self.assert_one_line_error(self.shardctl("format", "--folder", self.folder), 1)

    def test_format_takes_a_cluster_id(self):
        wanted = "00000000-0000-4000-8000-0000000000aa"
        done = self.shardctl("format", "--folder", self.folder, "--cluster-id", wanted)
        self.assertEqual(done.stdout, wanted + "\n")

    def test_misuse_is_told_in_one_line(self):
        self.assert_one_line_error(self.shardctl("run", "--folder", self.folder), 2)
        self.assert_one_line_error(self.shardctl(), 2)
        self.assert_one_line_error(self.shardctl("run"), 2)
        self.assert_one_line_error(self.shardctl("run", "--folder", self.folder, "--frob"), 2)
        self.assert_one_line_error(
            self.shardctl("format", "--folder", self.folder, "--shards", "0"), 2)

    def test_help_and_version(self):
        for flag in ("--help", "--version"):
            done = self.shardctl(flag)
            self.assertEqual(done.returncode, 0)
            self.assertNotEqual(done.stdout, "")

    def test_a_second_process_on_the_folder_is_refused(self):
        self.shardctl("format", "--folder", self.folder)
        self.begin()
        self.assert_one_line_error(
            self.shardctl("run", "--folder", self.folder, "--listen", "127.0.0.1:0"), 1)

    def test_a_taken_port_is_told_in_one_line(self):
        self.shardctl("format", "--folder", self.folder)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            self.assert_one_line_error(
                self.shardctl("run", "--folder", self.folder, "--listen",
                              f"127.0.0.1:{taken.getsockname()[1]}"), 1)

    def test_stops_in_order_when_asked_and_starts_again_after_kill_9(self):
        self.shardctl("format", "--folder", self.folder)
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
            process, _ = self.begin()
            process.send_signal(number)
            self.assertEqual(process.wait(20), -9 if number == signal.SIGKILL else 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
