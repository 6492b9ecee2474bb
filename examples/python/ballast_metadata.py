# SPDX-License-Identifier: Apache-2.0
"""Calls to shardctl and masters: who owns a key, who leads, and mutations that apply once."""

import grpc
import xxhash
from ballast_errors import BallastError, Retry, invalid_argument
from ballast_stubs import (
    common_pb2, errors_pb2, master_service_pb2, master_service_pb2_grpc, pool_service_pb2,
    pool_service_pb2_grpc, shardctl_service_pb2, shardctl_service_pb2_grpc)

CLUSTER_ID_METADATA = "ballast-cluster-id"
TRY_SECONDS = 5.0         # deadline of one try of one call
BEST_EFFORT_SECONDS = 2.0
TRIES_BEFORE_REFRESH = 6  # a group that is silent for so long may live elsewhere by now
SESSIONS_MAX = 3          # for one request, before something is badly wrong

_CHANNEL_OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),  # servers come back within seconds
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 10000),
    ("grpc.keepalive_timeout_ms", 10000),
]


class Channels:
    """One connection an address, and the metadata that every call carries."""

    def __init__(self):
        self._channels = {}
        self.cluster_id = ""

    def get(self, address):
        if address not in self._channels:
            self._channels[address] = grpc.insecure_channel(address, options=_CHANNEL_OPTIONS)
        return self._channels[address]

    def metadata(self):
        return ((CLUSTER_ID_METADATA, self.cluster_id),) if self.cluster_id else ()

    def call(self, method, address, request, seconds=TRY_SECONDS):
        """One try of a unary call; fails with a BallastError."""
        try:
            return method(request, timeout=seconds, metadata=self.metadata())
        except grpc.RpcError as error:
            raise BallastError.of(error, address) from None

    def close(self):
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()


class ShardControl:
    """shardctl: which cluster this is, which group owns which shard, the settings."""

    def __init__(self, addresses, channels, seconds):
        self._addresses = list(addresses)
        self._channels = channels
        self._seconds = seconds
        cluster = self._call("GetCluster", shardctl_service_pb2.GetClusterRequest())
        channels.cluster_id = cluster.cluster_id
        self.shard_count = cluster.shard_count
        self.configuration = None

    def refresh(self, seconds=None):
        """Fetches the current configuration."""
        reply = self._call("Query", shardctl_service_pb2.QueryRequest(), seconds)
        if not reply.HasField("configuration"):
            raise BallastError(grpc.StatusCode.FAILED_PRECONDITION,
                               "no group of masters has joined this cluster yet: "
                               "ballast group join GROUP HOST:PORT")
        self.configuration = reply.configuration

    def registry(self):
        """The chunk servers and the cluster's settings."""
        return self._call("Watch", shardctl_service_pb2.WatchRequest()).registry

    def pool(self, name):
        """A routing pool (Pool): its servers, weights and points."""
        request = pool_service_pb2.GetPoolRequest(name=name)
        return self._call("GetPool", request, service=pool_service_pb2_grpc.PoolsStub).pool

    def _call(self, name, request, seconds=None,
              service=shardctl_service_pb2_grpc.ShardControlStub):
        retry = Retry(self._seconds if seconds is None else seconds)
        while True:
            address = self._addresses[0]
            stub = service(self._channels.get(address))
            try:
                return self._channels.call(getattr(stub, name), address, request)
            except BallastError as error:
                # The next one in turn; a hint names the leader, which may be a new address.
                turn = [error.detail.leader_address, *self._addresses[1:], address]
                self._addresses = [a for a in dict.fromkeys(turn) if a]
                if not retry.again(error):
                    raise


