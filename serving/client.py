"""Clients for TensorFlow Serving's REST and gRPC, and one that finds out which of both a target speaks."""

import socket
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from cetnet_keras.errors import InputError
from serving.client_errors import Refused, Unreachable
from serving.grpc_client import GrpcClient
from serving.metadata import ModelMetadata
from serving.rest_client import RestClient
from serving.status import Code
from serving.target import Target, parse_target

__all__ = ["GrpcClient", "Predictor", "Refused", "RestClient", "Unreachable", "connect"]

_QUESTION = "GET /v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
STOCK_NAME = "default"  # what a stock server calls its model if nobody says otherwise


class Predictor(Protocol):
    """What both clients and a model in the process have in common."""

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


def connect(target: str, name: str | None = None, deadline: float = 30.0) -> RestClient | GrpcClient:
    """A client for a target, with a model that the server knows.

    Args:
        target: `http://host:port` (REST), `grpc://host:port`, or `host:port`, which is asked what it speaks.
        name: the model's name; None takes the one that a `cetnet serve` server tells, else `default`.
        deadline: seconds that a call may take.
    Raises:
        InputError: the target is no host:port, or the server has no such model.
        Unreachable: nothing answers there.
    """
    parsed = parse_target(target)
    address = parsed.address
    speaks_http = parsed.scheme == "http" or (not parsed.scheme and _speaks_http(parsed, deadline))
    kind = RestClient if speaks_http else GrpcClient
    try:
        return _checked(kind(address, name or STOCK_NAME, deadline=deadline))
    except Refused as error:
        if error.code == Code.NOT_FOUND and name is None and error.served is not None:
            return _checked(kind(address, error.served, deadline=deadline))
        if error.code == Code.NOT_FOUND:
            raise InputError(
                f"{address} serves no model {name or STOCK_NAME!r}; name the one it serves"
            ) from error
        raise


def _checked(client: RestClient | GrpcClient) -> RestClient | GrpcClient:
    try:
        client.status()
    except BaseException:
        client.close()
        raise
    return client


def _speaks_http(target: Target, deadline: float) -> bool:
    """Whether an HTTP/1.1 request is answered as such: a gRPC server greets with a frame of HTTP/2."""
    try:
        with socket.create_connection((target.host, target.port), timeout=deadline) as connection:
            connection.sendall(_QUESTION.format(host=target.address).encode("ascii"))
            return connection.recv(5) == b"HTTP/"
    except TimeoutError as error:
        raise Unreachable(f"{target.address} did not answer in time") from error
    except OSError as error:
        raise Unreachable(f"{target.address} cannot be reached ({error}); is the server there?") from error
