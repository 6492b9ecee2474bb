# SPDX-License-Identifier: Apache-2.0
"""What a failed call says, and what to do about it (docs/protocols/errors.md)."""

import random
import time

import grpc
from ballast_stubs import errors_pb2
from google.protobuf.message import DecodeError

_REASON = errors_pb2.Reason
_DETAILS_TRAILER = "grpc-status-details-bin"

# Refused before anything happened; another try, here or elsewhere, may succeed.
_NOT_EXECUTED = {
    errors_pb2.REASON_NOT_LEADER, errors_pb2.REASON_WRONG_GROUP, errors_pb2.REASON_NOT_READY,
    errors_pb2.REASON_OVERLOADED, errors_pb2.REASON_CHUNK_UNAVAILABLE,
    errors_pb2.REASON_PEER_UNREACHABLE, errors_pb2.REASON_CHAIN_FAILED,
}
# Codes that the transport makes too: without a reason, the operation may have happened.
_TRANSPORT_CODES = {
    grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class BallastError(Exception):
    """A failure, with its canonical code and, if Ballast itself made it, its reason.

    code      grpc.StatusCode
    reason    number of ballast.v1.Reason; 0: the transport's
    detail    ballast.v1.ErrorDetail, with at most one hint
    outcome   "final" (definite; trying again cannot help), "not executed" (this try did nothing),
              or "unknown" (it may have happened; only the same request id may be tried again)
    """

    def __init__(self, code, text, reason=0, detail=None):
        super().__init__(text)
        self.code = code
        self.detail = detail if detail is not None else errors_pb2.ErrorDetail(reason=reason)
        self.reason = self.detail.reason

    @property
    def reason_name(self):
        """Such as OBJECT_NOT_FOUND; empty without a reason."""
        if self.reason == 0:
            return ""
        if self.reason not in _REASON.values():
            return f"REASON_{self.reason}"  # of a newer server
        return _REASON.Name(self.reason).removeprefix("REASON_")

    @property
    def outcome(self):
        if self.reason in _NOT_EXECUTED:
            return "not executed"
        if self.reason == errors_pb2.REASON_OUTCOME_UNKNOWN:
            return "unknown"
        if self.reason == 0 and self.code in _TRANSPORT_CODES:
            return "unknown"
        return "final"

    @staticmethod
    def of(error, address=""):
        """From a grpc.RpcError. The detail is in a trailer that has the bytes of google.rpc.Status;
        one that cannot be read counts as absent."""
        where = f"{address}: " if address else ""
        text = f"{where}{error.details() or error.code().name}"
        for name, value in error.trailing_metadata() or ():
            if name != _DETAILS_TRAILER:
                continue
            try:
                for packed in errors_pb2.StatusDetails.FromString(value).details:
                    if packed.type_url.endswith("/ballast.v1.ErrorDetail"):
                        detail = errors_pb2.ErrorDetail.FromString(packed.value)
                        return BallastError(error.code(), text, detail=detail)
            except DecodeError:
                pass
        return BallastError(error.code(), text)

    @staticmethod
    def made_here(reason, code, text):
        return BallastError(code, text, reason)


def checksum_mismatch(text):
    return BallastError(grpc.StatusCode.DATA_LOSS, text, errors_pb2.REASON_CHECKSUM_MISMATCH)


def invalid_argument(text):
    return BallastError(grpc.StatusCode.INVALID_ARGUMENT, text, errors_pb2.REASON_INVALID_ARGUMENT)


class Retry:
    """The tries of one operation: whether there is another one, and the pause before it.

    Pauses double from 20 ms to 5 s with jitter, are never shorter than the server's hint, and there is
    none while a server's hint says where to go on. Ends after `seconds`.
    """

    FIRST_PAUSE = 0.02
    LONGEST_PAUSE = 5.0
    HINTS_WITHOUT_PAUSE = 3

    def __init__(self, seconds):
        self._end = time.monotonic() + seconds
        self.tries = 0
        self.any_unknown = False  # some try may have taken effect

    def again(self, error):
        """After a failed try: pauses and returns True, or returns False."""
        self.tries += 1
        self.any_unknown |= error.outcome == "unknown"
        if error.outcome == "final":
            return False
        pause = 0.0
        if not (self.tries <= self.HINTS_WITHOUT_PAUSE and self._knows_better(error)):
            full = min(self.FIRST_PAUSE * 2 ** min(self.tries - 1, 30), self.LONGEST_PAUSE)
            pause = full * random.uniform(0.5, 1)
        pause = max(pause, error.detail.retry_after_ms / 1000)
        if time.monotonic() + pause > self._end:
            return False
        time.sleep(pause)
        return True

    @staticmethod
    def _knows_better(error):
        return (error.reason == errors_pb2.REASON_WRONG_GROUP or
                (error.reason == errors_pb2.REASON_NOT_LEADER and error.detail.leader_address != ""))
