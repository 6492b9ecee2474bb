# SPDX-License-Identifier: Apache-2.0
"""Rot that nobody reads is found by the servers themselves, reported and repaired; on real processes."""

import json
import os
import unittest

from cluster_case import ClusterCase, poll_until

MIB = 1 << 20
SECONDS = 60  # for a busy machine
CHUNK_DATA_OFFSET = 8192  # docs/formats/chunk_file.md


class ScrubTest(ClusterCase):
    SERVERS = 4
    SETTINGS = {"heartbeat-interval": "1s", "default-replicas": "2"}

    def holders(self, handle):
        """Server -> file of each that has the chunk on its disk."""
        found = {}
        for name in self.cluster.names("chunkserver"):
            for path in (self.cluster.path(name) / "chunks").rglob(handle):
                found[name] = path
        return found

    def wait_clean(self, what):
        poll_until(lambda: self.cluster.ballast("fsck", check=False).returncode == 0, SECONDS, what)

    def explain(self):
        return self.cluster.ballast("explain", "rot").stdout

    def corrupt_line(self, name, handle, lines_before):
        lines = self.cluster.log(name).splitlines()[lines_before:]
        return any("chunk_store.corrupt_chunk" in line and handle in line for line in lines)

    def restart(self, name):
        """Kills and starts it; how many lines its log had."""
        self.cluster.kill_process(name)
        lines = len(self.cluster.log(name).splitlines())
        self.cluster.start_process(name)
        return lines

    def test_rot_that_nobody_reads_is_found_and_repaired(self):
        data = os.urandom(2 * MIB)
        self.put("rot", data)
        self.wait_clean("reports of what was written")
        explained = json.loads(self.cluster.ballast("explain", "rot", "--json").stdout)
        handle = f"{int(explained['chunks'][0]['handle']):016x}"
        before = self.holders(handle)
        self.assertEqual(len(before), 2)
        rotten, good = sorted(before)

        self.cluster.kill_process(rotten)
        with open(before[rotten], "r+b") as file:
            file.seek(CHUNK_DATA_OFFSET + 1_500_000)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))
        lines = len(self.cluster.log(rotten).splitlines())
        self.cluster.start_process(rotten)

        poll_until(lambda: self.corrupt_line(rotten, handle, lines), SECONDS, "the finding")
        poll_until(lambda: len(self.holders(handle)) == 3, SECONDS, "the repair")
        poll_until(lambda: self.explain().count("counts, verified") == 2, SECONDS, "its report")
        self.assertIn("damaged: kept, never served", self.explain())
        self.assertIn(rotten, self.holders(handle), "what is damaged is kept")

        # What was known before a restart is soon known again.
        poll_until(lambda: (self.cluster.path(rotten) / "scrub").exists(), SECONDS, "the note")
        lines = self.restart(rotten)
        poll_until(lambda: self.corrupt_line(rotten, handle, lines), SECONDS, "the finding again")

        # The new copy is good: it and the rotten one are all that is left.
        self.cluster.kill_process(good)
        self.assert_same(self.get("rot"), data)


if __name__ == "__main__":
    unittest.main()
