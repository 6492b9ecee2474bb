# SPDX-License-Identifier: Apache-2.0
"""examples/python against servers that answer what a healthy cluster rarely does: other leaders, moved
shards, lost answers, ended sessions, wrong bytes. Run by Debian's Python."""

import io
import os
import shutil
import sys
import tempfile
import unittest
from concurrent import futures
from pathlib import Path

import grpc

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "examples/python"))
sys.dont_write_bytecode = True
STUBS = tempfile.mkdtemp(prefix="ballast-stubs-")
unittest.addModuleCleanup(shutil.rmtree, STUBS, ignore_errors=True)
os.environ["BALLAST_PYTHON_STUBS"] = STUBS

import ballast_chunks  # noqa: E402
from ballast_client import Client  # noqa: E402
from ballast_errors import BallastError  # noqa: E402
from ballast_stubs import (  # noqa: E402
    chunkserver_data_service_pb2 as data, chunkserver_data_service_pb2_grpc, errors_pb2 as errors,
    master_service_pb2 as master, master_service_pb2_grpc, shardctl_service_pb2 as shardctl,
    shardctl_service_pb2_grpc)
from crc32c import crc32c  # noqa: E402

CLUSTER_ID = "6f1c0c52-7b0e-4d0a-9a53-0d2b1f7c8e11"
SHARDS = 16
BLOCK = 64 << 10


def refuse(context, code, reason=0, text="refused", **hint):
    """Ends a call as a Ballast server does, or as the transport would if there is no reason."""
    if reason:
        detail = errors.ErrorDetail(reason=reason, **hint)
        packed = errors.StatusDetails.Packed(
            type_url="type.googleapis.com/ballast.v1.ErrorDetail", value=detail.SerializeToString())
        status = errors.StatusDetails(code=code.value[0], message=text, details=[packed])
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, text)


class FakeShardctl(shardctl_service_pb2_grpc.ShardControlServicer):
    def __init__(self):
        self.configuration = shardctl.Configuration(version=1)
        self.queries = 0

    def GetCluster(self, request, context):
        return shardctl.GetClusterResponse(cluster_id=CLUSTER_ID, shard_count=SHARDS)

    def Query(self, request, context):
        self.queries += 1
        return shardctl.QueryResponse(configuration=self.configuration)

    def Watch(self, request, context):
        settings = shardctl.Settings(inline_bytes=4096)
        return shardctl.WatchResponse(registry=shardctl.Registry(version=1, settings=settings))


class FakeMaster(master_service_pb2_grpc.MasterServicer):
    """Answers puts, gets and lists; `script` is what the next mutations do instead of succeeding."""

    def __init__(self):
        self.script = []
        self.requests = []   # request ids of all tries of mutations
        self.sessions = 0
        self.refusal = None  # of every call: arguments of refuse()
        self.keys = []
        self.chunks = []
        self.content = b""
        self.reports = []
        self.cluster_ids = set()

    def _answer(self, context):
        self.cluster_ids.add(dict(context.invocation_metadata()).get("ballast-cluster-id"))
        if self.refusal:
            refuse(context, **self.refusal)

    def OpenSessions(self, request, context):
        self._answer(context)
        self.sessions += 1
        return master.OpenSessionsResponse(
            session_ids=[(request.shards[0] << 48) + self.sessions])

    def PutInline(self, request, context):
        self._answer(context)
        self.requests.append((request.request.session_id, request.request.sequence))
        if self.script:
            refuse(context, **self.script.pop(0))
        return master.PutInlineResponse(generation=7)

    def ListObjects(self, request, context):
        self._answer(context)
        rest = [key for key in self.keys if key.encode() > request.start_after.encode()]
        return master.ListObjectsResponse(
            objects=[master.ObjectInfo(key=key) for key in rest[:2]], more=len(rest) > 2)

    def GetObject(self, request, context):
        self._answer(context)
        info = master.ObjectInfo(key=request.key, generation=1, size_bytes=len(self.content),
                                 crc32c=crc32c(self.content), chunk_count=len(self.chunks))
        return master.GetObjectResponse(object=info, chunks=self.chunks)

    def GetChunks(self, request, context):
        first = request.first_position
        return master.GetChunksResponse(chunks=self.chunks[first:first + request.count])

    def ReportBadReplica(self, request, context):
        self.reports.append((request.server_id, request.problem))
        return master.ReportBadReplicaResponse()


class FakeChunks(chunkserver_data_service_pb2_grpc.ChunkDataServicer):
    """Sends `messages` (offset, bytes, checksums) from the offset asked for; with `silent`, then
    nothing more."""

    def __init__(self, messages, silent=False):
        self.messages = messages
        self.silent = silent

    def ReadChunk(self, request, context):
        for offset, part, checksums in self.messages:
            if offset < request.offset_bytes:
                continue
            yield data.ReadChunkResponse(offset_bytes=offset, block_crc32c=checksums, data=part)
        if self.silent:
            ended = futures.Future()
            context.add_callback(lambda: ended.set_result(None))
            ended.result()


