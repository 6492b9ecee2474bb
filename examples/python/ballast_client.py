# SPDX-License-Identifier: Apache-2.0
"""A client of Ballast in Python: put, get, stat, delete, list, status.

  from ballast_client import Client
  with Client("127.0.0.1:7400") as client:
      client.put("notes/today", b"bytes, or any binary file object")
      with open("copy", "wb") as out:
          client.get("notes/today", out)

It promises what the C++ client does (client/README.md): a put is visible as a whole or not at all and
durable when it returns; retries take effect once; only bytes whose checksums fit are delivered; a
dead or damaged chunk server is replaced by another one. It is written to be read, so it is simpler:
one thread, one chunk (64 MiB at most) at a time, which it holds in memory.

Failures are BallastError (ballast_errors.py): code, reason, and whether the operation may have
happened. The README beside this file says which Debian packages it needs.
"""

import heapq
import io
import itertools

import grpc
from ballast_chunks import BLOCK_BYTES, CHUNK_BYTES_MAX, read_chunk, write_chunk
from ballast_errors import BallastError, Retry, checksum_mismatch, invalid_argument
from ballast_metadata import Channels, Metadata
from ballast_stubs import common_pb2, errors_pb2, master_service_pb2
from crc32c import crc32c
from hash_ring import HashRing

LIST_PAGE = 1000
CHUNK_PAGE = 1024
CHUNKS_MAX = 1 << 16         # of one object
DAMAGED_ROUNDS_MAX = 3       # over all replicas, after which "all are damaged" is believed

_Report = master_service_pb2.ReportBadReplicaRequest


