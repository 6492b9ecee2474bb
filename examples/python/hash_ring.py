#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Consistent hashing as docs/protocols/hash_ring.md specifies it, for clients that route by themselves.

  hash_ring.py --server cache1 --server cache2=2 user:17 user:18

prints for each key its server and those that follow. Needs Debian's python3-xxhash."""

import argparse
import bisect
import math
import sys

import xxhash

POINTS_PER_WEIGHT = 1024


def ring_points(weight, points_per_weight=POINTS_PER_WEIGHT):
    """Points of a server of this weight: rounded, at least one unless the weight is 0."""
    if weight == 0:
        return 0
    return min(max(math.floor(weight * points_per_weight + 0.5), 1), 1 << 20)


def point_position(server, number):
    """Where point `number` of a server lies, 0 .. 2^64 - 1."""
    return xxhash.xxh64_intdigest(server.encode() + number.to_bytes(4, "little"), seed=0)


class HashRing:
    """`servers` maps ids to numbers of points."""

    def __init__(self, servers):
        self._servers = sum(1 for points in servers.values() if points)
        self._points = sorted(
            (point_position(server, i), server.encode(), server)
            for server, points in servers.items() for i in range(points))
        self._positions = [point[0] for point in self._points]

    def successors(self, key, count):
        """The owner of a key (bytes), then the servers that follow clockwise: at most `count`."""
        found = []
        place = bisect.bisect_left(self._positions, xxhash.xxh64_intdigest(key, seed=0))
        for step in range(len(self._points)):
            server = self._points[(place + step) % len(self._points)][2]
            if server not in found:
                found.append(server)
                if len(found) >= min(count, self._servers):
                    break
        return found[:count]

    def route(self, key):
        """The owner of a key, or None if no server has points."""
        return next(iter(self.successors(key, 1)), None)


def main():
    parser = argparse.ArgumentParser(description="Routes keys over servers by consistent hashing.")
    parser.add_argument("--server", action="append", required=True, metavar="ID[=WEIGHT]")
    parser.add_argument("--points", type=int, default=POINTS_PER_WEIGHT, help="points of weight 1")
    parser.add_argument("keys", nargs="+")
    arguments = parser.parse_args()
    servers = {}
    for text in arguments.server:
        server, _, weight = text.partition("=")
        servers[server] = ring_points(float(weight or 1), arguments.points)
    ring = HashRing(servers)
    for key in arguments.keys:
        print(key, *ring.successors(key.encode(), len(servers)))


if __name__ == "__main__":
    sys.exit(main())
