# SPDX-License-Identifier: Apache-2.0
"""The bytes of single chunks, to and from chunk servers, every block under its checksum."""

import threading

import grpc
from ballast_errors import BallastError, checksum_mismatch
from ballast_stubs import chunkserver_data_service_pb2, chunkserver_data_service_pb2_grpc
from crc32c import crc32c

BLOCK_BYTES = 64 << 10    # has a checksum of its own
MESSAGE_BYTES = 1 << 20   # of data in one message
CHUNK_BYTES_MAX = 64 << 20
STREAM_SECONDS = 600      # bounds a server that trickles
READ_STALL_SECONDS = 5    # a replica that sends nothing for so long is given up
WRITE_STALL_SECONDS = 60  # a chain that takes nothing, or is not done, for so long is given up

_WriteChunkRequest = chunkserver_data_service_pb2.WriteChunkRequest


def block_checksums(data):
    """CRC32C of each 64 KiB of `data`, a memoryview; the last block may be shorter."""
    return [crc32c(data[begin:begin + BLOCK_BYTES]) for begin in range(0, len(data), BLOCK_BYTES)]


class _StallGuard:
    """Cancels a call that makes no progress for `seconds`. Used as `with`; stalled tells."""

    def __init__(self, seconds):
        self._seconds = seconds
        self._changed = threading.Condition()
        self._progress = 0
        self._ended = False
        self._call = None
        self.stalled = False

    def watch(self, call):
        self._call = call
        threading.Thread(target=self._run, daemon=True).start()

    def progressed(self):
        with self._changed:
            self._progress += 1
            self._changed.notify()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self._changed:
            self._ended = True
            self._changed.notify()

    def _run(self):
        with self._changed:
            while not self._ended:
                before = self._progress
                self._changed.wait_for(lambda: self._ended or self._progress != before,
                                       self._seconds)
                if not self._ended and self._progress == before:
                    self.stalled = True
                    self._call.cancel()
                    return

    def explain(self, error, address):
        if self.stalled:
            return BallastError(grpc.StatusCode.DEADLINE_EXCEEDED,
                                f"{address}: silent for {self._seconds} s")
        return BallastError.of(error, address)


def _messages(handle, chain, data, guard):
    """The stream of one chunk: header first, at most 1 MiB a message, the whole chunk's checksum in
    the last one."""
    for begin in range(0, len(data), MESSAGE_BYTES):
        part = data[begin:begin + MESSAGE_BYTES]
        message = _WriteChunkRequest(offset_bytes=begin, block_crc32c=block_checksums(part),
                                     data=bytes(part))
        if begin == 0:
            message.header.handle = handle
            message.header.server_id = chain[0].server_id
            message.header.forward.extend(chain[1:])
            message.header.length_hint_bytes = len(data)
        if begin + len(part) == len(data):
            message.finish.length_bytes = len(data)
            message.finish.crc32c = crc32c(data)
        guard.progressed()
        yield message


def write_chunk(channels, handle, chain, data):
    """Writes one chunk along a chain of servers; returns when it is durable on all of them. After any
    failure the handle is spent. `data` is a memoryview of 1 byte to 64 MiB."""
    address = chain[0].address
    stub = chunkserver_data_service_pb2_grpc.ChunkDataStub(channels.get(address))
    with _StallGuard(WRITE_STALL_SECONDS) as guard:
        call = stub.WriteChunk.future(_messages(handle, chain, data, guard),
                                      timeout=STREAM_SECONDS, metadata=channels.metadata())
        guard.watch(call)
        try:
            reply = call.result()
        except (grpc.RpcError, grpc.FutureCancelledError) as error:
            raise guard.explain(error if isinstance(error, grpc.RpcError) else call,
                                address) from None
    wanted = {server.server_id for server in chain}
    if set(reply.server_ids) != wanted:
        raise BallastError(grpc.StatusCode.INTERNAL,
                           f"{address}: stored on other servers than asked for")


def read_chunk(channels, replica, handle, begin, out):
    """Reads len(out) bytes of a chunk from offset `begin` into `out`, a writable memoryview, from one
    replica. Returns how many bytes are there, and why it were not all, or None. Only bytes whose
    block had its checksum are ever there."""
    stub = chunkserver_data_service_pb2_grpc.ChunkDataStub(channels.get(replica.address))
    request = chunkserver_data_service_pb2.ReadChunkRequest(
        handle=handle, offset_bytes=begin, length_bytes=len(out), server_id=replica.server_id)
    done = 0
    with _StallGuard(READ_STALL_SECONDS) as guard:
        call = stub.ReadChunk(request, timeout=STREAM_SECONDS, metadata=channels.metadata())
        guard.watch(call)
        try:
            expected = begin // BLOCK_BYTES * BLOCK_BYTES  # the range is widened to whole blocks
            for message in call:
                guard.progressed()
                data = memoryview(message.data)
                if message.offset_bytes != expected or not data:
                    raise checksum_mismatch(f"{replica.address}: bytes out of order")
                if block_checksums(data) != list(message.block_crc32c):
                    raise checksum_mismatch(f"{replica.address}: a block changed on its way")
                expected += len(data)
                # Cut what was asked for out of it.
                wanted = data[begin + done - message.offset_bytes:][:len(out) - done]
                out[done:done + len(wanted)] = wanted
                done += len(wanted)
        except grpc.RpcError as error:
            return done, guard.explain(error, replica.address)
        except BallastError as error:
            call.cancel()
            return done, error
    if done < len(out):
        return done, checksum_mismatch(f"{replica.address}: the replica is too short")
    return done, None
