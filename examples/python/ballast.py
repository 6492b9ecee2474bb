#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The example client as a command: put, get, ls, stat, rm, route, status. `ballast.py --help`."""

import argparse
import os
import sys
import tempfile

import grpc
from ballast_client import Client
from ballast_errors import BallastError
from ballast_stubs import errors_pb2, master_service_pb2


def put(client, arguments):
    with open(arguments.file, "rb") if arguments.file != "-" else sys.stdin.buffer as source:
        client.put(arguments.key, source, replicas=arguments.replicas,
                   if_generation_match=arguments.if_generation_match)


def get(client, arguments):
    if arguments.file == "-":
        client.get(arguments.key, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    # Under another name until it is whole; a failed get leaves the old file.
    folder = os.path.dirname(os.path.abspath(arguments.file))
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".ballast-", delete=False) as part:
        try:
            client.get(arguments.key, part)
            part.flush()
            os.fsync(part.fileno())
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(part.name, 0o666 & ~umask)
            os.replace(part.name, arguments.file)
        except BaseException:
            os.unlink(part.name)
            raise


def ls(client, arguments):
    for facts in client.list(arguments.prefix):
        print(facts.key)


def stat(client, arguments):
    facts = client.stat(arguments.key)
    print(f"generation  {facts.generation}\nsize_bytes  {facts.size_bytes}\n"
          f"crc32c      {facts.crc32c:08x}\nchunk_count {facts.chunk_count}\n"
          f"replicas    {facts.wanted_replicas}")
    for entry in facts.metadata:
        print(f"meta.{entry.name} {entry.value}")


def rm(client, arguments):
    client.delete(arguments.key)


def route(client, arguments):
    ring = client.ring(arguments.pool)
    for key in arguments.keys:
        print(key, "", *ring.successors(os.fsencode(key), 10_000))


def status(client, _):
    facts = client.status()
    print(f"cluster {facts['cluster_id']}, configuration {facts['config_version']}")
    for member in facts["members"]:
        line = f"group {member['group_id']}  {member['address']}  "
        if "error" in member:
            print(f"{line}{member['error']}")
            continue
        state = member["status"]
        print(f"{line}{'leader' if state.is_leader else 'follower'}  {state.object_count} objects  "
              f"{state.chunk_count} chunks")
    for server in facts["servers"]:
        liveness = master_service_pb2.Liveness.Name(server.liveness).removeprefix("LIVENESS_")
        print(f"server {server.server_index}  {server.address}  {liveness.lower()}  "
              f"{server.utilization_pct:.0f} % full  {server.chunk_count} chunks")


def main():
    parser = argparse.ArgumentParser(description="The example client of Ballast in Python.",
                                     epilog="Exit status: 0 done, 1 failed, 2 misused.")
    parser.add_argument("--cluster", default=os.environ.get("BALLAST_CLUSTER", "127.0.0.1:7400"),
                        help="HOST:PORT of shardctl (BALLAST_CLUSTER)")
    parser.add_argument("--timeout", type=float, default=60, metavar="SECONDS",
                        help="how long to go on trying, 60 s if not given")
    parser.add_argument("--chunk-bytes", type=int, default=64 << 20, help="of a put, 64 MiB if not given")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("put", help="store a file, or standard input (-), as an object")
    verb.add_argument("file")
    verb.add_argument("key")
    verb.add_argument("--replicas", type=int, default=0)
    verb.add_argument("--if-generation-match", type=int)
    verb = verbs.add_parser("get", help="read an object into a file, or to standard output (-)")
    verb.add_argument("key")
    verb.add_argument("file")
    verbs.add_parser("ls", help="list objects").add_argument("prefix", nargs="?", default="")
    verbs.add_parser("stat", help="show an object's facts").add_argument("key")
    verbs.add_parser("rm", help="remove an object").add_argument("key")
    verb = verbs.add_parser("route", help="show the servers of a routing pool in the order for a key")
    verb.add_argument("pool")
    verb.add_argument("keys", nargs="+")
    verbs.add_parser("status", help="show how the cluster is")
    arguments = parser.parse_args()
    with Client(arguments.cluster, arguments.timeout, arguments.chunk_bytes) as client:
        globals()[arguments.verb](client, arguments)


if __name__ == "__main__":
    try:
        main()
    except BallastError as error:
        TEXT = str(error)
        if error.reason == errors_pb2.REASON_OBJECT_NOT_FOUND:
            TEXT = "no such object"
        elif error.reason == 0 and error.code == grpc.StatusCode.UNAVAILABLE:
            TEXT = f"{error} (is --cluster or BALLAST_CLUSTER right?)"
        print(f"ballast.py: {TEXT}" + (f" [{error.reason_name}]" if error.reason else ""),
              file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        print(f"ballast.py: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
