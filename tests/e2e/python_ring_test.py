# SPDX-License-Identifier: Apache-2.0
"""The Python example routes as docs/protocols/hash_ring.md says, by its test vectors. Run by Debian's
Python."""

import sys
import unittest
from pathlib import Path

import xxhash

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "examples/python"))
sys.dont_write_bytecode = True

from hash_ring import HashRing, point_position, ring_points  # noqa: E402


class PythonRingTest(unittest.TestCase):
    def test_the_vectors_of_the_specification_hold(self):
        rings = {}
        routes = 0
        lines = (TOP / "docs/protocols/hash_ring_vectors.tsv").read_text(encoding="utf-8")
        for line in lines.splitlines():
            kind, *fields = line.split("\t")
            if kind == "point":
                self.assertEqual(f"{point_position(fields[0], int(fields[1])):016x}", fields[2])
            elif kind == "ring":
                servers = dict(field.rsplit("=", 1) for field in fields[1:])
                rings[fields[0]] = HashRing({name: int(points) for name, points in servers.items()})
            elif kind == "route":
                key = b"" if fields[1] == "<empty>" else fields[1].encode()
                self.assertEqual(f"{xxhash.xxh64_intdigest(key, seed=0):016x}", fields[2])
                ring = rings[fields[0]]
                self.assertEqual(ring.successors(key, 100), fields[3:], line)
                self.assertEqual(ring.route(key), fields[3])
                routes += 1
        self.assertGreaterEqual(routes, 150)

    def test_an_empty_ring_routes_nothing(self):
        self.assertIsNone(HashRing({}).route(b"key"))
        self.assertIsNone(HashRing({"silent": 0}).route(b"key"))

    def test_weights_become_points(self):
        self.assertEqual([ring_points(weight) for weight in (0, 1e-9, 1, 1.5, 1e300)],
                         [0, 1, 1024, 1536, 1 << 20])


if __name__ == "__main__":
    unittest.main()