class Metadata:
    """Calls to the masters, each sent to the leader of the right group and tried again when that may
    help. Mutations are named by (session, sequence), so that they take effect once however often
    they are sent.

    For one thread: there is one request at a time, so each request is the first incomplete one.
    """

    def __init__(self, addresses, channels, seconds):
        self._channels = channels
        self._seconds = seconds
        self.shardctl = ShardControl(addresses, channels, seconds)
        self.shardctl.refresh()
        self._leaders = {}   # group id: address that led last
        self._sessions = {}  # shard: [session id, last sequence used]

    def close(self):
        """Ends the sessions, as far as that can be done quickly: they end by themselves too."""
        by_group = {}
        for shard, (session, _) in self._sessions.items():
            by_group.setdefault(self._owner(shard), []).append(session)
        self._sessions.clear()
        for group, sessions in by_group.items():
            address = self._leader(group)
            try:
                self._channels.call(self._stub(address).CloseSessions, address,
                                    master_service_pb2.CloseSessionsRequest(session_ids=sessions),
                                    BEST_EFFORT_SECONDS)
            except BallastError:
                pass

    # --- calls ---------------------------------------------------------------------------------

    def shard_of_key(self, key):
        data = key.encode()
        if not 1 <= len(data) <= 1024 or 0 in data:
            raise invalid_argument("a key has 1 to 1024 bytes of UTF-8, none of them NUL")
        return xxhash.xxh64_intdigest(data, seed=0) % self.shardctl.shard_count

    def groups(self):
        return list(self.shardctl.configuration.groups)

    def read(self, name, request, shard=None, group=None):
        """A call without effect, for a shard's owner or for a group."""
        return self._until_done(name, request, shard, group, Retry(self._seconds))

    def mutate(self, name, request, shard):
        """A call with effect; fills its request id in. Fails definitely, or with OUTCOME_UNKNOWN."""
        retry = Retry(self._seconds)
        for session_number in range(1, SESSIONS_MAX + 1):
            request.request.CopyFrom(self._next_request(shard))
            try:
                return self._until_done(name, request, shard, None, retry)
            except BallastError as error:
                expired = error.reason == errors_pb2.REASON_SESSION_EXPIRED
                if expired:
                    self._sessions.pop(shard, None)
                    if not retry.any_unknown and session_number < SESSIONS_MAX:
                        continue  # nothing can have happened: anew, in a new session
                answered = (error.outcome == "final" and not expired and
                            error.reason not in (0, errors_pb2.REASON_WRONG_CLUSTER))
                if expired or (retry.any_unknown and not answered):
                    raise BallastError(
                        grpc.StatusCode.UNAVAILABLE, "it is not known whether the operation "
                        f"happened: {error}", errors_pb2.REASON_OUTCOME_UNKNOWN) from None
                raise

    def report_bad_replica(self, handle, server_id, problem):
        """Has the master verify that replica. Best effort."""
        address = self._leader(self._owner(handle >> 48))
        report = master_service_pb2.ReportBadReplicaRequest(
            handle=handle, server_id=server_id, problem=problem)
        try:
            self._channels.call(self._stub(address).ReportBadReplica, address, report,
                                BEST_EFFORT_SECONDS)
        except BallastError:
            pass

    def member_status(self, address):
        """One master's own view, without retries."""
        return self._channels.call(self._stub(address).GetGroupStatus, address,
                                   master_service_pb2.GetGroupStatusRequest(), BEST_EFFORT_SECONDS)

    # --- routing -------------------------------------------------------------------------------

    def _owner(self, shard):
        return self.shardctl.configuration.shard_owner[shard]

    def _members(self, group):
        for info in self.shardctl.configuration.groups:
            if info.group_id == group:
                return [master.address for master in info.masters]
        return []

    def _leader(self, group):
        members = self._members(group)
        if not members:
            raise BallastError(grpc.StatusCode.NOT_FOUND, f"there is no group {group}",
                               errors_pb2.REASON_UNKNOWN_GROUP)
        known = self._leaders.get(group)
        return known if known in members else members[0]

    def _stub(self, address):
        return master_service_pb2_grpc.MasterStub(self._channels.get(address))

    def _until_done(self, name, request, shard, group, retry):
        while True:
            owner = self._owner(shard) if group is None else group
            address = self._leader(owner)
            try:
                return self._channels.call(getattr(self._stub(address), name), address, request)
            except BallastError as error:
                self._learn(owner, address, error)
                if not retry.again(error):
                    raise
                if retry.tries % TRIES_BEFORE_REFRESH == 0:
                    self._refresh()

    def _learn(self, group, asked, error):
        """What a failure tells about whom to ask next."""
        members = self._members(group)
        if error.reason == errors_pb2.REASON_WRONG_GROUP:
            self._refresh()
        elif error.reason == errors_pb2.REASON_NOT_LEADER and error.detail.leader_address in members:
            self._leaders[group] = error.detail.leader_address
        elif error.reason in (0, errors_pb2.REASON_NOT_LEADER) and asked in members:
            self._leaders[group] = members[(members.index(asked) + 1) % len(members)]

    def _refresh(self):
        try:
            self.shardctl.refresh(BEST_EFFORT_SECONDS)
        except BallastError:
            pass  # what is known goes on being used while shardctl is down

    # --- sessions ------------------------------------------------------------------------------

    def _next_request(self, shard):
        if shard not in self._sessions:
            reply = self.read("OpenSessions",
                              master_service_pb2.OpenSessionsRequest(shards=[shard]), shard=shard)
            self._sessions[shard] = [reply.session_ids[0], 0]
        session = self._sessions[shard]
        session[1] += 1
        return common_pb2.RequestId(session_id=session[0], sequence=session[1],
                                    first_incomplete=session[1])