class FakeCase(unittest.TestCase):

    def serve(self, add, servicer):
        server = grpc.server(futures.ThreadPoolExecutor(4))
        add(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self.addCleanup(server.stop, None)
        return f"127.0.0.1:{port}"

    def setUp(self):
        self.shardctl = FakeShardctl()
        self.address = self.serve(shardctl_service_pb2_grpc.add_ShardControlServicer_to_server,
                                  self.shardctl)

    def master(self):
        fake = FakeMaster()
        fake.address = self.serve(master_service_pb2_grpc.add_MasterServicer_to_server, fake)
        return fake

    def configure(self, *groups, owner=1):
        """Groups 1, 2, .. of fake masters; all shards are `owner`'s."""
        infos = [shardctl.GroupInfo(group_id=number, masters=[
            shardctl.MasterAddress(node_id=node, address=fake.address)
            for node, fake in enumerate(members, 1)]) for number, members in enumerate(groups, 1)]
        self.shardctl.configuration = shardctl.Configuration(
            version=self.shardctl.configuration.version + 1, shard_owner=[owner] * SHARDS,
            groups=infos)

    def client(self, seconds=30):
        client = Client(self.address, seconds)
        self.addCleanup(client.close)
        return client

    def failure(self, call):
        with self.assertRaises(BallastError) as raised:
            call()
        return raised.exception


class RoutingTest(FakeCase):

    def test_goes_on_at_the_leader_that_is_named(self):
        follower, middle, leader = self.master(), self.master(), self.master()
        for fake in (follower, middle):
            fake.refusal = {"code": grpc.StatusCode.UNAVAILABLE, "reason": errors.REASON_NOT_LEADER,
                            "leader_address": leader.address}
        self.configure([follower, middle, leader])
        client = self.client()
        self.assertEqual(client.put("k", b"x"), 7)
        self.assertEqual((follower.requests, middle.requests, len(leader.requests)), ([], [], 1))
        self.assertEqual(middle.cluster_ids, set(), "nobody asks it")
        self.assertEqual(leader.cluster_ids, {CLUSTER_ID})

    def test_asks_the_next_member_if_no_leader_is_named_or_one_is_dead(self):
        unsure, leader = self.master(), self.master()
        unsure.refusal = {"code": grpc.StatusCode.UNAVAILABLE, "reason": errors.REASON_NOT_LEADER}
        dead = FakeMaster()
        dead.address = "127.0.0.1:1"
        self.configure([dead, unsure, leader])
        self.assertEqual(self.client().put("k", b"x"), 7)

    def test_a_moved_shard_is_found_at_its_new_owner(self):
        old, new = self.master(), self.master()
        self.configure([old], [new], owner=1)
        client = self.client()
        client.put("k", b"x")
        self.configure([old], [new], owner=2)
        old.refusal = {"code": grpc.StatusCode.FAILED_PRECONDITION,
                       "reason": errors.REASON_WRONG_GROUP, "config_version": 3}
        self.assertEqual(client.put("k", b"y"), 7)
        self.assertEqual((len(old.requests), len(new.requests)), (1, 1))

    def test_lists_of_groups_are_merged_in_byte_order(self):
        first, second = self.master(), self.master()
        first.keys = ["a", "c", "d", "é"]
        second.keys = ["b", "c", "z", "\U0001f600"]
        self.configure([first], [second])
        self.assertEqual([facts.key for facts in self.client().list()],
                         ["a", "b", "c", "d", "z", "é", "\U0001f600"])


class MutationTest(FakeCase):

    def setUp(self):
        super().setUp()
        self.fake = self.master()
        self.configure([self.fake])

    def test_a_lost_answer_is_asked_for_again_with_the_same_request_id(self):
        for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            self.fake.script.append({"code": code})
        self.fake.script.append({"code": grpc.StatusCode.UNAVAILABLE,
                                 "reason": errors.REASON_OUTCOME_UNKNOWN})
        client = self.client()
        self.assertEqual(client.put("k", b"x"), 7)
        self.assertEqual(len(self.fake.requests), 4)
        self.assertEqual(len(set(self.fake.requests)), 1)
        client.put("k", b"x")
        self.assertEqual(self.fake.requests[-1][1], self.fake.requests[0][1] + 1)

    def test_what_stays_in_doubt_is_told_as_in_doubt(self):
        self.fake.script = [{"code": grpc.StatusCode.UNAVAILABLE}] * 1000
        client = self.client(seconds=0.3)
        self.assertEqual(self.failure(lambda: client.put("k", b"x")).reason_name, "OUTCOME_UNKNOWN")

    def test_an_ended_session_is_replaced_if_nothing_is_in_doubt(self):
        expired = {"code": grpc.StatusCode.ABORTED, "reason": errors.REASON_SESSION_EXPIRED}
        self.fake.script = [expired]
        client = self.client()
        self.assertEqual(client.put("k", b"x"), 7)
        self.assertEqual(len({session for session, _ in self.fake.requests}), 2)
        self.fake.script = [{"code": grpc.StatusCode.UNAVAILABLE}, expired]
        self.assertEqual(self.failure(lambda: client.put("k", b"x")).reason_name, "OUTCOME_UNKNOWN")

    def test_a_definite_refusal_is_not_tried_again(self):
        self.fake.script = [{"code": grpc.StatusCode.FAILED_PRECONDITION,
                             "reason": errors.REASON_GENERATION_MISMATCH}]
        client = self.client()
        self.assertEqual(self.failure(lambda: client.put("k", b"x")).reason_name,
                         "GENERATION_MISMATCH")
        self.assertEqual(len(self.fake.requests), 1)

    def test_details_that_cannot_be_read_count_as_absent(self):
        class Garbage(FakeMaster):
            def StatObject(self, request, context):
                context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff"),))
                context.abort(grpc.StatusCode.NOT_FOUND, "bare")
        fake = Garbage()
        fake.address = self.serve(master_service_pb2_grpc.add_MasterServicer_to_server, fake)
        self.configure([fake])
        error = self.failure(lambda: self.client().stat("k"))
        self.assertEqual((error.code, error.reason), (grpc.StatusCode.NOT_FOUND, 0))


class BytesTest(FakeCase):
    """One chunk of two blocks; the first replica is wrong in some way, the second one is right."""

    CONTENT = bytes(BLOCK) + b"end"

    def parts(self):
        return [(0, self.CONTENT[:BLOCK], [crc32c(self.CONTENT[:BLOCK])]),
                (BLOCK, b"end", [crc32c(b"end")])]

    def read(self, *replicas):
        fake = self.master()
        self.configure([fake])
        fake.content = self.CONTENT
        chunk = master.ChunkInfo(handle=5, position=0, length_bytes=len(self.CONTENT),
                                 crc32c=crc32c(self.CONTENT))
        for number, replica in enumerate(replicas, 1):
            chunk.replicas.add(
                server_id=f"server{number}", server_index=number, address=self.serve(
                    chunkserver_data_service_pb2_grpc.add_ChunkDataServicer_to_server, replica))
        fake.chunks = [chunk]
        out = io.BytesIO()
        try:
            self.client(seconds=5).get("k", out)
        finally:
            self.reports = fake.reports
            self.assertTrue(self.CONTENT.startswith(out.getvalue()), "only right bytes")
        return out.getvalue()

    def assert_replaced(self, wrong, problem):
        self.assertEqual(self.read(wrong, FakeChunks(self.parts())), self.CONTENT)
        self.assertEqual(self.reports, [("server1", problem)])

    def test_wrong_streams_are_replaced_by_the_next_replica(self):
        first, last = self.parts()
        wrong = {
            "a block whose checksum does not fit": [first, (BLOCK, b"eNd", last[2])],
            "a checksum too few": [first, (BLOCK, b"end", [])],
            "blocks out of order": [last, first],
            "a block missing": [first],
            "a chunk that is another one": [first, (BLOCK, b"eNd", [crc32c(b"eNd")])],
            "an empty message": [first, (BLOCK, b"", [])],
        }
        for name, messages in wrong.items():
            with self.subTest(name):
                self.assert_replaced(FakeChunks(messages),
                                     master.ReportBadReplicaRequest.PROBLEM_CHECKSUM)

    def test_more_than_was_asked_for_is_cut(self):
        more = self.parts() + [(BLOCK + 3, b"more", [crc32c(b"more")])]
        self.assertEqual(self.read(FakeChunks(more), FakeChunks(self.parts())), self.CONTENT)

    def test_a_silent_replica_is_given_up(self):
        patience = ballast_chunks.READ_STALL_SECONDS
        self.addCleanup(setattr, ballast_chunks, "READ_STALL_SECONDS", patience)
        ballast_chunks.READ_STALL_SECONDS = 0.2
        self.assert_replaced(FakeChunks(self.parts()[:1], silent=True),
                             master.ReportBadReplicaRequest.PROBLEM_UNREACHABLE)

    def test_a_chunk_without_a_whole_replica_is_an_error(self):
        wrong = FakeChunks([(0, self.CONTENT[:BLOCK], [1])])
        error = self.failure(lambda: self.read(wrong, wrong))
        self.assertEqual(error.reason_name, "CHECKSUM_MISMATCH")

    def test_a_chunk_without_a_replica_is_unavailable(self):
        client_error = self.failure(self.read)
        self.assertEqual(client_error.reason_name, "CHUNK_UNAVAILABLE")


if __name__ == "__main__":
    unittest.main(verbosity=2)
