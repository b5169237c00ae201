"""TensorFlow Serving's REST for clients that have neither TensorFlow nor the model."""

import asyncio
import base64
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote

import httpx
import numpy as np

from serving.async_client import AsyncClient
from serving.blocking_client import Client
from serving.client_errors import BadAnswer, TimedOut, Unreachable, failure
from serving.metadata import (
    ModelMetadata,
    Prediction,
    Signature,
    TensorInfo,
    VersionStatus,
    numpy_type,
)
from serving.retry import DEFAULT_RETRY, Retry
from serving.status import HTTP_STATUS, Code
from serving.target import address_count, parse_target

if TYPE_CHECKING:
    from serving.prediction_log import PredictionLog  # needs pyarrow

_LONGEST_TEXT = 200  # characters of a page that is no JSON, in a message


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class RestBackend:
    """One model of one server over REST; see `serving.async_client.Backend`.

    Args:
        target: host:port.
        name: the model's name at the server.
        version: ask this version instead of the newest that is loaded.
        blocking: without an event loop.
    """

    def __init__(self, target: str, name: str, version: int | None, blocking: bool) -> None:
        parsed = parse_target(target)
        self.target, self.name, self.blocking = parsed.address, name, blocking
        self._version = version
        self._url = f"http://{self.target}/v1/models/{quote(name, safe='')}"
        if version is not None:
            self._url += f"/versions/{version}"
        proxies = not parsed.is_local  # a proxy cannot reach a local server
        self._session: httpx.Client | httpx.AsyncClient
        self._session = httpx.Client(trust_env=proxies) if blocking else httpx.AsyncClient(trust_env=proxies)

    async def close(self) -> None:
        """Closes the connections."""
        if isinstance(self._session, httpx.Client):
            self._session.close()
        else:
            await self._session.aclose()

    async def predict(
        self, arrays: dict[str, np.ndarray], signature: str, known: Signature, timeout: float
    ) -> Prediction:
        """All outputs of a signature for typed arrays; numbers keep their exact bits."""
        columns = {name: json_value(array) for name, array in arrays.items()}
        answer = await self._call(
            "POST", ":predict", timeout, {"signature_name": signature, "inputs": columns}
        )
        with self._reading(f"the outputs of signature {signature}"):
            outputs = answer["outputs"]
            if len(known.outputs) == 1:  # a single output comes without its name
                outputs = {name: outputs for name in known.outputs}
            arrays = {name: _array(outputs[name], info) for name, info in known.outputs.items()}
            return Prediction(arrays, self._version)

    async def metadata(self, timeout: float) -> ModelMetadata:
        """Signatures of the version that answers."""
        answer = await self._call("GET", "/metadata", timeout)
        with self._reading("a model's metadata"):
            found = answer["metadata"]["signature_def"]["signature_def"]
            spec = answer["model_spec"]
            signatures = {key: _signature(item) for key, item in found.items()}
            return ModelMetadata(spec["name"], int(spec["version"]), signatures)

    async def status(self, timeout: float) -> list[VersionStatus]:
        """The state of the model's versions, newest first."""
        answer = await self._call("GET", "", timeout)
        with self._reading("the status of a model's versions"):
            return [
                VersionStatus(
                    int(entry["version"]),
                    entry["state"],
                    entry["status"]["error_code"],
                    entry["status"]["error_message"],
                )
                for entry in answer["model_version_status"]
            ]

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        try:
            yield
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BadAnswer(f"{self.target}: the answer is not {what}; is it a model server?") from error

    async def _call(self, method: str, path: str, timeout: float, body: Any = None) -> Any:
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode("utf-8")
        request = self._session.build_request(method, self._url + path, content=content, timeout=timeout)
        try:
            found = await self._sent(request, timeout)
        except (httpx.TimeoutException, asyncio.TimeoutError) as error:
            raise TimedOut(f"{self.target} did not answer in time") from error
        except httpx.RequestError as error:
            reason = str(error) or type(error).__name__
            raise Unreachable(
                f"{self.target} cannot be reached over REST ({reason}); is the server there?"
            ) from error
        try:
            answer = json.loads(found.body)
        except ValueError as error:
            if found.status in (200, 404):  # JSON's 404 is that of a model, any other that of a page
                raise BadAnswer(
                    f"{self.target} answered {found.status} and no JSON: is it a model server?"
                ) from error
            answer = None  # of a proxy before the server, or of what runs the server
        if found.status != 200:
            served = found.headers.get("cetnet-model")
            message = answer.get("error") if isinstance(answer, dict) else None
            text = message if isinstance(message, str) else f"HTTP {found.status}: {_shortened(found.body)}"
            raise failure(self.target, "REST", _code(found.status), text, unquote(served) if served else None)
        return answer

    async def _sent(self, request: httpx.Request, timeout: float) -> _Answer:
        """The whole answer, within `timeout` seconds."""
        if isinstance(self._session, httpx.Client):
            return _sent_blocking(self._session, request, timeout)
        response = await asyncio.wait_for(self._session.send(request), timeout)
        return _Answer(response.status_code, response.headers, response.content)


