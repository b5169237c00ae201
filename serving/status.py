"""Canonical status codes, and the error that carries one from the model to the wire."""

import logging
from enum import IntEnum

from cetnet_keras.errors import WorkFailed

_LOG = logging.getLogger(__name__)


class Code(IntEnum):
    """The codes of google.rpc.Code: one numbering for TensorFlow, gRPC and the model status answers."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


HTTP_STATUS: dict[Code, int] = {
    Code.OK: 200,
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.OUT_OF_RANGE: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.ABORTED: 409,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INTERNAL: 500,
    Code.DATA_LOSS: 500,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}


class StatusError(WorkFailed):
    """A request or a load that ends in a code other than OK; the message is what the client reads."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> StatusError:
    """The status of a request that is itself wrong, by far the most frequent one."""
    return StatusError(Code.INVALID_ARGUMENT, message)


def status_of(error: Exception) -> StatusError:
    """The status that a request ends in: INTERNAL, with a traceback in the log, for an error of ours."""
    if isinstance(error, StatusError):
        return error
    _LOG.error("a request failed", exc_info=error)
    return StatusError(Code.INTERNAL, f"{type(error).__name__}: {error}")
