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

    def explain(self, key):
        return self.cluster.ballast("explain", key).stdout

    def handle_of(self, key):
        explained = json.loads(self.cluster.ballast("explain", key, "--json").stdout)
        return f"{int(explained['chunks'][0]['handle']):016x}"

    def rot(self, name, path):
        """One bit of the file changes while its server is down."""
        self.cluster.kill_process(name)
        with open(path, "r+b") as file:
            file.seek(CHUNK_DATA_OFFSET + 1_500_000)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))
        lines = len(self.cluster.log(name).splitlines())
        self.cluster.start_process(name)
        return lines

    def corrupt_line(self, name, handle, lines_before):
        lines = self.cluster.log(name).splitlines()[lines_before:]
        return any("chunk_store.corrupt_chunk" in line and handle in line for line in lines)

    def test_rot_that_nobody_reads_is_found_repaired_and_cleared_away(self):
        data = os.urandom(2 * MIB)
        self.put("rot", data)
        self.wait_clean("reports of what was written")
        handle = self.handle_of("rot")
        before = self.holders(handle)
        self.assertEqual(len(before), 2)
        rotten, good = sorted(before)

        lines = self.rot(rotten, before[rotten])
        poll_until(lambda: self.corrupt_line(rotten, handle, lines), SECONDS, "the finding")
        poll_until(lambda: len(self.holders(handle).keys() - {rotten}) == 2, SECONDS, "the repair")
        poll_until(lambda: rotten not in self.holders(handle), SECONDS, "the end of the rotten copy")
        self.wait_clean("nothing left to do")
        self.assertEqual(self.explain("rot").count("counts, verified"), 2)

        # The new copy is good: it is all that is left.
        self.cluster.kill_process(good)
        self.assert_same(self.get("rot"), data)
        self.cluster.start_process(good)

    def test_rot_is_repaired_in_its_place_where_every_server_has_a_copy(self):
        data = os.urandom(2 * MIB)
        self.put("everywhere", data, "--replicas", "4")
        self.wait_clean("reports of what was written")
        handle = self.handle_of("everywhere")
        before = self.holders(handle)
        self.assertEqual(len(before), 4)
        rotten, *others = sorted(before)

        lines = self.rot(rotten, before[rotten])
        poll_until(lambda: self.corrupt_line(rotten, handle, lines), SECONDS, "the finding")
        poll_until(lambda: self.explain("everywhere").count("counts, verified") == 4, SECONDS,
                   "the repair")
        for name in others:
            self.cluster.kill_process(name)
        self.assert_same(self.get("everywhere"), data)


if __name__ == "__main__":
    unittest.main()