def _sent_blocking(session: httpx.Client, request: httpx.Request, timeout: float) -> _Answer:
    """httpx limits connecting to each address, sending and each piece of the answer alone; the deadline is for all."""
    end = time.monotonic() + timeout
    limits: dict[str, float] = request.extensions["timeout"]

    def shorten(event: str, details: Any) -> None:
        connects = event == "connection.connect_tcp.started"  # its details are what it is called with
        addresses = address_count(details["host"], details["port"]) if connects else 1
        left = max(end - time.monotonic(), 0.001)
        limits.update(dict.fromkeys(limits, left))
        if connects:
            details["timeout"] = left / addresses

    request.extensions["trace"] = shorten  # called before each of these steps
    try:
        response, body = session.send(request, stream=True), bytearray()
    except httpx.ConnectTimeout as error:
        if time.monotonic() < end:  # the last address had its share: the next attempt may take what is left
            raise httpx.ConnectError(str(error), request=request) from error
        raise
    try:
        for piece in response.iter_bytes():
            body += piece
            if time.monotonic() > end:
                raise httpx.ReadTimeout("the answer is longer than the time that is left", request=request)
    finally:
        response.close()
    return _Answer(response.status_code, response.headers, bytes(body))


class RestClient(Client):
    """Asks one model of one server over REST. Any number of threads may share it.

    Args:
        target: host:port.
        name: the model's name at the server.
        version: ask this version instead of the newest that is loaded.
        deadline: seconds that a call may take where it does not say.
        retry: how often and when an attempt is repeated that could not reach the server.
        log: gets what is asked and answered.
    """

    def __init__(
        self,
        target: str,
        name: str,
        version: int | None = None,
        deadline: float = 30.0,
        retry: Retry = DEFAULT_RETRY,
        log: "PredictionLog | None" = None,
    ) -> None:
        super().__init__(RestBackend(target, name, version, blocking=True), deadline, retry, log)


class AsyncRestClient(AsyncClient):
    """`RestClient` for code with an event loop.

    Args:
        target, name, version, deadline, retry, log: as `RestClient`.
        in_flight: requests that a call has under way at once, where its input takes several.
    """

    def __init__(
        self,
        target: str,
        name: str,
        version: int | None = None,
        deadline: float = 30.0,
        retry: Retry = DEFAULT_RETRY,
        log: "PredictionLog | None" = None,
        in_flight: int = 4,
    ) -> None:
        super().__init__(RestBackend(target, name, version, blocking=False), deadline, retry, log, in_flight)


def _code(http_status: int) -> Code:
    """The first code that has this HTTP status; several share one."""
    if http_status == 502:  # no model server's own: a proxy found none behind it
        return Code.UNAVAILABLE
    return next((code for code, status in HTTP_STATUS.items() if status == http_status), Code.UNKNOWN)


def _shortened(body: bytes) -> str:
    """The beginning of a text, or of a page of HTML, in one line."""
    text = " ".join(body.decode("utf-8", "replace").split())
    return (text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "...") or "an empty answer"


def json_value(array: np.ndarray) -> Any:
    """An array as TensorFlow Serving's JSON has it, bytes that are no text in base64."""
    if array.dtype != np.object_:
        return array.tolist()
    flat = np.empty(array.size, dtype=np.object_)
    flat[:] = [_json_string(value) for value in array.ravel().tolist()]
    return flat.reshape(array.shape).tolist()


def _json_string(value: bytes) -> Any:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode("ascii")}


def _array(value: Any, info: TensorInfo) -> np.ndarray:
    if info.dtype != "string":
        return np.array(value, dtype=numpy_type(info.dtype))
    texts: np.ndarray = np.array(value, dtype=object)
    flat: np.ndarray = np.empty(texts.size, dtype=object)
    flat[:] = [_bytes(item) for item in texts.ravel().tolist()]
    return flat.reshape(texts.shape)


def _bytes(item: Any) -> bytes:
    return base64.b64decode(item["b64"]) if isinstance(item, dict) else item.encode("utf-8")


def _signature(item: Mapping[str, Any]) -> Signature:
    inputs = {alias: _tensor_info(info) for alias, info in sorted(item["inputs"].items())}
    return Signature(inputs, {alias: _tensor_info(info) for alias, info in sorted(item["outputs"].items())})


def _tensor_info(item: Mapping[str, Any]) -> TensorInfo:
    shape = item["tensor_shape"]
    sizes = None if shape["unknown_rank"] else tuple(int(dim["size"]) for dim in shape["dim"])
    return TensorInfo(item["dtype"].removeprefix("DT_").lower(), sizes)
