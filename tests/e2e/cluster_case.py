# SPDX-License-Identifier: Apache-2.0
"""What tests on a cluster of real processes share: a scratch cluster and its clients.

  class MyTest(ClusterCase):
      SERVERS = 3
      def test_something(self):
          self.put("key", b"bytes")
          self.cluster.kill_process("chunkserver1")
          self.assertEqual(self.get("key"), b"bytes")

`self.cluster` (cmake/dev/local_cluster.py) starts, ends (kill -9), pauses (SIGSTOP) and restarts any
process by name: shardctl, master1, chunkserver1, ... Waiting is polling: poll_until(condition,
seconds, what). A failed test prints the processes' logs. BALLAST_BIN names the folder of the binaries,
BALLAST_SCRATCH that of the scratch folders.
"""

import os
import random
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "cmake" / "dev"))
sys.dont_write_bytecode = True

from local_cluster import Cluster, ClusterError, poll_until  # noqa: E402,F401

BINARIES = Path(os.environ.get("BALLAST_BIN", TOP / "build/release/bin"))

LOG_LINES = 40


class ClusterCase(unittest.TestCase):
    """One cluster for all tests of the class, on free ports in a scratch folder."""

    SERVERS = 4
    SHARDS = 16
    # Cluster settings, so that what takes long in production takes less here; dead after three missed
    # heartbeats must still be long for a machine that is busy with other tests.
    SETTINGS = {"heartbeat-interval": "1s"}

    @classmethod
    def setUpClass(cls):
        cls.scratch = Path(tempfile.mkdtemp(prefix="ballast-e2e-",
                                            dir=os.environ.get("BALLAST_SCRATCH")))
        cls.addClassCleanup(shutil.rmtree, cls.scratch, ignore_errors=True)
        cls.cluster = Cluster(cls.scratch / "cluster", die_with_parent=True)
        cls.addClassCleanup(cls.cluster.stop)
        try:
            cls.cluster.start(servers=cls.SERVERS, shards=cls.SHARDS, settings=cls.SETTINGS)
        except ClusterError:
            cls.print_logs()
            raise

    def run(self, result=None):
        before = len(result.failures) + len(result.errors) if result else 0
        result = super().run(result)
        if result and len(result.failures) + len(result.errors) > before:
            self.print_logs()
        return result

    def setUp(self):
        """Every test begins with everything running."""
        for name in self.cluster.running():
            self.cluster.resume_process(name)
        self.cluster.start_all()
        self.cluster.wait_ready()

    @classmethod
    def print_logs(cls):
        for name in cls.cluster.names():
            print(f"--- {name} (last {LOG_LINES} lines)", file=sys.stderr)
            try:
                print("\n".join(cls.cluster.log(name).splitlines()[-LOG_LINES:]), file=sys.stderr)
            except OSError as error:
                print(error, file=sys.stderr)

    # --- clients -------------------------------------------------------------------------------

    @staticmethod
    def random_bytes(size, seed):
        block = random.Random(seed).randbytes(min(size, 1 << 20))
        # Every MiB differs, and no generator is run for hundreds of them.
        return b"".join((number.to_bytes(8, "big") + block)[:min(1 << 20, size - (number << 20))]
                        for number in range((size + (1 << 20) - 1) >> 20))

    def put(self, key, data, *flags):
        source = self.scratch / "source"
        source.write_bytes(data)
        self.cluster.ballast("put", source, key, *flags, timeout=120)

    def get(self, key, *flags):
        target = self.scratch / "target"
        target.unlink(missing_ok=True)
        self.cluster.ballast("get", key, target, *flags, timeout=120)
        return target.read_bytes()

    def assert_same(self, got, wanted, what=""):
        """assertEqual without printing megabytes."""
        self.assertEqual(len(got), len(wanted), what)
        self.assertTrue(got == wanted, f"{what}: the bytes differ")