def _read_full(source, size):
    """`size` bytes, fewer only at the end. A raw pipe returns what it has."""
    parts, missing = [], size
    while missing > 0:
        part = source.read(missing)
        if not part:
            break
        parts.append(part)
        missing -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class Client:
    """A connection to one cluster. For one thread; close it (or use `with`) to end its sessions.

    cluster     "HOST:PORT" of shardctl, all of them with commas between
    seconds     how long one metadata operation is tried; at most 600, since servers do not keep
                the answers to older requests
    chunk_bytes length of all chunks but the last: a multiple of 64 KiB, up to 64 MiB
    """

    def __init__(self, cluster, seconds=60, chunk_bytes=CHUNK_BYTES_MAX):
        if chunk_bytes % BLOCK_BYTES != 0 or not 0 < chunk_bytes <= CHUNK_BYTES_MAX:
            raise invalid_argument("chunk_bytes: a multiple of 64 KiB, up to 64 MiB")
        self._seconds = min(seconds, 600)
        self._chunk_bytes = chunk_bytes
        self._channels = Channels()
        try:
            self._metadata = Metadata(cluster.split(","), self._channels, self._seconds)
            self._inline_bytes = self._metadata.shardctl.registry().settings.inline_bytes
        except BaseException:
            self._channels.close()
            raise

    def close(self):
        self._metadata.close()
        self._channels.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # --- put -----------------------------------------------------------------------------------

    def put(self, key, data, replicas=0, if_generation_match=None, metadata=None):
        """Stores bytes, or all that a binary file object has, as the object `key`; returns its new
        generation. replicas 0: the cluster's default. if_generation_match 0: only if there is no
        such object; n: only if its generation is n. metadata: a dict of strings."""
        source = io.BytesIO(data) if isinstance(data, (bytes, bytearray, memoryview)) else data
        shard = self._metadata.shard_of_key(key)
        facts = {"key": key, "metadata": [common_pb2.UserMetadata(name=name, value=value)
                                          for name, value in (metadata or {}).items()]}
        if if_generation_match is not None:
            facts["precondition"] = common_pb2.Precondition(if_generation_match=if_generation_match)
        head = _read_full(source, self._inline_bytes + 1)
        if len(head) <= self._inline_bytes:
            request = master_service_pb2.PutInlineRequest(value=head, crc32c=crc32c(head), **facts)
            return self._metadata.mutate("PutInline", request, shard).generation
        return self._put_chunks(shard, facts, head, source, replicas)

    def _put_chunks(self, shard, facts, head, source, replicas):
        draft = self._metadata.mutate("BeginWrite", master_service_pb2.BeginWriteRequest(
            key=facts["key"], wanted_replicas=replicas, chunk_bytes=self._chunk_bytes), shard)
        try:
            size, checksum, position = 0, 0, 0
            chunk = head + _read_full(source, max(0, self._chunk_bytes - len(head)))
            while chunk:
                # A chunk smaller than the first bytes that were read leaves some for the next one.
                chunk, rest = chunk[:self._chunk_bytes], chunk[self._chunk_bytes:]
                if position == CHUNKS_MAX:
                    raise invalid_argument(f"an object has at most {CHUNKS_MAX} chunks")
                self._store_chunk(shard, draft, position, chunk)
                checksum = crc32c(chunk, checksum)
                size += len(chunk)
                position += 1
                chunk = rest + _read_full(source, max(0, self._chunk_bytes - len(rest)))
            request = master_service_pb2.CommitObjectRequest(
                draft_id=draft.draft_id, size_bytes=size, crc32c=checksum, chunk_count=position,
                **facts)
            return self._metadata.mutate("CommitObject", request, shard).generation
        except BaseException:
            self._abort(shard, draft)
            raise

    def _store_chunk(self, shard, draft, position, data):
        """Writes one chunk, under new handles and on other servers until it succeeds, and records
        it. Allocating and sealing also renew the draft."""
        retry = Retry(self._seconds)
        avoid = []
        while True:
            try:
                placement = self._metadata.mutate(
                    "AllocateChunks", master_service_pb2.AllocateChunksRequest(
                        draft_id=draft.draft_id, chunk_count=1, chunk_bytes=len(data),
                        avoid_server_ids=avoid), shard).chunks[0]
            except BallastError as error:
                # Servers that have just failed may be back, or be found alive, soon.
                if error.reason == errors_pb2.REASON_TOO_FEW_SERVERS and avoid and retry.again(
                        BallastError(error.code, str(error), errors_pb2.REASON_CHAIN_FAILED)):
                    continue
                raise
            chain = [s for s in placement.servers if s.server_id not in avoid]
            if len(chain) < draft.required_replicas:
                chain = list(placement.servers)
            try:
                write_chunk(self._channels, placement.handle, chain, memoryview(data))
                break
            except BallastError as error:
                if error.reason in (errors_pb2.REASON_INVALID_ARGUMENT,
                                    errors_pb2.REASON_WRONG_CLUSTER):
                    raise  # another server would say the same
                avoid.append(error.detail.server_id or chain[0].server_id)
                failed = BallastError(error.code, f"storing chunk {position}: {error}",
                                      errors_pb2.REASON_CHAIN_FAILED)
                if not retry.again(failed):
                    raise failed from None
        sealed = master_service_pb2.SealedChunk(
            handle=placement.handle, position=position, length_bytes=len(data), crc32c=crc32c(data),
            server_indexes=[server.server_index for server in chain])
        self._metadata.mutate("SealChunks", master_service_pb2.SealChunksRequest(
            draft_id=draft.draft_id, chunks=[sealed]), shard)

    def _abort(self, shard, draft):
        """Frees what was stored. Best effort: a draft that is not renewed ends by itself."""
        try:
            self._metadata.mutate(
                "AbortWrite", master_service_pb2.AbortWriteRequest(draft_id=draft.draft_id), shard)
        except BallastError:
            pass

    # --- get -----------------------------------------------------------------------------------

    def get(self, key, out, offset=0, length=None):
        """Writes the object's bytes, or `length` of them from `offset`, to the binary file object
        `out`, in order; returns the object's facts (ObjectInfo). All bytes are of one generation.
        On failure some bytes may have been written, none of them wrong."""
        shard = self._metadata.shard_of_key(key)
        reply = self._metadata.read("GetObject", master_service_pb2.GetObjectRequest(key=key),
                                    shard)
        facts = reply.object
        if offset < 0 or (length is not None and length < 0) or 0 < offset >= facts.size_bytes:
            raise BallastError(grpc.StatusCode.OUT_OF_RANGE,
                               f"'{key}' has {facts.size_bytes} bytes",
                               errors_pb2.REASON_OUT_OF_RANGE)
        end = facts.size_bytes if length is None else min(offset + length, facts.size_bytes)
        if facts.is_inline:
            if crc32c(reply.inline_data) != facts.crc32c:
                raise checksum_mismatch(f"'{key}' does not have its checksum")
            out.write(reply.inline_data[offset:end])
            return facts
        checksum = 0
        for chunk in self._chunks(shard, facts, reply.chunks, offset, end):
            first = max(offset - chunk.offset_bytes, 0)
            last = min(end - chunk.offset_bytes, chunk.length_bytes)
            data = self._read_chunk(shard, facts, chunk, first, last)
            checksum = crc32c(data, checksum)
            whole = offset == 0 and chunk.offset_bytes + last == facts.size_bytes
            if whole and checksum != facts.crc32c:
                raise checksum_mismatch(f"'{key}' does not have its checksum")
            out.write(data)
        return facts

    def _chunks(self, shard, facts, first_page, begin, end):
        """The chunks that hold the bytes from `begin` to `end`, fetched page by page."""
        if begin >= end:
            return
        chunk_bytes = first_page[0].length_bytes  # of all but the last
        page = first_page
        for position in range(begin // chunk_bytes, (end - 1) // chunk_bytes + 1):
            index = position - page[0].position
            if not 0 <= index < len(page):
                page = self._chunk_page(shard, facts, position, CHUNK_PAGE)
                index = 0
            yield page[index]

    def _chunk_page(self, shard, facts, position, count):
        page = self._metadata.read("GetChunks", master_service_pb2.GetChunksRequest(
            key=facts.key, generation=facts.generation, first_position=position, count=count),
            shard).chunks
        if not page or page[0].position != position:
            raise BallastError(grpc.StatusCode.INTERNAL, f"the master gave no chunk {position}")
        return page

    def _read_chunk(self, shard, facts, chunk, first, last):
        """Bytes first..last of a chunk, from one replica after another."""
        retry = Retry(self._seconds)
        data = bytearray(last - first)
        done = 0
        damaged_rounds = 0
        while True:
            name = f"chunk {chunk.handle:016x}"
            failed = BallastError(grpc.StatusCode.UNAVAILABLE, f"{name} has no live replica now",
                                  errors_pb2.REASON_CHUNK_UNAVAILABLE)
            damaged = bool(chunk.replicas)
            for replica in chunk.replicas:
                with memoryview(data) as view:
                    count, error = read_chunk(self._channels, replica, chunk.handle, first + done,
                                              view[done:])
                done += count
                if error is None and len(data) == chunk.length_bytes and (
                        crc32c(data) != chunk.crc32c):
                    # Right by the servers' own checksums, and yet not what was written.
                    error = checksum_mismatch(f"{replica.address}: not the chunk that was written")
                    done = 0
                if error is None:
                    return data
                problem = self._problem(error)
                damaged &= problem == _Report.PROBLEM_CHECKSUM
                self._metadata.report_bad_replica(chunk.handle, replica.server_id, problem)
                failed = BallastError(error.code, f"reading {name}: {error}",
                                      errors_pb2.REASON_CHUNK_UNAVAILABLE)
            damaged_rounds += damaged
            if damaged_rounds == DAMAGED_ROUNDS_MAX:
                raise checksum_mismatch(f"every replica of {name} is damaged: {failed}")
            if not retry.again(failed):
                raise failed
            chunk = self._chunk_page(shard, facts, chunk.position, 1)[0]

    @staticmethod
    def _problem(error):
        if error.reason == errors_pb2.REASON_CHUNK_NOT_FOUND:
            return _Report.PROBLEM_MISSING
        if error.code in (grpc.StatusCode.DATA_LOSS, grpc.StatusCode.OUT_OF_RANGE):
            return _Report.PROBLEM_CHECKSUM
        return _Report.PROBLEM_UNREACHABLE

    # --- names ---------------------------------------------------------------------------------

    def stat(self, key):
        """The object's facts (ObjectInfo)."""
        shard = self._metadata.shard_of_key(key)
        request = master_service_pb2.StatObjectRequest(key=key)
        return self._metadata.read("StatObject", request, shard).object

    def delete(self, key, if_generation_match=None):
        """Removes the object; returns the generation that was removed."""
        shard = self._metadata.shard_of_key(key)
        request = master_service_pb2.DeleteObjectRequest(key=key)
        if if_generation_match is not None:
            request.precondition.if_generation_match = if_generation_match
        return self._metadata.mutate("DeleteObject", request, shard).generation

    def list(self, prefix="", start_after=""):
        """Facts of the objects whose key begins with `prefix`, in the order of their keys' bytes:
        the pages of all groups, merged as they are needed."""
        pages = [self._list_group(group.group_id, prefix, start_after)
                 for group in self._metadata.groups()]
        merged = heapq.merge(*pages, key=lambda facts: facts.key.encode())
        # The same key from two groups: its shard migrated between their pages.
        for _, same in itertools.groupby(merged, key=lambda facts: facts.key):
            yield next(same)

    def _list_group(self, group, prefix, last):
        more = True
        while more:
            page = self._metadata.read("ListObjects", master_service_pb2.ListObjectsRequest(
                prefix=prefix, start_after=last, limit=LIST_PAGE), group=group)
            for facts in page.objects:
                last = facts.key
                yield facts
            more = page.more and len(page.objects) > 0

    def ring(self, pool):
        """The ring of a routing pool (HashRing): route any number of keys over it by yourself."""
        servers = self._metadata.shardctl.pool(pool).servers
        return HashRing({server.id: server.points for server in servers})

    # --- the cluster ---------------------------------------------------------------------------

    def status(self):
        """A dict: cluster_id, config_version, members (one a master, with its status or its error),
        servers (ServerStatus, as the first group that answers sees them)."""
        self._metadata.shardctl.refresh()
        configuration = self._metadata.shardctl.configuration
        members = []
        for group in configuration.groups:
            for master in group.masters:
                member = {"group_id": group.group_id, "address": master.address}
                try:
                    member["status"] = self._metadata.member_status(master.address)
                except BallastError as error:
                    member["error"] = error
                members.append(member)
        servers = self._metadata.read("ListServers", master_service_pb2.ListServersRequest(),
                                      group=configuration.groups[0].group_id).servers
        return {"cluster_id": self._channels.cluster_id, "config_version": configuration.version,
                "members": members, "servers": list(servers)}
