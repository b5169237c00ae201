"""Clients for TensorFlow Serving's REST and gRPC, and one that finds out which of both a target speaks."""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cetnet_keras.errors import InputError
from serving.async_client import AsyncClient
from serving.blocking import finished, settled
from serving.blocking_client import Client
from serving.client_errors import BadAnswer, Refused, TimedOut, Unreachable
from serving.grpc_client import AsyncGrpcClient, GrpcClient
from serving.metadata import ModelMetadata
from serving.rest_client import AsyncRestClient, RestClient
from serving.retry import DEFAULT_RETRY, Deadline, Retry, tried
from serving.status import Code
from serving.target import Target, address_count, parse_target

if TYPE_CHECKING:
    from serving.prediction_log import PredictionLog  # needs pyarrow


__all__ = [
    "AsyncClient",
    "AsyncGrpcClient",
    "AsyncRestClient",
    "BadAnswer",
    "Client",
    "GrpcClient",
    "InputError",
    "Predictor",
    "Refused",
    "RestClient",
    "Retry",
    "TimedOut",
    "Unreachable",
    "connect",
    "connect_async",
]

_QUESTION = "GET /v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
STOCK_NAME = "default"  # what a stock server calls its model if nobody says otherwise


class Predictor(Protocol):
    """What a blocking client and a model in the process have in common."""

    def metadata(self) -> ModelMetadata:
        """Name, version and signatures."""
        ...

    def predict(
        self,
        inputs: Mapping[str, np.ndarray | Sequence[Any]],
        signature: str = ...,
        deadline: float | None = None,
    ) -> dict[str, np.ndarray]:
        """All outputs of a signature for these inputs."""
        ...


def connect(
    target: str,
    name: str | None = None,
    deadline: float = 30.0,
    retry: Retry = DEFAULT_RETRY,
    log: "PredictionLog | None" = None,
) -> Client:
    """A client for a target, with a model that the server knows.

    Args:
        target: `http://host:port` (REST), `grpc://host:port`, or `host:port`, which is asked what it speaks.
        name: the model's name; None takes the one that a `cetnet serve` server tells, else `default`.
        deadline: seconds that a call may take where it does not say; also for all that `connect` itself asks.
        retry: how often and when an attempt is repeated that could not reach the server.
        log: gets what is asked and answered; who made it closes it.
    Raises:
        InputError: the target is no host:port, or the server has no such model.
        Unreachable: nothing answers there; TimedOut: not in time.
    """
    options = {"deadline": deadline, "retry": retry, "log": log}
    found: Client = finished(_connected(RestClient, GrpcClient, target, name, options))
    return found


async def connect_async(
    target: str,
    name: str | None = None,
    deadline: float = 30.0,
    retry: Retry = DEFAULT_RETRY,
    log: "PredictionLog | None" = None,
    in_flight: int = 4,
) -> AsyncClient:
    """As `connect`, for code with an event loop.

    Args:
        target, name, deadline, retry, log: as `connect`.
        in_flight: requests that a call has under way at once, where its input takes several.
    """
    options = {"deadline": deadline, "retry": retry, "log": log, "in_flight": in_flight}
    found: AsyncClient = await _connected(AsyncRestClient, AsyncGrpcClient, target, name, options)
    return found


async def _connected(rest: Any, grpc: Any, target: str, name: str | None, options: dict[str, Any]) -> Any:
    """A client of one of both kinds, which knows a model of the server."""
    parsed = parse_target(target)
    address = parsed.address
    limit = Deadline(address, options["deadline"])  # of all that is asked here together
    speaks_http = parsed.scheme == "http" or (
        not parsed.scheme and await _speaks_http(parsed, issubclass(rest, Client), limit, options["retry"])
    )
    kind = rest if speaks_http else grpc
    try:
        return await _checked(kind(address, name or STOCK_NAME, **options), limit)
    except Refused as error:
        if error.code == Code.NOT_FOUND and name is None and error.served is not None:
            return await _checked(kind(address, error.served, **options), limit)
        if error.code == Code.NOT_FOUND:
            raise InputError(
                f"{address} serves no model {name or STOCK_NAME!r}; name the one it serves"
            ) from error
        raise


async def _checked(client: Any, limit: Deadline) -> Any:
    try:
        await settled(client.status(limit.left()))
    except BaseException:
        await settled(client.close())
        raise
    return client


async def _speaks_http(target: Target, blocking: bool, limit: Deadline, retry: Retry) -> bool:
    async def ask(timeout: float) -> bool:
        return (
            _greets_in_http(target, limit)
            if blocking
            else await asyncio.to_thread(_greets_in_http, target, limit)
        )

    return await tried(ask, limit, retry, blocking)


def _greets_in_http(target: Target, limit: Deadline) -> bool:
    """Whether an HTTP/1.1 request is answered as such: a gRPC server greets with a frame of HTTP/2."""
    place = (target.host, target.port)
    addresses = address_count(*place)
    try:
        with socket.create_connection(place, timeout=limit.left() / addresses) as connection:
            connection.settimeout(limit.left())
            connection.sendall(_QUESTION.format(host=target.address).encode("ascii"))
            connection.settimeout(limit.left())
            return connection.recv(5) == b"HTTP/"
    except OSError as error:
        if isinstance(error, TimeoutError):
            limit.left()  # if none is left that is the error, else an address had its share of it
        raise Unreachable(f"{target.address} cannot be reached ({error}); is the server there?") from error
